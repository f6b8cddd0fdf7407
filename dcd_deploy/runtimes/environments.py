"""The runtimes that a file can be tried on, what an environment of each is made of, and where its Python is.

    CACHE/runtimes/NAME-KEY/    an environment of its own, as ``set_up`` made it; another list of packages, another KEY

Their packages clash with each other, so none is installed beside ours. Versions are those that files were checked on.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from dcd_deploy.errors import MissingDependencyError, UnknownNameError, shown
from dcd_deploy.files import suffix_of, unknown_model_file
from dcd_deploy.made_once import cache_folder, key_of, made_once
from dcd_deploy.progress import Progress, silent
from dcd_deploy.runtimes.others.process import environment_of

NUMPY = "numpy==2.4.6"
PIP = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", "--only-binary=:all:")
SETUP_LIMIT = 1800.0  # seconds, of one package; the largest has 90 MB
WORDS = 300


@dataclass(frozen=True)
class KnownRuntime:
    """One of them: its module in ``others``, the ``package`` that it imports, and the files that it reads.

    ``requirements`` make an environment of its own; ``alone`` are installed without what they ask for. ``here``: the
    package is also taken from this environment. ``since`` is the oldest version that files of ours were checked on.
    ``bytes``: it takes pictures as raw bytes. ``advice`` is what to do where it refuses a file.
    """

    module: str
    package: str
    since: str
    suffixes: tuple[str, ...] = (".onnx",)
    requirements: tuple[str, ...] = ()
    alone: tuple[str, ...] = ()
    here: bool = True
    timed: bool = True
    bytes: bool = True
    advice: str = ""


KNOWN = {
    "onnxruntime": KnownRuntime("onnxruntime", "onnxruntime", "1.16", suffixes=(".onnx", ".ort")),
    "openvino": KnownRuntime("openvino", "openvino", "2026.4", requirements=("openvino==2026.4.1", NUMPY)),
    "mnn": KnownRuntime("mnn", "MNN", "3.6", requirements=("MNN==3.6.1", NUMPY)),
    "ncnn": KnownRuntime(
        "ncnn",
        "ncnn",
        "1.0.20261020",
        requirements=("ncnn==1.0.20261020", NUMPY),
        alone=("pnnx==20261020",),
        bytes=False,  # it cannot load what pnnx makes of them
    ),
    "tract": KnownRuntime("tract", "tract", "0.23", requirements=("tract==0.23.9", NUMPY)),
    "opencv": KnownRuntime("opencv", "cv2", "5.0", requirements=("opencv-python-headless==5.0.0.93", NUMPY)),
    "opencv4": KnownRuntime(
        "opencv",
        "cv2",
        "4.14",
        requirements=("opencv-python-headless==4.14.0.94", NUMPY),
        here=False,
        advice="export it with `for_` opencv4",
    ),
    "onnx_reference": KnownRuntime("onnx_reference", "onnx", "1.16", timed=False),
    "litert": KnownRuntime("litert", "ai_edge_litert", "2.3", suffixes=(".tflite",)),
    "executorch": KnownRuntime("executorch", "executorch", "1.5", suffixes=(".pte",)),
}


def installable() -> tuple[str, ...]:
    """Return the runtimes of which an environment can be made."""
    return tuple(name for name, known in KNOWN.items() if known.requirements)


def check_kind(model: Path) -> None:
    """Raise UnknownNameError where no runtime reads files of a model's kind."""
    kinds = tuple(dict.fromkeys(suffix for known in KNOWN.values() for suffix in known.suffixes))
    if suffix_of(model) not in kinds:
        raise unknown_model_file(model, kinds)


def known_runtime(name: str) -> KnownRuntime:
    """Return what is known of a runtime.

    Raises:
        UnknownNameError: there is no such runtime.
    """
    if name not in KNOWN:
        raise UnknownNameError("runtime", name, KNOWN)
    return KNOWN[name]


