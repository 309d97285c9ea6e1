"""A network's passport: what it is worth on spectra that it has not seen, by decade of counts and background mode.

Each spectrum is answered twice: exactly, with the network as the start (`infer_batch`), and by the network alone. Of
the exact answers the passport says whether they are calibrated (coverage, ranks, TARP), how many are certified, and
what part of the final draws counts, which is what a network is for. Of the network's own posteriors it says whether
they are calibrated, and how wide they are beside the exact ones: calibrated and not sharp is what they are.

Every deviation stands beside the largest that a right system reaches once in `ONCE_IN` passports.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from xrayflow.errors import DataError, MismatchError
from xrayflow.files import SCHEMA_VERSION, package_versions
from xrayflow.inference import NoAnswer, Posterior, infer_batch, systematic_rows, weighted_quantile
from xrayflow.networks import Network, NetworkInput, read_header, read_response
from xrayflow.seeds import generator_for
from xrayflow.studies.validation.calibration import Calibration, calibrate
from xrayflow.studies.validation.fresh import (
    DECADES,
    MODELLED,
    NONE,
    FreshSpectra,
    fresh_spectra,
)
from xrayflow.studies.validation.network_draws import answers_of, on_axes, sample
from xrayflow.studies.validation.truths import Numbers, TruthAndDraws

ONCE_IN = 100
"""Passports of a right system of which one has a larger deviation than the limit."""

ERRORS = 0.0, 0.012
"""Systematic errors of the spectra, half of them each; the second where the training had any."""

KEPT = 500
"""Draws of an answer that calibration looks at."""

LEVEL = 0.05, 0.95
"""Ends of the intervals whose widths are compared."""

MAKERS = ("torch", "numpy", "scipy")

TellProgress = Callable[[str, float], None]


@dataclass(frozen=True)
class PassportConfig:
    """What is asked of a passport.

    Attributes:
        spectra: How many, spread evenly over decades, background modes and systematic errors; at least one of each.
        draws: Of the network alone, for each spectrum.
        seed: Of the spectra and the answers.
        exact: Whether the spectra are answered exactly too; else the passport is of the network alone, in seconds.
    """

    spectra: int = 320
    draws: int = 1000
    seed: int = 0
    exact: bool = True


@dataclass(frozen=True, eq=False)
class Passport:
    """What was found.

    Attributes:
        network: Its name.
        config: What was asked.
        facts: What the file says of its weights.
        rows: One for each spectrum, of plain values.
        own: Calibration of the network alone, over all spectra that it saw.
        exact: Of the exact answers; None where none were asked for.
        spectra: (source,) decade and background of those in `own`, for its parts.
    """

    network: str
    config: PassportConfig
    facts: dict[str, Any]
    rows: list[dict[str, Any]]
    own: Calibration
    exact: Calibration | None

    def summary(self) -> dict[str, Any]:
        """For JSON: the whole, and by decade and background mode."""
        cells = [
            cell_of([row for row in self.rows if (row["background"], row["decade"]) == (background, decade)])
            | {"background": background, "decade": decade}
            for background in dict.fromkeys(row["background"] for row in self.rows)
            for decade in DECADES
            if any((row["background"], row["decade"]) == (background, decade) for row in self.rows)
        ]
        return {
            "schema_version": SCHEMA_VERSION,
            "network": self.network,
            **self.facts,
            "date": date.today().isoformat(),
            "versions": package_versions(*MAKERS),
            "spectra": len(self.rows),
            "seed": self.config.seed,
            "all": cell_of(self.rows),
            "network_alone": told(self.own),
            "exact": None if self.exact is None else told(self.exact),
            "cells": cells,
            "rows": self.rows,
        }


def check_network(
    network: Network,
    config: PassportConfig,
    rmf: str | Path | None = None,
    arf: str | Path | None = None,
    progress: TellProgress | None = None,
) -> Passport:
    """Make a passport.

    Args:
        network: Whose.
        config: What is asked.
        rmf: The matrix that the network was trained with, where it is not the bundled one.
        arf: The area, likewise.
        progress: Called with (step, fraction).

    Raises:
        MismatchError: The network gives one value and no density, or the response is not its own.
        DataError: The response must be given, or no spectrum can be made.
    """
    if not network.core.flow.has_density:
        raise MismatchError(f"network {network.name}: it gives one value and no density; there is nothing to check")
    response = read_response(network, rmf, arf)
    modes = [NONE] if network.training_prior.without_background == 1.0 else [NONE, MODELLED]
    errors = ERRORS[:1] if network.training_prior.without_systematic == 1.0 else ERRORS
    groups = [(mode, error) for mode in modes for error in errors]
    each = max(config.spectra // (len(groups) * len(DECADES)), 1)
    rows: list[dict[str, Any]] = []
    own: list[TruthAndDraws] = []
    exact: list[TruthAndDraws] = []
    for number, (mode, error) in enumerate(groups):
        here = _part_of(progress, number, len(groups))
        here("simulating", 0.0)
        fresh = fresh_spectra(network, response, mode, error, each, config.seed)
        answers: Sequence[Posterior | NoAnswer | None] = [None] * fresh.sources
        if config.exact:
            answers = infer_batch(
                fresh.observations, fresh.setup, network, seed=config.seed, progress=here, on_error="row"
            )
        alone, seen = _alone(network, fresh, config)
        own.append(alone.select(np.flatnonzero(seen)))
        exact += [_kept(network, one, fresh.theta[i]) for i, one in enumerate(answers) if isinstance(one, Posterior)]
        rows += [_row(network, fresh, i, one, alone, bool(seen[i])) for i, one in enumerate(answers)]
    if not sum(one.sources for one in own):
        raise DataError(f"network {network.name}: no fresh spectrum lies inside its training")
    facts = {
        "weights_sha256": read_header(network.source)["sha256"] if network.source else None,
        "description": network.recipe.description,
        "trained": network.trained,
    }
    return Passport(
        network.name,
        config,
        facts,
        rows,
        calibrate(_joined(own), config.seed),
        calibrate(_joined(exact), config.seed) if exact else None,
    )


def told(found: Calibration) -> dict[str, Any]:
    """Calibration as plain values, each beside its limit.

    Args:
        found: Of a set of answers.
    """
    limit = largest_deviation(found.sources, len(found.names))
    return {
        "spectra": found.sources,
        "coverage_off_by": dict(zip(found.names, found.deviation.tolist(), strict=True)),
        "coverage_limit": limit,
        "ranks_p": dict(zip(found.names, found.rank_p.tolist(), strict=True)),
        "tarp_p": found.tarp_p,
        "tarp_off_by": found.tarp_deviation,
        "tarp_limit": largest_deviation(found.sources, 1),
        "once_in": ONCE_IN,
    }


def largest_deviation(sources: int, parameters: int, once_in: float = ONCE_IN) -> float:
    """The coverage deviation, of the worst parameter, that right posteriors exceed once in so many sets.

    Args:
        sources: In a set.
        parameters: How many are looked at.
        once_in: Sets.

    Source: the distribution of Kolmogorov and Smirnov's statistic; Bonferroni's bound over the parameters.
    """
    return float(stats.kstwo.ppf(1.0 - 1.0 / (once_in * parameters), sources))


def cell_of(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Quantiles over some of the spectra.

    Args:
        rows: Of a passport.
    """
    answered = [row for row in rows if row["certified"] is not None]
    seen = [row for row in rows if row["rank_alone"] is not None]
    found: dict[str, Any] = {"spectra": len(rows), "seen_by_network": len(seen)}
    if seen:
        ranks = np.array([row["rank_alone"] for row in seen])
        found["coverage_alone_off_by"] = _worst_coverage(ranks)
        found["coverage_limit"] = largest_deviation(len(seen), ranks.shape[1])
    if not answered:
        return found
    found["certified"] = float(np.mean([row["certified"] for row in answered]))
    for key in ("final_efficiency", "efficiency"):
        values = [row[key] for row in answered if row[key] is not None]
        if values:
            found[f"{key}_10_50_90"] = np.quantile(values, [0.1, 0.5, 0.9]).tolist()
    wide = [value for row in answered for value in row["width_ratio"] or ()]
    if wide:
        found["width_ratio_median"] = float(np.median(wide))
    return found


