"""From what a spec says of single layers and strides to what builds them."""

from __future__ import annotations

from dataclasses import replace

from dcd_deploy.errors import ModelFileError
from dcd_deploy.models.dynamic import Constants
from dcd_deploy.models.geometry import LayerGeometry
from dcd_deploy.models.spec import NetworkSpec


def own_geometry(spec: NetworkSpec, name: str, rule: LayerGeometry) -> LayerGeometry:
    """Return the sizes of the dynamic layer ``name``: those of the family's rule, but for what ``spec`` says."""
    own = next((layer for layer in spec.layers if layer.name == name), None)
    if own is None:
        return rule
    return replace(rule, L=own.L, S=own.S, pool=own.pool, biases=own.biases, norms=own.norms)


def constants_of(spec: NetworkSpec) -> Constants:
    """Return what no tensor tells of the dynamic layers."""
    return Constants(spec.gate, spec.residual_q)


def stage_strides(spec: NetworkSpec, usual: tuple[int, ...]) -> tuple[int, ...]:
    """Return the strides of the stem and of each stage.

    Raises:
        ModelFileError: ``spec`` has too few or too many.
    """
    found = spec.strides or usual
    if len(found) != len(usual):
        raise ModelFileError(expected=f"{len(usual)} strides of {spec.arch}", found=len(found))
    return found
