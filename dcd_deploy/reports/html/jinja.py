"""The pages' templates, in the folder ``templates``: every text is escaped, and its control characters are visible."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from dcd_deploy.optional import require
from dcd_deploy.reports.terminal import plain

FOLDER = Path(__file__).parent / "templates"


def rendered(template: str, **values: object) -> str:
    """Return a template with the values in their places; only what it marks as safe is taken for HTML.

    Raises:
        MissingDependencyError: jinja2 is not installed.
    """
    made: str = _environment().get_template(template).render(values)
    return made


def text_of(name: str) -> str:
    """Return a file beside the templates as it is."""
    return (FOLDER / name).read_text(encoding="utf-8")


@functools.cache
def _environment() -> Any:
    jinja2 = require("jinja2")
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_visible,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _visible(value: Any) -> Any:
    """Return a text with its control characters visible; HTML that a template made is left as it is."""
    return plain(value) if isinstance(value, str) and not hasattr(value, "__html__") else value
