"""What the accelerators of phones take of a Resize: it has inputs that are left out, which are not of a free size."""

import onnx
import pytest
from rewriting import parsed

from dcd_deploy.errors import ExportError
from dcd_deploy.export.onnx.mobile import COREML, NEURAL_NETWORK, NNAPI, accelerator, check_one_partition

LINEAR = 'mode = "linear", coordinate_transformation_mode = "{}"'
NEAREST = 'mode = "nearest", coordinate_transformation_mode = "{}", nearest_mode = "{}"'


def resized(how, batch="1"):
    return onnx.shape_inference.infer_shapes(
        parsed(
            f"(float[{batch}, 2, 4, 4] x) => (float[{batch}, 2, 8, 8] y) <float[4] by = {{1, 1, 2, 2}}> {{"
            f" r = Relu (x) m = Resize <{how}> (r,, by) y = Relu (m) }}"
        )
    )


@pytest.mark.parametrize(
    ("how", "takes"),
    [
        (LINEAR.format("half_pixel"), {NNAPI, COREML}),
        (LINEAR.format("asymmetric"), {NNAPI, COREML, NEURAL_NETWORK}),
        (NEAREST.format("asymmetric", "floor"), {NNAPI, COREML, NEURAL_NETWORK}),
        (NEAREST.format("half_pixel", "round_prefer_floor"), {COREML}),
        ('mode = "cubic"', set()),
        (LINEAR.format("half_pixel") + ", antialias = 1", {COREML}),
    ],
)
def test_by_mode_and_coordinates(how, takes):
    found = {name: accelerator(resized(how), name) for name in (NNAPI, COREML, NEURAL_NETWORK)}
    assert {name for name, one in found.items() if one.whole} == takes
    for one in found.values():
        assert one.whole or [(each.operator, "free" in each.reason) for each in one.breakers] == [("Resize", False)]


def test_what_nnapi_lacks_is_in_its_refusal():
    with pytest.raises(ExportError, match=r"Resize \(1\): mode 'cubic' with coordinates 'half_pixel'"):
        check_one_partition(resized('mode = "cubic"'), "nnapi")


def test_a_size_is_free_only_where_one_is():
    reasons = {each.reason for each in accelerator(resized(LINEAR.format("half_pixel"), "N"), NNAPI).breakers}
    assert reasons == {"a size of it is free: export with a number as `batch`"}
