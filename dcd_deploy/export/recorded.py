"""What the user's own network answered, in an .npz file: read as untrusted input, and a model file checked by it.

    input, input_1, …          (N, …)   what went in
    output, or output names    (N, …)   what came out

It takes numpy and the file's runtime alone. No size is believed before it was checked: those of the archive's
directory, then those of each array's own header.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dcd_deploy.artifacts import FLOAT32, ModelCard
from dcd_deploy.errors import InputFileError, ModelFileError
from dcd_deploy.export.noise import least_left, measure_noise
from dcd_deploy.export.truth import TrainReference
from dcd_deploy.export.verify import RECORDED, VerificationReport, compare
from dcd_deploy.files import existing_file
from dcd_deploy.progress import Progress, silent
from dcd_deploy.runtimes.model import Model
from dcd_deploy.runtimes.selfcheck import self_check
from dcd_deploy.samples import read_array

MOST_BYTES = 1 << 30  # of all arrays together
DTYPES = tuple(map(np.dtype, ("<f2", "<f4", "<f8", ">f2", ">f4", ">f8")))
ALONE = "output"
EXPECTED = "an .npz file of your network's inputs and outputs (dcd_deploy.record_reference writes one)"


def read_recorded(path: Path, inputs: Sequence[tuple[str, tuple[int, ...]]], outputs: Sequence[str]) -> TrainReference:
    """Return the recorded answers of a model with these inputs (names, shapes of one sample) and outputs.

    Raises:
        InputFileError: it is no such file, is damaged or too large, or is of another model.
    """
    path = existing_file(path, EXPECTED)
    arrays = _read_arrays(path)
    names = _names(path, arrays, [name for name, _ in inputs], outputs)
    for name, shape in inputs:
        if arrays[name].shape[1:] != shape:
            raise InputFileError(
                expected=f"'{name}' of shape {('N', *shape)} in '{path}'",
                found=arrays[name].shape,
                advice="record it at the size of the model",
            )
    counts = {name: len(values) for name, values in arrays.items()}
    if len(set(counts.values())) != 1 or 0 in counts.values():
        raise InputFileError(expected=f"as many outputs as inputs, and at least one, in '{path}'", found=counts)
    return TrainReference(
        tuple(np.ascontiguousarray(arrays[name], np.float32) for name, _ in inputs),
        {output: arrays[name].astype(np.float64) for output, name in names.items()},
        stored_half=frozenset(output for output, name in names.items() if arrays[name].dtype.itemsize == 2),
    )


def verify_against_recorded(
    model: Model,
    recorded: Path,
    *,
    tolerance: float | None = None,
    stage: str = "model file",
    progress: Progress = silent,
) -> VerificationReport:
    """Compare an opened model with the answers in an .npz file (``dcd_deploy.record_reference``).

    A file whose weights are stored small is judged by its signal-to-noise ratio, unless a ``tolerance`` is given, and
    by the outputs that it carries: these tell rounding from a fault.

    Raises:
        InputFileError: it is no such file, or is of another model.
        VerificationError: the model computes something else; the message says what was assumed when it was made.
    """
    card = model.described()
    pairs = read_recorded(recorded, described_inputs(card), [output.name for output in card.outputs])
    least_db = least_left(card) if tolerance is None else None
    ranges = {name: float(np.ptp(values)) for name, values in pairs.outputs.items()}
    source = f"recorded answers of {recorded.name}"
    report = VerificationReport(source, len(pairs.images), ranges, None, None, assumed=card.assumed)
    with progress("verify the model"):
        if least_db is None:
            limit = limit_of(card, tolerance)
            found = compare(stage, model.session.run_all, pairs, limit, card.input.shape[0], RECORDED)
            return report.with_comparisons(*found)
        if card.reference is not None:
            self_check(model).checked()
        outputs = dict(zip(pairs.names, model.run_all(*pairs.inputs), strict=True))
    kind = f"in {card.precision.format}" if card.precision.format != FLOAT32 else f"weights {card.weights.format}"
    stage = f"{stage}, {kind}"
    return report.with_noise(measure_noise(stage, outputs, pairs, least_db, RECORDED))


def described_inputs(card: ModelCard) -> list[tuple[str, tuple[int, ...]]]:
    """Return the name of each input, and the shape of one sample as torch has it.

    Raises:
        ModelFileError: the file leaves a size free.
    """
    inputs = []
    for tensor in card.inputs:
        sizes = tuple(size for size in tensor.torch_shape[1:] if size is not None)
        if len(sizes) + 1 != len(tensor.shape):
            raise ModelFileError(expected="inputs whose sizes are fixed", found=f"'{tensor.name}' of {tensor.shape}")
        inputs.append((tensor.name, sizes))
    return inputs


def limit_of(card: ModelCard, tolerance: float | None) -> float:
    """Return the tolerance of a check: the file's own without one, but never more than is stated for its precision."""
    return card.limit if tolerance is None else tolerance


def _names(
    path: Path, arrays: dict[str, NDArray[np.floating]], inputs: Sequence[str], outputs: Sequence[str]
) -> dict[str, str]:
    """Return for each output of the model the name of its array."""
    single = len(outputs) == 1 and ALONE in arrays
    names = {outputs[0]: ALONE} if single else {output: output for output in outputs}
    if arrays.keys() != {*inputs, *names.values()}:
        wanted = ", ".join(f"'{name}'" for name in (*inputs, *((ALONE,) if len(outputs) == 1 else outputs)))
        raise InputFileError(
            expected=f"the arrays {wanted} in '{path}'",
            found=", ".join(sorted(arrays)) or "none",
            advice="record it with the network that the model was made from",
        )
    return names


def _read_arrays(path: Path) -> dict[str, NDArray[np.floating]]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            _check_members(members)
            return {each.filename.removesuffix(".npy"): _read_array(archive, each) for each in members}
    except Exception as error:  # zipfile, the decompressors and numpy's parser raise whatever wrong bytes make them
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputFileError(expected=f"{EXPECTED} at '{path}'", but=f"it cannot be read: {reason}") from error


def _check_members(members: list[zipfile.ZipInfo]) -> None:
    names = [each.filename for each in members]
    if len(set(names)) != len(names) or not all(name.endswith(".npy") for name in names):
        raise ValueError("it holds something else than arrays, each once")
    if sum(each.file_size for each in members) > MOST_BYTES:
        raise ValueError(f"it claims to hold more than {MOST_BYTES >> 20} MiB; a few dozen samples tell as much")


def _read_array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> NDArray[np.floating]:
    """Return an array of floating point whose header and size agree; zipfile gives no more than that size."""
    with archive.open(member) as file:
        values: NDArray[np.floating] = read_array(file, member.file_size, "f")
    if values.dtype not in DTYPES:
        raise ValueError(f"'{member.filename}' is of {values.dtype}, not of float16, float32 or float64")
    if not np.isfinite(values).all():
        raise ValueError(f"'{member.filename}' holds NaN or infinity")
    return values
