"""Runtimes that are at fault, beside onnxruntime, and one that is right but not one of ours."""

import shutil

from dcd_deploy.runtimes.environments import KNOWN, KnownRuntime
from dcd_deploy.runtimes.others import process

WRAPPED = """
import importlib.util
from pathlib import Path
spec = importlib.util.spec_from_file_location("wrapped", Path(__file__).with_name("onnxruntime.py"))
wrapped = importlib.util.module_from_spec(spec)
spec.loader.exec_module(wrapped)
def version(): return "{version}"
def opened(*arguments):
    run = wrapped.opened(*arguments)
    return lambda values: [{answer} for y in run(values)]
"""
FAKES = {
    "crashing": "import os\ndef version(): return '1.5'\ndef opened(*a): os.kill(os.getpid(), 11)\n",
    "hanging": "import time\ndef version(): return '1.5'\ndef opened(*a): time.sleep(60)\n",
    "lacking": "import a_package_that_nobody_has\n",
    "refusing": "def version(): return '1.5'\ndef opened(*a): raise RuntimeError('no such operator: Split')\n",
    "old": WRAPPED.format(version="0.9.1", answer="y"),
    "off": WRAPPED.format(version="1.5", answer="y + 1e-2"),
    "not_a_number": WRAPPED.format(version="1.5", answer="y * float('nan')"),
    "cut": WRAPPED.format(version="1.5", answer="y[:, :3]"),
}
QUICK = {"min_runs": 8, "min_seconds": 0.01, "rounds": 2}


def fake_runtimes(tmp_path, monkeypatch):
    shutil.copy(process.WORKER, tmp_path / "worker.py")
    shutil.copy(process.WORKER.with_name("onnxruntime.py"), tmp_path / "onnxruntime.py")
    for name, text in FAKES.items():
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
        monkeypatch.setitem(KNOWN, name, KnownRuntime(name, "numpy", "1.0", advice="ask for another file"))
    monkeypatch.setattr(process, "WORKER", tmp_path / "worker.py")


def fake_one_that_is_right(tmp_path, monkeypatch):
    """Bench measures it by the same loop, in its own process."""
    (tmp_path / "beside.py").write_text(WRAPPED.format(version="1.5", answer="y"), encoding="utf-8")
    monkeypatch.setitem(KNOWN, "beside", KnownRuntime("beside", "numpy", "1.0"))
