"""What a model makes an emulated core do in one run: the part of a result in which there are counts, and no times."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields

LINE_BYTES = 64  # of the modelled cache


@dataclass(frozen=True)
class Counts:
    """What a core does in one run.

    Misses of L1 are lines that came from L2 or beyond, misses of L2 lines that came from beyond; ``lines_written_back``
    left L2. All three are of the modelled cache.
    """

    instructions: int
    fmla: int
    dot: int
    mmla: int
    bytes_loaded: int
    bytes_stored: int
    l1_misses: int
    l2_misses: int
    lines_written_back: int

    @property
    def traffic_bytes(self) -> int:
        """What crosses the border of L2 outwards: lines that come in and lines that are written back."""
        return LINE_BYTES * (self.l2_misses + self.lines_written_back)


@dataclass(frozen=True)
class CountRatios:
    """The model's counts over another's, each None where the other's is 0."""

    instructions: float | None
    fmla: float | None
    dot: float | None
    mmla: float | None
    bytes_loaded: float | None
    bytes_stored: float | None
    l1_misses: float | None
    l2_misses: float | None
    traffic_bytes: float | None


COMPARED = tuple(field.name for field in fields(CountRatios))  # the counts that reports show


@dataclass(frozen=True)
class CountedModel:
    """One model of a trial; ``spread`` is how far the instructions of its runs differ, relative to the median."""

    role: str
    name: str
    path: str
    sha256: str
    network: str | None
    counts: Counts
    traffic_bytes: int  # that of the counts, for who reads the file
    spread: float


@dataclass(frozen=True)
class CountTrial:
    """One model, ``models[0]``, and what it is compared with; ``ratios`` goes by the names of the other models.

    ``device`` is a key of the section's ``cores``.
    """

    device: str
    core: str
    runtime: str
    runtime_version: str
    batch: int
    models: tuple[CountedModel, ...]
    ratios: dict[str, CountRatios]

    def ratio(self, other: CountedModel, name: str) -> float | None:
        """Return the model's count ``name`` (one of COMPARED) over another's; None where that is 0."""
        found: float | None = getattr(self.ratios[other.name], name)
        return found


@dataclass(frozen=True)
class CountSection:
    """All that was counted, and what it rests on.

    ``cores`` has the core of each emulated device, also of those on which nothing could be counted. ``qemu`` is its
    version, None where there is none.
    """

    qemu: str | None
    runs: int
    assumptions: tuple[str, ...]
    cores: dict[str, str]
    trials: tuple[CountTrial, ...]


def count_ratios(model: Counts, other: Counts) -> CountRatios:
    """Return the counts of ``model`` over those of ``other``."""
    pairs = [(getattr(model, name), getattr(other, name)) for name in COMPARED]
    return CountRatios(*(above / below if below else None for above, below in pairs))


def same_ratios(found: CountRatios, wanted: CountRatios) -> bool:
    """Whether two agree, but for the last digits, which another program may have written otherwise."""
    pairs = zip(asdict(found).values(), asdict(wanted).values(), strict=True)
    return all(a == b if a is None or b is None else abs(a - b) <= 1e-9 * abs(b) for a, b in pairs)
