"""What a file that is no checkpoint probably is, told by its first bytes."""

from __future__ import annotations

FIRST_BYTES = 64
STARTS = {
    b"version https://git-lfs": "a Git LFS pointer; fetch the real file with 'git lfs pull'",
    b"<!DOCTYPE html": "an HTML page; download the file itself",
    b"<html": "an HTML page; download the file itself",
    b"{": "JSON, such as a model's sidecar; give the PyTorch checkpoint that it names",
    b"\x89PNG": "a picture; give the PyTorch checkpoint",
    b"\xff\xd8\xff": "a picture; give the PyTorch checkpoint",
    b"\x93NUMPY": "an array of numpy; give the PyTorch checkpoint",
    b"\x08": "probably an ONNX model; give the PyTorch checkpoint that it came from",
}
FLATBUFFERS = {b"TFL3": "a TFLite model", b"ORTM": "an ONNX model saved as .ort", b"ET": "an ExecuTorch program"}
ZIP, NAME_LENGTH, NAME = b"PK\x03\x04", slice(26, 28), 30  # the name of a zip's first file, and of its length


def meaning_of(start: bytes) -> str | None:
    """Return what a file with these first bytes probably is, and what to do; None where they do not tell."""
    for mark, kind in FLATBUFFERS.items():
        if start[4:].startswith(mark):
            return f"probably {kind}; give the PyTorch checkpoint that it came from"
    for mark, meaning in STARTS.items():
        if start.startswith(mark):
            return meaning
    if start.startswith(ZIP) and _first_name(start).endswith(b".npy"):
        return "arrays of numpy; give the PyTorch checkpoint"
    return "a text; give the PyTorch checkpoint" if _is_text(start) else None


def _first_name(start: bytes) -> bytes:
    return start[NAME : NAME + int.from_bytes(start[NAME_LENGTH], "little")]


def _is_text(start: bytes) -> bool:
    try:
        text = start.decode("ascii")
    except UnicodeDecodeError:
        return False
    return all(each.isprintable() or each.isspace() for each in text)
