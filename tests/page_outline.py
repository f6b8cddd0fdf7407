"""Pages as their readers see them: their elements, their figures, what a browser makes of them."""

import json
import os
import re
import shutil
import subprocess
from html.parser import HTMLParser

CHROMIUM = shutil.which("chromium")


FLAGS = """--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
    --disable-component-update --disable-sync --virtual-time-budget=8000 --enable-logging=stderr --dump-dom"""


def figures(page):
    return json.loads(re.search(r'<script type="application/json" id="figures">(.*?)</script>', page, re.DOTALL)[1])


class Outline(HTMLParser):
    """The elements of a page, and what stands in them."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.text, self.open = [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_endtag(self, tag):
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data):
        if not {"script", "style"} & set(self.open):
            self.text.append(data)


def opened(path, folder, *flags) -> tuple[Outline, str]:
    """Open a page in a browser; return what it became, and what the browser's console said."""
    command = [CHROMIUM, *FLAGS.split(), *flags, f"--user-data-dir={folder}", path.as_uri()]
    environment = {key: value for key, value in os.environ.items() if key != "DISPLAY"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True, env=environment)
    return Outline(done.stdout), "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)


def classes(outline, name):
    return sum(name in (attributes.get("class") or "").split() for _, attributes in outline.elements)
