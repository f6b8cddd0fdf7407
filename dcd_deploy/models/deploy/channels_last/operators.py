"""Moved to ``lowering``, where the whole of this package goes."""

from dcd_deploy.lowering.channels_last.operators import *  # noqa: F403