def _worst_coverage(rank: Numbers) -> float:
    return float(max(stats.kstest(np.abs(2.0 * column - 1.0), "uniform").statistic for column in rank.T))


def _alone(network: Network, fresh: FreshSpectra, config: PassportConfig) -> tuple[TruthAndDraws, NDArray[np.bool_]]:
    """The network's own draws of all spectra, and which of them lie inside its training."""
    seen = [network.inputs(fresh.setup.bin(one), fresh.setup.believed.fraction) for one in fresh.observations]
    inside = np.array([not network.outside(one) for one in seen])
    drawn = sample(network, NetworkInput.stack(seen), config.draws, config.seed)
    answers, _ = answers_of(network.training_prior.prior, fresh.theta, drawn)
    return answers, inside


def _kept(network: Network, answer: Posterior, truth: Tensor) -> TruthAndDraws:
    """Some of an answer's draws, none heavier than another, beside the truth."""
    prior = network.training_prior.prior
    generator = generator_for(answer.seed, f"passport:{answer.data[0].pha.name}")
    rows = systematic_rows(torch.from_numpy(answer.weights), KEPT, generator)
    draws = answer.draws[rows.numpy()][:, : len(prior.names)]
    return TruthAndDraws.of(prior.names, on_axes(prior, truth[None].numpy()), on_axes(prior, draws[None]))


