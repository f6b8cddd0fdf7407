"""A model as a folder that a developer drops into an app."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from dcd_deploy.commands.arguments import parse_labels
from dcd_deploy.commands.options import Argument, Option, StrPath
from dcd_deploy.progress import Progress, silent

if TYPE_CHECKING:
    from dcd_deploy.bundle.folder import Bundle


def bundle(
    model: Annotated[StrPath, Argument("Model file that dcd-deploy exported.")],
    *,
    for_: Annotated[str, Option("Platform: python, web, cpp, android or ios.")],
    out: Annotated[StrPath, Option("Folder to write, new or empty.")],
    labels: Annotated[
        StrPath | Sequence[str] | None, Option("File with one label per line, instead of the model's own.")
    ] = None,
    image: Annotated[StrPath | None, Option("Picture for the self-check.", default="a drawn one")] = None,
    web_runtime: Annotated[
        StrPath | None, Option("Folder with the files of onnxruntime-web.", default="npm fetches them once")
    ] = None,
    progress: Progress = silent,
) -> Bundle:
    """Write a folder for an app: the model, what it needs, and a sample that checks itself.

    The model has to be a classifier of pictures that describes itself, and to pass its own check here.

    Raises:
        UnknownNameError: no such platform. OutputError: the folder is not empty.
        ModelFileError: the model has no description. VerificationError: it does not compute what was trained.
    """
    from dcd_deploy.bundle.folder import write_bundle
    from dcd_deploy.runtimes.pictures import read_picture

    names = parse_labels(labels)
    picture = None if image is None else read_picture(image)
    with progress(f"bundle for {for_}"):
        return write_bundle(
            Path(model),
            for_,
            Path(out),
            labels=names,
            picture=picture,
            web_runtime=None if web_runtime is None else Path(web_runtime),
        )
