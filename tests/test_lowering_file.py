"""Files of tuned lowerings: read back, and refused where they are damaged or of something else."""

import json
from dataclasses import replace

import pytest
from tuning_subjects import LAYERS, LOWERING, NETWORK, PICTURE

from dcd_deploy.errors import (
    LoweringFileError,
    UnknownNameError,
)
from dcd_deploy.tuning.lowering_file import read_lowering, write_lowering


def test_a_lowering_of_another_network_runtime_or_machine_is_refused():
    LOWERING.check_network(NETWORK.describe(), PICTURE)
    LOWERING.check_network(NETWORK.describe(), [[3, 224, 224]])
    LOWERING.check_network(replace(NETWORK, num_classes=10).describe(), PICTURE)  # the classifier is not tuned
    for other, inputs in (
        (replace(NETWORK, width_mult=0.5).describe(), PICTURE),
        (replace(NETWORK, fc_squeeze=8).describe(), PICTURE),
        (NETWORK.describe(), ((3, 192, 224),)),
        (NETWORK.describe(), ((1, 224, 224),)),
        (NETWORK.describe(), (*PICTURE, (4,))),
        (NETWORK.twin().describe(), PICTURE),
    ):
        with pytest.raises(LoweringFileError, match="expected a lowering for mobilenetv2.* found one for"):
            LOWERING.check_network(other, inputs)
    LOWERING.check_layers(LAYERS)
    for layers, wrong in (
        ({}, "'features.10.conv.0' missing"),
        (LOWERING.layers | {"features.99": "branch"}, "'features.99' too"),
    ):
        with pytest.raises(LoweringFileError, match=f"each of the 32 dynamic layers.*{wrong}.*tune"):
            replace(LOWERING, layers=layers).check_layers(LAYERS)
    LOWERING.check_place("2.3.0", "cpu")
    LOWERING.check_place(None, "cpu")
    with pytest.raises(LoweringFileError, match=r"tuned for litert 2\.4\.0, found one for 2\.3\.0"):
        LOWERING.check_place("2.4.0", "cpu")
    with pytest.raises(LoweringFileError, match="`foreign_lowering`"):
        LOWERING.check_place("2.3.0", "another cpu")
    replace(LOWERING, device="ssh://pi@board").check_place("2.4.0", "another cpu")  # it is meant for the board


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "dcd-deploy bench"},
        {"schema": 4},
        {"precision": "int4"},
        {"precision": ["int8"]},
        {"schema": 1},
        {"inputs": []},
        {"inputs": [[]]},
        {"inputs": [[3, 0, 224]]},
        {"inputs": [[3, 1 << 30, 224]]},
        {"inputs": [[3, float("inf"), 224]]},
        {"inputs": [[3, float("nan"), 224]]},
        {"inputs": [[3] * 100]},
        {"inputs": [[3]] * 1000},
        {"inputs": 3},
        {"layers": {"features.2": 3}},
        {"layers": ["features.2"]},
        {"schema": "x" * 10_000},
        {"threads": float("inf")},
        {"threads": "many"},
        {"threads": "4"},
        {"threads": True},
        {"threads": 2.5},
        {"inputs": [["3", 224, 224]]},
        {"cpu": "a\x1b[31mred"},
        {"network": "x" * 10_000},
        {"layers": {"x" * 10_000: "branch"}},
        {"runtime": "onnxruntime"},
        {"runtime": "tvm"},
        {"target": "portable"},
    ],
    ids=lambda change: f"{next(iter(change))} {next(iter(change.values()))!r:.20}",
)
def test_damaged_lowering_files(tmp_path, change):
    file = tmp_path / "tuned.json"
    write_lowering(file, LOWERING)
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(LoweringFileError, match="tune again") as raised:
        read_lowering(file)
    assert len(str(raised.value)) < 500


def test_files_of_the_first_schema_are_read(tmp_path):
    file = tmp_path / "tuned.json"
    write_lowering(file, LOWERING)
    content = json.loads(file.read_text()) | {"schema": 1, "input": [224, 224]}
    del content["inputs"]
    file.write_text(json.dumps(content))
    assert read_lowering(file) == LOWERING
    file.write_text(json.dumps(content | {"schema": 2, "inputs": [[3, 224, 224]], "precision": "int8"}))
    assert read_lowering(file) == LOWERING, "a file of schema 2 is of float32"
    for wrong in ([224], [224, 224, 3, 3, 3, 3, 3, 3], [0, 224], [float("inf"), 224], "224"):
        file.write_text(json.dumps(content | {"input": wrong}))
        with pytest.raises(LoweringFileError, match="tune again"):
            read_lowering(file)


def test_unknown_names_in_a_lowering_file(tmp_path):
    file = tmp_path / "tuned.json"
    for wrong in (replace(LOWERING, target="litrt"), replace(LOWERING, layers={"features.2": "blocked"})):
        write_lowering(file, wrong)
        with pytest.raises(UnknownNameError, match="did you mean"):
            read_lowering(file)
    file.write_text("[" * 100_000)
    with pytest.raises(LoweringFileError):
        read_lowering(file)
    file.write_text(" " * 2_000_000)
    with pytest.raises(LoweringFileError, match="at most"):
        read_lowering(file)
