"""What a device needs for each runtime: which packages, whether they are there, and what to do where they are not."""

from __future__ import annotations

from dcd_deploy.artifacts import LITERT_COMPILED
from dcd_deploy.devices.answers import Survey, misread
from dcd_deploy.errors import DeviceError, DeviceLackError
from dcd_deploy.runtimes.choice import RUNTIMES

NUMPY = "numpy"
# For each way to run models the packages that do, the best first.
PACKAGES = {"onnxruntime": ("onnxruntime",), "litert": ("ai-edge-litert", "tflite-runtime")}
APART = {LITERT_COMPILED: ("ai-edge-litert",), "executorch": ("executorch",)}  # runtimes that not every one of them has
WANTED = [[NUMPY], *(list(names) for names in PACKAGES.values())]


def check(runtime: str, found: Survey, device: str) -> None:
    """Raise DeviceLackError unless a device has what ``runtime`` needs."""
    wanted = ((NUMPY,), APART.get(runtime) or PACKAGES[RUNTIMES[runtime].package])
    missing = [names for names in wanted if not any(name in found.environment.packages for name in names)]
    if missing:
        here = found.environment
        named = " and ".join(" or ".join(names) for names in missing)
        machine = here.system.rpartition(" ")[2]
        raise DeviceLackError(
            expected=f"{named} on {device}",
            found=f"none in its Python {here.python}",
            advice=(
                "let `setup` install it in an environment of its own, or install there a wheel for Python "
                f"{here.python}, {machine}{(f', {found.library}' if found.library else '')}: python3 -m pip "
                f"install {missing[0][0]}"
            ),
        )


def complete(found: Survey) -> bool:
    """Whether a device has numpy and every runtime."""
    return all(any(name in found.environment.packages for name in names) for names in WANTED)


def check_setup(said: object, device: str) -> None:
    """Raise DeviceLackError unless numpy and at least one runtime were installed."""
    if not isinstance(said, dict):
        raise misread(device, "no word of the set-up")
    if "fault" in said:
        raise DeviceLackError(
            f"expected to make a Python environment on {device}, but: {_last(said['fault'])}; on Debian and Ubuntu it "
            "needs: sudo apt install python3-venv"
        )
    made = said.get("packages")
    if not isinstance(made, list) or len(made) != len(WANTED) or not all(isinstance(each, dict) for each in made):
        raise misread(device, "no word of the packages")
    installed = [each.get("installed") for each in made]
    if installed[0] is None or not any(installed[1:]):
        number = 0 if installed[0] is None else 1
        raise DeviceLackError(
            expected=f"a wheel of {' or '.join(WANTED[number])} for {device}",
            but=f"its pip says: {_last(made[number].get('words'))}",
            advice="another version of Python there may have one",
        )


def not_started(said: dict[str, object], device: str) -> DeviceError:
    """Return the error of a device on which our runner does not start, by what its first program said."""
    if "old" in said:
        return DeviceLackError(
            expected=f"Python 3.9 or later on {device}",
            found=f"Python {said['old']}",
            advice='install one, or name another in a fleet file: python = "/usr/local/bin/python3.11"',
        )
    if "full" in said:
        return DeviceLackError(
            f"expected to write into the home folder of {device}, but: {_last(said['full'])}; make room"
        )
    return misread(device, f"the first message has {sorted(said)[:3]}")


def _last(words: object) -> str:
    lines = [line.strip() for line in str(words).split("  ") if line.strip()]
    return lines[-1][-300:] if lines else "nothing"
