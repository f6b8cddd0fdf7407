"""Tuning on a board over a real ssh connection."""

import pytest
from boards import cut, runners, wait_for
from said import Said
from tuning_subjects import registry_subject

from dcd_deploy.benchmarks.measure import MeasureConfig
from dcd_deploy.devices.names import parse_device
from dcd_deploy.devices.opening import open_device
from dcd_deploy.errors import DeviceLostError
from dcd_deploy.lowering.targets import LITERT
from dcd_deploy.models.spec import NetworkSpec
from dcd_deploy.tuning.lowering_file import read_lowering, write_lowering
from dcd_deploy.tuning.tune import TuneConfig, tune


@pytest.mark.exhaustive
def test_tuning_on_a_board_goes_on_after_the_connection_was_lost(board, tmp_path, monkeypatch):
    """The forms are made here and measured there; what was measured before the loss is not measured again."""
    network = registry_subject(NetworkSpec("mobilenetv2_dcd", 10, 0.1, 8), 32, most=2)  # more would only take time
    config = TuneConfig(LITERT, measure=MeasureConfig(min_runs=8, min_seconds=0.0, rounds=2), cache=tmp_path)
    monkeypatch.setattr("dcd_deploy.tuning.tune.decided", lambda _: True)  # so few runs leave most of it open
    said = Said(lambda stage: cut(board) if stage.startswith("[2/2]") and "measure" in stage else None)
    with pytest.raises(DeviceLostError), open_device(parse_device(board.name)) as place:
        tune(network, config, place, said)
    assert len(list(tmp_path.iterdir())) == 1
    said = Said()
    with open_device(parse_device(board.name)) as place:
        result = tune(network, config, place, said)
    assert not [stage for stage in said if stage.startswith("[1/2]")]
    assert [stage for stage in said if stage.startswith("[2/2]") and "measure" in stage]
    assert (result.lowering.device, result.lowering.runtime) == (board.name, "litert")
    assert result.lowering.runtime_version == result.environment.packages["ai-edge-litert"]
    assert set(result.lowering.layers) == {path for group in network.groups for path in group.layers}
    write_lowering(tmp_path / "tuned.json", result.lowering)
    assert read_lowering(tmp_path / "tuned.json") == result.lowering
    assert wait_for(lambda: not runners(board)), "nothing runs there any more"
