"""The command line: parse → one call of ``commands`` → one report.

Results go to standard output (with --json one object and nothing else), progress and errors to standard error. Every
kind of error has its own exit code, listed by ``dcd_deploy.errors``; 2 is a wrong use of the command line, 130 an
interruption.

A file for each theme, as in ``commands``; ``options`` are what several commands share, ``outcome`` is how each ends.
"""

from __future__ import annotations

from dcd_deploy.cli.app import main

__all__ = ["main"]
