"""A tuned lowering as a small file: the lowering of each dynamic layer of one network, and where that was measured.

    {"kind": "dcd-deploy lowering", "schema": 3, "target": "litert", "format": "tflite", "precision": "int8",
     "network": "mobilenetv2_dcd ×1, fc_squeeze 16", "inputs": [[3, 224, 224]],
     "runtime": "litert", "runtime_version": "2.3.0", "device": "local", "cpu": "… avx2", "threads": 1,
     "layers": {"features.2.conv.0": "kernel", …}}

The network is a known one's description, or the name of a user's own class; a layer is its path in the network. Files
of schema 1 and 2 are of float32; those of schema 1 have the "input" of a picture, [height, width]. It is untrusted
input: names are checked against what there is, and nothing in it is a path or is run.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dcd_deploy.artifacts import FLOAT32, PRECISIONS
from dcd_deploy.benchmarks.process import LOCAL
from dcd_deploy.errors import LoweringFileError
from dcd_deploy.fields import reason, whole
from dcd_deploy.files import existing_file, read_json, utf8, write_whole
from dcd_deploy.lowering.deploy import check_choice
from dcd_deploy.lowering.targets import target_for
from dcd_deploy.tuning.forecast import Shapes, sizes_text
from dcd_deploy.tuning.runtimes import RUNTIMES

KIND, SCHEMA, PICTURE_SCHEMA, FLOAT_SCHEMA = "dcd-deploy lowering", 3, 1, 2
MOST_INPUTS, MOST_SIDES, LARGEST_SIDE, MOST_THREADS = 64, 8, 1 << 20, 1024
LARGEST_BYTES = 1 << 20
TEXTS = ("target", "format", "network", "runtime", "runtime_version", "device", "cpu")
LONGEST_TEXT = 200


@dataclass(frozen=True)
class TunedLowering:
    """The lowering of each dynamic layer, for one network at one input size, and where it was measured."""

    target: str
    format: str
    network: str
    inputs: Shapes  # without the batch
    runtime: str
    runtime_version: str
    device: str
    cpu: str
    threads: int
    layers: dict[str, str]
    precision: str = FLOAT32  # in which it was measured

    def check_network(self, title: str, inputs: Sequence[Sequence[int]]) -> None:
        """Raise LoweringFileError unless this was tuned for the network of that title and inputs of these shapes."""
        wanted, found = (title, tuple(map(tuple, inputs))), (self.network, self.inputs)
        if wanted != found:
            raise LoweringFileError(
                expected=f"a lowering for {_title(*wanted)}",
                found=f"one for {_title(*found)}",
                advice="run 'dcd-deploy tune' on this checkpoint",
            )

    def check_precision(self, wanted: str) -> None:
        """Raise LoweringFileError unless this was measured in the precision that is ``wanted``."""
        if wanted != self.precision:
            raise LoweringFileError(
                expected=f"a lowering that was tuned in `precision` {wanted}",
                found=f"one in {self.precision}",
                advice=f"run 'dcd-deploy tune' in {wanted}, or leave `lowering` out",
            )

    def check_layers(self, layers: Iterable[str]) -> None:
        """Raise LoweringFileError unless this has a lowering for each of these layers, and for no others."""
        if amiss := sorted((known := set(layers)) ^ set(self.layers)):
            raise LoweringFileError(
                expected=f"a lowering for each of the {len(known)} dynamic layers of {self.network}",
                found=f"'{amiss[0]}' {('missing' if amiss[0] in known else 'too')}",
                advice="run 'dcd-deploy tune' on this checkpoint",
            )

    def check_place(self, version: str | None, cpu: str) -> None:
        """Raise LoweringFileError if this was measured on this machine with another version of the runtime.

        ``version`` is that which is installed here. What was tuned on another device is meant for that device.
        """
        if self.device != LOCAL:
            return
        if version is not None and version != self.runtime_version:
            raise LoweringFileError(
                expected=f"a lowering that was tuned for {self.runtime} {version}",
                found=f"one for {self.runtime_version}",
                advice="tune again, or pass `foreign_lowering`",
            )
        if self.cpu != cpu:
            raise LoweringFileError(
                expected=f"a lowering that was tuned on this kind of machine ({cpu})",
                found=f"one from {self.cpu}",
                advice="tune again, or pass `foreign_lowering`",
            )


def write_lowering(path: Path, lowering: TunedLowering) -> None:
    """Write the file, whole or not at all."""
    content = {"kind": KIND, "schema": SCHEMA, **asdict(lowering)}
    write_whole(path, utf8(json.dumps(content, indent=2, ensure_ascii=False) + "\n"))


def read_lowering(path: Path) -> TunedLowering:
    """Read the file back.

    Raises:
        InputFileError: there is none.
        LoweringFileError: it is no such file, is damaged, or of another schema version.
        UnknownNameError: it names a target or a lowering that there is not.
    """
    where = existing_file(path, "a lowering file")
    try:
        lowering = _parsed(read_json(where, LARGEST_BYTES))
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise LoweringFileError(
            expected=f"a lowering that 'dcd-deploy tune' wrote at '{path}'",
            found=f"another file ({reason(error)})",
            advice="tune again",
        ) from error
    target = target_for(lowering.target, lowering.format, lowering.precision)
    check_choice(lowering.layers, target)
    if lowering.runtime not in RUNTIMES.get(target.name, ()):
        raise LoweringFileError(
            expected=f"a runtime of {target.name} in the lowering '{path}'",
            found=f"'{lowering.runtime}'",
            advice="tune again",
        )
    return lowering


def _parsed(content: Any) -> TunedLowering:
    if not isinstance(content, dict) or content.get("kind") != KIND:
        raise ValueError(f"it is not of kind '{KIND}'")
    if (schema := content.get("schema")) not in (PICTURE_SCHEMA, FLOAT_SCHEMA, SCHEMA):
        raise ValueError(f"schema {schema!r:.40}, this version reads {PICTURE_SCHEMA} to {SCHEMA}")
    texts = {key: _text(content[key]) for key in TEXTS}
    precision = _precision(content["precision"]) if schema == SCHEMA else FLOAT32
    inputs = _picture(content["input"]) if schema == PICTURE_SCHEMA else _inputs(content["inputs"])
    layers = {_text(name): _text(lowering) for name, lowering in dict(content["layers"]).items()}
    threads = whole(content["threads"], 1, MOST_THREADS)
    return TunedLowering(**texts, threads=threads, inputs=inputs, layers=layers, precision=precision)


def _precision(value: Any) -> str:
    if value not in PRECISIONS:
        raise ValueError(f"expected a precision of {', '.join(PRECISIONS)}, found {value!r:.40}")
    return str(value)


def _picture(value: Any) -> Shapes:
    height, width = value
    return _inputs([(3, height, width)])


def _inputs(value: Any) -> Shapes:
    shapes = tuple(tuple(whole(side, 1, LARGEST_SIDE) for side in one) for one in value)
    if not 1 <= len(shapes) <= MOST_INPUTS or not all(1 <= len(one) <= MOST_SIDES for one in shapes):
        raise ValueError(f"expected shapes of inputs, found {value!r:.40}")
    return shapes


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.isprintable() or len(value) > LONGEST_TEXT:
        raise ValueError(f"expected a text of at most {LONGEST_TEXT} characters, found {value!r:.40}")
    return value


def _title(network: str, inputs: Shapes) -> str:
    return f"{network} at {sizes_text(inputs)}"
