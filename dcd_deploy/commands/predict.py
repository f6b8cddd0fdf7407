"""What a model file says of a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from dcd_deploy.artifacts import LARGEST_SIZE
from dcd_deploy.commands.options import Argument, Option, StrPath
from dcd_deploy.commands.values import parse_count

if TYPE_CHECKING:
    from dcd_deploy.runtimes import Prediction


def predict(
    model: Annotated[StrPath, Argument("Model file.")],
    image: Annotated[StrPath, Argument("Picture file.")],
    *,
    top: Annotated[int, Option("How many classes to print.")] = 5,
) -> list[Prediction]:
    """Print the likeliest classes of a picture.

    They are returned, the likeliest first.
    """
    from dcd_deploy.runtimes.isolated import isolated_model
    from dcd_deploy.runtimes.pictures import read_picture

    top = parse_count("top", top, LARGEST_SIZE)
    with isolated_model(model) as opened:
        return opened.predict(read_picture(image), top)
