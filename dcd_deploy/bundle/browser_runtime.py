"""The files of onnxruntime-web beside the page: from npm once, kept in the user's cache, or from a folder."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from dcd_deploy.errors import InputFileError, MissingDependencyError
from dcd_deploy.files import existing_file, sha256, staging
from dcd_deploy.made_once import cache_folder

PACKAGE = "onnxruntime-web@1.30.0"
# file → its SHA-256 in that package
FILES = {
    "ort.wasm.bundle.min.mjs": "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    "ort-wasm-simd-threaded.wasm": "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}
SECONDS = 300


def browser_runtime(folder: Path | None = None) -> list[Path]:
    """Return the files, of ``folder`` or of the cache, where npm puts them at the first call.

    Raises:
        InputFileError: ``folder`` lacks one. MissingDependencyError: npm is not there or cannot fetch the package.
        OutputError: no room in the cache.
    """
    if folder is not None:
        return [existing_file(folder / name, "a file of the npm package onnxruntime-web") for name in FILES]
    kept = cache_folder(PACKAGE.replace("@", "-"))
    if not _complete(kept):
        with staging(kept) as stage, tempfile.TemporaryDirectory() as fetched:
            _unpack(_fetch(Path(fetched)), stage)
    return [kept / name for name in FILES]


def _complete(folder: Path) -> bool:
    return all((folder / name).is_file() and sha256(folder / name) == wanted for name, wanted in FILES.items())


def _fetch(folder: Path) -> Path:
    """Return the package's archive, fetched by npm, which holds it against the hash of its registry."""
    npm = shutil.which("npm")
    if npm is None:
        raise MissingDependencyError(_lacking("npm is not installed"))
    command = [npm, "pack", PACKAGE, "--silent", "--pack-destination", str(folder)]
    try:
        done = subprocess.run(  # noqa: S603
            command, capture_output=True, text=True, encoding="utf-8", errors="replace", timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise MissingDependencyError(_lacking(f"npm did not answer in {SECONDS} s")) from error
    found = list(folder.glob("*.tgz"))
    if done.returncode or not found:
        last = (done.stderr.strip() or "it fetched nothing").splitlines()[0][:200]
        raise MissingDependencyError(_lacking(f"npm says: {last}"))
    return found[0]


def _lacking(reason: str) -> str:
    return (
        f"the page needs {' and '.join(FILES)} of the npm package {PACKAGE}, but {reason}; install Node.js, or give "
        "`web_runtime` a folder with them"
    )


def _unpack(archive: Path, folder: Path) -> None:
    """Put the files of the archive into a folder, and nothing else of it.

    Raises:
        InputFileError: one is missing or not as it was.
    """
    try:
        with tarfile.open(archive) as package:
            for name in FILES:
                with package.extractfile(f"package/dist/{name}") as source:  # type: ignore[union-attr]  # a file, or KeyError
                    (folder / name).write_bytes(source.read())
    except (tarfile.TarError, KeyError, AttributeError) as error:
        raise InputFileError(expected=f"the files of {PACKAGE}", but=f"the package is damaged: {error}") from error
    if not _complete(folder):
        raise InputFileError(expected=f"the files of {PACKAGE} with the known hashes", found="others")
