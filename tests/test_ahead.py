"""What is loaded beside the float64 reference: all of it, and nothing that the reference itself would load then."""

import subprocess
import sys

MEANWHILE = """
import sys
from dcd_deploy.export.ahead import tracing_loaded_meanwhile
import torch
with tracing_loaded_meanwhile():
    pass
print("torch._dynamo" in sys.modules)
"""
ALONE = """
import contextlib, sys
from dcd_deploy.export import pipeline
from dcd_deploy.models.random_weights import calibrated_network
from dcd_deploy.models.spec import NetworkSpec
from dcd_deploy.export.build import BuildConfig, picture_network
from dcd_deploy.artifacts import Preprocessing

config = BuildConfig(Preprocessing.for_size(32, 32))
captured = pipeline.capture_network(picture_network(calibrated_network(NetworkSpec("resnet10_dcd", 10)), config))
before = set(sys.modules)
pipeline.reference_for(captured, config)
print(sorted(set(sys.modules) - before))
"""


def said(program: str) -> str:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip()


def test_tracing_is_loaded_when_the_block_ends():
    assert said(MEANWHILE) == "True"


def test_a_module_that_cannot_be_loaded_is_left_to_where_it_is_needed():
    program = MEANWHILE.replace("import torch\n", "import torch, dcd_deploy.export.ahead as a; a.TRACING = 'no.such'\n")
    assert said(program) == "False"


def test_the_reference_loads_no_module_of_its_own():
    """Two threads that load modules which need each other may each find the other's half loaded."""
    assert said(ALONE) == "[]"
