"""Reading refused early with a plain reason; writing whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

from dcd_deploy.errors import InputFileError, OptionError, OutputError, UnknownNameError, shown
from dcd_deploy.stages import interruptions_held_back, stage_in

BLOCK_BYTES = 1 << 20
LONGEST_PATH = 300
LONGEST_NAME = 255  # bytes, on every usual file system
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def existing_file(path: str | os.PathLike[str], expected: str) -> Path:
    """Return ``path`` if it is a readable file that is not empty.

    Raises:
        InputFileError: it is not; the message says that ``expected`` (such as "a checkpoint") was wanted there.
    """
    path = Path(path)
    try:
        reason = _unusable(path)
    except (OSError, ValueError) as error:  # too long a name, a folder that may not be entered, a NUL
        reason = getattr(error, "strerror", None) or str(error)
    if reason:
        where = shown(str(path), LONGEST_PATH)
        raise InputFileError(
            expected=f"{expected} at '{where}'", but=reason, advice="check the path or fetch the file again"
        )
    return path


def _unusable(path: Path) -> str | None:
    """Return why a file cannot be read, or None."""
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return "there is no such file"
    if not path.is_file():
        return "this is not a file"
    if not os.access(path, os.R_OK):
        return "no permission to read it"
    return None if size else "the file is empty"


@contextmanager
def system_errors_told() -> Iterator[None]:
    """Tell what the system says of a file that nobody expected trouble with as an error of that file.

    Raises:
        InputFileError: of an OSError. OptionError: of a MemoryError.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        where = f" '{shown(os.fsdecode(error.filename), LONGEST_PATH)}'" if error.filename else ""
        raise InputFileError(
            expected=f"to read or write a file{where}",
            but=error.strerror or error,
            advice="check the path and its permissions",
        ) from error
    except MemoryError as error:
        raise OptionError(
            expected="an input that fits into memory", found="none to spare", advice="give a smaller one"
        ) from error


def suffix_of(path: str | os.PathLike[str]) -> str:
    """Return the suffix of a file's name, ".onnx" also of MODEL.ONNX."""
    return Path(path).suffix.lower()


CHECKPOINT = "this is a checkpoint; run 'dcd-deploy export' on it first"
PICTURE = "this is a picture; the model file comes first"
NO_MODELS = {
    **dict.fromkeys((".pth", ".pt", ".ckpt", ".safetensors", ".pth.tar", ".pt.tar"), CHECKPOINT),
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"), PICTURE),
    ".json": "give the model file, not what lies beside it",
    ".ort": "give the .onnx file of the same network",  # where no .ort will do
}


def unknown_model_file(
    path: str | os.PathLike[str], known: Iterable[str], kind: str = "kind of model file"
) -> UnknownNameError:
    """Return the error of a file that is of none of the ``known`` suffixes, with what to do about its own."""
    path = Path(path)
    suffix = "".join(path.suffixes[-2:]).lower() if suffix_of(path) == ".tar" else suffix_of(path)
    return UnknownNameError(kind, suffix or str(path), known, NO_MODELS.get(suffix, ""))


def read_whole(path: Path, most: int) -> bytes:
    """Return the bytes of a file that is to have at most ``most``.

    Raises:
        ValueError: it has more.
    """
    with path.open("rb") as file:  # its size as the system says it may be that of an endless device
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"expected at most {most} bytes, found more")
    return content


def read_json(path: Path, most: int) -> Any:
    """Return the JSON document in a file of at most ``most`` bytes, which anybody may have written.

    Raises:
        ValueError: it is larger or no JSON, has a key twice, or a number that is none.
    """
    return parse_json(read_whole(path, most).decode("utf-8"))


def parse_json(text: str) -> Any:
    """Return the JSON document in a text, as ``read_json`` does."""
    try:
        return json.loads(text, parse_constant=_no_number, object_pairs_hook=_once)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def utf8(text: str) -> bytes:
    """Return a text's bytes; half of a character, as of a file name in another encoding, is escaped as JSON does it."""
    return text.encode("utf-8", "backslashreplace")


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object whose keys are different."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object has two fields of one name")
    return found


def sha256(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
        return digest.hexdigest()


def check_writable(folder: Path) -> None:
    """Raise OutputError if ``folder``, or the nearest folder above it that exists, cannot be written."""
    with _output_errors(folder):
        nearest = next(place for place in (folder.absolute(), *folder.absolute().parents) if _is_there(place))
        if not nearest.is_dir():
            raise NotADirectoryError(0, f"'{nearest}' is not a folder")
        with stage_in(nearest):  # asking for permission is not enough: try it
            pass


def _is_there(place: Path) -> bool:
    try:
        place.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def check_names(targets: Iterable[Path]) -> None:
    """Raise OptionError where the name of a file that is to be written is longer than file systems take."""
    for target in targets:
        if (length := len(utf8(target.name))) > LONGEST_NAME:
            raise OptionError(
                expected=f"a `name` with which no file's is longer than {LONGEST_NAME} bytes, as file systems take it",
                found=f"{length} of '{shown(target.name)}'",
                advice="choose a shorter one",
            )


def check_no_folder(targets: Iterable[Path]) -> None:
    """Raise OutputError if a folder is where a file is to go."""
    for target in targets:
        if target.is_dir() and not target.is_symlink():
            raise OutputError(
                expected=f"to write the file '{target}'",
                but="there is a folder of that name",
                advice="nothing was changed: choose another `name` or `out`, or move the folder away",
            )


@contextmanager
def staging(folder: Path) -> Iterator[Path]:
    """Yield a hidden folder inside ``folder``; when the block ends well, move what lies in it into ``folder``.

    When the block or a move fails or is interrupted the hidden folder goes, and files already in ``folder`` stay, or
    become again, as they were; so do folders that were made for it. After a kill the next call in this folder sees to
    the files (``stages``).

    Raises:
        OutputError: ``folder`` cannot be made or written, a folder is where a file is to go, or the disk is full.
    """
    with _output_errors(folder), _made_folder(folder), stage_in(folder) as stage:
        yield stage.new
        check_no_folder(folder / path.name for path in sorted(stage.new.iterdir()))
        with interruptions_held_back():
            stage.move()


@contextmanager
def _made_folder(folder: Path) -> Iterator[None]:
    """Make a folder, and those above it that are missing; where the block fails, those that are empty go again."""
    missing = [place for place in (folder, *folder.parents) if not os.path.lexists(place)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for place in missing:
            with suppress(OSError):  # it was not made, or somebody has put something into it
                place.rmdir()
        raise


def write_whole(path: Path, content: bytes) -> None:
    """Write a file whole or not at all; what was at ``path`` before stays if it cannot be written.

    Raises:
        OutputError: as ``staging`` does, or ``path`` is a folder.
    """
    with staging(path.parent) as stage:
        (stage / path.name).write_bytes(content)


@contextmanager
def _output_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        where = shown(str(folder), LONGEST_PATH)
        room = ", or make room" if error.errno in FULL else ""
        raise OutputError(
            f"expected to write into '{where}', but: {reason}; nothing was changed there: choose another `out`{room}"
        ) from error
