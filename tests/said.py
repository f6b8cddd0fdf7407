"""A progress that keeps what it was told."""

from dcd_deploy.progress import silent


class Said(list):
    """What was told, stage by stage; ``act`` is called with each."""

    def __init__(self, act=lambda stage: None):
        self.act = act

    def __call__(self, stage):
        self.append(stage)
        self.act(stage)
        return silent(stage)