def python_of(name: str) -> Path | None:
    """Return the Python that has a runtime: that of its own environment, or ours; None where it is not installed."""
    known = known_runtime(name)
    own = _python_in(environment_folder(name))
    if known.requirements and own.exists():
        return own
    return Path(sys.executable) if known.here and _has_alone(known.package) else None


@cache
def _has_alone(package: str) -> bool:
    """Whether our Python has a package where it is started alone (``-I``), as runtimes are: without PYTHONPATH.

    Asked of itself only where this process has it, by whatever way.
    """
    if find_spec(package) is None:
        return False
    ask = f"import sys; from importlib.util import find_spec; sys.exit(find_spec({package!r}) is None)"
    done = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-I", "-c", ask], capture_output=True, env=environment_of(Path(sys.executable)), check=False
    )
    return done.returncode == 0


def environment_folder(name: str) -> Path:
    """Return where the environment of a runtime is, or would be."""
    known = known_runtime(name)
    return cache_folder("runtimes") / f"{name}-{key_of(known.requirements, known.alone, sys.version_info[:3])}"


def set_up(name: str, progress: Progress = silent) -> Path:
    """Make the environment of a runtime, unless it is there, and return its folder; an interruption leaves nothing.

    Raises:
        UnknownNameError: it is none that can be installed by itself.
        MissingDependencyError: its packages cannot be had or imported.
        OutputError: the cache folder cannot be written.
    """
    _check_installable(name)
    folder = environment_folder(name)
    if folder.exists():
        return folder
    with progress(f"setting up {name}: {', '.join(KNOWN[name].requirements + KNOWN[name].alone)}"):
        return made_once(folder, lambda place: _make(name, place))


def set_up_all(names: Sequence[str], progress: Progress = silent) -> None:
    """Make the environments of several runtimes; what goes wrong with one is told after all others are made.

    Raises:
        DcdDeployError: as ``set_up`` does.
    """
    for name in names:
        _check_installable(name)
    failed: list[MissingDependencyError] = []
    for name in names:
        try:
            set_up(name, progress)
        except MissingDependencyError as error:
            failed.append(error)
    if failed:
        raise failed[0] if len(failed) == 1 else MissingDependencyError("; ".join(map(str, failed)))


def _check_installable(name: str) -> None:
    if name not in installable():
        raise UnknownNameError("runtime to set up", name, installable())


def _make(name: str, place: Path) -> None:
    """Make an environment at ``place``, from where it moves to its folder."""
    known = KNOWN[name]
    _run(name, [sys.executable, "-m", "venv", str(place)])
    python = str(_python_in(place))
    _run(name, [python, *PIP, *known.requirements])
    if known.alone:
        _run(name, [python, *PIP, "--no-deps", *known.alone])
    _run(name, [python, "-I", "-c", f"import {known.package}"], environment_of(Path(python)))
    for script in Path(python).parent.iterdir():
        if script.is_file() and not script.is_symlink():  # they name the Python that starts them
            content = script.read_bytes()
            script.write_bytes(content.replace(os.fsencode(place), os.fsencode(environment_folder(name))))


def _run(name: str, command: list[str], variables: dict[str, str] | None = None) -> None:
    plain = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    try:
        done = subprocess.run(  # noqa: S603 - Python, and packages of the table above
            command,
            capture_output=True,
            check=False,
            timeout=SETUP_LIMIT,
            env=variables or plain,
            stdin=subprocess.DEVNULL,
        )
        said = (done.stderr or done.stdout).decode(errors="replace")
        code = done.returncode
    except subprocess.TimeoutExpired:
        said, code = f"not done within {SETUP_LIMIT:.0f} s", 1
    if code:
        raise MissingDependencyError(
            expected=f"to set up {name} with {', '.join(KNOWN[name].requirements + KNOWN[name].alone)}",
            but=f"this failed: {shown(' '.join(said.split())[-WORDS:], WORDS) or f'exit code {code}'}",
            advice="check the network and pip's settings; nothing was left",
        )


def _python_in(folder: Path) -> Path:
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
