"""Run the portable files in the runtimes that people use, and write the table of docs/other-runtimes.md.

    python scripts/conformance.py --out FOLDER                    all; goes on where it ended
    python scripts/conformance.py --out FOLDER --runtimes opencv,tract --networks digits    as CI does
    python scripts/conformance.py --out FOLDER --write            and write the table

What ``dcd-deploy runtimes`` says of one file, of several networks, in older versions of onnxruntime and onnx2tf too.
Environments are made where that command makes them. Exit code 1 where a runtime is wrong or does not take a file.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import mixing_networks
import torch
from pages import DOCS, ROOT, options_of, write_part

from dcd_deploy import commands
from dcd_deploy.benchmarks.runtime_results import FAILED, RIGHT
from dcd_deploy.benchmarks.runtimes import try_runtimes
from dcd_deploy.benchmarks.sweep import NETWORKS
from dcd_deploy.files import write_whole
from dcd_deploy.models.random_weights import calibrated_network, save_checkpoint
from dcd_deploy.reports.json import as_plain
from dcd_deploy.runtimes.environments import KNOWN, NUMPY, KnownRuntime, set_up

PAGE = DOCS / "other-runtimes.md"
SIDE, BLOCKS = 224, 30
LIMIT = 1800.0  # seconds; onnx2tf takes many minutes for a network where others want the second core
REGISTRY = ("mobilenetv2_dcd_x1.0", "mobilenetv2_dcd_x0.5", "resnet18_dcd")
ALL = ("digits", *REGISTRY, *mixing_networks.NETWORKS)


MORE = {
    "onnxruntime-1.20": KnownRuntime(
        "onnxruntime", "onnxruntime", "1.16", requirements=("onnxruntime==1.20.1", NUMPY), here=False
    ),
    "onnxruntime-1.16": KnownRuntime(
        "onnxruntime", "onnxruntime", "1.16", requirements=("onnxruntime==1.16.3", "numpy==1.26.4"), here=False
    ),
    "onnx2tf": KnownRuntime("onnx2tf", "onnx2tf", "1.29", requirements=("onnx2tf==1.29.24",), here=False),
}  # what nobody installs to try a file
RUNTIMES = [name for name, known in KNOWN.items() if ".onnx" in known.suffixes]
EXPORTED_FOR = ("opencv4", "onnx2tf")  # those that the portable file is not for


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


def measured(folder: Path, name: str, network: str) -> dict[str, Any]:
    """Run one network in one runtime; return its row and the tolerance."""
    if KNOWN[name].requirements:
        set_up(name)
    path, twin = exported(folder, network, name if name in EXPORTED_FOR else None)
    result = try_runtimes(path, twin, [name], blocks=BLOCKS, time_limit=LIMIT)
    (row,) = result.rows
    return {"network": network, **as_plain(row)}


def table(rows: list[dict[str, Any]]) -> str:
    """Return the rows as Markdown: a line for each runtime, a column for each network."""
    networks = [name for name in ALL if any(row["network"] == name for row in rows)]
    lines = [f"| runtime | {' | '.join(networks)} |", "|---" * (len(networks) + 1) + "|"]
    for name in dict.fromkeys(row["runtime"] for row in rows):
        own = {row["network"]: row for row in rows if row["runtime"] == name}
        version = next((row["version"] for row in own.values() if row["version"]), "")
        cells = (cell(own[network]) if network in own else "–" for network in networks)
        lines.append(f"| {name.partition('-')[0]} {version} | {' | '.join(cells)} |")
    return "\n".join(lines)


def cell(row: dict[str, Any]) -> str:
    """Return error and ratio of one row, or why there are none."""
    if row["status"] == FAILED:
        return f"**{row['failure'][:80]}**"
    wrong = "" if row["status"] == RIGHT else "**wrong** "
    ratio = f"; {row['cpu']['ratio']['median']:.2f}" if row["cpu"] else ""
    error = math.nan if row["relative_error"] is None else row["relative_error"]
    return f"{wrong}{error:.0e}{ratio}"


def main() -> None:
    """Measure what is not there yet, print the table, and end with 1 where something is wrong."""
    parser = options_of(__doc__)
    KNOWN.update(MORE)
    parser.add_argument("--runtimes", default=",".join((*RUNTIMES, *MORE)))
    parser.add_argument("--networks", default=",".join(ALL))
    options = parser.parse_args()
    rows = []
    for network in options.networks.split(","):
        for name in options.runtimes.split(","):
            kept = options.out / "rows" / f"{name}-{network}.json"
            if not kept.exists():
                write_whole(kept, json.dumps(measured(options.out, name, network)).encode())
            rows.append(json.loads(kept.read_text(encoding="utf-8")))
            print(rows[-1], flush=True)
    text = table(rows)
    print(text)
    if options.write:
        write_part(PAGE, "conformance", text)
    sys.exit(int(not all(row["status"] == RIGHT for row in rows)))


if __name__ == "__main__":
    main()
