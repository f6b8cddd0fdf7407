"""Run the portable files in the runtimes that people use, and write the table of docs/other-runtimes.md.

    python scripts/conformance.py --out FOLDER                    all; goes on where it ended
    python scripts/conformance.py --out FOLDER --runtimes opencv,tract --networks digits    as CI does
    python scripts/conformance.py --out FOLDER --write            and write the table

Each runtime gets an environment of its own in FOLDER, with the packages that ``PACKAGES`` names, and a process of its
own for each network. Errors are against the float64 outputs that the file carries, over their range. Ratios are CPU
time of the network over its static twin, in blocks of six runs in turns, in one process, on one thread.

Exit code 1 where a runtime is off by more than 5e-5 of the range, or does not take a file.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import mixing_networks
import torch
from pages import DOCS, ROOT, options_of, write_part

from dcd_deploy import commands
from dcd_deploy.artifacts import FLOAT32_TOLERANCE
from dcd_deploy.files import write_whole
from dcd_deploy.models.random_weights import calibrated_network, save_checkpoint
from dcd_deploy.runtimes.model import open_model
from dcd_deploy.runtimes.others.process import Answer, ask
from dcd_deploy.runtimes.selfcheck import carried_inputs, relative_error
from dcd_deploy.sweep import NETWORKS

PAGE = DOCS / "other-runtimes.md"
SIDE, BLOCKS = 224, 30
REGISTRY = ("mobilenetv2_dcd_x1.0", "mobilenetv2_dcd_x0.5", "resnet18_dcd")
ALL = ("digits", *REGISTRY, *mixing_networks.NETWORKS)


@dataclass(frozen=True)
class Runtime:
    """A row: the module in ``runtimes/others``, its packages, and what the file is exported for, if not portable."""

    module: str
    packages: tuple[str, ...]
    exported_for: str | None = None
    timed: bool = True


RUNTIMES = {
    "onnxruntime": Runtime("onnxruntime", ("onnxruntime",)),
    "onnxruntime-1.20": Runtime("onnxruntime", ("onnxruntime==1.20.1",)),
    "onnxruntime-1.16": Runtime("onnxruntime", ("onnxruntime==1.16.3", "numpy<2")),
    "openvino": Runtime("openvino", ("openvino",)),
    "mnn": Runtime("mnn", ("MNN",)),
    "ncnn": Runtime("ncnn", ("ncnn", "pnnx")),
    "tract": Runtime("tract", ("tract",)),
    "opencv": Runtime("opencv", ("opencv-python-headless==5.*",)),
    "opencv4": Runtime("opencv", ("opencv-python-headless==4.*",), "opencv4"),
    "onnx2tf": Runtime("onnx2tf", ("onnx2tf",), "onnx2tf"),
    "onnx_reference": Runtime("onnx_reference", ("onnx",), timed=False),
}


@dataclass(frozen=True)
class Row:
    """What one runtime made of one network; ``error`` is over the range of the outputs."""

    runtime: str
    network: str
    version: str | None
    error: float | None
    static_ms: float | None
    dynamic_ms: float | None
    ratio: float | None
    failure: str | None

    @property
    def is_right(self) -> bool:
        """Whether the file is taken, and right to the limit of every check."""
        return self.error is not None and self.error <= FLOAT32_TOLERANCE


def environment(folder: Path, name: str) -> Path:
    """Return the Python of a runtime's environment, made now or before."""
    home = folder / "environments" / name
    python = home / "bin" / "python"
    if not (home / "installed").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", home], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "numpy", *RUNTIMES[name].packages], check=True)
        (home / "installed").touch()
    return python