def _row(
    network: Network,
    fresh: FreshSpectra,
    source: int,
    answer: Posterior | NoAnswer | None,
    alone: TruthAndDraws,
    seen: bool,
) -> dict[str, Any]:
    """A spectrum."""
    one = alone.select(np.array([source]))
    row: dict[str, Any] = {
        "counts": float(fresh.counts[source]),
        "decade": int(fresh.decade[source]),
        "background": fresh.background,
        "systematic": fresh.setup.believed.fraction,
        "rank_alone": _shares(one) if seen else None,
        "certified": None if answer is None else False,
        "final_efficiency": None,
        "efficiency": None,
        "rank": None,
        "width_ratio": None,
        "reason": "",
    }
    if isinstance(answer, NoAnswer):
        return row | {"reason": answer.reason}
    if answer is None:
        return row
    kept = _kept(network, answer, fresh.theta[source])
    certified = answer.computation.status == "certified"
    return row | {
        "certified": certified,
        "final_efficiency": round(answer.ess / answer.draws.shape[0], 4),
        "efficiency": round(answer.efficiency, 4),
        "rank": _shares(kept),
        "width_ratio": np.round(_widths(one) / _widths(kept), 3).tolist() if seen else None,
        "reason": "" if certified else "; ".join(answer.computation.reasons),
    }


def _shares(one: TruthAndDraws) -> list[float]:
    """The share of the draws of one source below its truth, for each parameter."""
    below = np.einsum("d,dp->p", one.weights[0], (one.draws[0] < one.truth[0]).astype(np.float64))
    return [round(float(value), 4) for value in below]


def _widths(one: TruthAndDraws) -> Numbers:
    """(parameter,) widths of the central intervals of one source."""
    ends = np.array([weighted_quantile(column, one.weights[0], LEVEL) for column in one.draws[0].T])
    width: Numbers = np.maximum(ends[:, 1] - ends[:, 0], 1e-12)
    return width


def _joined(parts: Sequence[TruthAndDraws]) -> TruthAndDraws:
    """Several sets as one."""
    return TruthAndDraws(
        parts[0].names,
        np.concatenate([one.truth for one in parts]),
        np.concatenate([one.draws for one in parts]),
        np.concatenate([one.weights for one in parts]),
    )


def _part_of(progress: TellProgress | None, number: int, parts: int) -> TellProgress:
    """Tells of one part of the whole."""

    def tell(step: str, fraction: float) -> None:
        if progress is not None:
            progress(step, (number + fraction) / parts)

    return tell
