"""Fit the rates of the cost model (``dcd_deploy/lowering/targets.py``) to measurements on this machine.

    python scripts/fit_costs.py --out FOLDER            measure (about twelve minutes), fit, print
    python scripts/fit_costs.py --out FOLDER --write    and write the tables into docs/performance.md

Every lowering of every layer shape of the published networks is measured in turns with its static layer, in a model of
that layer and its neighbours alone. What a lowering takes more than the static layer is explained by what it counts
more (``Cost``), with rates that are not negative; errors count relative to the time, so that small layers matter too.
What is measured is kept in the folder, and not measured again.
"""

from __future__ import annotations

import json
from dataclasses import astuple, fields, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pages import PERFORMANCE, options_of, write_part
from scipy.optimize import nnls

from dcd_deploy.benchmarks.process import ask
from dcd_deploy.benchmarks.sweep import NETWORKS
from dcd_deploy.lowering.capture import capture
from dcd_deploy.lowering.lowering import Rates, static_cost
from dcd_deploy.lowering.network import network_of
from dcd_deploy.lowering.targets import EXECUTORCH, LITERT, LITERT_COMPILED, ONNXRUNTIME_ARM, ONNXRUNTIME_X86, Target
from dcd_deploy.models.random_weights import calibrated_network
from dcd_deploy.models.trained import random_example
from dcd_deploy.reports.terminal import live_progress
from dcd_deploy.tuning.forecast import subject_of
from dcd_deploy.tuning.layer_case import LayerCase, LayerGroup
from dcd_deploy.tuning.layer_times import time_lowerings

TARGETS = (
    (ONNXRUNTIME_X86, "onnxruntime"),
    (ONNXRUNTIME_ARM, "onnxruntime-plain"),
    (LITERT, "litert"),
    (LITERT_COMPILED, "litert-compiled"),
    (EXECUTORCH, "executorch"),
)
FITTED = ("mobilenetv2_dcd_x1.0", "mobilenetv2_dcd_x0.5", "resnet18_dcd")
SIDE = 224
FLOOR_US = 20.0  # errors are relative to the time and this much
Times = dict[str, float]  # microseconds more than the static layer, by lowering


def groups() -> dict[LayerCase, LayerGroup]:
    """Return the shapes of layers to fit to, each once."""
    found: dict[LayerCase, LayerGroup] = {}
    for name in FITTED:
        spec = NETWORKS[name]
        network = network_of(calibrated_network(spec, SIDE), random_example((3, SIDE, SIDE)))
        for group in subject_of(capture(network), spec.describe()).groups:
            found.setdefault(group.case, group)
    return found


def measured(folder: Path, target: Target, runtime: str, group: LayerGroup) -> Times:
    """Return what each lowering of a layer takes more than the static layer, measured now or before."""
    case = group.case
    path = folder / target.name / f"{case.title.replace(' ', '_').replace('→', '-')}_{case.activation}.json"
    if path.exists():
        found: Times = json.loads(path.read_text(encoding="utf-8"))
        return found
    times = time_lowerings(group, target, runtime, ask)
    found = {lowering: times.extra_us(lowering) for lowering in times.lowerings} | {
        "static": times.median_ms("static") * 1e3
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found), encoding="utf-8")
    return found


def features(target: Target, case: LayerCase, lowering: str) -> NDArray[np.float64]:
    """Return what a lowering counts more than the static layer."""
    cost = case.costs(target)[lowering]
    static = static_cost(case.shape, case.size)
    more: NDArray[np.float64] = np.array(astuple(cost), float) - np.array(astuple(static), float)
    return more


def fit(target: Target, table: dict[LayerCase, Times]) -> Rates:
    """Return the rates, in nanoseconds, that explain the measurements best."""
    rows, wanted = [], []
    for case, times in table.items():
        for lowering in case.costs(target):
            weight = 1 / (times["static"] + max(times[lowering], 0.0) + FLOOR_US)
            rows.append(features(target, case, lowering) * weight)
            wanted.append(times[lowering] * 1e3 * weight)
    matrix = np.array(rows)
    scale = np.abs(matrix).max(0)
    scale[scale == 0] = 1
    rates, _ = nnls(matrix / scale, np.array(wanted))
    return Rates(*(float(rate) for rate in rates / scale))


def table_of(target: Target, rates: Rates, table: dict[LayerCase, Times]) -> str:
    """Return the measured and predicted microseconds of each lowering, and what the rule takes."""
    lowerings = target.lowerings
    lines = [f"| {target.name} | {' | '.join(lowerings)} | taken | loses |", f"|---|{'--:|' * len(lowerings)}---|--:|"]
    for case, times in table.items():
        costs = case.costs(target)
        told = {
            lowering: float(features(target, case, lowering) @ np.array(astuple(rates))) / 1e3 for lowering in costs
        }
        taken = min(told, key=lambda lowering: told[lowering])
        loss = times[taken] - min(times[lowering] for lowering in costs)
        cells = [
            f"{told[lowering]:.0f} / {times[lowering]:.0f}" if lowering in costs else "–" for lowering in lowerings
        ]
        lines.append(f"| {case.title} | {' | '.join(cells)} | {taken} | {loss:.0f} |")
    return "\n".join(lines)


def part_of(target: Target, table: dict[LayerCase, Times]) -> str:
    """Return the rates and the table of a target, and the rates without such lowerings as it alone can run."""
    rates = fit(target, table)
    part = f"`{target.name}`, nanoseconds: {named(rates)}\n\n{table_of(target, rates, table)}"
    portable = tuple(lowering for lowering in target.lowerings if target.backend.lowerings[lowering].everywhere)
    if target.format == "onnx" and portable != target.lowerings:
        without = named(fit(replace(target, lowerings=portable), table))
        part += f"\n\n`portable`, of such machines, by the other lowerings, nanoseconds: {without}"
    return part


def named(rates: Rates) -> str:
    """Return the rates with their names."""
    return ", ".join(f"{field.name}={getattr(rates, field.name):.4g}" for field in fields(rates))


def main() -> None:
    """Measure, fit and print."""
    options = options_of(__doc__).parse_args()
    cases = groups()
    parts = []
    for target, runtime in TARGETS:
        table = {}
        for number, (case, group) in enumerate(cases.items(), 1):
            with live_progress(f"{target.name} [{number}/{len(cases)}] {case.title}"):
                table[case] = measured(options.out, target, runtime, group)
        parts.append(part_of(target, table))
        print(f"\n{parts[-1]}")
    if options.write:
        write_part(PERFORMANCE, "cost model", "\n\n".join(parts))


if __name__ == "__main__":
    main()
