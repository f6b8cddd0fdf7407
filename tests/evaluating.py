"""Evaluations that were counted from logits, without a model file."""

import random

import numpy as np

from dcd_deploy.evaluation.counts_file import EvaluationPlan, empty_part
from dcd_deploy.evaluation.tally import count_answers
from dcd_deploy.evaluation.worker import Counted

IMAGES, CLASSES = 100, 7
FACTS = (
    {"name": "net.pth", "sha256": "a", "bytes": 9, "batch": 1, "runtime": "PyTorch float64", "version": "2"},
    {"name": "net.onnx", "sha256": "b", "bytes": 9, "batch": 1, "runtime": "onnxruntime", "version": "1"},
)


def drawn_answers():
    """Labels, the network's logits in float64, and a model's in float32, which differ now and then."""
    numbers = np.random.default_rng(0)
    logits = numbers.normal(size=(IMAGES, CLASSES))
    return numbers.integers(0, CLASSES, IMAGES), logits, (logits + 0.3 * numbers.normal(size=logits.shape)).astype("f4")


def counted(answers, indices):
    labels, network, model = (values[list(indices)] for values in answers)
    named = tuple(labels.tolist())
    return Counted((count_answers(network, named, None), count_answers(model, named, network)), sum(indices), ())


def part_of(answers, shard, shards):
    plan = EvaluationPlan("data", "set", IMAGES, CLASSES, CLASSES, True, FACTS, shards)
    part = empty_part(plan, shard, 0, f"machine {shard}")
    for number in random.Random(shard).sample(part.remaining, part.chunks):
        part = part.with_chunk(number, counted(answers, part.chunk(number)))
    return part
