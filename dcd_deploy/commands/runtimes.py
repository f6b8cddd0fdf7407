"""A model file in every runtime that is installed here."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from dcd_deploy.commands.arguments import Threads
from dcd_deploy.commands.options import MEASURING, Argument, Option, StrPath
from dcd_deploy.commands.values import parse_amount, parse_count, parse_names
from dcd_deploy.errors import MissingDependencyError, OptionError
from dcd_deploy.progress import Progress, silent

if TYPE_CHECKING:
    from dcd_deploy.benchmarks.runtime_results import RuntimesResult

MOST_BLOCKS = 10_000


def runtimes(
    model: Annotated[
        StrPath | None, Argument("Model file; without one the runtimes are listed.", default="none")
    ] = None,
    *,
    runtime: Annotated[
        str | Sequence[str],
        Option(
            "Runtimes, separated by commas: onnxruntime, openvino, mnn, ncnn, tract, opencv, opencv4, onnx_reference, "
            "litert, executorch.",
            default="all that are installed",
        ),
    ] = (),
    setup: Annotated[
        str | Sequence[str],
        Option("Install these first, each in an environment of its own: openvino,mnn,ncnn,tract,opencv,opencv4."),
    ] = (),
    baseline: Annotated[
        str | Path, Option("Model file to time against; 'static' for the static twin; 'none'.")
    ] = "static",
    threads: Threads = 1,
    blocks: Annotated[int, Option("Time so many blocks of six runs of each file.", MEASURING)] = 20,
    time_limit: Annotated[float, Option("Give up on a runtime after so many seconds.", MEASURING)] = 600.0,
    progress: Progress = silent,
) -> RuntimesResult:
    """Try a model in every runtime that is installed: right or not, and how quick.

    Each runtime runs in a process of its own: the file's outputs against the reference that it carries, then the file
    and its ``baseline`` in blocks of runs, interleaved. The runtimes are those of this environment and those that
    ``setup`` installed, each in an environment of its own in the user's cache folder; ``setup`` alone does no more.
    Where no static twin lies beside the file, and none can be made, the file is timed alone, and ``remark`` says so.

    Raises:
        UnknownNameError: there is no such runtime, or none that can be set up.
        OptionError: a value is out of range.
        MissingDependencyError: a runtime cannot be set up.
        ModelFileError: the file is damaged, or carries no reference.
        BenchError: a runtime is wrong, crashed, hung or refused the file; ``result`` has all rows.
    """
    from dcd_deploy.benchmarks.bench import check_cores
    from dcd_deploy.benchmarks.runtimes import list_runtimes, try_runtimes
    from dcd_deploy.files import existing_file
    from dcd_deploy.runtimes.environments import check_kind, known_runtime, set_up_all

    named, asked = parse_names(runtime), parse_names(setup)
    for name in named:
        known_runtime(name)
    check_cores(threads, None)
    blocks = parse_count("blocks", blocks, MOST_BLOCKS)
    time_limit = parse_amount("time_limit", time_limit)
    path = None if model is None else existing_file(model, "a model file")
    if path is not None:
        check_kind(path)  # before anything is installed
    elif str(baseline) != "static":
        raise OptionError(expected="a model file with `baseline`", found="none")
    set_up_all(asked, progress)
    if path is None:
        return list_runtimes(named or asked, progress).checked(named or asked)
    with tempfile.TemporaryDirectory(prefix="dcd-deploy-") as folder:
        static, lack = _twin(path, str(baseline), Path(folder), progress)
        label = "static twin" if str(baseline) == "static" else f"baseline {Path(baseline).name}"
        result = try_runtimes(
            path,
            static,
            named,
            baseline=label,
            threads=threads,
            blocks=blocks,
            time_limit=time_limit,
            progress=progress,
        )
    return replace(result, remark=lack).checked((*named, *asked))


def _twin(path: Path, baseline: str, folder: Path, progress: Progress) -> tuple[Path | None, str | None]:
    """Return what to time against; or, where no static twin can be made, why: which runtimes are right is told yet."""
    from dcd_deploy.benchmarks.cases import STATIC, BenchRequest, twin_of

    try:
        return twin_of(path, BenchRequest((path,), baseline), folder, progress), None
    except (OptionError, MissingDependencyError) as error:
        if baseline != STATIC:
            raise
        return None, f"no ratios, since there is no static twin: {error}"
