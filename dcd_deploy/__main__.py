"""The entry point, so light that a Ctrl-C while the rest loads finds it ready."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line."""
    try:
        if sys.argv[1:2] == ["export"] and "--help" not in sys.argv:
            from dcd_deploy.export.ahead import begin

            begin()
        from dcd_deploy.cli import main as run

        run()
    except KeyboardInterrupt:  # while modules load; from then on ``cli`` sees to it
        from dcd_deploy.interruption import leave_interrupted

        leave_interrupted()
    except RuntimeError as error:
        if not isinstance(error.__cause__, KeyboardInterrupt):  # Python makes one of it while a class is made
            raise
        from dcd_deploy.interruption import leave_interrupted

        leave_interrupted()
    except SystemExit as end:
        from dcd_deploy.interruption import leave

        leave(end)


if __name__ == "__main__":
    main()
