"""``python -m dcd_deploy.cli``."""

from __future__ import annotations

from dcd_deploy.cli.app import main

if __name__ == "__main__":
    main()
