"""The operators of an .ort file, as onnxruntime's build script takes them: ``ai.onnx;18;Add,Conv,…``.

It is onnxruntime's own tool that reads them out; its build with ``--include_ops_by_config`` has these operators alone.
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
import warnings
from pathlib import Path

from dcd_deploy.errors import ModelFileError
from dcd_deploy.optional import require


def required_operators(content: bytes) -> tuple[str, ...]:
    """Return a line for each domain and opset: domain;opset;operators.

    Raises:
        ModelFileError: this is no .ort file, or one that is damaged.
        MissingDependencyError: what onnxruntime's tool needs is not installed.
    """
    require("flatbuffers")
    tool = require("onnxruntime.tools.ort_format_model")
    logging.getLogger("ort_format_model.utils").setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        model, config = Path(folder, "model.ort"), Path(folder, "operators.config")
        model.write_bytes(content)
        try:
            with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
                warnings.simplefilter("ignore", ResourceWarning)  # it leaves the closing of its file to Python
                tool.create_config_from_models([model], config, enable_type_reduction=False)
        except Exception as error:  # its parser checks nothing, and raises whatever wrong bytes make it
            raise ModelFileError(
                expected="an .ort file whose operators can be listed", but=f"it is damaged ({type(error).__name__})"
            ) from error
        lines = config.read_text(encoding="utf-8").splitlines()
        return tuple(line for line in lines if line and not line.startswith("#"))
