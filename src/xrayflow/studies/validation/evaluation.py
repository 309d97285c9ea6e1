"""The paper's table and figures: draws of networks against the best fits of spectra that none of them has seen.

A library of targets says which spectra, and what their best fits are; the spectra themselves are read again, so that
every draw is folded through the response of its own observation. Of a library that networks learn from, only what all
of them hold apart is used.

A draw of the exact posterior lies above the best fit too, by one per free parameter in the statistic, and its
correlation with the targets is below one. So draws of a network are compared with draws of the exact posterior of the
same spectra, and with the targets only as the paper does it.

Source: Redmen et al. 2025, table 1, figures 2 and 3.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xrayflow.errors import DataError, MismatchError
from xrayflow.files import SCHEMA_VERSION, make_folder, package_versions
from xrayflow.inference import SamplingBudget
from xrayflow.networks import Network
from xrayflow.prior import Prior
from xrayflow.setup import FitSetup
from xrayflow.simulate import MAKERS
from xrayflow.studies.catalogue import Question
from xrayflow.studies.running import Ledger, Listing, Source, Standing, Told, Workers, finished, matched
from xrayflow.studies.validation.calibration import Calibration, calibrate
from xrayflow.studies.validation.drawing import Chosen, Drawing
from xrayflow.studies.validation.exact import Answering, draws_of
from xrayflow.studies.validation.network_draws import Row, answers_of, held_in, inside_box, on_axes, seconds_of
from xrayflow.studies.validation.recovery import draw_sets, linear_fits, pearson
from xrayflow.studies.validation.refold import NAME, REDUCED
from xrayflow.studies.validation.truths import Numbers, TruthAndDraws

TARGETS, EXACT = "targets", "exact"
DRAWN = "drawn"
"""Name of the ledger of what networks drew."""


@dataclass(frozen=True)
class EvaluationConfig:
    """What is asked of an evaluation.

    Attributes:
        draws: Of each spectrum, for correlation and coverage.
        spectra: How many at most, chosen by the seed.
        every: Take spectra too that networks have learned from.
        exact: So many spectra get exact posteriors.
        repeats: Of each measurement of time; 0 measures none.
        timed: Spectra whose thousand draws are timed; the time of all is extrapolated from theirs.
        energies: [(lo, hi)] keV; None: the networks' band.
        grouping: What `infer` takes.
        seed: Decides everything that is random.
    """

    draws: int = 50
    spectra: int | None = None
    every: bool = False
    exact: int = 0
    repeats: int = 5
    timed: int = 8
    energies: Sequence[tuple[float, float]] | None = None
    grouping: str = "file"
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The table.

    Attributes:
        prior: Box and names of the parameters.
        asked: What was asked.
        library: File name of the targets.
        groups: (source,) what each spectrum belongs to.
        counts: (source,) in the network's bins.
        rate: (source,) counts/s above the background, with the reference response.
        statistics: Spectra by the name of their statistic.
        files: (source,) the spectrum, and the hash of its file.
        rows: Targets, networks, and exact posteriors of the first spectra.
        exact: What the verdicts of the exact posteriors are, and how many.
    """

    prior: Prior
    asked: EvaluationConfig
    library: str
    groups: NDArray[np.int64] = field(repr=False)
    counts: Numbers = field(repr=False)
    rate: Numbers = field(repr=False)
    files: list[tuple[Source, str]] = field(repr=False)
    statistics: dict[str, int]
    rows: tuple[Row, ...]
    exact: dict[str, int]

    def row(self, name: str) -> Row:
        """The row of a name."""
        return next(row for row in self.rows if row.name == name)

    def summary(self) -> dict[str, Any]:
        """The table, for machines; medians and correlations of the spectra with exact posteriors stand beside."""
        few = self.row(EXACT).reduced.size if self.asked.exact else 0
        return {
            "schema_version": SCHEMA_VERSION,
            "library": self.library,
            "spectra": int(self.counts.size),
            "groups": len(set(self.groups.tolist())),
            "statistics": self.statistics,
            "draws": self.asked.draws,
            "seed": self.asked.seed,
            "exact": {"spectra": few, "computation": self.exact},
            "rows": [self._row(row, few) for row in self.rows],
            "versions": package_versions(*MAKERS),
        }

    def _row(self, row: Row, few: int) -> dict[str, Any]:
        found: dict[str, Any] = {"name": row.name, "reduced_pgstat_median": float(np.median(row.reduced))}
        for key, times in (("seconds_1", row.seconds_1), ("seconds_1000", row.seconds_1000)):
            some = len(times) > 0
            found[key] = float(np.mean(times)) if some else None
            found[f"{key}_sd"] = float(np.std(times, ddof=1)) if len(times) > 1 else None
        found["outside_box"] = row.outside
        if row.answers is not None:
            found["parameters"] = parameter_rows(row.answers, self.asked.seed)
        found["by_counts"] = {
            decade: {"spectra": int(chosen.sum()), "reduced_pgstat_median": float(np.median(row.reduced[chosen]))}
            for decade, chosen in decades_of(self.counts[: row.reduced.size]).items()
        }
        if few and row.name != EXACT:
            found["of_exact_spectra"] = {"reduced_pgstat_median": float(np.median(row.reduced[:few]))}
            if row.answers is not None:
                same = parameter_rows(row.answers.select(np.arange(few)), self.asked.seed)
                found["of_exact_spectra"]["parameters"] = same
        return found


