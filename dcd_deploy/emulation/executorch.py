"""ExecuTorch's runtime for the emulated cores: the libraries of its wheel behind a C interface of our own.

Its Python bindings are linked with libtorch; the libraries beside them, which phones have too, are not.
"""

from __future__ import annotations

from pathlib import Path

from dcd_deploy.emulation.programs import check_programs, run_program
from dcd_deploy.emulation.root import Root
from dcd_deploy.errors import DeviceLackError
from dcd_deploy.made_once import cache_folder, key_of, made_once

RUNTIME = "executorch"
COMPILER = "aarch64-linux-gnu-g++"
SOURCE = Path(__file__).with_suffix(".cpp")
LIBRARIES = ("executorch", "executorch_backend_xnnpack", "executorch_threadpool", "executorch_kernels_optimized")
# All are kept: the backends make themselves known when they are loaded. What they want of the system is in the root.
LINKED = ("-Wl,--no-as-needed", *(f"-l{name}" for name in LIBRARIES), "-Wl,--allow-shlib-undefined")
FLAGS = ("-std=c++17", "-O1", "-w", "-shared", "-fPIC", "-DC10_USING_CUSTOM_GENERATED_MACROS")


def environment(root: Root) -> dict[str, str]:
    """Return where a process under emulation finds the runtime, compiled on the spot.

    Raises:
        DeviceLackError: the root has no ExecuTorch, or there is no compiler for aarch64.
    """
    return {"LD_LIBRARY_PATH": str(_folder(root) / "lib"), "DCD_EXECUTORCH": str(compiled_library(root))}


def compiled_library(root: Root) -> Path:
    """Return our library for aarch64, compiled if it is not there.

    Raises:
        DeviceLackError: as ``environment`` does.
    """
    folder = _folder(root)
    headers = folder / "include"
    places = (f"-I{headers}", f"-I{headers / 'executorch/runtime/core/portable_type/c10'}", f"-L{folder / 'lib'}")

    def compile_it(path: Path) -> None:
        check_programs([COMPILER])
        run_program([COMPILER, *FLAGS, *places, str(SOURCE), "-o", str(path), *LINKED], COMPILER)

    key = key_of(SOURCE.read_bytes(), FLAGS, LINKED, root.versions[RUNTIME])
    return made_once(cache_folder() / f"executorch-{key}.so", compile_it)


def _folder(root: Root) -> Path:
    folder = root.wheels / RUNTIME
    if RUNTIME not in root.versions or not (folder / "lib").is_dir():
        raise DeviceLackError(
            expected="ExecuTorch in the aarch64 root",
            found="none",
            advice="install dcd-deploy[executorch] here, and run 'dcd-deploy setup-emulated' again",
        )
    return folder
