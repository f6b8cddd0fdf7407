"""Time a web bundle's first prediction in headless Chromium, from the first request of a browser that is new.

    python scripts/web_start.py FOLDER [--starts 9] [--files]

Each start has a browser with an empty profile, and the server that the bundle's README names. The first prediction is
the self-check's: two runs of the model, of which the second is of a picture. Beside the time there is the processor
time of all of the browser's processes, which is less at the mercy of other programs, and the machine's load.
"""

from __future__ import annotations

import argparse
import functools
import http.server
import json
import os
import queue
import shutil
import statistics
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import Any

FLAGS = """--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
    --disable-component-update --disable-sync"""
WATCH = b"""new MutationObserver(() => {
  const files = performance.getEntriesByType("resource").map(({ name, startTime, responseEnd }) =>
    [name.split("/").at(-1), startTime, responseEnd]);
  const marks = performance.getEntriesByType("mark").map(({ name, startTime }) => [name, startTime, startTime]);
  const found = { state: document.body.dataset.state, ms: performance.now(), files: [...files, ...marks] };
  fetch("/found", { method: "POST", body: JSON.stringify(found) });
}).observe(document.body, { attributeFilter: ["data-state"] });"""
TAG = b'<script type="module" src="watch.js"></script></head>'


class Handler(http.server.SimpleHTTPRequestHandler):
    """That of ``python -m http.server``; its page tells when it is ready."""

    found: queue.Queue[dict[str, Any]] = queue.Queue()

    def do_GET(self) -> None:
        pages = {"/watch.js": ("text/javascript", WATCH), "/": ("text/html", self.page())}
        if self.path not in pages:
            return super().do_GET()
        kind, content = pages[self.path]
        self.send_response(200)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.end_headers()
        self.wfile.write(content)
        return None

    def page(self) -> bytes:
        return (Path(self.directory) / "index.html").read_bytes().replace(b"</head>", TAG)

    def do_POST(self) -> None:
        self.found.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


def processor_seconds(root: int) -> float:
    """Return what a process and all below it have used, of Linux's accounts."""
    parents, used = {}, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text(encoding="utf-8").rpartition(")")[2].split()
        except OSError:
            continue  # it has ended
        parents[int(stat.parent.name)], used[int(stat.parent.name)] = int(fields[1]), int(fields[11]) + int(fields[12])
    below = {root}
    while more := {pid for pid, parent in parents.items() if parent in below} - below:
        below |= more
    return sum(used.get(pid, 0) for pid in below) / os.sysconf("SC_CLK_TCK")


def start(port: int) -> dict[str, Any]:
    """Return what a new browser's page told."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = ["chromium", *FLAGS.split(), f"--user-data-dir={profile}", f"http://localhost:{port}/"]
        browser = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            return Handler.found.get(timeout=90) | {"cpu": processor_seconds(browser.pid)}
        finally:
            browser.terminate()
            browser.wait(20)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of `bundle --for web`")
    parser.add_argument("--starts", type=int, default=9)
    parser.add_argument("--files", action="store_true", help="when each file came, in the start of median time")
    options = parser.parse_args()
    if not shutil.which("chromium"):
        raise SystemExit("chromium is not installed")
    handler = functools.partial(Handler, directory=str(options.folder))
    server = http.server.ThreadingHTTPServer(("localhost", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    found = sorted((start(server.server_port) for _ in range(options.starts)), key=lambda each: each["ms"])
    assert all(each["state"] == "ready" for each in found), found
    middle = found[len(found) // 2]
    cpu = statistics.median(each["cpu"] for each in found)
    print(f"first prediction after {middle['ms']:.0f} ms ({found[0]['ms']:.0f} to {found[-1]['ms']:.0f},", end=" ")
    print(f"{len(found)} starts); {cpu:.1f} s of processor; load {os.getloadavg()[0]:.1f}")
    for name, begun, ended in sorted(middle["files"], key=lambda each: each[1]) if options.files else ():
        print(f"  {begun:6.0f} to {ended:6.0f} ms  {name}")


if __name__ == "__main__":
    main()
