"""The sample in C++: its resizing against Pillow's, and the whole of it, with the wheel's onnxruntime, also for ARM.

ONNXRUNTIME_HEADERS names other headers than those that `make test-programs` fetches. The library is newer than they
are: it has each older interface, which is what an app relies on.
"""

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from apps import ALTERATIONS, LARGE, ONNXRUNTIME, altered, made, needs, odd_picture, pillow_crop, told
from conftest import DIGITS

from dcd_deploy.bundle.golden import TOLERANCE, ppm
from dcd_deploy.bundle.sample import TEMPLATES
from dcd_deploy.emulation.cores import core_named
from dcd_deploy.emulation.root import installed_root
from dcd_deploy.errors import DeviceError
from dcd_deploy.runtimes.pictures import read_picture

COMPILER = shutil.which("g++")
HEADERS = Path(os.environ.get("ONNXRUNTIME_HEADERS", ONNXRUNTIME / "headers"))
needs_compiler = needs(COMPILER, "g++")
needs_headers = needs(
    (HEADERS / "onnxruntime_cxx_api.h").is_file() and shutil.which("cmake"),
    "cmake, and onnxruntime's headers: `make test-programs`",
)
PIXELS = """
#include <cstdio>
#include "files.hpp"
int main(int, char** arguments) {
    Preprocessing settings;
    settings.height = std::stoi(arguments[2]);
    settings.width = std::stoi(arguments[3]);
    settings.resize = std::stoi(arguments[4]);
    for (const double value : resized_crop(read_ppm(arguments[1]), settings)) std::printf("%.0f ", value);
    std::printf("\\n%s\\n", sha256(read_file(arguments[1])).c_str());
}
"""


def run(command, **options):
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300, check=False, **options)


@pytest.fixture(scope="module")
def pixels(tmp_path_factory):
    """A program that prints the crop of a picture, and the SHA-256 of its file."""
    folder = tmp_path_factory.mktemp("pixels")
    (folder / "pixels.cpp").write_text(PIXELS)
    warnings = ["-Wall", "-Wextra", "-Werror", "-fsanitize=address,undefined"]
    command = [COMPILER, "-std=c++17", "-O1", *warnings, "-I", TEMPLATES / "cpp", folder / "pixels.cpp"]
    done = run([*command, "-o", folder / "pixels"])
    assert done.returncode == 0, done.stderr
    return folder / "pixels"


@needs_compiler
@pytest.mark.parametrize(
    "sizes", [pytest.param(tuple(LARGE.values()), marks=pytest.mark.exhaustive), (32, 32, 32), (480, 480, 501)]
)
def test_it_resizes_as_pillow(pixels, tmp_path, sizes):
    path = odd_picture(tmp_path / "odd.png")
    (tmp_path / "odd.ppm").write_bytes(ppm(read_picture(path)))
    done = run([pixels, tmp_path / "odd.ppm", *sizes])
    assert (done.returncode, done.stderr) == (0, "")
    values, digest = done.stdout.splitlines()
    wanted = pillow_crop(path, dict(zip(("height", "width", "resize"), sizes, strict=True)))
    assert np.abs(np.reshape(list(map(int, values.split())), wanted.shape) - wanted.astype(int)).max() <= 1
    assert digest == hashlib.sha256((tmp_path / "odd.ppm").read_bytes()).hexdigest()


@needs_compiler
@pytest.mark.parametrize(
    "content", [b"P6\n7 5\n255\nshort", b"P5\n1 1\n255\n0", b"P6 99999999 99999999 255 ", b"", b"P6"]
)
def test_what_is_no_picture(pixels, tmp_path, content):
    (tmp_path / "bad.ppm").write_bytes(content)
    done = run([pixels, tmp_path / "bad.ppm", 32, 32, 32])
    assert done.returncode != 0
    assert re.search("is no PPM picture|is cut short", done.stderr), done.stderr


@pytest.fixture(scope="module")
def built(onnx_file, tmp_path_factory):
    """The bundle, built with the library of the wheel."""
    root = tmp_path_factory.mktemp("cpp")
    folder = made(onnx_file, "cpp", root / "app")
    return build(folder, release(root / "onnxruntime", Path(onnxruntime.__file__).parent))


