"""``dcd-deploy evaluate`` on the bundled digits that no training saw: figures computed anew, shards, a kill."""

import json
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from command_line import refused, run_here
from conftest import ROOT
from PIL import Image

from dcd_deploy import commands
from dcd_deploy.evaluation.counts_file import CHUNK
from dcd_deploy.evaluation.intervals import Proportion
from dcd_deploy.models.checkpoint import read_checkpoint
from dcd_deploy.models.trained import known_network
from dcd_deploy.runtimes import open_model

KILLED = """
import os, signal
from dcd_deploy import commands
from dcd_deploy.evaluation import evaluate, worker
count, calls = worker.Worker.count, []
def counted(self, images):
    calls.append(images)
    if len(calls) > 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return count(self, images)
worker.Worker.count, evaluate.KEEP_SECONDS = counted, 0
commands.evaluate({model!r}, data={data!r}, out={out!r}, jobs=1)
"""


@pytest.fixture(scope="module")
def digits_set(held_out, tmp_path_factory):
    """Every third held-out digit as an .npz file, and half of these as a folder."""
    import held_out as files

    place, (images, labels) = tmp_path_factory.mktemp("held"), (each[::3] for each in held_out)
    files.write(place / "held.npz", images, labels)
    files.write(place / "held", images[::2], labels[::2])
    return place


@pytest.fixture(scope="module")
def truth(digits_set, digits_checkpoint, onnx_pair, tflite_pair):
    """Labels and logits: of the network in float64, all images at once, and of the three files."""
    data = np.load(digits_set / "held.npz")
    module = known_network(read_checkpoint(digits_checkpoint), (32, 32)).module.double().eval()
    with torch.inference_mode():
        network = module(torch.from_numpy(data["images"]).double()).numpy()
    return data["labels"], [network, *(open_model(path).run(data["images"]) for path in (*onnx_pair, tflite_pair[0]))]


@pytest.fixture(scope="module")
def whole(digits_set, digits_checkpoint, onnx_pair, tflite_pair):
    files = (*onnx_pair, tflite_pair[0])
    return commands.evaluate(*files, data=digits_set / "held.npz", checkpoint=digits_checkpoint)


def test_the_figures_are_those_of_numpy(whole, truth):
    labels, logits = truth
    network = logits[0]
    for found, said in zip(whole.models, logits, strict=True):
        best = said.argmax(1)
        assert found.top1.count == (best == labels).sum()
        assert found.top5.count == (np.argsort(-said)[:, :5] == labels[:, None]).any(1).sum()
        if found.role == "network":
            continue
        changed = best != network.argmax(1)
        assert (found.changed.count, found.agreement.count) == (changed.sum(), (~changed).sum())
        assert found.lost == ((network.argmax(1) == labels) & (best != labels)).sum()
        assert found.gained == ((network.argmax(1) != labels) & (best == labels)).sum()
        decibels = 10 * np.log10(np.square(network).sum() / np.square(said - network).sum())
        assert found.snr_db == pytest.approx(decibels, abs=0.5 if decibels > 100 else 1e-4)  # rounding is noise there
        assert found.latency_ms > 0
    assert whole.models[1].snr_db > 100
    assert whole.models[2].snr_db < 20, "another network: its static twin"


@pytest.mark.exhaustive
def test_three_shards_merged_are_the_whole(whole, digits_set, digits_checkpoint, onnx_pair, tflite_pair, tmp_path):
    asked = [*onnx_pair, tflite_pair[0], "--data", digits_set / "held.npz", "--checkpoint", digits_checkpoint]
    for i in (1, 2, 3):
        done = run_here("evaluate", *asked, "--shard", f"{i}/3", "--out", tmp_path / f"{i}.json", "--jobs", 1)
        assert done.returncode == 0, done.stderr
    parts = sorted(tmp_path.glob("*.json"))
    refused(run_here("evaluate", "--merge", *parts[:2]), 16, "no shard 3")
    saved = [tmp_path / f"all.{suffix}" for suffix in ("html", "md", "csv", "svg")]
    options = [word for path in saved for word in ("--save", path)]
    done = run_here("evaluate", "--merge", *parts, "--json", *options)
    assert done.returncode == 0, done.stderr
    merged, plain = json.loads(done.stdout), json.loads(as_json(whole))
    for result in (merged, plain):
        for each in result["models"]:
            del each["latency_ms"], each["front"]
    assert merged == plain
    assert all(path.stat().st_size > 500 for path in saved)
    refused(run_here("evaluate", "--merge", *parts, "--save", tmp_path / "all.pdf"), 7, ".pdf", ".svg")


