"""A tuned lowering as a small file: the form of each dynamic layer of one network, and where that was measured.

    {"kind": "dcd-deploy lowering", "schema": 1, "target": "litert", "format": "tflite",
     "network": "mobilenetv2_dcd ×1, fc_squeeze 16", "input": [224, 224], "runtime": "litert",
     "runtime_version": "2.3.0", "device": "local", "cpu": "… avx2", "threads": 1,
     "layers": {"features.2.conv.0": "kernel", …}}

It is untrusted input: names are checked against what there is, and nothing in it is a path or is run.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dcd_deploy.benchmarks.place import LOCAL
from dcd_deploy.errors import LoweringFileError
from dcd_deploy.files import existing_file, write_whole
from dcd_deploy.models.deploy.network import check_lowering
from dcd_deploy.models.deploy.targets import target_for
from dcd_deploy.models.spec import NetworkSpec
from dcd_deploy.tuning.layer_case import cases_of
from dcd_deploy.tuning.runtimes import RUNTIMES

KIND, SCHEMA = "dcd-deploy lowering", 1
LARGEST_BYTES = 1_000_000
TEXTS = ("target", "format", "network", "runtime", "runtime_version", "device", "cpu")
LONGEST_TEXT = 200


@dataclass(frozen=True)
class TunedLowering:
    """The form of each dynamic layer, for one network at one input size, and where it was measured."""

    target: str
    format: str
    network: str  # as ``NetworkSpec.describe`` has it
    input: tuple[int, int]
    runtime: str
    runtime_version: str
    device: str
    cpu: str
    threads: int
    layers: dict[str, str]

    def check_network(self, spec: NetworkSpec, size: tuple[int, int]) -> None:
        """Raise LoweringFileError unless this was tuned for the network of ``spec`` at that input size."""
        wanted, found = (spec.describe(), size), (self.network, self.input)
        if wanted != found:
            raise LoweringFileError(
                f"expected a lowering for {_title(*wanted)}, found one for {_title(*found)}; run 'dcd-deploy tune' on "
                "this checkpoint"
            )
        layers = {name for names in cases_of(spec, *size).values() for name in names}
        if amiss := sorted(layers ^ set(self.layers)):
            raise LoweringFileError(
                f"expected a form for each of the {len(layers)} dynamic layers of {spec.describe()}, found "
                f"'{amiss[0]}' {'missing' if amiss[0] in layers else 'too'}; run 'dcd-deploy tune' on this checkpoint"
            )

    def check_place(self, version: str | None, cpu: str) -> None:
        """Raise LoweringFileError if this was measured on this machine with another version of the runtime.

        ``version`` is that which is installed here. What was tuned on another device is meant for that device.
        """
        if self.device != LOCAL:
            return
        if version is not None and version != self.runtime_version:
            raise LoweringFileError(
                f"expected a lowering that was tuned for {self.runtime} {version}, found one for "
                f"{self.runtime_version}; tune again, or pass --foreign-lowering"
            )
        if self.cpu != cpu:
            raise LoweringFileError(
                f"expected a lowering that was tuned on this kind of machine ({cpu}), found one from {self.cpu}; tune "
                "again, or pass --foreign-lowering"
            )


def write_lowering(path: Path, lowering: TunedLowering) -> None:
    """Write the file, whole or not at all."""
    content = {"kind": KIND, "schema": SCHEMA, **asdict(lowering)}
    write_whole(path, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())


def read_lowering(path: Path) -> TunedLowering:
    """Read the file back.

    Raises:
        InputFileError: there is none.
        LoweringFileError: it is no such file, is damaged, or of another schema version.
        UnknownNameError: it names a target or a form that there is not.
    """
    where = existing_file(path, "a lowering file")
    if where.stat().st_size > LARGEST_BYTES:
        raise LoweringFileError(f"expected a lowering file of at most {LARGEST_BYTES} bytes at '{path}', found more")
    try:
        content = json.loads(where.read_text(encoding="utf-8"))
        lowering = _parsed(content)
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise LoweringFileError(
            f"expected a lowering that 'dcd-deploy tune' wrote at '{path}', found another file ({reason}); tune again"
        ) from error
    target = target_for(lowering.target, lowering.format)
    check_lowering(lowering.layers, target)
    if lowering.runtime not in RUNTIMES.get(target.name, ()):
        raise LoweringFileError(
            f"expected a runtime of {target.name} in the lowering '{path}', found '{lowering.runtime}'; tune again"
        )
    return lowering


def _parsed(content: Any) -> TunedLowering:
    if not isinstance(content, dict) or content.get("kind") != KIND:
        raise ValueError(f"it is not of kind '{KIND}'")
    if content.get("schema") != SCHEMA:
        raise ValueError(f"schema {content.get('schema')!r:.40}, this version reads {SCHEMA}")
    texts = {key: _text(content[key]) for key in TEXTS}
    height, width = (int(side) for side in content["input"])
    layers = {_text(name): _text(form) for name, form in dict(content["layers"]).items()}
    return TunedLowering(**texts, threads=int(content["threads"]), input=(height, width), layers=layers)


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.isprintable() or len(value) > LONGEST_TEXT:
        raise ValueError(f"expected a text of at most {LONGEST_TEXT} characters, found {value!r:.40}")
    return value


def _title(network: str, size: tuple[int, int]) -> str:
    return f"{network} at {size[0]}×{size[1]}"
