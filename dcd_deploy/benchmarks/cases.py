"""From what a user names to what is measured: files, runtimes, static twins, and others to compare with.

    checkpoint → exported for each runtime and batch ┐
    model file ──────────────────────────────────────┴→ its static twin, others → a case for each thread count

All that has to be made for it goes into one folder.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from dcd_deploy.artifacts import ModelCard
from dcd_deploy.benchmarks.bench import Case, case
from dcd_deploy.benchmarks.other_runtimes import other_runtimes, python_with
from dcd_deploy.benchmarks.process import LOCAL
from dcd_deploy.benchmarks.results import Failure, Verdict
from dcd_deploy.benchmarks.right_here import wrong_here
from dcd_deploy.benchmarks.verdicts import WRONG
from dcd_deploy.errors import ExportError, OptionError, UnknownNameError
from dcd_deploy.files import existing_file, suffix_of
from dcd_deploy.models.spec import LARGEST
from dcd_deploy.network_names import FAMILIES, names_of
from dcd_deploy.optional import require_packages
from dcd_deploy.progress import Progress, silent
from dcd_deploy.runtimes.choice import RUNTIMES, SUFFIXES, runtimes_for, usual_runtime
from dcd_deploy.runtimes.environments import KNOWN
from dcd_deploy.runtimes.isolated import isolated_card, isolated_model
from dcd_deploy.runtimes.selfcheck import SelfCheck
from dcd_deploy.runtimes.sidecar import warn_of_sidecar

STATIC, NONE, RELEASED = "static", "none", "released"
ExportModel = Callable[[Path, str, int | None, Path], Path]  # checkpoint, suffix, batch, folder → model file


@dataclass(frozen=True)
class BenchRequest:
    """What to measure, as the user says it; without ``runtimes`` the usual one of each file."""

    models: tuple[Path, ...]
    baseline: str = STATIC
    against: tuple[str, ...] = ()
    runtimes: tuple[str, ...] = ()
    threads: tuple[int, ...] = (1,)
    batches: tuple[int | None, ...] = (None,)


def cases_for(
    request: BenchRequest, folder: Path, export: ExportModel, progress: Progress = silent
) -> tuple[list[Case], list[Failure]]:
    """Return the trials, and what could not be made to compare with.

    Raises:
        UnknownNameError: no such runtime, or none for a file of that kind.
        OptionError: none of the runtimes asked for opens a file.
        MissingDependencyError: a runtime is not installed.
        DcdDeployError: a checkpoint cannot be exported, or the static twin not be made.
    """
    for name in request.runtimes:
        if name not in RUNTIMES:
            _check_other(name)
    maker = _Maker(request, folder, export, progress)
    cases = [each for model in request.models for each in maker.cases(model)]
    return cases, maker.failures


def _check_other(name: str) -> None:
    """Raise UnknownNameError or MissingDependencyError unless a runtime that is not ours can be timed here."""
    others = tuple(other for other, known in KNOWN.items() if known.timed and other not in RUNTIMES)
    if name not in others:
        raise UnknownNameError("runtime", name, (*RUNTIMES, *others))
    python_with(name)


def twin_of(model: Path, request: BenchRequest, folder: Path, progress: Progress = silent) -> Path | None:
    """Return what ``request.baseline`` says for a model file: the twin beside it, one made in ``folder``, or a file.

    Raises:
        InputFileError: there is no such file.
        DcdDeployError: the static twin cannot be made.
    """
    twin = _Maker(request, folder, _exports_nothing, progress).static(model)
    return None if twin is None else existing_file(twin, "a model file")


def _exports_nothing(*_: object) -> Path:
    raise AssertionError("a model file needs no export")


class _Maker:
    """Makes each file once, however many trials it takes part in."""

    def __init__(self, request: BenchRequest, folder: Path, export: ExportModel, progress: Progress) -> None:
        self.request = request
        self.folder = folder
        self.export = export
        self.progress = progress
        self.failures: list[Failure] = []
        self._others: dict[Path, list[tuple[str, Path]]] = {}
        self._wrong: dict[Path, tuple[str, SelfCheck] | None] = {}
        self._statics: dict[Path, Path | None] = {}

    def cases(self, model: Path) -> Iterator[Case]:
        """Yield the trials of one model file or checkpoint."""
        for runtime, path, batch in self._files(model):
            static, others = self.static(path), self._against(path)
            for threads in self.request.threads:
                each = case(path, runtime, static, others, threads=threads, batch=batch)
                yield replace(each, remarks=tuple(self._remarks(each)))

    def _remarks(self, each: Case) -> Iterator[Verdict]:
        """Yield what is known against the files that a user named; those made for this run were checked."""
        for entry in each.entries:
            path = entry.path
            if path not in self._wrong:
                self._wrong[path] = None if self.folder in path.parents else wrong_here(path)
            if (found := self._wrong[path]) is not None:
                yield Verdict(
                    WRONG,
                    f"{entry.name} does not compute what was trained: its error in {found[0]} is "
                    f"{found[1].relative:.1e} of the outputs' range, above {found[1].tolerance:.1e}",
                )

    def _files(self, model: Path) -> Iterator[tuple[str, Path, int | None]]:
        """Yield runtime, model file and batch."""
        if suffix_of(model) in SUFFIXES:
            warn_of_sidecar(existing_file(model, "a model file"))
            known = list(dict.fromkeys((*runtimes_for(model), *other_runtimes(suffix_of(model)))))
            chosen = (
                [name for name in self.request.runtimes if name in known]
                if self.request.runtimes
                else [usual_runtime(model)]
            )
            if not chosen:
                raise OptionError(
                    expected=f"`runtime` {' or '.join(known)} for '{model.name}'",
                    found=", ".join(self.request.runtimes),
                )
            yield from ((runtime, model, batch) for runtime in chosen for batch in self.request.batches)
            return
        existing_file(model, "a checkpoint or a model file")
        made: dict[tuple[str, int | None], Path] = {}
        for runtime in self.request.runtimes or ("onnxruntime",):
            for batch in self.request.batches:
                key = (RUNTIMES[runtime].suffix if runtime in RUNTIMES else KNOWN[runtime].suffixes[0], batch)
                if key not in made:
                    made[key] = self.export(model, *key, self._new_folder())
                yield runtime, made[key], None

    def static(self, model: Path) -> Path | None:
        """Return what ``--baseline`` says: the twin beside the model, one made for this run, a file, or none."""
        if self.request.baseline not in (STATIC, NONE):
            return Path(self.request.baseline)
        if self.request.baseline == NONE:
            return None
        if model not in self._statics:
            beside = model.with_name(f"{model.stem}-static{model.suffix}")
            self._statics[model] = beside if beside.exists() else self._described_static(model)
        return self._statics[model]

    def _described_static(self, model: Path) -> Path | None:
        """Return a twin made from what a file says of itself; None of a foreign file, which is timed alone."""
        with isolated_model(model, threads=1) as opened:
            foreign = opened.card is None
        return None if foreign else self._made_static(model, None)

    def _against(self, model: Path) -> list[tuple[str, Path]]:
        """Return the others to compare with; what a converter refuses is a failure, not the end."""
        if model not in self._others:
            found = []
            for name in self.request.against:
                try:
                    found.append(self._other(model, name))
                except ExportError as error:
                    runtime = usual_runtime(model)
                    self.failures.append(Failure(LOCAL, f"{model.name} against {name}", runtime, 1, None, str(error)))
            self._others[model] = found
        return self._others[model]

    def _other(self, model: Path, name: str) -> tuple[str, Path]:
        if name == RELEASED:
            require_packages(suffix_of(model).removeprefix("."))
            from dcd_deploy.export.released import export_released

            card = _known_card(model, "name a model file in place of `against` released")
            return "released form", export_released(card, self._new_file(model), self.progress)
        if match := re.fullmatch(r"static:(\d+(?:\.\d+)?)", name):
            width = _checked_width(model, float(match[1]))
            return f"static ×{width:g}", self._made_static(model, width)
        path = Path(name)
        if suffix_of(path) != suffix_of(model):
            raise OptionError(
                expected=f"`against` 'released', 'static:WIDTH' or a '{suffix_of(model)}' file", found=f"'{name}'"
            )
        return path.name, existing_file(path, "a model file")

    def _made_static(self, model: Path, width: float | None) -> Path:
        require_packages(suffix_of(model).removeprefix("."))
        from dcd_deploy.export.twin import export_twin

        card = _known_card(model, "export it again with `with_baseline`, or give `baseline` FILE or none")
        return export_twin(card, self._new_file(model), width, self.progress)

    def _new_folder(self) -> Path:
        folder = self.folder / str(sum(1 for _ in self.folder.iterdir()))
        folder.mkdir()
        return folder

    def _new_file(self, model: Path) -> Path:
        return self._new_folder() / f"made{suffix_of(model)}"


def _checked_width(model: Path, width: float) -> float:
    """Return ``width`` if a network of the model's kind has such a thing; another kind's twin would pass for it."""
    arch, most = isolated_card(model).arch, LARGEST["width_mult"]
    if not names_of(arch).has_width:
        families = " or ".join(family.printed for family in FAMILIES if family.has_width)
        raise OptionError(
            expected=f"`against` 'static:WIDTH' with a {families}, which comes in widths",
            found=f"'{model.name}' of {arch}",
            advice="name a model file instead",
        )
    if not 0 < width <= most:
        raise OptionError(
            expected=f"`against` 'static:WIDTH' with a width above 0 and at most {most:g}", found=f"{width:g}"
        )
    return width


def _known_card(model: Path, advice: str) -> ModelCard:
    """Return the description of a file whose network can be made anew from it; a user's own module cannot."""
    card = isolated_card(model)
    if card.spec is None:
        raise OptionError(
            expected="a network that is known by its settings",
            found=f"'{model.name}' of the module {card.arch}, from which no other file can be made",
            advice=advice,
        )
    return card
