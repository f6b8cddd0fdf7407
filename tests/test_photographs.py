"""The photographs: no crop reads a pixel of another split; the bundled networks name held-out crops."""

from dataclasses import replace

import crops
import numpy as np
import photographs
import pytest
import torch
from conftest import PHOTOGRAPHS

from dcd_deploy.models.checkpoint import read_checkpoint
from dcd_deploy.models.fit import fit, load_network

HEIGHT, WIDTH = 300, 451
LARGEST_FILE = 4_000_000
PER_CLASS = 12


def drawn(split: photographs.Split, other: int, inside: int = 100) -> torch.Tensor:
    """Return crops of a photograph that has one grey level in a split, and another elsewhere."""
    allowed = photographs.allowed(HEIGHT, WIDTH, split)
    pixels = np.where(allowed, inside, other).astype(np.uint8)[..., None].repeat(3, 2)
    source = photographs.Source(split, {0: pixels})
    return source.draw(np.random.default_rng(0), np.zeros(200, np.int64), 32)


@pytest.mark.parametrize("split", ["train", "held-out", "fit", "validation"])
def test_crops_read_no_pixel_of_another_split(split):
    assert torch.equal(drawn(split, 0), drawn(split, 255))
    assert not torch.equal(drawn(split, 0), drawn(split, 0, inside=101))


def test_windows_that_are_too_large_are_found(monkeypatch):
    extents = crops.Look.extents.fget
    monkeypatch.setattr(crops.Look, "extents", property(lambda look: extents(look) - 3))
    assert not torch.equal(drawn("train", 0), drawn("train", 255))


def test_splits_have_nothing_in_common():
    train, held_out, fit_, validation = (
        photographs.allowed(HEIGHT, WIDTH, split) for split in ("train", "held-out", "fit", "validation")
    )
    assert (train ^ held_out).all()
    assert ((fit_ ^ validation) == train).all()
    assert validation.any()
    for shift in ((0, photographs.BLOCK), (photographs.BLOCK, 0)):  # no held-out block beside another
        assert not (held_out & np.roll(held_out, shift, (0, 1)))[photographs.BLOCK :, photographs.BLOCK :].any()


def test_a_look_decides_everything():
    rng = np.random.default_rng(1)
    look = crops.draw_look(rng, 2)
    photograph = rng.integers(0, 256, (90, 90, 3), dtype=np.uint8)
    windows = crops.Windows.cut([photograph] * 2, np.zeros((2, 2), np.int64), look.extents)
    once, again = (crops.render(windows, look, 96) for _ in range(2))
    assert torch.equal(once, again)
    assert not torch.equal(once, crops.render(windows, replace(look, gain=look.gain * 1.1), 96))


@pytest.fixture(scope="module")
def free():
    return photographs.free_held_out(PER_CLASS)


def test_fewer_crops_are_the_first_of_more(free):
    images, labels = photographs.free_held_out(1)
    assert (images == free[0][: len(images)]).all()
    assert [photographs.LABELS[label] for label in labels] == [one.label for one in photographs.PHOTOGRAPHS if one.free]


def test_only_free_photographs_are_passed_on():
    passed_on = {path.stem for path in photographs.HELD_OUT_BLOCKS.iterdir()}
    assert passed_on == {one.label for one in photographs.PHOTOGRAPHS if one.licence in {"CC0", "public domain"}}
    assert sum(path.stat().st_size for path in photographs.HELD_OUT_BLOCKS.iterdir()) < 1_500_000


@pytest.mark.parametrize(("name", "arch"), [("dcd.pth.tar", "mobilenetv2_dcd"), ("static.pth.tar", "mobilenetv2")])
def test_the_trained_checkpoints(name, arch, free):
    images, labels = free
    checkpoint = read_checkpoint(PHOTOGRAPHS / name)
    network = load_network(checkpoint, fit(checkpoint)).float()
    assert (PHOTOGRAPHS / name).stat().st_size <= LARGEST_FILE
    assert checkpoint.info["arch"] == arch
    with torch.inference_mode():
        found = 100 * float(
            (network(torch.from_numpy(photographs.normalised(images))).argmax(1).numpy() == labels).mean()
        )
    assert found == pytest.approx(checkpoint.info["best_prec1"], abs=8)  # 96 crops of eight classes, of 3600 of twelve
    assert tuple((PHOTOGRAPHS / "labels.txt").read_text("utf-8").splitlines()) == photographs.LABELS
