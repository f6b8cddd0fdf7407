"""The deploy form as a module by itself: in float32, for tracing, or proved in float64, for other exporters.

For tracing its activations make new maps: one that writes into its input computes the same, but makes the exporters
trace everything once more.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Sequence
from typing import TypeVar

import torch
import torch.fx.config as torch_config
from torch import Tensor, nn
from torch.fx.traceback import NodeSource

from dcd_deploy.artifacts import FLOAT32
from dcd_deploy.dynamic.copies import in_eval
from dcd_deploy.errors import VerificationError
from dcd_deploy.export.alongside import threads_by_load
from dcd_deploy.export.reference import answers_of, blaming_batches, runner
from dcd_deploy.export.rounding import largest_step, rounded
from dcd_deploy.export.truth import TrainReference
from dcd_deploy.export.verify import DEPLOY_TOLERANCE, Comparison, compare
from dcd_deploy.lowering.capture import capture
from dcd_deploy.lowering.deploy import DeployNetwork, lower
from dcd_deploy.lowering.network import Network
from dcd_deploy.lowering.targets import target_for
from dcd_deploy.samples import InputSpec, generated_inputs

SMALLEST_NORMAL = torch.finfo(torch.float32).tiny


M = TypeVar("M", bound=nn.Module)


def deployable(network: M, weights: str = FLOAT32) -> M:
    """Return a float32 copy whose denormal weights are zero: they change nothing, and make processors slow.

    Large weights are those that can be stored as ``weights`` (``rounding``).
    """
    # The memo tells deepcopy what each tensor becomes, so that no second copy in the network's own precision is made.
    memo: dict[int, object] = {id(weight): _parameter(weight) for weight in network.parameters()}
    memo |= {id(values): _single(values) for values in network.buffers()}
    single = in_eval(copy.deepcopy(network, memo))
    for module in single.modules():
        if isinstance(getattr(module, "inplace", None), bool):
            module.inplace = False  # type: ignore[assignment]  # as torch's own modules call it
    if weights != FLOAT32:
        _round(single, weights)
    return single


def _round(single: nn.Module, weights: str) -> None:
    """Round the large weights of a float32 network, in place.

    Raises:
        VerificationError: one has moved further than rounding can move it.
    """
    for name, values in (*single.named_parameters(), *single.named_buffers()):
        if values.dtype == torch.float32:
            before = values.detach().numpy()
            if (after := rounded(before, weights)) is before:
                continue
            step = float(abs(after - before).max()) / max(float(abs(before).max()), SMALLEST_NORMAL)
            if not step <= largest_step(weights):
                raise VerificationError(
                    f"rounding '{name}' to {weights} moved a weight by {step:.1e} of the largest, and "
                    f"{largest_step(weights):.1e} is allowed; this is a defect, please report it"
                )
            values.data = torch.from_numpy(after.copy())


def _parameter(weight: Tensor) -> nn.Parameter:
    return nn.Parameter(_single(weight), requires_grad=weight.requires_grad)


def _single(values: Tensor) -> Tensor:
    """Return a copy in torch's usual order in memory: of another (``channels_last``) ExecuTorch makes other maps."""
    if not values.is_floating_point():
        return values.clone(memory_format=torch.contiguous_format)
    single = values.detach().to(torch.float32, copy=True, memory_format=torch.contiguous_format)
    return single.masked_fill_(single.abs() < SMALLEST_NORMAL, 0.0)


def proved_deploy(network: Network, target: str, lowering: str = "auto", leaf: Sequence[str] = ()) -> DeployNetwork:
    """Return the deploy form, channels first, for inputs one by one.

    Raises:
        VerificationError: it computes something else.
    """
    with threads_by_load():
        captured = capture(network, leaf)
        deploy = lower(captured, target_for(target, "onnx"), lowering)
        entries = [
            InputSpec(name, tuple(one.shape[1:])) for name, one in zip(network.inputs, network.examples, strict=True)
        ]
        inputs = generated_inputs(entries, None)
        outputs, _, why = answers_of(network.module, inputs, network.alone)
        reference = TrainReference(inputs, outputs, one_at_a_time=why)
        found = compare("deploy form", runner(deploy.module, network.alone), reference, DEPLOY_TOLERANCE, 1)
        with blaming_batches(network.module, deploy.module, reference):
            _check(found)
    return deploy


def _check(comparisons: Sequence[Comparison]) -> None:
    for comparison in comparisons:
        if not comparison.passed:
            raise VerificationError(
                f"the deploy form differs from the module by {comparison.relative:.1e} of its outputs' range, and "
                f"{DEPLOY_TOLERANCE:.0e} is allowed; this is a defect, please report it"
            )


@contextlib.contextmanager
def without_stack_traces() -> Iterator[None]:
    """Let torch trace without noting where each node comes from: it is looked up for messages that nobody is shown.

    What each pass over a graph notes of the nodes before it is kept, but not copied, with the notes of all passes
    before it, for each node: nobody changes it, and ExecuTorch has sixty passes.
    """
    before = torch_config.do_not_emit_stack_traces
    torch_config.do_not_emit_stack_traces = True
    NodeSource.__deepcopy__ = lambda noted, _: noted  # type: ignore[attr-defined]
    try:
        yield
    finally:
        torch_config.do_not_emit_stack_traces = before
        if hasattr(NodeSource, "__deepcopy__"):  # another, within this one, may have ended
            del NodeSource.__deepcopy__