def as_json(result):
    from dcd_deploy.reports.json import to_json

    return to_json(result)


def test_a_killed_run_goes_on(onnx_file, digits_set, tmp_path):
    out = tmp_path / "counts.json"
    asked = {"model": str(onnx_file), "data": str(digits_set / "held"), "out": str(out)}
    ended = subprocess.run([sys.executable, "-c", KILLED.format(**asked)], check=False, capture_output=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    before = json.loads(out.read_text())
    assert before["done"] in ([0, 1], [0, 1, 2])  # the worker is one ahead of what is written
    assert before["tallies"][0]["images"] == CHUNK * len(before["done"])
    resumed = commands.evaluate(onnx_file, data=digits_set / "held", out=out, jobs=1)
    assert json.loads(out.read_text())["done"] == [0, 1, 2, 3]
    fresh = commands.evaluate(onnx_file, data=digits_set / "held", jobs=1)
    assert resumed.contents == fresh.contents
    assert resumed.models[0].top1 == fresh.models[0].top1
    assert fresh.images == 60


def test_what_does_not_fit_the_model_is_refused(onnx_file, digits_set, held_out, tmp_path):
    numbers = np.zeros((4, 3, 32, 32), np.float32)
    for name, arrays in {
        "size": {"images": numbers[..., :16], "labels": np.arange(4)},
        "labels": {"images": numbers, "labels": np.array([0, 1, 2, 10])},
        "none": {"images": numbers},
    }.items():
        np.savez(tmp_path / f"{name}.npz", **arrays)
    (tmp_path / "flat").mkdir()
    Image.fromarray(held_out[0][0]).save(tmp_path / "flat" / "0.png")
    said = {"size.npz": "(4, 3, 32, 16)", "labels.npz": "from 0 to 9", "none.npz": "without labels", "flat": "without"}
    for name, words in said.items():
        refused(run_here("evaluate", onnx_file, "--data", tmp_path / name), 8, words)
    (tmp_path / "named").symlink_to(digits_set / "held")
    asked = ("evaluate", onnx_file, "--data", tmp_path / "named", "--shard")
    refused(run_here(*asked, "61/61", "--out", tmp_path / "out.json"), 8, "at most 60 shards")
    (tmp_path / "one" / "zero").mkdir(parents=True)
    Image.fromarray(held_out[0][0]).save(tmp_path / "one" / "zero" / "0.png")
    refused(run_here("evaluate", onnx_file, "--data", tmp_path / "one"), 8, "10 class folders")


def test_the_page_shows_what_the_files_answer(held_out, onnx_pair, tflite_pair):
    import digits

    rows = (ROOT / "docs" / "evaluate.md").read_text("utf-8").partition("<!-- evaluate: begin -->")[2].splitlines()
    for path in (*onnx_pair, tflite_pair[0]):
        right = (open_model(path).run(digits.normalised(held_out[0])).argmax(1) == held_out[1]).sum()
        (shown,) = [row for row in rows if row.startswith(f"{path.name} ") and " ms " in row]
        share = Proportion.of(int(right), len(held_out[1]))
        assert f"{100 * share.share:.1f} % ({100 * share.low:.1f}–{100 * share.high:.1f})" in shown


def test_a_folder_and_its_arrays_come_to_the_same(whole, truth, onnx_file, digits_set):
    labels, logits = truth
    found = commands.evaluate(onnx_file, data=digits_set / "held").models[0]
    assert found.top1.count == (logits[1].argmax(1) == labels)[::2].sum()
