"""How accurate model files are on labelled images, beside the network that they were made from."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Unpack

from dcd_deploy.commands.float_network import network_subject
from dcd_deploy.commands.network_options import WeightOptions
from dcd_deploy.commands.options import Argument, Option, StrPath
from dcd_deploy.commands.values import parse_count
from dcd_deploy.errors import OptionError
from dcd_deploy.progress import Progress, silent

if TYPE_CHECKING:
    from dcd_deploy.evaluation.counts_file import EvaluationPlan, Part
    from dcd_deploy.evaluation.results import EvaluationResult
    from dcd_deploy.evaluation.subjects import Described, Subject
    from dcd_deploy.labelled_images import LabelledImages

MOST_JOBS, MOST_SHARDS = 1024, 1_000_000


class CalibrationWarning(UserWarning):
    """A model is evaluated on images that calibrated it."""


def evaluate(
    *artifacts: Annotated[StrPath, Argument("Model files; with `merge`, counts of all shards.")],
    data: Annotated[
        StrPath | None,
        Option(
            "Folder of class folders with images; or .npz file with 'images' (N,C,H,W), normalised, and 'labels' (N).",
            default="needed, but for `merge`",
        ),
    ] = None,
    checkpoint: Annotated[
        StrPath | None, Option("Compare with this network too, in float64: changed decisions, signal over noise.")
    ] = None,
    out: Annotated[StrPath | None, Option("File that keeps the exact counts; a run goes on where it ended.")] = None,
    shard: Annotated[
        str | None, Option("Count one part, such as 2/4; needs `out`, and `merge` puts all parts together.")
    ] = None,
    merge: Annotated[bool, Option("Add up the counts of all shards.")] = False,
    jobs: Annotated[int | None, Option("Workers, each on one core.", default="one for each core")] = None,
    progress: Progress = silent,
    **network: Unpack[WeightOptions],
) -> EvaluationResult:
    """Count how many labelled images model files get right, and how many decisions differ from the network's.

    Each image is read and normalised as the file says, and run by itself in the file's usual runtime with one thread.
    With ``checkpoint`` the float64 network answers the same images: agreement, changed decisions, and the
    signal-to-noise ratio of the logits. ``network`` says which network the checkpoint holds; what it leaves open is as
    in the first file. Images that cannot be read are named and not counted. With ``merge`` the ``artifacts`` are what
    each ``shard`` left in ``out``; their sum is that of one run, exactly.

    Raises:
        OptionError: the labels or the images are not such as the models take.
        InputFileError: there are no images, or none that can be read.
        ResultFileError: ``out`` keeps counts of something else, or a part is damaged.
        IncomparableError: parts do not belong together, or one is missing, twice there or not counted to its end.
    """
    from dcd_deploy.benchmarks.environment import core_count
    from dcd_deploy.evaluation import merge as parts
    from dcd_deploy.evaluation.evaluate import Work, continued, count
    from dcd_deploy.evaluation.results import result_of
    from dcd_deploy.evaluation.subjects import described
    from dcd_deploy.files import check_writable
    from dcd_deploy.labelled_images import open_images

    if not artifacts:
        raise OptionError(expected="a model file to evaluate, or with `merge` the counts of all shards", found="none")
    if merge:
        _check_merge(data, checkpoint, out, shard)
        return _warned(parts.merge(tuple(map(Path, artifacts))))
    if data is None:
        raise OptionError(expected="`data`, a folder of class folders or an .npz file", found="none")
    part = parse_shard(shard)
    if shard is not None and out is None:
        raise OptionError(expected="`out` FILE.json with `shard`", found="none", advice="`merge` takes these files")
    jobs = core_count() if jobs is None else parse_count("jobs", jobs, MOST_JOBS)
    kept = None if out is None else Path(out)
    if kept is not None:
        check_writable(kept.parent)
    with progress("open the models"):
        files = [described(Path(path)) for path in artifacts]
    with progress("find the images"):
        images = open_images(data)
    subjects = tuple(each.subject for each in files)
    if checkpoint is not None:
        subjects = (network_subject(Path(checkpoint), files, network), *subjects)
    new = _begun(images, _plan(images, Path(data), files, subjects, part[1]), part[0])
    return _warned(result_of(count(Work(images, subjects, continued(kept, new), jobs, kept), progress)))


def _begun(images: LabelledImages, plan: EvaluationPlan, number: int) -> Part:
    """Return a part of which nothing is counted yet."""
    from dcd_deploy.benchmarks.environment import read_environment
    from dcd_deploy.evaluation.counts_file import empty_part

    machine = read_environment()
    return empty_part(plan, number, images.newest_ns, f"{machine.cpu}, {machine.cores} cores")


def _plan(
    images: LabelledImages,
    data: Path,
    files: Sequence[Described],
    subjects: Sequence[Subject],
    shards: int,
) -> EvaluationPlan:
    """Return what is to be counted, after a look at whether it fits together."""
    from dcd_deploy.evaluation.counts_file import EvaluationPlan
    from dcd_deploy.labelled_images import check_classes

    for each in files:
        if each.classes != files[0].classes:
            raise OptionError(
                expected=f"models of one number of classes, {files[0].classes} as '{files[0].subject.name}' has",
                found=f"{each.classes} in '{each.subject.name}'",
            )
        check_classes(images, each.classes, () if each.card is None else each.card.labels)
        images.check(each.subject.form)
    if shards > len(images):
        raise OptionError(expected=f"at most {len(images)} shards, as there are so many images", found=shards)
    facts = tuple(each.facts for each in subjects)
    present = len(set(images.labels or ()))
    return EvaluationPlan(
        images.identity,
        data.absolute().name,
        len(images),
        files[0].classes,
        present,
        len(subjects) > len(files),
        facts,
        shards,
    )


def parse_shard(shard: str | None) -> tuple[int, int]:
    """Return the number and the count of "2/4"; (1, 1) of None."""
    if shard is None:
        return 1, 1
    match = re.fullmatch(r"([1-9]\d{0,6})/([1-9]\d{0,6})", shard.strip()) if isinstance(shard, str) else None
    if match is None or int(match[1]) > int(match[2]) or int(match[2]) > MOST_SHARDS:
        raise OptionError(expected="`shard` as I/N with I from 1 to N, such as 2/4", found=f"{shard!r:.40}")
    return int(match[1]), int(match[2])


def _check_merge(*others: object) -> None:
    if any(other is not None for other in others):
        raise OptionError(
            expected="`merge` alone with counts",
            found="`data`, `checkpoint`, `out` or `shard` too",
            advice="the counts say what they are of",
        )


def _warned(result: EvaluationResult) -> EvaluationResult:
    for text in result.leaked:
        warnings.warn(text, CalibrationWarning, stacklevel=3)
    return result
