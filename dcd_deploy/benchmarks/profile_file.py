"""The file of a ProfileResult, as ``dcd-deploy profile --json`` prints it. Whoever sent it may have changed it."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from dcd_deploy.benchmarks.decoding import MisfitError, decode
from dcd_deploy.benchmarks.profile import KIND, SCHEMA, ProfileResult
from dcd_deploy.benchmarks.results_file import read_document
from dcd_deploy.errors import ResultFileError

HINT = "write one with 'dcd-deploy profile', as JSON"


def read_profile(path: Path) -> ProfileResult:
    """Return the profile in a file; the sums that stand beside the nodes are made anew.

    Raises:
        InputFileError: there is no such file. ResultFileError: it is no profile, or of another schema version.
    """
    document = read_document(path, "a profile of dcd-deploy profile")
    if not isinstance(document, dict) or (document.get("kind"), document.get("schema")) != (KIND, SCHEMA):
        found = f"expected a '{KIND}' document of schema version {SCHEMA}, found another"
        raise ResultFileError(f"cannot read the profile '{path}': {found}; {HINT}")
    known = {field.name for field in fields(ProfileResult)}
    try:
        return decode(ProfileResult, {key: value for key, value in document.items() if key in known})
    except MisfitError as error:
        raise ResultFileError(f"cannot read the profile '{path}': at {error}; {HINT}") from error
