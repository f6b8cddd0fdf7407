"""What a TFLite file says about itself, for ``inspect``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dcd_deploy.artifacts import LITERT_COMPILED, METADATA_KEY, ModelCard, TensorSpec
from dcd_deploy.card_json import read_card
from dcd_deploy.errors import ModelFileError
from dcd_deploy.export.stats import GraphStats
from dcd_deploy.export.tflite.file import tflite_stats
from dcd_deploy.export.tflite.metadata import BUFFER_NAME
from dcd_deploy.runtimes.litert import LiteRtSession
from dcd_deploy.runtimes.litert_compiled import HOW_TO_SET
from dcd_deploy.runtimes.nodes import Delegation, delegation


@dataclass(frozen=True)
class TfliteFileSummary:
    """Inputs, outputs, operators, delegation and metadata of a TFLite file; ``card`` where it is one of ours.

    ``flag`` says how the flag that it was made for is set, by language; it is empty where the file needs none.
    """

    path: Path
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    runtime: str
    graph: GraphStats
    delegation: Delegation
    metadata: dict[str, str]
    card: ModelCard | None
    flag: dict[str, str]


def summarise_tflite(path: Path) -> TfliteFileSummary:
    """Read a TFLite file with the interpreter that is installed.

    Raises:
        InputFileError: there is no such file.
        ModelFileError: it is not a TFLite model, or is damaged.
        MissingDependencyError: no interpreter is installed.
    """
    session = LiteRtSession(path, threads=1)
    try:
        stats = tflite_stats(path.read_bytes())
    except (ValueError, TypeError, IndexError, AttributeError) as error:  # the generated code checks nothing
        raise ModelFileError(
            expected=f"a TFLite model with one graph at '{path}'", found=f"another ({error})"
        ) from error
    text = session.metadata.get(METADATA_KEY)
    card = None if text is None else read_card(text)
    return TfliteFileSummary(
        path=path,
        inputs=session.inputs,
        outputs=session.outputs,
        runtime=session.runtime,
        graph=stats,
        delegation=delegation(session),
        metadata={key: text for key, text in session.metadata.items() if key not in (METADATA_KEY, BUFFER_NAME)},
        card=card,
        flag=HOW_TO_SET if card is not None and card.runtime == LITERT_COMPILED else {},
    )
