"""Run the model of a file on floats from standard input, and write its logits, until there are no more.

python run_model.py MODEL
"""

import sys

import numpy as np

from dcd_deploy.artifacts import NHWC
from dcd_deploy.runtimes import open_model

model = open_model(sys.argv[1], threads=1)
shape = [1, *model.described().input.shape[1:]]
while content := sys.stdin.buffer.read(4 * int(np.prod(shape))):
    values = np.frombuffer(content, "<f4").reshape(shape)
    values = values.transpose(0, 3, 1, 2) if model.described().input.layout == NHWC else values
    sys.stdout.buffer.write(model.run(values)[0].astype("<f4").tobytes())
    sys.stdout.buffer.flush()
