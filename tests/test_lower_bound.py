"""The floor of a dynamic network: counted independently of the forms, and in parts that add up."""

import pytest
from lower_bound import Floor, floor, more_macs, streaming_pace
from tuning_subjects import registry_subject

from dcd_deploy.benchmarks.sweep import NETWORKS
from dcd_deploy.lowering.targets import LITERT, ONNXRUNTIME_ARM

SIDE = 224
# layers that widen, with P (Φ Q) in place of (P Φ) Q: (K - C) L² less each; how many, C, K, L
WIDENING = {
    "mobilenetv2_dcd_x0.5": [(1, 8, 48, 4), (5, 16, 96, 8), (4, 32, 192, 16), (3, 48, 288, 12)],
    "mobilenetv2_dcd_x1.0": [(1, 16, 96, 8), (2, 24, 144, 12), (3, 32, 192, 16), (4, 64, 384, 16), (3, 96, 576, 24)],
}


def less(network):
    return sum(layers * (outputs - inputs) * latent**2 for layers, inputs, outputs, latent in WIDENING[network])


@pytest.mark.parametrize(
    ("network", "target", "more"),
    [
        ("mobilenetv2_dcd_x0.5", ONNXRUNTIME_ARM, 104.8e6 - 97.1e6 - less("mobilenetv2_dcd_x0.5")),
        ("mobilenetv2_dcd_x1.0", ONNXRUNTIME_ARM, 327.2e6 - 300.8e6 - less("mobilenetv2_dcd_x1.0")),
        ("mobilenetv2_dcd_x1.0", LITERT, 327.2e6 - 300.8e6),
        # its 3×3 layers have no kernel order there, as in that count
        pytest.param("resnet18_dcd", LITERT, 1880e6 - 1814e6, marks=pytest.mark.exhaustive),
    ],
)
def test_multiply_adds_beyond_the_twin(network, target, more):
    """Counted by hand from the equations, with the cheaper order for each layer, in tenths of a million."""
    assert more_macs(registry_subject(NETWORKS[network], SIDE).captured, target) == pytest.approx(more, rel=0.05)


def test_parts_of_the_floor():
    found = floor(registry_subject(NETWORKS["mobilenetv2_dcd_x1.0"], SIDE).captured, LITERT, 3.0, 44.3e6)
    assert found.weights_ms == pytest.approx(4 * (5.720e6 - 3.505e6) / 44.3e6, rel=0.01)
    assert found.macs_ms == pytest.approx(3.0 * 26.4 / 300.8, rel=0.03)
    assert found.ratio == found.ms / 3.0
    assert Floor(2.0, 0.5, 0.5).ratio == 1.5


def test_memory_is_read_at_a_pace_that_memory_has():
    assert 0.1e6 < streaming_pace(4_000_000) < 1000e6, "bytes a millisecond: 0.1 to 1000 GB/s"
