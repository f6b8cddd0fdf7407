"""A device and how it is to be used, before anything is connected; where they come from: names, or a fleet file.

[devices.pi4]                         # what results call it
device = "ssh://pi@192.168.1.20"
threads = "1,4"                       # these four may be left out
cpus = "0,1"
python = "/usr/local/bin/python3.11"
setup = true

[devices.phone]
device = "adb"
runner = "benchmark_model"            # or several: "benchmark_model,onnxruntime_perf_test"

[devices.pi5-counted]
device = "arm64-emulated:cortex-a76"  # which counts, and needs nothing else
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dcd_deploy.benchmarks.process import LOCAL
from dcd_deploy.devices.names import ADB, DeviceName, parse_device
from dcd_deploy.devices.opening import DeviceOptions
from dcd_deploy.emulation.cores import EMULATED, core_named
from dcd_deploy.errors import DcdDeployError, InputFileError, OptionError
from dcd_deploy.files import existing_file

LABEL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,39}")
NUMBERS = re.compile(r"\d{1,4}(,\d{1,4}){0,63}")
FIELDS: dict[str, type] = {
    "device": str,
    "threads": str,
    "cpus": str,
    "python": str,
    "setup": bool,
    "runner": str,
}
LARGEST_BYTES, MOST_DEVICES = 10**6, 64


@dataclass(frozen=True)
class DeviceTarget:
    """A device by its name; ``threads`` and ``cpus`` are its own, None for those of all."""

    name: DeviceName
    options: DeviceOptions = field(default_factory=DeviceOptions)
    threads: tuple[int, ...] | None = None
    cpus: tuple[int, ...] | None = None

    @property
    def label(self) -> str:
        """What results call it."""
        return self.options.label or self.name.text


def named_targets(names: Iterable[str], options: DeviceOptions | None = None) -> list[DeviceTarget]:
    """Return the targets of names such as "ssh://pi@board", each once; of ``options`` each takes what is for its kind.

    Raises:
        UnknownNameError, OptionError: one cannot be the name of a device, or no device takes an option.
    """
    options = options or DeviceOptions()
    found = list(dict.fromkeys(_parsed(name) for name in names))
    if options.runners and not any(name.kind == ADB for name in found):
        raise OptionError(expected="`runner` with `device` adb", found="no phone among the devices")
    plain = replace(options, runners=())
    chosen = {ADB: options, EMULATED: DeviceOptions()}
    return [DeviceTarget(name, chosen.get(name.kind, plain)) for name in found]


def read_fleet(path: Path) -> list[DeviceTarget]:
    """Return the targets of a fleet file, in its order.

    Raises:
        InputFileError: there is no such file, or it is not one of a fleet; the message says where.
    """
    with existing_file(path, "a fleet file").open("rb") as file:
        content = file.read(LARGEST_BYTES + 1)
    try:
        if len(content) > LARGEST_BYTES:
            raise ValueError(f"more than {LARGEST_BYTES} bytes")  # noqa: TRY301
        document = tomllib.loads(content.decode("utf-8"))
        return _targets(document)
    except (ValueError, DcdDeployError, RecursionError) as error:
        raise InputFileError(
            f"expected a fleet file at '{path}', with a table [devices.NAME] for each device, but: {str(error)[:300]}"
        ) from error


def check_labels(targets: Iterable[DeviceTarget]) -> None:
    """Raise OptionError where two targets are one device, measured at the same time, or would be called the same."""
    targets, seen = list(targets), set[str]()
    phones = [target.name for target in targets if target.name.kind == ADB]
    if len(phones) > 1 and any(name.part is None for name in phones):
        raise OptionError(expected=f"{ADB}:SERIAL of each of several phones", found=f"'{ADB}', which is the only one")
    for target in targets:
        for text in dict.fromkeys((target.label, target.name.text)):
            if text in seen:
                raise OptionError(
                    expected="each device once", found=f"'{text}' twice", advice="give the second a run of its own"
                )
            seen.add(text)


def _targets(document: dict[str, Any]) -> list[DeviceTarget]:
    if strangers := set(document) - {"devices"}:
        raise ValueError(f"expected nothing but [devices.NAME], found '{min(strangers)}'")
    devices = document.get("devices")
    if not isinstance(devices, dict) or not 1 <= len(devices) <= MOST_DEVICES:
        raise ValueError(f"expected 1 to {MOST_DEVICES} tables [devices.NAME]")
    return [_target(label, entries) for label, entries in devices.items()]


def _target(label: str, entries: Any) -> DeviceTarget:
    if not LABEL.fullmatch(label):
        raise ValueError(f"expected a name of letters, digits, '_', '.' and '-', at most 40, found '{label[:60]}'")
    if not isinstance(entries, dict):
        raise ValueError(f"expected [devices.{label}] to be a table")
    for name, value in entries.items():
        if name not in FIELDS or not isinstance(value, FIELDS[name]):
            kinds = ", ".join(f"{field} ({kind.__name__})" for field, kind in FIELDS.items())
            raise ValueError(f"in [devices.{label}] expected {kinds}, found {name} = {value!r}"[:250])
    if "device" not in entries:
        raise ValueError(f'in [devices.{label}] expected device = "ssh://…"')
    name = _parsed(entries["device"])
    if name.kind == EMULATED and (strangers := set(entries) - {"device"}):
        raise ValueError(f"in [devices.{label}] expected nothing else for an emulated core, found {min(strangers)}")
    if label == LOCAL != name.kind:
        raise ValueError(f"expected [devices.{LOCAL}] to be this machine, found {name.text}; call it otherwise")
    label = LOCAL if name.kind == LOCAL else label
    if name.kind != ADB and "runner" in entries:
        raise ValueError(f"in [devices.{label}] expected runner with a phone alone, found {name.text}")
    runners = tuple(map(Path, filter(None, entries.get("runner", "").split(","))))
    options = DeviceOptions(label, entries.get("python"), entries.get("setup", False), runners)
    return DeviceTarget(name, options, *(_numbers(label, entries, field) for field in ("threads", "cpus")))


def _parsed(text: str) -> DeviceName:
    """Return what a text names; an emulated core by its full name, so that one core has one."""
    name = parse_device(text)
    return parse_device(f"{EMULATED}:{core_named(name.part).name}") if name.kind == EMULATED else name


def _numbers(label: str, entries: dict[str, Any], field: str) -> tuple[int, ...] | None:
    if field not in entries:
        return None
    if not NUMBERS.fullmatch(entries[field]):
        raise ValueError(f'in [devices.{label}] expected {field} such as "1,4", found "{entries[field][:60]}"')
    return tuple(dict.fromkeys(map(int, entries[field].split(","))))
