"""Check all networks on emulated ARM cores, count them beside their static twins, and write docs/arm-results.md.

    python scripts/arm_results.py --out FOLDER             all (an hour and a half on one core)
    python scripts/arm_results.py --out FOLDER --only mobilenetv2_dcd_x1.0,resnet18_dcd     of these what is missing
    python scripts/arm_results.py --out FOLDER --write     write what FOLDER has already, and make nothing

FOLDER keeps the exported networks, in models/ as ``dcd-deploy sweep`` does, and each result; the work goes on where it
ended. Before: ``dcd-deploy setup-emulated``. Counts do not depend on the weights, so they are random.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pages import ROOT, options_of

from dcd_deploy import commands
from dcd_deploy.artifacts import FLOAT32_TOLERANCE
from dcd_deploy.benchmarks.counts import Counts
from dcd_deploy.benchmarks.sweep import NETWORKS
from dcd_deploy.commands.values import parse_names
from dcd_deploy.emulation.cores import CORES
from dcd_deploy.emulation.counting import assumptions, count_models
from dcd_deploy.emulation.programs import qemu_version
from dcd_deploy.emulation.root import wheel_versions
from dcd_deploy.files import sha256, write_whole
from dcd_deploy.lowering.targets import PORTABLE
from dcd_deploy.models.random_weights import calibrated_network, save_checkpoint
from dcd_deploy.models.registry import ARCHS
from dcd_deploy.models.spec import NetworkSpec
from dcd_deploy.progress import Progress
from dcd_deploy.reports.counts import ratio
from dcd_deploy.reports.terminal import count, error, live_progress, size
from dcd_deploy.runtimes.selfcheck import SelfCheck

DOCUMENT = ROOT / "docs" / "arm-results.md"
FULL, SMALL = 224, 64  # the side of the pictures: of the published networks, and of the others of the registry
CHECKED = ("cortex-a53", "cortex-a76", "i8mm")
COUNTED = ("cortex-a76", "cortex-a53", "i8mm")
SUFFIXES = {".onnx": "onnxruntime", ".tflite": "litert"}
FIRST_COUNTED = ("mobilenetv2_dcd_x1.0", "mobilenetv2_dcd_x0.5", "resnet18_dcd")
Json = dict[str, Any]
Step = tuple[str, Callable[[Progress], None]]

TOP = """# The networks on ARM cores, emulated

Made by `python scripts/arm_results.py --out FOLDER`, with QEMU {qemu} and the aarch64 wheels of {versions}. Files of
`--target {target}`, random weights. What the figures mean, and what they do not, stands in [Devices](devices.md).

## Do the files compute the right thing there?

The largest error over the outputs on the reference pictures that each file carries, against the float64 train form,
relative to the range of its outputs. The limit is {limit:.0e}.
"""
MIDDLE = """
## What do they make a core do, beside the static twin?

