"""The description in a model file: nothing that it says is trusted, and those of the first schema are read."""

import json

import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcd_deploy.artifacts import METADATA_KEY
from dcd_deploy.card_json import read_card
from dcd_deploy.errors import (
    DcdDeployError,
    ModelFileError,
)
from dcd_deploy.runtimes import open_model, self_check


def rewritten(tmp_path, source, change):
    model = onnx.load(source)
    properties = {entry.key: entry.value for entry in model.metadata_props}
    card = json.loads(properties[METADATA_KEY])
    new = change(card)
    onnx.helper.set_model_props(model, {METADATA_KEY: new if isinstance(new, str) else json.dumps(new or card)})
    path = tmp_path / "rewritten.onnx"
    onnx.save(model, path)
    return path


def setting(*keys, value):
    def change(card):
        place = card
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value

    return change


HOSTILE_CARDS = {
    "not JSON": lambda card: "{",
    "a list": lambda card: "[]",
    "too deep": lambda card: "[" * 100_000,
    "huge number": lambda card: '{"schema": ' + "9" * 5000 + "}",
    "another schema": setting("schema", value=99),
    "no labels": lambda card: card.pop("labels") and None,
    "labels are numbers": setting("labels", value=[1, 2]),
    "negative size": setting("preprocessing", "height", value=-1),
    "immense size": setting("preprocessing", "resize", value=10**9),
    "text for size": setting("preprocessing", "width", value="32"),
    "true for size": setting("preprocessing", "width", value=True),
    "crop larger than picture": setting("preprocessing", "resize", value=16),
    "zero std": setting("preprocessing", "std", value=[0, 1, 1]),
    "two means": setting("preprocessing", "mean", value=[0, 1]),
    "infinite mean": setting("preprocessing", "mean", value=[float("inf"), 0, 0]),
    "other shapes": setting("inputs", 0, "shape", value=[1, 3, 224, 224]),
    "ragged reference": setting("reference", "outputs", "logits", "values", value=[[1.0], [1.0, 2.0]]),
    "two tensors of one name": lambda card: card["inputs"].append(card["inputs"][0]),
    "no inputs": setting("inputs", value=[]),
    "another layout": setting("inputs", 0, "layout", value="nhwc"),
    "no such layout": setting("inputs", 0, "layout", value="chwn"),
    "a layout of a vector": setting("outputs", 0, "layout", value="nchw"),
    "many dimensions": setting("outputs", 0, "shape", value=[1] * 9),
    "preprocessing for another size": setting("preprocessing", "height", value=31),
    "reference of another output": lambda card: card["reference"]["outputs"].update(other=1),
    "reference of no outputs": setting("reference", "outputs", value={}),
    "immense step": setting("reference", "outputs", "logits", "step", value=1 << 40),
    "another shape of reference": setting("reference", "outputs", "logits", "shape", value=[11]),
    "negative scales": setting("reference", "scales", value=[-1]),
    "text for assumed": setting("assumed", value=[1]),
    "text in reference": setting("reference", "outputs", "logits", "range", value="1"),
    "no tolerance": setting("reference", "tolerance", value=0),
    "any error tolerated": setting("reference", "tolerance", value=1),
    "negative tolerance": setting("reference", "tolerance", value=-0.1),
}


@pytest.mark.parametrize("change", HOSTILE_CARDS.values(), ids=HOSTILE_CARDS)
def test_a_hostile_description_is_refused(tmp_path, digits_export, change):
    path = rewritten(tmp_path, digits_export.files[0].artifact.path, change)
    with pytest.raises(ModelFileError) as caught:
        open_model(path)
    assert "\n" not in str(caught.value)


@settings(max_examples=200, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=5) | st.integers(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
        max_leaves=20,
    )
)
def test_no_description_crashes_the_reader(content):
    with pytest.raises(DcdDeployError):
        read_card(json.dumps(content))


def test_description_survives_the_round_trip(digits_export):
    card = digits_export.artifact.card
    assert read_card(card.to_json()) == card


def as_first_schema(card):
    """What earlier versions wrote of the same file."""
    reference = card["reference"]
    (carried,) = reference["outputs"].values()
    old = {key: value for key, value in card.items() if key not in ("inputs", "outputs", "assumed")}
    old["schema"] = 1
    for name, (tensor,) in (("input", card["inputs"]), ("output", card["outputs"])):
        old[name] = {key: tensor[key] for key in ("name", "shape", "dtype")}
    old["reference"] = {
        "contrast": reference["contrast"],
        "logits": carried["values"],
        "range": carried["range"],
        "tolerance": reference["tolerance"],
    }
    return json.dumps(old)


def test_files_of_the_first_schema_are_read(tmp_path, digits_export, pictures):
    path = rewritten(tmp_path, digits_export.artifact.path, as_first_schema)
    model = open_model(path)
    new = digits_export.artifact.card
    assert (model.card.inputs, model.card.outputs, model.card.spec) == (new.inputs, new.outputs, new.spec)
    assert self_check(model).passed
    assert model.predict(pictures[0])[0].label in new.labels
    ragged = lambda card: as_first_schema(card).replace('"logits": [[', '"logits": [1, [')  # noqa: E731
    with pytest.raises(ModelFileError, match="not a table"):
        open_model(rewritten(tmp_path, digits_export.artifact.path, ragged))
