"""The network of a checkpoint, in float64, as one of the models that are evaluated."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dcd_deploy.artifacts import UINT8
from dcd_deploy.card_json import read_card
from dcd_deploy.commands.network import as_in_file, made_as, trained_network
from dcd_deploy.commands.network_options import WeightOptions
from dcd_deploy.errors import OptionError
from dcd_deploy.files import existing_file, sha256
from dcd_deploy.optional import require

if TYPE_CHECKING:
    from dcd_deploy.evaluation.subjects import Described, Run, Subject


def network_subject(checkpoint: Path, files: Sequence[Described], network: WeightOptions) -> Subject:
    """Return the network of a checkpoint as a subject, on the same inputs as the files.

    Raises:
        OptionError: the files do not say what network, or take different inputs.
        MissingDependencyError: torch is not installed.
    """
    from dcd_deploy.evaluation.subjects import Subject

    require("torch")
    path = existing_file(checkpoint, "a checkpoint")
    first = files[0]
    if first.card is None:
        raise OptionError(
            expected="a model that dcd-deploy exported first, with `checkpoint`",
            found=f"'{first.subject.name}', which says nothing of its network",
        )
    for each in files:
        form = each.subject.form
        if (form.shape, form.preprocessing) != (first.subject.form.shape, first.subject.form.preprocessing):
            raise OptionError(
                expected="models of one input size and preprocessing with `checkpoint`",
                found=f"'{first.subject.name}' and '{each.subject.name}', which differ",
                advice="evaluate them one by one",
            )
    options = as_in_file(first.card, network)
    told = hashlib.sha256(repr(sorted(options.items())).encode()).hexdigest()
    facts: dict[str, str | int] = {"name": path.name, "sha256": sha256(path), "bytes": path.stat().st_size, "batch": 1}
    facts |= {"runtime": "PyTorch float64", "version": version("torch"), "options": told}
    return Subject(path.name, open_network, (path, first.card.to_json(), options), first.subject.form, facts)


def open_network(checkpoint: Path, card: str, options: dict[str, Any]) -> Run:
    """Return what runs the network of a checkpoint on inputs as a file with that description takes them."""
    torch = require("torch")
    torch.set_num_threads(1)
    said = read_card(card)
    network = trained_network(checkpoint, made_as=made_as(said), **options).network

    def run(images: Any) -> Any:
        values = torch.from_numpy(images).double()
        if said.input_type == UINT8 and said.preprocessing is not None:
            mean, std = (
                torch.tensor(v).double()[:, None, None] for v in (said.preprocessing.mean, said.preprocessing.std)
            )
            values = (values / 255 - mean) / std
        with torch.inference_mode():
            return network.run(values)[0].numpy()

    return run
