"""Experimental: Python, numpy and the runtimes for aarch64 in one archive, with the C library and loader they need.

    lib/        the loader and the libraries, by the names under which they are looked for
    usr/        Python and its own modules
    wheels/     numpy, onnxruntime, ai-edge-litert

Made from the root that emulation runs in (``dcd-deploy setup-emulated``), so from this machine's package sources. The
same root gives the same bytes.
"""

from __future__ import annotations

import gzip
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from dcd_deploy.emulation.root import Root, installed_root
from dcd_deploy.errors import DeviceLackError
from dcd_deploy.made_once import cache_folder, key_of, made_once

LOADER = PurePosixPath("lib/ld-linux-aarch64.so.1")
LIBRARIES = (
    *("ld-linux-aarch64.so.1", "libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1", "libutil.so.1"),
    *("libgcc_s.so.1", "libstdc++.so.6", "libgomp.so.1", "libatomic.so.1"),
    *("libz.so.1", "libexpat.so.1", "libbz2.so.1.0", "liblzma.so.5", "libffi.so.8"),
)
FOLDERS = ("lib/aarch64-linux-gnu", "usr/lib/aarch64-linux-gnu")
LEFT_OUT = {
    *("__pycache__", "test", "tests", "idlelib", "lib2to3", "pydoc_data", "tkinter", "turtledemo", "ensurepip"),
    *("quantization", "transformers", "tools", "datasets", "include", "f2py"),
}
PACKED = 1  # to be raised when other things go into it


def portable_archive() -> Path:
    """Return the archive (.tgz), made if it is not there.

    Raises:
        DeviceLackError: there is no root to make it from.
        OutputError: no room in the cache folder.
    """
    root = installed_root()
    target = cache_folder() / f"portable-{key_of(PACKED, root.system.name, root.wheels.name)}.tgz"
    return made_once(target, lambda path: _pack(root, path))


def python_place(archive: Path) -> PurePosixPath:
    """Return where Python lies in the archive."""
    with tarfile.open(archive) as found:
        for member in found:
            if PurePosixPath(member.name).match("usr/bin/python3.*"):
                return PurePosixPath(member.name)
    raise DeviceLackError(expected=f"Python in '{archive}'", found="none", advice="remove it and try again")


def _pack(root: Root, target: Path) -> None:
    with (
        target.open("wb") as file,
        gzip.GzipFile("", "wb", 6, file, 0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive,
    ):
        for name, path in sorted(_contents(root)):
            entry = tarfile.TarInfo(name)
            entry.size = path.stat().st_size
            entry.mode = 0o755 if name.startswith(("lib/", "usr/bin/")) else 0o644
            with path.open("rb") as content:
                archive.addfile(entry, content)


def _contents(root: Root) -> Iterator[tuple[str, Path]]:
    """Yield name and file of all that goes into the archive."""
    for name in LIBRARIES:
        yield f"lib/{name}", _library(root.system, name)
    yield f"usr/bin/python{root.python}", root.interpreter
    modules = root.system / "usr" / "lib" / f"python{root.python}"
    for top, folder in ((f"usr/lib/{modules.name}", modules), ("wheels", root.wheels)):
        for path in folder.rglob("*"):
            parts = path.relative_to(folder).parts
            if path.is_file() and not path.is_symlink() and not LEFT_OUT & set(parts):
                yield f"{top}/{'/'.join(parts)}", path


def _library(system: Path, name: str) -> Path:
    for folder in FOLDERS:
        if (system / folder / name).exists():
            return system / folder / name
    raise DeviceLackError(
        expected=f"the library '{name}' in the aarch64 root '{system}'", found="none", advice="set it up anew"
    )
