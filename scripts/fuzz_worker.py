"""The process that ``fuzz.py`` gives its inputs: it does with each what the commands do, and says how that ended."""

from __future__ import annotations

import io
import json
import os
import sys
import traceback
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich.console import Console

from dcd_deploy.artifacts import INPUT, OUTPUT, TensorSpec
from dcd_deploy.errors import DcdDeployError
from dcd_deploy.reports.json import to_json

LONGEST_MESSAGE, LONGEST_TABLE = 2000, 200_000
PICTURE = (40, 48, 3)


class Card:
    """A session that runs nothing, for a description alone."""

    runtime = version = "none"
    inputs = (TensorSpec(INPUT, (1, 3, 32, 32), layout="nchw"),)
    outputs = (TensorSpec(OUTPUT, (1, 10)),)

    def __init__(self, text: str) -> None:
        self.metadata = {"dcd_deploy": text}

    def run_all(self, inputs: Any) -> tuple[Any, ...]:
        """Return something."""
        import numpy as np  # noqa: PLC0415

        return (np.zeros((len(inputs[0]), 10), np.float32),)

    def run(self, images: Any) -> Any:
        """Return something."""
        return self.run_all([images])[0]

    def prepare(self, *inputs: Any) -> Callable[[], object]:
        """Return what does nothing."""
        return lambda: self.run_all(inputs)


def shown(show: Callable[[Console, Any], None], result: Any) -> None:
    """Show a result as the command line does, as a table and as JSON."""
    text = io.StringIO()
    show(Console(file=text, width=120, markup=False), result)
    to_json(result).encode("utf-8")
    if len(text.getvalue()) > LONGEST_TABLE:
        raise AssertionError(f"a table of {len(text.getvalue())} characters")


def _rendered(screen: Console, result: Any) -> None:
    from dcd_deploy.reports import renderers  # noqa: PLC0415

    renderers.show(screen, result, {"json": False})


def try_model(path: Path) -> None:
    """Inspect a model file, let it check itself, and predict."""
    import numpy as np  # noqa: PLC0415

    from dcd_deploy.export.executorch.graph import summarise_pte  # noqa: PLC0415
    from dcd_deploy.export.onnx.file import read_onnx_nodes  # noqa: PLC0415
    from dcd_deploy.export.onnx.summary import summarise_onnx, summarise_ort  # noqa: PLC0415
    from dcd_deploy.export.tflite.file import read_tflite_nodes  # noqa: PLC0415
    from dcd_deploy.export.tflite.summary import summarise_tflite  # noqa: PLC0415
    from dcd_deploy.runtimes import open_model, self_check  # noqa: PLC0415

    summaries = {".onnx": summarise_onnx, ".tflite": summarise_tflite, ".ort": summarise_ort, ".pte": summarise_pte}
    nodes = {".onnx": read_onnx_nodes, ".tflite": read_tflite_nodes}
    tries: list[Callable[[], object]] = [
        lambda: shown(_rendered, summaries[path.suffix](path)),
        lambda: nodes[path.suffix](path) if path.suffix in nodes else None,
        lambda: self_check(open_model(path, threads=1)),
    ]
    if path.suffix != ".pte":  # which is tried in a process of its own each time that it is opened
        tries.append(lambda: open_model(path, threads=1).predict(np.full(PICTURE, 99, np.uint8)))
    refusals = []
    for attempt in tries:
        try:
            attempt()
        except DcdDeployError as error:
            refusals.append(check(error))
    if refusals:
        raise refusals[-1]


def try_checkpoint(path: Path) -> None:
    """Inspect a checkpoint."""
    from dcd_deploy import commands  # noqa: PLC0415
    from dcd_deploy.errors import CheckpointMismatchError  # noqa: PLC0415

    try:
        shown(_rendered, commands.inspect(path))
    except CheckpointMismatchError as error:
        shown(_rendered, error)
        raise


def try_result(path: Path) -> None:
    """Read a result, show it, and write it in every form."""
    from dcd_deploy.benchmarks.results import read_result  # noqa: PLC0415
    from dcd_deploy.reports.bench import show_bench  # noqa: PLC0415
    from dcd_deploy.reports.html.page import bench_page  # noqa: PLC0415
    from dcd_deploy.reports.markdown import bench_markdown  # noqa: PLC0415
    from dcd_deploy.reports.table import bench_csv  # noqa: PLC0415

    result = read_result(path)
    shown(show_bench, result)
    bench_markdown(result)
    bench_csv(result)
    bench_page(result)


