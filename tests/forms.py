"""Every form of every spelling, as a module on maps (N, C, H, W) whatever its own layout."""

from collections.abc import Callable

from torch import Tensor, nn

from dcd_deploy.models.deploy.channels_first import CHANNELS_FIRST
from dcd_deploy.models.deploy.channels_last import CHANNELS_LAST
from dcd_deploy.models.deploy.channels_last.operators import to_channels_first, to_channels_last

SPELLINGS = {spelling.name: spelling for spelling in (CHANNELS_FIRST, CHANNELS_LAST)}


class OnChannelsLast(nn.Module):
    """A module on maps (N, H, W, C) that is given images (N, 3, H, W)."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.module(to_channels_last(x))
        return y


class OnChannelsFirst(nn.Module):
    def __init__(self, form: nn.Module) -> None:
        super().__init__()
        self.form = form

    def forward(self, x: Tensor) -> Tensor:
        return to_channels_first(self.form(to_channels_last(x)))


def last(form: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    return lambda folded, size: OnChannelsFirst(form(folded, size))


FORMS = {f"channels_first {name}": form for name, form in CHANNELS_FIRST.forms.items()}
FORMS |= {f"channels_last {name}": last(form) for name, form in CHANNELS_LAST.forms.items()}
