"""A power by a small whole number as products.

    Pow(x, 3)          →          Mul(Mul(x, x), x)

ncnn takes the logarithm of x, and where x is negative gives something else, silently; the square alone it has right.
The GELU by a tanh has a cube in it.
"""

from __future__ import annotations

import onnx_ir as ir

from dcd_deploy.export.onnx.portable.rewriting import before, constant, nodes_of, replace

POWERS = range(3, 9)


def whole_powers(graph: ir.Graph) -> None:
    """Write every power from 3 to 8 as products."""
    for node in nodes_of(graph, "Pow"):
        exponent = constant(node.inputs[1])
        if exponent is not None and exponent.size == 1 and exponent.ndim == 0 and exponent.item() in POWERS:
            _as_products(node, int(exponent.item()))


def _as_products(node: ir.Node, exponent: int) -> None:
    """Square and multiply, from the highest bit of the exponent on."""
    value = power = node.inputs[0]
    *steps, last = list("".join("s" if bit == "0" else "sm" for bit in f"{exponent:b}"[1:]))
    for place, step in enumerate(steps):
        power = before(node, "Mul", [power, power if step == "s" else value], f"power_{place}")
    replace(node, "Mul", [power, power if last == "s" else value])
