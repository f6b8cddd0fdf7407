"""Where the time of a model goes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from dcd_deploy.commands.arguments import Threads, emulated_core
from dcd_deploy.commands.options import Argument, Option, StrPath
from dcd_deploy.commands.values import (
    parse_count,
)
from dcd_deploy.files import check_no_folder, check_writable, existing_file, suffix_of, unknown_model_file
from dcd_deploy.optional import require
from dcd_deploy.progress import Progress, silent

if TYPE_CHECKING:
    from dcd_deploy.benchmarks.profile import ProfileResult
    from dcd_deploy.emulation.layers import LayerCounts
    from dcd_deploy.runtimes.nodes import FileNode


def profile(
    model: Annotated[StrPath, Argument("Model file.")],
    *,
    threads: Threads = 1,
    runs: Annotated[int, Option("Runs to take the median of.")] = 30,
    csv: Annotated[StrPath | None, Option("File to write a row for each node into.")] = None,
    device: Annotated[
        str | None, Option("arm64-emulated[:CORE]: instructions and traffic by layer instead of times.")
    ] = None,
    progress: Progress = silent,
) -> ProfileResult | LayerCounts:
    """Say where the time goes: by layer, and static part against dynamic.

    The median over ``runs`` runs under the runtime's own profiler, beside the latency without it; as a table of nodes
    in the file ``csv`` too, if given. With ``device`` the counts of ``count_layers`` instead.

    Raises:
        OptionError: a value is out of range.
        UnknownNameError: this kind of file has no profiler here.
        MissingDependencyError: what reads the file, or a version of LiteRT whose profiler can be read, is not there.
    """
    if device is not None:
        return count_layers(model, device=device, progress=progress)
    from dcd_deploy.benchmarks.bench import check_cores
    from dcd_deploy.benchmarks.profile import MOST_RUNS
    from dcd_deploy.benchmarks.profile_run import profile_model
    from dcd_deploy.runtimes.choice import usual_runtime
    from dcd_deploy.runtimes.isolated import PROFILE_LIMIT, Isolated
    from dcd_deploy.runtimes.sidecar import warn_of_sidecar

    check_cores(threads, None)
    runs = parse_count("runs", runs, MOST_RUNS)
    if csv is not None:
        check_writable(Path(csv).parent)
        check_no_folder([Path(csv)])
    path = existing_file(model, "a model file")
    warn_of_sidecar(path)
    runtime = usual_runtime(path)  # here, where what it warns of is seen
    with Isolated(path, PROFILE_LIMIT) as other:
        nodes = other.call(_nodes, path)
        result: ProfileResult = other.call(profile_model, path, nodes, threads, runs, runtime, progress=progress)
    if csv is not None:
        from dcd_deploy.benchmarks.profile import write_csv

        write_csv(result, Path(csv))
    return result


def count_layers(model: StrPath, *, device: str = "arm64-emulated", progress: Progress = silent) -> LayerCounts:
    """Count what each layer of an ONNX file makes an emulated ARM core do in a run.

    Raises:
        UnknownNameError: there is no such core, or it is a file of another kind.
        DeviceLackError: emulation is not set up here, or this version of QEMU cannot count.
    """
    from dcd_deploy.emulation import layers
    from dcd_deploy.runtimes.isolated import Isolated

    path = existing_file(model, "a model file")
    with Isolated(path) as other:
        nodes = other.call(_nodes, path)
    return layers.count_layers(path, nodes, emulated_core(device), progress)


def _nodes(path: Path) -> tuple[FileNode, ...]:
    """Return the nodes of a model file, as far as it names them."""
    if suffix_of(path) == ".onnx":
        require("onnx")
        from dcd_deploy.export.onnx.file import read_onnx_nodes

        return read_onnx_nodes(path)
    if suffix_of(path) == ".tflite":
        require("ai_edge_litert.schema_py_generated")
        from dcd_deploy.export.tflite.file import read_tflite_nodes

        return read_tflite_nodes(path)
    if suffix_of(path) == ".pte":
        return ()  # a program names none
    raise unknown_model_file(path, (".onnx", ".tflite", ".pte"), "kind of model file to profile")
