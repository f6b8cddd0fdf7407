"""What has to be known of files before a phone has them.

Of a program, which machine it is for, told by its first bytes; of a model, its network's name and the shape of its
input.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from dcd_deploy.artifacts import METADATA_KEY
from dcd_deploy.benchmarks.worker import fixed_shape, network_name
from dcd_deploy.card_json import read_card
from dcd_deploy.errors import DeviceLackError, OptionError
from dcd_deploy.files import existing_file, suffix_of
from dcd_deploy.runtimes.flatbuffer import read_texts
from dcd_deploy.runtimes.isolated import isolated_model

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


TFLITE = ".tflite"
Shape = tuple[int | None, ...]


@dataclass(frozen=True)
class DescribedFile:
    """``shape`` is that of the first input as torch has it, None where the file leaves a size free."""

    network: str | None
    shape: Shape


def described(path: Path) -> DescribedFile:
    """Return what a file says of itself; one that is not ours is opened to learn it.

    Raises:
        InputFileError, ModelFileError: there is none, or it is damaged.
    """
    if suffix_of(path) == TFLITE:
        text = read_texts(existing_file(path, "a TFLite model").read_bytes(), path).get(METADATA_KEY)
        if text is not None:
            card = read_card(text)
            return DescribedFile(network_name(card), card.input.torch_shape)
    with isolated_model(path, threads=1) as model:
        return DescribedFile(network_name(model.card), model.session.inputs[0].torch_shape)


def common_batch(models: dict[str, DescribedFile], batch: int | None) -> int:
    """Return the batch that all models have; a runner takes 1 where a file leaves it free.

    Raises:
        OptionError: they take different inputs, or ``batch`` is not theirs.
    """
    shapes = {name: fixed_shape(model.shape, batch) for name, model in models.items()}
    if len(set(shapes.values())) != 1:
        raise OptionError(
            expected="models with the same input", found=shapes, advice="export both at one size and batch"
        )
    found = next(iter(shapes.values()))[0]
    if found != 1 and any(model.shape[0] is None for model in models.values()):
        raise OptionError(
            expected=f"a file of batch {found} for a runner",
            found="one that leaves it free",
            advice=f"export it with `batch` {found}",
        )
    return found
