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

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xrayflow.errors import DataError, MismatchError
from xrayflow.files import SCHEMA_VERSION, make_folder, package_versions
from xrayflow.networks import Network, open_tensors, read_json
from xrayflow.networks.training import LARGEST_LIBRARY, VALIDATION_SHARE, held_apart, read_library
from xrayflow.prior import Prior
from xrayflow.setup import FitSetup
from xrayflow.simulate import MAKERS
from xrayflow.studies.running import Progress, Source, Standing, matched
from xrayflow.studies.validation.calibration import Calibration, calibrate
from xrayflow.studies.validation.exact import exact_answers
from xrayflow.studies.validation.network_draws import Row, Timing, network_row, on_axes
from xrayflow.studies.validation.recovery import draw_sets, linear_fits, pearson
from xrayflow.studies.validation.refold import reduced_of
from xrayflow.studies.validation.truths import Numbers, TruthAndDraws

TARGETS, EXACT = "targets", "exact"


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
    progress: Progress | None = None,
    out: Path | None = None,
) -> Evaluation:
    """Draws of networks against the targets of a library.

    Args:
        library: What `xrayflow targets` wrote.
        sources: The spectra that it was made of, among others perhaps.
        rmf: Of all of them, instead of what their headers name.
        networks: For the library's model and bins, at least one.
        asked: What is wanted.
        progress: Called with (step, fraction).
        out: Folder of the table: the exact posteriors of a call that was stopped are kept there.

    Raises:
        XrayflowError: Files that cannot be read or do not belong together.
    """
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
    inputs, targets, group = read_library(library, first, first.core.coordinates)
    chosen = _chosen(library, group, asked)
    inputs, targets, group = inputs.select(chosen), targets[chosen], group[chosen]
    files = _files(library, chosen, sources)
    prior, drawn = first.training_prior.prior, list[Row]()
    timing = Timing(asked.repeats, asked.timed)
    for at, network in enumerate(networks):
        if progress is not None:
            progress(f"drawing from {network.name}", at / len(networks))
        drawn.append(network_row(network, prior, inputs, targets, asked.draws, asked.seed, timing))
    energies = asked.energies or [first.recipe.layout.energies]
    setup = FitSetup(model=first.model, prior=prior, energies=energies, grouping=asked.grouping, systematic=0.0)
    computation: dict[str, int] = {}
    if asked.exact > 0:
        ledger = None if out is None else make_folder(out) / EXACT
        row, computation = exact_row(files, rmf, setup, targets, asked, progress, out=ledger)
        drawn.append(row)
    reduced, statistics = reduced_of(files, rmf, setup, [targets, *(row.theta for row in drawn)], progress)
    rows = [Row(TARGETS, targets, None, reduced[0])]
    rows += [replace(row, reduced=values) for row, values in zip(drawn, reduced[1:], strict=True)]
    rate = (inputs.counts - inputs.background).sum(-1) / (inputs.exposure * inputs.area)
    return Evaluation(
        prior,
        asked,
        library.name,
        group.numpy(),
        inputs.counts.sum(-1).numpy(),
        rate.clamp(min=1e-3).numpy(),
        files,
        statistics,
        tuple(rows),
        computation,
    )


def _chosen(library: Path, group: Tensor, asked: EvaluationConfig) -> Tensor:
    """Rows of the library: what networks hold apart, in an order of the seed."""
    rows = torch.arange(group.numel())
    if not asked.every:
        if torch.unique(group).numel() < 2:
            raise DataError(f"{library}: all spectra belong to one group, so none is held apart; take --every")
        rows = held_apart(group, int(VALIDATION_SHARE * group.numel()))[0]
    order = torch.randperm(rows.numel(), generator=torch.Generator().manual_seed(asked.seed))
    return rows[order][: asked.spectra]


def _files(library: Path, rows: Tensor, sources: Sequence[Source]) -> list[tuple[Source, str]]:
    """The spectrum of each row, and the hash that its target was fitted to."""
    with open_tensors(library, LARGEST_LIBRARY) as file:
        header = read_json(library, file.metadata())
    listed = header.get("spectra")
    if not isinstance(listed, list):
        raise DataError(f"{library}: does not say of which files it was made; give a library of xrayflow targets")
    return matched(library, [listed[row] for row in rows.tolist()], sources)


def exact_row(
    files: Sequence[tuple[Source, str]],
    rmf: str | None,
    setup: FitSetup,
    targets: Tensor,
    asked: EvaluationConfig,
    progress: Progress | None = None,
    network: str | None = None,
    out: Path | None = None,
) -> tuple[Row, dict[str, int]]:
    """Exact posteriors of the first spectra; the time of all is extrapolated, for any number of draws.

    Args:
        files: All spectra.
        rmf: Of all of them, instead of what their headers name.
        setup: One with model and prior.
        targets: (source, parameter) of all spectra.
        asked: Number of spectra and draws, and the seed.
        progress: Called with (step, fraction).
        network: What starts the answers, as in `infer`.
        out: A ledger stands beside it, from which the same call goes on; None: it is lost.

    Returns:
        The row, without its statistic; and how many computations have which status.
    """
    prior = setup.prior
    if not isinstance(prior, Prior):
        raise ValueError("a setup with a prior")

    def told(standing: Standing) -> None:
        if progress is not None:
            progress("exact posteriors", standing.done / standing.total)

    some = files[: asked.exact]
    found = exact_answers(some, rmf, setup, network, asked.draws, asked.seed, told, out)
    count = len(some)
    answers = TruthAndDraws.of(prior.names, on_axes(prior, targets[:count].numpy()), on_axes(prior, found.draws))
    took = (found.seconds * len(files) / count,)
    return Row(
        EXACT, torch.from_numpy(found.draws[:, 0].copy()), answers, np.empty(0), 0.0, took, took
    ), found.computation
