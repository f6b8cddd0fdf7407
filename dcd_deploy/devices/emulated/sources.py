"""Where this machine gets Debian's packages, as lines of a sources.list: the aarch64 root comes from there too."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from dcd_deploy.errors import DeviceLackError

APT = Path("/etc/apt")
RELEASE = Path("/etc/os-release")
WANTED = ("main", "universe")  # the components that Python lies in, on Debian and on Ubuntu
ONE_LINE = re.compile(r"deb\s+(?:\[(?P<options>[^\]]*)\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)\s+(?P<components>.+)")


def codename(release: Path = RELEASE) -> str:
    """Return the name of this machine's Debian or Ubuntu, such as "bookworm".

    Raises:
        DeviceLackError: it has none.
    """
    text = release.read_text(encoding="utf-8", errors="replace") if release.is_file() else ""
    found = re.search(r"^VERSION_CODENAME=\"?([a-z]+)\"?$", text, re.MULTILINE)
    if found is None:
        raise DeviceLackError("making an aarch64 root needs a Debian or Ubuntu with its package sources, found neither")
    return found[1]


def apt_sources(name: str, folder: Path = APT) -> list[str]:
    """Return the sources in ``folder`` that serve the release ``name`` and its updates, in the one-line form.

    Others (of a vendor, say) are left out: the root needs nothing from them.

    Raises:
        DeviceLackError: there are none.
    """
    files = [folder / "sources.list", *sorted((folder / "sources.list.d").glob("*"))]
    found = [line for file in files if file.is_file() for line in _lines(file, name)]
    if not found:
        raise DeviceLackError(
            expected=f"package sources of '{name}' in {folder}", found="none", advice="apt-get needs them too"
        )
    return found


def _lines(file: Path, name: str) -> Iterator[str]:
    text = file.read_text(encoding="utf-8", errors="replace")
    if file.suffix == ".list":
        entries = [_one_line(line) for line in text.splitlines()]
    elif file.suffix == ".sources":
        entries = [entry for stanza in re.split(r"\n\s*\n", text) for entry in _stanza(stanza)]
    else:
        entries = []
    for options, uri, suite, components in filter(None, entries):
        wanted = [component for component in components.split() if component in WANTED]
        if wanted and re.fullmatch(rf"{name}(-[a-z-]+)?/?(updates)?", suite) and "arch=amd64" not in options:
            yield f"deb {options}{uri} {suite} {' '.join(wanted)}"


Entry = tuple[str, str, str, str]  # options, address, suite, components


def _one_line(line: str) -> Entry | None:
    match = ONE_LINE.fullmatch(line.partition("#")[0].strip())
    if match is None:
        return None
    options = " ".join(part for part in (match["options"] or "").split())
    return f"[{options}] " if options else "", match["uri"], match["suite"], match["components"]


def _stanza(stanza: str) -> Iterator[Entry]:
    """Yield the entries of one stanza of the newer form, "Field: values"."""
    fields: dict[str, str] = {}
    for line in stanza.splitlines():
        key, colon, value = line.partition(":")
        if colon and not line.startswith(("#", " ", "\t")):
            fields[key.strip().lower()] = value.strip()
    amd64_only = fields.get("architectures", "arm64").split() == ["amd64"]
    if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes") == "no" or amd64_only:
        return
    signed = fields.get("signed-by", "")
    options = f"[signed-by={signed}] " if signed.startswith("/") else ""
    for uri in fields.get("uris", "").split():
        for suite in fields.get("suites", "").split():
            yield options, uri, suite, fields.get("components", "")