def parameter_rows(
    answers: TruthAndDraws, seed: int, calibration: Calibration | None = None
) -> dict[str, dict[str, float]]:
    """Correlation, lines and coverage of each parameter.

    Args:
        answers: Truths and draws.
        seed: Decides which draws are taken.
        calibration: Of these answers, where it is known already.
    """
    found = calibration or calibrate(answers, seed)
    fits = linear_fits(answers.truth, draw_sets(answers, seed))
    columns = {
        "pearson_r": pearson(answers),
        "slope": fits.slope,
        "slope_sd": fits.slope_sd,
        "coverage_deviation": found.deviation,
        "rank_p": found.rank_p,
    }
    return {name: {key: float(value[i]) for key, value in columns.items()} for i, name in enumerate(answers.names)}


def decades_of(counts: Numbers) -> dict[str, NDArray[np.bool_]]:
    """The spectra of each decade of counts.

    Args:
        counts: (source,).
    """
    decade = np.floor(np.log10(np.maximum(counts, 1.0))).astype(int)
    return {f"1e{d}": decade == d for d in sorted(set(decade.tolist()))}


def evaluate(
    library: Path,
    sources: Sequence[Source],
    rmf: str | None,
    networks: Sequence[Network],
    asked: EvaluationConfig,
    progress: Told | None = None,
    out: Path | None = None,
    workers: Workers | None = None,
    restart: bool = False,
) -> Evaluation:
    """Draws of networks against the targets of a library.

    Args:
        library: What `xrayflow targets` wrote.
        sources: The spectra that it was made of, among others perhaps.
        rmf: Of all of them, instead of what their headers name.
        networks: For the library's model and bins, at least one, loaded from files.
        asked: What is wanted.
        progress: Called with how far it is.
        out: Folder of the table: ledgers stand in it, from which the same call goes on; None: they are lost.
        workers: Who works on batches; None: this process.
        restart: Begin the ledgers anew.

    Raises:
        XrayflowError: Files that cannot be read or do not belong together, or settings that changed.
        KeyboardInterrupt: It was stopped; what is done is in the ledgers.
    """
    _refuse(networks)
    first, told = networks[0], progress or _silent
    energies = tuple((float(lo), float(hi)) for lo, hi in asked.energies or [first.recipe.layout.energies])
    loaded = tuple(network.source for network in networks)
    chosen = Chosen(library, loaded, asked.spectra, asked.every, asked.draws, energies, asked.grouping, asked.seed)
    task = Drawing(chosen, rmf)
    room = task.room
    files = matched(library, room.files, sources)
    folder = None if out is None else make_folder(out)
    rows, statistics = _drawn_rows(task, networks, files, asked, told, folder, workers, restart)
    computation: dict[str, int] = {}
    if asked.exact > 0:
        run = (told, folder, workers, restart)
        row, computation = exact_row(files, rmf, room.setup, room.targets, asked, None, *run)
        rows.append(row)
    inputs = room.inputs
    rate = (inputs.counts - inputs.background).sum(-1) / (inputs.exposure * inputs.area)
    return Evaluation(
        first.training_prior.prior,
        asked,
        library.name,
        room.group.numpy(),
        inputs.counts.sum(-1).numpy(),
        rate.clamp(min=1e-3).numpy(),
        files,
        statistics,
        tuple(rows),
        computation,
    )


