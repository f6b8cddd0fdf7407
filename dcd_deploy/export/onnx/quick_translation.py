"""What torch's exporter to ONNX makes anew for each network, made once, and what it need not do, left out.

* Its table of ONNX functions, and the table of decompositions that follows from it, are those of an opset. To make the
  first, torch parses the source of five hundred functions for a domain that it does not use; each function knows it.
* Operands of different types are cast to one before an operator: by running each on tensors without values. In a graph
  whose tensors are all of one floating type there is nothing to cast.

These are insides of torch 2.13; with another version ``to_onnx`` leaves its exporter alone.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import torch
from onnxscript.values import TracedOnnxFunction
from torch import fx
from torch.onnx._internal.exporter import _decomp, _fx_passes, _registration

Registry = _registration.ONNXRegistry
FROM_TORCHLIB = vars(Registry)["from_torchlib"]
PROMOTE = _fx_passes.insert_type_promotion_nodes


@contextlib.contextmanager
def translated_quickly() -> Iterator[None]:
    """Let ``torch.onnx.export`` do so while the block runs."""
    with (
        _replaced(Registry, "from_torchlib", staticmethod(_functions)),
        _replaced(_fx_passes, "decompose_with_registry", _decomposed),
        _replaced(_fx_passes, "insert_type_promotion_nodes", _promoted_where_needed),
    ):
        yield


@functools.cache
def _functions(opset_version: int) -> Registry:
    """Return the table that torch makes for an opset."""
    domain = property(lambda function: SimpleNamespace(domain=function.domain))
    with _replaced(TracedOnnxFunction, "function_ir", domain):
        made: Registry = FROM_TORCHLIB.__func__(Registry, opset_version)
    return made


@functools.cache
def _decompositions(functions: Registry) -> dict[Any, Callable[..., Any]]:
    """Return the decompositions of what has no ONNX function."""
    return _decomp.create_onnx_friendly_decomposition_table(set(_decomp.get_onnx_implemented_overloads(functions)))


def _decomposed(program: torch.export.ExportedProgram, registry: Registry) -> torch.export.ExportedProgram:
    decomposed: torch.export.ExportedProgram = program.run_decompositions(dict(_decompositions(registry)))
    return decomposed


def _promoted_where_needed(module: fx.GraphModule) -> None:
    if not _of_one_type(module):
        PROMOTE(module)


def _of_one_type(module: fx.GraphModule) -> bool:
    """Whether all values of a graph are tensors of one floating type."""
    if any(isinstance(part, fx.GraphModule) for part in module.children()):
        return False
    values = [node.meta.get("val") for node in module.graph.nodes if node.op != "output"]
    tensors = [one for value in values for one in (value if isinstance(value, tuple | list) else [value])]
    types = {one.dtype if isinstance(one, torch.Tensor) else None for one in tensors}
    return len(types) == 1 and all(one is not None and one.is_floating_point for one in types)


@contextlib.contextmanager
def _replaced(owner: Any, name: str, value: object) -> Iterator[None]:
    before = vars(owner)[name]
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)
