"""The commands about devices: ``devices`` and ``setup-emulated``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from dcd_deploy import commands
from dcd_deploy.cli.options import AsJson, Fleet, Quiet, Setup, chosen_progress
from dcd_deploy.cli.outcome import answer


def devices(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="Devices: local, ssh://[user@]host[:port], adb[:serial], arm64-emulated[:core]. [default: all]"
        ),
    ] = None,
    fleet: Fleet = None,
    setup: Setup = False,
    clean: Annotated[bool, typer.Option("--clean", help="Remove all that this program ever left there.")] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Say what devices are: cores, clocks, memory, system, runtimes, temperature."""

    def run() -> Any:
        return commands.devices(*(names or ()), fleet=fleet, setup=setup, clean=clean, progress=chosen_progress(quiet))

    def show(result: Any) -> None:
        from dcd_deploy.reports.devices import show_devices
        from dcd_deploy.reports.terminal import console

        show_devices(console(), result)

    answer(run, show, as_json=as_json, quiet=quiet)


def setup_emulated(
    install: Annotated[
        bool, typer.Option("--install", help="Install Debian's packages that are missing, as root.")
    ] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Make, once, what the devices arm64-emulated:CORE need."""

    def run() -> Any:
        return commands.setup_emulated(install=install, progress=chosen_progress(quiet))

    def show(result: Any) -> None:
        from dcd_deploy.reports.counting import show_setup
        from dcd_deploy.reports.terminal import console

        show_setup(console(), result)

    answer(run, show, as_json=as_json, quiet=quiet)