def try_profile(path: Path) -> None:
    """Read a profile and show it."""
    from dcd_deploy.benchmarks.profile import read_profile  # noqa: PLC0415

    to_json(read_profile(path)).encode("utf-8")


def try_lowering(path: Path) -> None:
    """Read a lowering file."""
    from dcd_deploy.tuning.lowering_file import read_lowering  # noqa: PLC0415

    to_json(read_lowering(path)).encode("utf-8")


def try_description(path: Path) -> None:
    """Read a description, as it would stand in a model file, let the model check itself, and predict."""
    import numpy as np  # noqa: PLC0415

    from dcd_deploy.runtimes.model import as_model  # noqa: PLC0415
    from dcd_deploy.runtimes.selfcheck import self_check  # noqa: PLC0415

    model = as_model(Card(path.read_bytes().decode("utf-8", "replace")))
    to_json(model.card).encode("utf-8")
    answers = model.predict(np.full(PICTURE, 99, np.uint8))
    to_json(answers).encode("utf-8")
    with suppress(DcdDeployError):
        self_check(model)


def try_samples(path: Path) -> None:
    """Read pictures to verify on."""
    from dcd_deploy.samples import inputs_from_file  # noqa: PLC0415

    inputs_from_file(path, (3, 32, 32))


def try_recorded(path: Path) -> None:
    """Read recorded answers."""
    from dcd_deploy.export.recorded import read_recorded  # noqa: PLC0415

    read_recorded(path, [("input", (3, 8, 8))], ["output"])


def try_picture(path: Path) -> None:
    """Read a picture and make an input of it."""
    from dcd_deploy.artifacts import Preprocessing  # noqa: PLC0415
    from dcd_deploy.runtimes.pictures import read_picture  # noqa: PLC0415
    from dcd_deploy.runtimes.preprocessing import preprocess  # noqa: PLC0415

    preprocess(read_picture(path), Preprocessing.for_size(32, 32))


def try_fleet(path: Path) -> None:
    """Read a file of devices."""
    from dcd_deploy.devices.target import read_fleet  # noqa: PLC0415

    read_fleet(path)


TRIES = {
    "onnx": try_model,
    "tflite": try_model,
    "ort": try_model,
    "pte": try_model,
    "checkpoint": try_checkpoint,
    "legacy": try_checkpoint,
    "safetensors": try_checkpoint,
    "result": try_result,
    "profile": try_profile,
    "lowering": try_lowering,
    "description": try_description,
    "samples": try_samples,
    "recorded": try_recorded,
    "picture": try_picture,
    "fleet": try_fleet,
}


def check(error: DcdDeployError) -> DcdDeployError:
    """Return an error, if it is one that a user can be shown."""
    text = str(error)
    if error.exit_code == 1 or len(text) > LONGEST_MESSAGE or "\n" in text:
        raise AssertionError(f"a message of {len(text)} characters, exit code {error.exit_code}: {text[:200]}")
    return error


def outcome(kind: str, path: Path) -> dict[str, Any]:
    """Return what became of one input."""
    try:
        TRIES[kind](path)
    except DcdDeployError as error:
        try:
            return {"outcome": f"{check(error).exit_code}"}
        except AssertionError as finding:
            return {"outcome": "finding", "finding": str(finding)}
    except MemoryError:
        return {"outcome": "memory", "finding": f"more than the memory allowed: {traceback.format_exc()[-1500:]}"}
    except BaseException:  # noqa: BLE001 - whatever it is, it is what is looked for
        return {"outcome": "finding", "finding": traceback.format_exc()[-1500:]}
    return {"outcome": "read"}


def peak_mb() -> float:
    """Return the peak of the memory of this process."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def main() -> None:
    """Answer until nobody asks."""
    import resource  # noqa: PLC0415 - Windows has none

    most = int(sys.argv[1]) << 20
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    warnings.simplefilter("ignore")
    warnings.simplefilter("error", RuntimeWarning)  # it would be a line that nobody understands
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for line in sys.stdin:
        kind, name = json.loads(line)
        print(json.dumps(outcome(kind, Path(name)) | {"peak_mb": peak_mb()}), file=answers, flush=True)


if __name__ == "__main__":
    main()