def exported(folder: Path, network: str, exported_for: str | None) -> tuple[Path, Path]:
    """Return the files of a network and of its static twin, made now or before."""
    out = folder / "models" / (exported_for or "portable")
    path, twin = (out / f"{network}{suffix}.onnx" for suffix in ("", "-static"))
    if not (path.exists() and twin.exists()):
        out.mkdir(parents=True, exist_ok=True)
        options = {"out": out, "name": network, "with_baseline": True, "for_": exported_for}
        checkpoint = folder / f"{network}.pth"
        if network == "digits":
            commands.export(ROOT / "examples" / "digits" / "dcd.pth.tar", input_size=32, **options)  # type: ignore[arg-type]
        elif network in NETWORKS:
            spec = NETWORKS[network]
            save_checkpoint(checkpoint, calibrated_network(spec, SIDE), spec.arch)
            commands.export(checkpoint, input_size=SIDE, tolerance=5e-4, **options)  # type: ignore[arg-type]
        else:
            torch.save(mixing_networks.calibrated(network, SIDE).state_dict(), checkpoint)
            file = f"{ROOT / 'scripts' / 'mixing_networks.py'}:{network}"
            commands.export(checkpoint, network=file, input_shape=(3, SIDE, SIDE), mean="0.5,0.5,0.5", **options)  # type: ignore[arg-type]
    return path, twin


def measured(folder: Path, name: str, network: str) -> Row:
    """Run one network in one runtime."""
    runtime = RUNTIMES[name]
    files = exported(folder, network, runtime.exported_for)
    model = open_model(files[0])
    card = model.described()
    inputs = dict(zip([one.name for one in card.inputs], carried_inputs(card), strict=True))
    answer = ask(
        runtime.module,
        files if runtime.timed else files[:1],
        inputs,
        [one.name for one in card.outputs],
        python=environment(folder, name),
        blocks=BLOCKS * runtime.timed,
    )
    if answer.failure is not None:
        return Row(name, network, None, None, None, None, None, answer.failure)
    outputs = answer.models[0].outputs
    each = [tuple(values[i : i + 1] for values in outputs) for i in range(len(outputs[0]))]
    error = relative_error(card, each)
    return Row(name, network, answer.version, error, *times(answer), None)


def times(answer: Answer) -> tuple[float | None, float | None, float | None]:
    """Return the medians of the static twin and of the network in milliseconds, and that of their ratios."""
    if len(answer.models) < 2 or not answer.models[0].cpu_ms:
        return None, None, None
    own, twin = (model.cpu_ms for model in answer.models)
    ratio = statistics.median(a / b for a, b in zip(own, twin, strict=True))
    return statistics.median(twin), statistics.median(own), ratio


def table(rows: list[Row]) -> str:
    """Return the rows as Markdown: a line for each runtime, a column for each network."""
    networks = [name for name in ALL if any(row.network == name for row in rows)]
    lines = [f"| runtime | {' | '.join(networks)} |", "|---" * (len(networks) + 1) + "|"]
    for name in RUNTIMES:
        own = {row.network: row for row in rows if row.runtime == name}
        version = next((row.version for row in own.values() if row.version), "")
        if own:
            cells = (cell(own[network]) if network in own else "–" for network in networks)
            lines.append(f"| {name.partition('-')[0]} {version} | {' | '.join(cells)} |")
    return "\n".join(lines)


def cell(row: Row) -> str:
    """Return error and ratio of one row, or why there are none."""
    if row.error is None:
        return f"**{(row.failure or '')[:80]}**"
    wrong = "" if row.is_right else "**wrong** "
    return f"{wrong}{row.error:.0e}" + ("" if row.ratio is None else f"; {row.ratio:.2f}")


def main() -> None:
    """Measure what is not there yet, print the table, and end with 1 where something is wrong."""
    parser = options_of(__doc__)
    parser.add_argument("--runtimes", default=",".join(RUNTIMES))
    parser.add_argument("--networks", default=",".join(ALL))
    options = parser.parse_args()
    rows = []
    for network in options.networks.split(","):
        for name in options.runtimes.split(","):
            kept = options.out / "rows" / f"{name}-{network}.json"
            if not kept.exists():
                row = measured(options.out, name, network)
                kept.parent.mkdir(parents=True, exist_ok=True)
                write_whole(kept, json.dumps(asdict(row)).encode())
            rows.append(Row(**json.loads(kept.read_text(encoding="utf-8"))))
            print(rows[-1], flush=True)
    text = table(rows)
    print(text)
    if options.write:
        write_part(PAGE, "conformance", text)
    sys.exit(int(not all(row.is_right for row in rows)))


if __name__ == "__main__":
    main()
