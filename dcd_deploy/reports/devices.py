"""How a list of devices reads: what each is, or why that is not known."""

from __future__ import annotations

from rich.console import Console

from dcd_deploy.benchmarks.environment import FEATURES
from dcd_deploy.benchmarks.machine import CoreKind
from dcd_deploy.devices.device import DeviceFacts
from dcd_deploy.devices.listing import DeviceList, DeviceState
from dcd_deploy.emulation.setup import EmulatedCore
from dcd_deploy.reports import wording
from dcd_deploy.reports.terminal import line, show_table


def show_devices(screen: Console, found: DeviceList) -> None:
    """Print a table for each device."""
    for state in found.devices:
        title = state.name if state.name == state.device else f"{state.name} ({state.device})"
        show_table(screen, title, ("", ""), _rows(state), left=2)
    if not found.devices:
        line(screen, "no device was found")


def _rows(state: DeviceState) -> list[tuple[str, str]]:
    if state.core is not None:
        return _emulated(state.core)
    if state.facts is None:
        return [("", f"cannot be used: {state.error}")]
    rows = [row for row in wording.environment_rows(state.facts.environment) if row[0] not in ("Cores", "Date")]
    rows[1:1] = [("Cores", text) for text in _cores(state.facts)]
    if state.facts.free_mb is not None:
        rows.append(("Room", f"{wording.megabytes(state.facts.free_mb)} for files"))
    rows += [("Note", note) for note in state.facts.notes]
    return rows + [("", "what was kept there is removed")] * state.cleaned


def _emulated(core: EmulatedCore) -> list[tuple[str, str]]:
    rows = [("Emulates", f"{core.core} as in {core.product} ({' '.join(f for f in core.features if f in FEATURES)})")]
    rows.append(("Caches", f"{core.caches}, modelled"))
    if core.lacks is not None:
        return [*rows, ("Set up", f"no: {core.lacks}"), ("Note", core.note)]
    software = {"Python": core.python, **(core.packages or {})}
    rows.append(
        ("Set up", f"yes: QEMU {core.qemu}; {', '.join(f'{name} {found}' for name, found in software.items())}")
    )
    rows += [("Note", core.counting)] if core.counting is not None else []
    return [*rows, ("Note", core.note)]


def _cores(facts: DeviceFacts) -> list[str]:
    """Return a line for each kind of core, the fast one first."""
    if not facts.cores:
        return [f"{facts.environment.cores}"]
    return [_kind(kind) for kind in facts.cores]


def _kind(kind: CoreKind) -> str:
    parts = [f"{len(kind.cpus)} × {kind.model or 'core'}"]
    parts += [] if kind.max_mhz is None else [f"up to {kind.max_mhz:.0f} MHz"]
    parts += [] if kind.capacity is None else [f"capacity {kind.capacity}"]
    return ", ".join([*parts, f"CPU{'s' * (len(kind.cpus) != 1)} {_listed(kind.cpus)}"])


def _listed(cpus: tuple[int, ...]) -> str:
    """Return 0, 1, 2, 5 as "0–2 5"."""
    runs: list[list[int]] = []
    for cpu in cpus:
        if runs and cpu == runs[-1][-1] + 1:
            runs[-1].append(cpu)
        else:
            runs.append([cpu])
    return " ".join(str(run[0]) if len(run) == 1 else f"{run[0]}–{run[-1]}" for run in runs)
