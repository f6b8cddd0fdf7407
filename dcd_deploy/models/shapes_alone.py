"""Running a network of the registry for the shapes of its maps alone: every layer answers with an empty map.

convolution, pool      (N, C, H, W) → (N, K, ⌊(H + 2 pad - k) / stride⌋ + 1, …)
norm, activation       unchanged
dynamic layer          as its W0; Q and P are asked too, so that their sizes are seen
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import Tensor, nn

from dcd_deploy.models.dynamic import DynamicConv2d, DynamicLinear

Shape = Callable[[nn.Module, Tensor], Tensor]


@contextmanager
def shapes_alone(network: nn.Module) -> Iterator[None]:
    """Let the layers of ``network`` answer with empty maps inside the block; it runs on no image (0, C, H, W) then."""
    changed = []
    for module in network.modules():
        answer = next((way for kind, way in WAYS if isinstance(module, kind)), None)
        if answer is not None:
            module.forward = partial(answer, module)
            changed.append(module)
    try:
        yield
    finally:
        for module in changed:
            del module.forward  # what its class says is found again


def _same(module: nn.Module, x: Tensor) -> Tensor:
    del module
    return x


def _conv(module: nn.Module, x: Tensor) -> Tensor:
    assert isinstance(module, nn.Conv2d)
    return x.new_empty(len(x), module.out_channels, *_plane(x, module.kernel_size, module.stride, module.padding))


def _max_pool(module: nn.Module, x: Tensor) -> Tensor:
    assert isinstance(module, nn.MaxPool2d)
    return x.new_empty(*x.shape[:2], *_plane(x, module.kernel_size, module.stride, module.padding))


def _plane(x: Tensor, *window: Any) -> tuple[int, int]:
    """Return the height and width behind a window: kernel, stride and padding, each a number or a pair."""
    (k1, k2), (s1, s2), (p1, p2) = ((each, each) if isinstance(each, int) else each for each in window)
    _, _, height, width = x.shape
    return (height + 2 * p1 - k1) // s1 + 1, (width + 2 * p2 - k2) // s2 + 1


def _global_pool(module: nn.Module, x: Tensor) -> Tensor:
    del module
    return x.new_empty(*x.shape[:2], 1, 1)


def _dynamic(module: nn.Module, x: Tensor) -> Tensor:
    assert isinstance(module, DynamicConv2d)
    module.project(module.query(x))
    y: Tensor = module.static(x)
    return y


def _classifier(module: nn.Module, x: Tensor) -> Tensor:
    assert isinstance(module, DynamicLinear)
    module.cls_p(module.cls_q(x))
    y: Tensor = module.cls(x)
    return y


def _linear(module: nn.Module, x: Tensor) -> Tensor:
    assert isinstance(module, nn.Linear)
    return x.new_empty(len(x), module.out_features)


WAYS: tuple[tuple[type[nn.Module] | tuple[type[nn.Module], ...], Shape], ...] = (
    (nn.Conv2d, _conv),
    (DynamicConv2d, _dynamic),
    (DynamicLinear, _classifier),
    ((nn.BatchNorm1d, nn.BatchNorm2d, nn.ReLU, nn.ReLU6, nn.Dropout), _same),
    (nn.MaxPool2d, _max_pool),
    (nn.AdaptiveAvgPool2d, _global_pool),
    (nn.Linear, _linear),
)
