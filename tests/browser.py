"""A served folder in a real browser: a script beside the page drives it, and posts what came of it."""

import functools
import http.server
import json
import os
import queue
import shutil
import subprocess
import threading
from pathlib import Path

CHROMIUM = shutil.which("chromium")
FLAGS = """--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
    --disable-component-update --disable-sync --use-fake-device-for-media-stream --use-fake-ui-for-media-stream"""
HARNESS = """<!doctype html><iframe id="page" allow="camera" style="width:900px;height:700px"></iframe>
<script type="module">
const page = document.getElementById("page");
const until = async (met, seconds = 60) => {
  for (const end = Date.now() + 1000 * seconds; Date.now() < end; ) {
    if (met()) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error("waited in vain");
};
const opened = async () => {
  page.src = "/index.html";
  await until(() => ["ready", "failed"].includes(page.contentDocument?.body?.dataset.state));
  return page.contentDocument;
};
const words = (id) => page.contentDocument.getElementById(id).textContent;
const send = (found) => fetch("/found", { method: "POST", body: JSON.stringify(found) });
try { send(await (async () => { SCRIPT })()); } catch (error) { send({ error: String(error.stack) }); }
</script>"""


class _Handler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path != "/harness.html":
            return super().do_GET()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(self.server.harness)))
        self.end_headers()
        return self.wfile.write(self.server.harness)

    def do_POST(self):
        self.server.found.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


def driven(folder: Path, profile: Path, script: str) -> dict:
    """Return what a script returns that may call ``opened``, ``until`` and ``words``, of the page in ``folder``."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Handler, directory=str(folder)))
    server.harness, server.found = HARNESS.replace("SCRIPT", script).encode(), queue.Queue()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    where = f"http://localhost:{server.server_port}/harness.html"
    environment = {key: value for key, value in os.environ.items() if key != "DISPLAY"}
    command = [CHROMIUM, *FLAGS.split(), f"--user-data-dir={profile}", where]
    browser = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    try:
        found = server.found.get(timeout=90)
    finally:
        browser.terminate()
        browser.wait(20)
        server.shutdown()
        thread.join()
        server.server_close()
    assert "error" not in found, found
    return found