Of one run: one thread, batch 1, {side}×{side}. A ratio is DCD over static twin. None of this is a time.
"""
COUNT_COLUMNS = (
    "network",
    "runtime",
    "core",
    "instructions",
    "static twin",
    "ratio",
    "FMLA, ratio",
    "bytes loaded, ratio",
    "L1 misses, ratio",
    "L2 misses, ratio",
    "traffic beyond L2",
    "static twin",
    "ratio",
)


@dataclass(frozen=True)
class Network:
    """One network of the registry at one input size."""

    name: str
    spec: NetworkSpec
    side: int


def networks() -> list[Network]:
    """Return the published networks, then the other architectures of the registry on smaller pictures."""
    found = [Network(name, spec, FULL) for name, spec in NETWORKS.items()]
    known = {network.spec.arch for network in found}
    return found + [Network(arch, NetworkSpec(arch), SMALL) for arch in ARCHS if arch not in known]


class Work:
    """What there is to do, and what is kept of it in ``folder``."""

    def __init__(self, folder: Path, only: tuple[str, ...] = ()) -> None:
        self.folder = folder
        self.networks = networks()
        self.wanted = [network for network in self.networks if not only or network.name in only]

    def steps(self) -> Iterator[Step]:
        """Yield what is not done yet, a title and what does it: the published networks first."""
        published = [network for network in self.wanted if network.side == FULL]
        others = [network for network in self.wanted if network.side != FULL]
        first = [network for network in published if network.name in FIRST_COUNTED]
        yield from self._checks(published)
        yield from self._counts(first, COUNTED[:1])
        yield from self._counts(published, COUNTED[:1])
        yield from self._checks(others)
        yield from self._counts(published, COUNTED[1:])

    def _checks(self, networks: Iterable[Network]) -> Iterator[Step]:
        for network in networks:
            for suffix in SUFFIXES:
                if not self.model(network, suffix).exists():
                    yield f"export {network.name}{suffix}", self._exporter(network, suffix)
                for core in CHECKED:
                    if self.kept("error", network, suffix, core) is None:
                        yield f"verify {network.name}{suffix} on {core}", self._verifier(network, suffix, core)

    def _counts(self, networks: Iterable[Network], cores: Iterable[str]) -> Iterator[Step]:
        for core in cores:
            for network in networks:
                for suffix in SUFFIXES:
                    if self.kept("counts", network, suffix, core) is None:
                        yield f"count {network.name}{suffix} on {core}", self._counter(network, suffix, core)

    def model(self, network: Network, suffix: str) -> Path:
        """Return where the exported file lies."""
        return self.folder / "models" / f"{network.name}{suffix}"

    def kept(self, what: str, network: Network, suffix: str, core: str) -> Json | None:
        """Return a result that was found before, unless the file or a version is another now."""
        path, model = self._path(what, network, suffix, core), self.model(network, suffix)
        if not path.exists() or not model.exists():
            return None
        content: Json = json.loads(path.read_text(encoding="utf-8"))
        return content if content["of"] == self._of(model, core) else None

    def _exporter(self, network: Network, suffix: str) -> Callable[[Progress], None]:
        def run(progress: Progress) -> None:
            models = self.folder / "models"
            models.mkdir(parents=True, exist_ok=True)
            path = models / f"{network.name}.pth.tar"
            if not path.exists():
                with progress("random weights"):
                    save_checkpoint(path, calibrated_network(network.spec, network.side), network.spec.arch)
            commands.export(
                path,
                to=suffix.removeprefix("."),
                out=models,
                name=network.name,
                input_size=network.side,
                target=PORTABLE,
                with_baseline=network.spec.dynamic,
                progress=progress,
            )

        return run

    def _verifier(self, network: Network, suffix: str, core: str) -> Callable[[Progress], None]:
        def run(progress: Progress) -> None:
            model = self.model(network, suffix)
            check = commands.verify(
                model, tolerance=FLOAT32_TOLERANCE, device=f"arm64-emulated:{core}", progress=progress
            )
            assert isinstance(check, SelfCheck)
            self._keep("error", network, suffix, core, {"relative": check.relative, "samples": check.samples})

        return run

    def _counter(self, network: Network, suffix: str, core: str) -> Callable[[Progress], None]:
        def run(progress: Progress) -> None:
            model = self.model(network, suffix)
            static = model.with_name(f"{model.stem}-static{suffix}")
            trial = count_models(model, [("static twin", static)], core, runs=1, progress=progress)
            found = [asdict(counted.counts) for counted in trial.models]
            self._keep("counts", network, suffix, core, {"model": found[0], "static": found[1]})

        return run

    def _keep(self, what: str, network: Network, suffix: str, core: str, found: Json) -> None:
        content = {"of": self._of(self.model(network, suffix), core), **found}
        write_whole(self._path(what, network, suffix, core), json.dumps(content).encode())

    def _path(self, what: str, network: Network, suffix: str, core: str) -> Path:
        return self.folder / "arm" / f"{network.name}{suffix}-{core}-{what}.json"

    def _of(self, model: Path, core: str) -> Json:
        return {"sha256": sha256(model), "qemu": qemu_version(), "core": repr(CORES[core]), **wheel_versions()}


def document(work: Work) -> str:
    """Return the page, with a dash for what was not done."""
    versions = ", ".join(f"{name} {version}" for name, version in wheel_versions().items())
    lines = [
        TOP.format(qemu=qemu_version(), versions=versions, target=PORTABLE, limit=FLOAT32_TOLERANCE),
        f"| network | input | runtime | {' | '.join(CHECKED)} |",
        f"|---|--:|---|{'--:|' * len(CHECKED)}",
        *(_errors(work, network, suffix) for network in work.networks for suffix in SUFFIXES),
        MIDDLE.format(side=FULL),
        f"| {' | '.join(COUNT_COLUMNS)} |",
        f"|---|---|---|{'--:|' * (len(COUNT_COLUMNS) - 3)}",
        *_counts(work),
        "",
        *(f"* {note}" for note in assumptions(CORES[name] for name in COUNTED)),
    ]
    return "\n".join(lines) + "\n"


def _errors(work: Work, network: Network, suffix: str) -> str:
    found = [work.kept("error", network, suffix, core) for core in CHECKED]
    cells = [network.name, f"{network.side}×{network.side}", SUFFIXES[suffix]]
    return f"| {' | '.join([*cells, *(error(each['relative']) if each else '–' for each in found)])} |"


def _counts(work: Work) -> Iterator[str]:
    for network in work.networks:
        for suffix, runtime in SUFFIXES.items():
            for core in COUNTED:
                if (kept := work.kept("counts", network, suffix, core)) is not None:
                    cells = _count_cells(Counts(**kept["model"]), Counts(**kept["static"]))
                    yield f"| {' | '.join([network.name, runtime, core, *cells])} |"


def _count_cells(model: Counts, static: Counts) -> list[str]:
    def over(name: str) -> str:
        return ratio(getattr(model, name) / getattr(static, name))

    instructions = [count(model.instructions), count(static.instructions), over("instructions")]
    between = [over(name) for name in ("fmla", "bytes_loaded", "l1_misses", "l2_misses")]
    return [*instructions, *between, size(model.traffic_bytes), size(static.traffic_bytes), over("traffic_bytes")]


def _named(title: str) -> Progress:
    return lambda stage: live_progress(f"{title}: {stage}")


def main() -> None:
    """Do what is not done, and write the document."""
    parser = options_of(__doc__)
    parser.add_argument("--only", default="", help="names of networks, separated by commas")
    options = parser.parse_args()
    only = parse_names(options.only)
    for name in only:
        if name not in (known := [network.name for network in networks()]):
            parser.error(f"unknown network '{name}'; known: {', '.join(known)}")
    work = Work(options.out, only)
    steps = [] if options.write else list(work.steps())
    for number, (title, run) in enumerate(steps, 1):
        run(_named(f"[{number}/{len(steps)}] {title}"))
    write_whole(DOCUMENT, document(work).encode())


if __name__ == "__main__":
    main()
