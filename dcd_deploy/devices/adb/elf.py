"""Which machine a program is for, from the first bytes of its file."""

from __future__ import annotations

import struct
from pathlib import Path

from dcd_deploy.errors import DeviceLackError

MACHINES = {3: "x86", 40: "armeabi", 62: "x86_64", 183: "arm64", 243: "riscv64"}
# what ``ro.product.cpu.abi`` calls the machines, and those whose programs each runs too
ABIS = {
    "arm64-v8a": ("arm64", "armeabi"),
    "armeabi-v7a": ("armeabi",),
    "armeabi": ("armeabi",),
    "x86_64": ("x86_64", "x86"),
    "x86": ("x86",),
    "riscv64": ("riscv64",),
}
SCRIPT = b"#!"


def machine(path: Path) -> str | None:
    """Return the machine, such as "arm64", that a program is for, or None for a script.

    Raises:
        DeviceLackError: it is not a program.
    """
    with path.open("rb") as file:
        head = file.read(20)
    if head.startswith(SCRIPT):
        return None
    if len(head) < 20 or not head.startswith(b"\x7fELF") or head[5] not in (1, 2):
        raise DeviceLackError(expected="a program of the phone as `runner`", found=f"'{path.name}', which is none")
    (number,) = struct.unpack_from("<H" if head[5] == 1 else ">H", head, 18)
    return MACHINES.get(number, f"machine {number}")


def check_runs_on(path: Path, abi: str) -> None:
    """Raise DeviceLackError unless a phone of this ``abi`` can run the program."""
    found = machine(path)
    if found is not None and found not in ABIS.get(abi, (abi,)):
        raise DeviceLackError(
            expected=f"a `runner` for the phone's {abi}",
            found=f"'{path.name}', which is for {found}",
            advice=f"build or fetch it for {abi}",
        )