def _refuse(networks: Sequence[Network]) -> None:
    """What cannot stand in one table."""
    if not networks:
        raise DataError("no network; give one with --network")
    names = [TARGETS, EXACT, *(network.name for network in networks)]
    for name in names:
        if names.count(name) > 1:
            raise DataError(f"two rows of the table would be called {name}; give one of the networks another name")
    first = networks[0]
    for network in networks:
        network.refuse_model(first.model)
        if network.layout != first.layout:
            raise MismatchError(f"network {network.name}: its bins are not those of {first.name}")
        if not network.source:
            raise DataError(f"network {network.name}: is in no file; save it, and load it from there")


def _drawn_rows(
    task: Drawing,
    networks: Sequence[Network],
    files: Sequence[tuple[Source, str]],
    asked: EvaluationConfig,
    told: Told,
    out: Path | None,
    workers: Workers | None,
    restart: bool,
) -> tuple[list[Row], dict[str, int]]:
    """The rows of the targets and of the networks, and how many spectra have which statistic."""
    room, prior = task.room, networks[0].training_prior.prior
    listing = Listing([source for source, _ in files])
    ledger_of = None if out is None else out / DRAWN
    with finished(task, task.words(), listing, task.rmf, ledger_of, workers, restart, True, told, "drawing") as ledger:
        records, extras = _kept(ledger, listing)
    shape = (len(files), len(networks), asked.draws, -1)
    drawn = torch.from_numpy(np.frombuffer(b"".join(extras)).reshape(shape).copy())
    reduced = np.array([record[REDUCED] for record in records])
    rows = [Row(TARGETS, room.targets, None, reduced[:, 0])]
    for at, network in enumerate(networks):
        answers, first = answers_of(prior, room.targets, drawn[:, at])
        outside = float(1.0 - inside_box(prior, drawn[:, at]).double().mean())
        told(Standing(f"timing {network.name}", at, len(networks)))
        one, thousand = seconds_of(network, room.inputs, asked.repeats, asked.timed)
        rows.append(
            Row(network.name, held_in(prior, first), answers, reduced[:, 1 + at], outside, tuple(one), tuple(thousand))
        )
    return rows, dict(Counter(record[NAME] for record in records))


def exact_row(
    files: Sequence[tuple[Source, str]],
    rmf: str | None,
    setup: FitSetup,
    targets: Tensor,
    asked: EvaluationConfig,
    network: str | None = None,
    progress: Told | None = None,
    out: Path | None = None,
    workers: Workers | None = None,
    restart: bool = False,
) -> tuple[Row, dict[str, int]]:
    """Exact posteriors of the first spectra; the time of all is extrapolated, for any number of draws.

    Args:
        files: All spectra.
        rmf: Of all of them, instead of what their headers name.
        setup: One with model and prior.
        targets: (source, parameter) of all spectra.
        asked: Number of spectra and draws, and the seed.
        network: What starts the answers, as in `infer`.
        progress, out, workers, restart: As for `evaluate`.

    Returns:
        The row; and how many computations have which status.

    Raises:
        XrayflowError: A spectrum that has no answer.
    """
    prior = setup.prior
    if not isinstance(prior, Prior):
        raise ValueError("a setup with a prior")
    count = min(asked.exact, len(files))
    listing = Listing([source for source, _ in files[:count]])
    task = Answering(Question.of(setup, network, False, asked.seed, SamplingBudget(), rmf, True), asked.draws)
    told, place = progress or _silent, None if out is None else out / EXACT
    with finished(task, task.words(), listing, rmf, place, workers, restart, True, told, "exact answers") as ledger:
        records, extras = _kept(ledger, listing)
        took = (ledger.seconds() * len(files) / count,)
    draws = np.stack([draws_of(extra, asked.draws) for extra in extras])
    answers = TruthAndDraws.of(prior.names, on_axes(prior, targets[:count].numpy()), on_axes(prior, draws))
    reduced = np.array([record[REDUCED][0] for record in records])
    single = torch.from_numpy(draws[:, 0].copy())
    return (
        Row(EXACT, single, answers, reduced, 0.0, took, took),
        dict(Counter(record["computation"] for record in records)),
    )


def _kept(ledger: Ledger, listing: Listing) -> tuple[list[dict[str, Any]], list[bytes]]:
    """Record and draws of every source.

    Raises:
        DataError: One has none.
    """
    records, extras = list[dict[str, Any]](), list[bytes]()
    for kept in ledger.rows():
        if kept.error or kept.record is None or kept.extra is None:
            raise DataError(kept.error or f"{listing.sources[kept.place].pha}: has no answer; run it again")
        records.append(kept.record)
        extras.append(kept.extra)
    return records, extras


def _silent(standing: Standing) -> None:
    """Tells nobody."""