def release(folder, package):
    """Lay out a wheel's library and the headers as onnxruntime's release archive has them."""
    (library,) = (package / "capi").glob("libonnxruntime.so.*")
    (folder / "lib").mkdir(parents=True)
    for name in ("libonnxruntime.so", "libonnxruntime.so.1"):
        (folder / "lib" / name).symlink_to(library)
    (folder / "include").symlink_to(HEADERS)
    return folder


def build(folder, release, *options):
    options = [f"-DONNXRUNTIME={release}", "-DCMAKE_CXX_FLAGS=-Wall -Wextra", *options]
    for command in (["-B", "build", *options], ["--build", "build"]):
        done = run(["cmake", *command], cwd=folder)
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"{folder}/main.cpp" not in done.stderr, "no warning of ours"
    return folder


@needs_headers
def test_the_sample_says_seven(built, tmp_path):
    (tmp_path / "seven.ppm").write_bytes(ppm(read_picture(DIGITS / "seven.png")))
    done = run([built / "build" / "predict", tmp_path / "seven.ppm"])
    assert (done.returncode, done.stderr) == (0, "")
    checked, answer = done.stdout.splitlines()
    assert float(re.match(r"self-check passed: error (\S+) of", checked)[1]) <= TOLERANCE
    assert re.search(r"seven\.ppm: seven \d\d\.\d%, .*\(preprocessing \d+\.\d ms, model \d+\.\d ms\)$", answer)


@needs_headers
@pytest.mark.parametrize("what", ALTERATIONS)
def test_an_altered_bundle_fails(built, tmp_path, what):
    """The program reads the folder that it was built in: that one is altered, and put back."""
    shutil.copytree(built, tmp_path / "kept")
    try:
        shutil.copytree(altered(tmp_path / "kept", tmp_path / "other", what), built, dirs_exist_ok=True)
        done = run([built / "build" / "predict"])
    finally:
        shutil.copytree(tmp_path / "kept", built, dirs_exist_ok=True)
    assert done.returncode == 1
    assert re.match(told(what), done.stderr), done.stderr
    assert run([built / "build" / "predict"]).returncode == 0


@pytest.mark.exhaustive
@needs_headers
@needs(shutil.which("aarch64-linux-gnu-g++"), "GCC for aarch64")
def test_it_runs_on_an_emulated_arm_core(onnx_file, tmp_path):
    try:
        root = installed_root()
    except DeviceError as error:
        if "CI" in os.environ:
            raise
        pytest.skip(str(error))
    core = core_named("cortex-a72")
    arm = release(tmp_path / "onnxruntime", root.wheels / "onnxruntime")
    target = ["-DCMAKE_SYSTEM_NAME=Linux", "-DCMAKE_SYSTEM_PROCESSOR=aarch64"]
    target += ["-DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++", "-DCMAKE_EXE_LINKER_FLAGS=-Wl,--allow-shlib-undefined"]
    folder = build(made(onnx_file, "cpp", tmp_path / "app"), arm, *target)
    libraries = f"LD_LIBRARY_PATH={arm / 'lib'}"
    emulated = ["qemu-aarch64", "-cpu", core.qemu, "-L", root.for_core(core), "-E", libraries]
    done = run([*emulated, "-E", "ORT_DISABLE_TELEMETRY=1", folder / "build" / "predict"])
    assert done.returncode == 0, done.stderr
    assert float(re.match(r"self-check passed: error (\S+) of", done.stdout)[1]) <= TOLERANCE


@needs(shutil.which("cmake"), "cmake")
def test_without_onnxruntime_cmake_says_what_to_do(onnx_file, tmp_path):
    folder = made(onnx_file, "cpp", tmp_path / "app")
    done = run(
        ["cmake", "-B", "build", "-DCMAKE_FIND_ROOT_PATH=/nowhere", "-DCMAKE_FIND_ROOT_PATH_MODE_INCLUDE=ONLY"],
        cwd=folder,
    )
    assert done.returncode != 0
    assert "onnxruntime was not found: unpack its release archive" in " ".join(done.stderr.split())
