"""A deploy form without a file: captured, lowered, and compared with the module in float64."""

from __future__ import annotations

from collections.abc import Sequence

from dcd_deploy.errors import VerificationError
from dcd_deploy.export.reference import run_torch, runner
from dcd_deploy.export.threads import threads_by_load
from dcd_deploy.export.truth import TrainReference
from dcd_deploy.export.verify import DEPLOY_TOLERANCE, compare
from dcd_deploy.lowering.capture import capture
from dcd_deploy.lowering.deploy import DeployNetwork, lower
from dcd_deploy.lowering.network import Network
from dcd_deploy.lowering.targets import target_for
from dcd_deploy.samples import InputSpec, generated_inputs


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
        reference = TrainReference(inputs, run_torch(network.module, inputs, network.alone))
        for comparison in compare("deploy form", runner(deploy.module, network.alone), reference, DEPLOY_TOLERANCE, 1):
            if not comparison.passed:
                raise VerificationError(
                    f"the deploy form differs from the module by {comparison.relative:.1e} of its outputs' range, and "
                    f"{DEPLOY_TOLERANCE:.0e} is allowed; this is a defect, please report it"
                )
    return deploy
