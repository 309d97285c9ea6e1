"""The distribution of a parameter over the sources of a catalogue, from their draws: no spectrum is fitted again.

    ln L(h) = sum_i ln L_i(h) - n ln alpha(h)

with L_i of `draws` and alpha of `selection`; the parameters h of a shape are sampled by `sampler`, the parts of a
histogram's bins by `histogram`.

L_i is a sum over the draws of source i, so it has noise of its own. With u_j(h) the share of draw j in that sum, the
variance of the noise in ln L(h) - ln L(middle) is sum_i sum_j (u_j(h) - u_j(middle))^2. Its mean over the posterior of
h, by the number of parameters, is the square of how far the draws alone can have moved them, in their own standard
deviations: `noise`. A source with few effective draws under the population stands where its own draws hardly go, which
makes that estimate too small; it is named.

Source: Hogg, Myers & Bovy 2010, ApJ 725, 2166; Tiwari 2018, Class. Quantum Grav. 35, 145009, and Essick & Farr 2022,
arXiv:2204.00461 (noise of such sums; the variance of a difference is our delta method).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from xrayflow.errors import DataError, nearest
from xrayflow.files import SCHEMA_VERSION, package_versions
from xrayflow.inference import Computation, most_pareto_k, systematic_rows, weighted_quantile
from xrayflow.seeds import generator_for
from xrayflow.studies.population.draws import Axis, Numbers, SourceDraws
from xrayflow.studies.population.histogram import (
    HistogramDraws,
    bin_edges,
    bin_means,
    found_in_bins,
    sample_histogram,
)
from xrayflow.studies.population.likelihood import PopulationLikelihood
from xrayflow.studies.population.sampler import HyperDraws, sample
from xrayflow.studies.population.selection import Selection
from xrayflow.studies.population.shapes import Shape, shape_named

SHAPES = ("normal", "two-normals", "histogram")
LEVELS = {"median": 0.5, "lower68": 0.16, "upper68": 0.84, "lower90": 0.05, "upper90": 0.95}

LEAST_ESS, LEAST_SETTLED = 400.0, 1.01
"""Of the parameters of a shape; R-hat of a histogram at most."""

NOISE, TOO_NOISY = 0.3, 1.0
"""Posterior standard deviations: an error of 0.3 widens an interval by 4 %, one of 1 makes it meaningless."""

FEW = 10.0
"""Effective draws of a source under the population below which it is named."""

FEW_PART = 0.02
"""Of the sources, that may be so: outliers stand where their own draws say and the population hardly goes."""

CHECKED = 64
"""Draws of the parameters at which the sources' own draws are looked at."""

SPREAD, EXACT = 0.05, 2000
"""Scatter of ln exact - ln quick over the posterior from which weights are exact, and how many draws have them then."""

CURVE, CURVES = 200, 400
"""Places of the density that is drawn, and draws that it is told from."""

IGNORED = "selection is ignored: the numbers are of the sources in the catalogue, as they were picked (by counts, say)"


@dataclass(frozen=True)
class PopulationConfig:
    """What is asked.

    Attributes:
        shape: Of `SHAPES`; of two parameters always normal together.
        bins: Inner bins of a histogram; None: by the number of sources.
        seed: Of the sampling.
    """

    shape: str = "normal"
    bins: int | None = None
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Population:
    """The distribution of one or two parameters over sources.

    Attributes:
        draws: Of the sources.
        config: What was asked.
        names, units: Of the distribution's parameters.
        values: (draw, parameter).
        weights: (draw,) of these.
        computation: Were the numbers computed right?
        facts: What the verdict rests on: ess, pareto_k or rhat, noise, evidence, evaluations.
        poorest: (path, effective draws under the population), the fewest first.
        edges: Of a histogram's bins; None for a shape.
        shape: None for a histogram.
        selection: Whether one was given.
        seconds: That it took.
    """

    draws: SourceDraws
    config: PopulationConfig
    names: tuple[str, ...]
    units: tuple[str, ...]
    values: Numbers
    weights: Numbers
    computation: Computation
    facts: Mapping[str, float]
    poorest: tuple[tuple[str, float], ...]
    edges: Numbers | None = None
    shape: Shape | None = None
    selection: bool = False
    seconds: float = field(default=0.0, compare=False)

    @property
    def kind(self) -> str:
        """The shape in a word."""
        return "correlated" if len(self.draws.axes) == 2 else self.config.shape

    def quantiles(self) -> dict[str, dict[str, float]]:
        """Of each parameter, those of `LEVELS`."""
        found = [weighted_quantile(column, self.weights, tuple(LEVELS.values())) for column in self.values.T]
        return {
            name: dict(zip(LEVELS, map(float, row), strict=True)) for name, row in zip(self.names, found, strict=True)
        }

    def density(self) -> tuple[Numbers, Numbers]:
        """The density over sources of one parameter.

        Returns:
            x (place,), and 5, 16, 50, 84, 95 % of the density per unit of x (5, place).
        """
        rows = np.random.default_rng(0).choice(self.weights.size, CURVES, p=self.weights)
        if self.edges is not None:
            place = np.repeat(self.edges, 2)[1:-1]
            curves = np.repeat(self.values[rows] / np.diff(self.edges), 2, axis=1)
        elif self.shape is not None:
            place = self.span()
            curves = np.exp(self.shape.log_density(self.values[rows], place[:, None]))
        return place, np.quantile(curves, [0.05, 0.16, 0.5, 0.84, 0.95], axis=0)

    def span(self, axis: int = 0) -> Numbers:
        """Places of one parameter, where the sources are."""
        lo, hi = self.draws.axes[axis].box
        weight = self.draws.weight / self.draws.sources
        first, last = weighted_quantile(self.draws.x[:, axis], weight, (0.005, 0.995))
        reach = 0.25 * (last - first)
        return np.linspace(max(lo, first - reach), min(hi, last + reach), CURVE)

    def summary(self) -> dict[str, Any]:
        """The answer as plain numbers and words."""
        quantiles = self.quantiles()
        units = dict(zip(self.names, self.units, strict=True))
        return {
            "schema_version": SCHEMA_VERSION,
            "shape": self.kind,
            "parameters": [
                {"name": axis.marginal.name, "unit": axis.marginal.unit, "x": axis.label, "box": list(axis.box)}
                for axis in self.draws.axes
            ],
            "sources": self.draws.sources,
            "hyperparameters": {name: {"unit": units[name], **row} for name, row in quantiles.items()},
            **({} if self.edges is None else {"edges": self.edges.tolist()}),
            **dict(self.facts),
            "poorest": [{"path": path, "ess": ess} for path, ess in self.poorest],
            "selection": "given" if self.selection else IGNORED,
            "computation": {"status": self.computation.status, "reasons": list(self.computation.reasons)},
            "seed": self.config.seed,
            "seconds": self.seconds,
            "versions": package_versions("torch", "numpy", "scipy"),
        }


def find_population(
    draws: SourceDraws,
    config: PopulationConfig | None = None,
    selection: Selection | None = None,
    progress: Callable[[str, float], None] | None = None,
) -> Population:
    """The distribution of one or two parameters over sources.

    Args:
        draws: Of the sources; the parameters are theirs.
        config: What is asked.
        selection: The part of sources that is found, against the first parameter; None: ignored.
        progress: Is told the step and the part of it that is done.

    Raises:
        DataError: Fewer than three sources, no such shape, or a histogram of two parameters.
    """
    config, begun = config or PopulationConfig(), time.perf_counter()
    if draws.sources < 3:
        raise DataError(f"{draws.sources} sources make no population; give a table with three or more")
    if config.shape not in SHAPES:
        raise DataError(f"no shape '{config.shape}'; one of {', '.join(SHAPES)}")
    if len(draws.axes) == 2 and config.shape != "normal":
        raise DataError(f"two parameters are normal together; leave --shape {config.shape} out, or give one parameter")

    def tell(part: float) -> None:
        if progress is not None:
            progress("population", part)

    made = _histogram if config.shape == "histogram" else _shaped
    found = made(draws, config, selection, tell)
    return Population(
        draws=draws, config=config, selection=selection is not None, seconds=time.perf_counter() - begun, **found
    )


def _shaped(
    draws: SourceDraws, config: PopulationConfig, selection: Selection | None, tell: Callable[[float], None]
) -> dict[str, Any]:
    shape = shape_named(config.shape, draws.axes)
    likelihood = PopulationLikelihood(draws, shape, selection)
    generator = generator_for(config.seed, f"population of {', '.join(a.marginal.name for a in draws.axes)}")
    sampled = explored(likelihood, generator, tell)
    quick, sampled = sampled, corrected(sampled, likelihood, generator)
    values, weights = shape.from_probit(sampled.v), sampled.weights
    middle = np.average(values, axis=0, weights=weights)[None]
    rows = np.random.default_rng(config.seed).choice(weights.size, CHECKED, p=weights)
    noise, effective = _noise(
        draws, [shape.log_density(h[None], draws.x)[0] for h in values[rows]], shape.log_density(middle, draws.x)[0]
    )
    noise = float(np.sqrt(noise / len(shape.names)))
    poorest = _poorest(draws, effective)
    facts = _facts(quick, sampled, noise, effective)
    if config.shape == "two-normals":
        one = PopulationLikelihood(draws, shape_named("normal", draws.axes), selection)
        facts["log_evidence_one_normal"] = explored(one, generator).log_evidence
    return {
        "names": shape.names, "units": shape.units, "values": values, "weights": weights, "shape": shape,
        "computation": judge(facts, effective, poorest), "facts": facts, "poorest": poorest,
    }  # fmt: skip


def explored(
    likelihood: PopulationLikelihood, generator: torch.Generator, tell: Callable[[float], None] | None = None
) -> HyperDraws:
    """Draws on the quick likelihood.

    Args:
        likelihood: Both.
        generator: Source of randomness.
        tell: Is told the part that is done.
    """
    shape, draws = likelihood.shape, likelihood.draws
    medians = np.stack([draws.quantile(0.5, axis) for axis in range(len(draws.axes))], axis=-1)
    guesses = shape.to_probit(shape.guesses(medians))
    return sample(lambda v: likelihood.quick(shape.from_probit(v)), guesses, generator, tell)


def corrected(sampled: HyperDraws, likelihood: PopulationLikelihood, generator: torch.Generator) -> HyperDraws:
    """The draws with exact weights where the quick likelihood's are not good enough: then so many of them.

    Args:
        sampled: On the quick likelihood.
        likelihood: Both.
        generator: Picks draws.
    """
    for number in (CHECKED, EXACT):
        rows = systematic_rows(torch.from_numpy(sampled.weights), number, generator).numpy()
        h = likelihood.shape.from_probit(sampled.v[rows])
        change = likelihood.exact(h) - likelihood.quick(h)
        if number == CHECKED and change.std() < SPREAD:
            return sampled
    # the mean of the first weights stays in the evidence; picks of one draw share what it weighs
    evidence = sampled.log_evidence
    return HyperDraws(sampled.v[rows], evidence + change, sampled.evaluations + EXACT + CHECKED)


def _histogram(
    draws: SourceDraws, config: PopulationConfig, selection: Selection | None, tell: Callable[[float], None]
) -> dict[str, Any]:
    edges = bin_edges(draws, config.bins)
    sampled = sample_histogram(
        bin_means(draws, edges), edges, found_in_bins(selection, edges), np.random.default_rng(config.seed), tell
    )
    bins = edges.size - 1
    values = sampled.share.reshape(-1, bins)
    place = np.clip(np.searchsorted(edges, draws.x[:, 0], side="right") - 1, 0, bins - 1)
    density = np.log(values / np.diff(edges))
    rows = np.random.default_rng(config.seed).choice(values.shape[0], CHECKED)
    middle = np.log(values.mean(0) / np.diff(edges))
    noise, effective = _noise(draws, [density[row][place] for row in rows], middle[place])
    poorest = _poorest(draws, effective)
    facts = _histogram_facts(sampled, float(np.sqrt(noise / (bins - 1))), effective)
    return {
        "names": tuple(f"share_{k + 1}" for k in range(bins)), "units": ("",) * bins, "values": values,
        "weights": np.full(values.shape[0], 1.0 / values.shape[0]), "edges": edges,
        "computation": judge(facts, effective, poorest), "facts": facts, "poorest": poorest,
    }  # fmt: skip


def _facts(quick: HyperDraws, sampled: HyperDraws, noise: float, effective: Numbers) -> dict[str, float]:
    # picks of the quick draws are no better than these, whatever their own weights say
    left = 1.0 if sampled is quick else sampled.ess / sampled.v.shape[0]
    return {
        "ess": quick.ess * left,
        "pareto_k": max(quick.pareto_k, sampled.pareto_k),
        "draws": float(sampled.v.shape[0]),
        "log_evidence": sampled.log_evidence,
        "evaluations": float(sampled.evaluations),
        "noise": noise,
        "least_source_ess": float(effective.min()),
    }


def _histogram_facts(sampled: HistogramDraws, noise: float, effective: Numbers) -> dict[str, float]:
    return {
        "ess": float(sampled.ess.min()),
        "rhat": float(sampled.rhat.max()),
        "draws": float(sampled.share.shape[0] * sampled.share.shape[1]),
        "noise": noise,
        "least_source_ess": float(effective.min()),
    }


def _noise(draws: SourceDraws, log_densities: Sequence[Numbers], middle: Numbers) -> tuple[float, Numbers]:
    """Mean variance of the noise of ln L over draws of h, and the median effective draws of each source."""
    centre = draws.shares(middle + draws.log_ratio)
    variance, effective = [], []
    for one in log_densities:
        share = draws.shares(one + draws.log_ratio)
        effective.append(draws.effective(share))
        variance.append(float(np.square(share - centre).sum()))
    return float(np.mean(variance)), np.median(effective, axis=0)


def _poorest(draws: SourceDraws, effective: Numbers) -> tuple[tuple[str, float], ...]:
    return tuple((draws.names[i], float(effective[i])) for i in np.argsort(effective)[:5])


def judge(facts: Mapping[str, float], effective: Numbers, poorest: Sequence[tuple[str, float]]) -> Computation:
    """Were the numbers computed right?

    Args:
        facts: ess, pareto_k and draws or rhat, noise.
        effective: (source,) effective draws under the population.
        poorest: Those with the fewest.
    """
    doubts, failed = [], False
    if facts["ess"] < LEAST_ESS:
        doubts.append(f"{facts['ess']:.0f} effective draws of the distribution, {LEAST_ESS:.0f} are wanted")
        failed = facts["ess"] < 0.1 * LEAST_ESS
    if "pareto_k" in facts and facts["pareto_k"] > (most := most_pareto_k(int(facts["draws"]))):
        doubts.append(f"Pareto k of its weights is {facts['pareto_k']:.2f}, above {most:.2f}")
    if facts.get("rhat", 1.0) > LEAST_SETTLED:
        doubts.append(f"its chains have not settled: R-hat is {facts['rhat']:.3f}, above {LEAST_SETTLED}")
    if facts["noise"] > NOISE:
        doubts.append(
            f"the sources' draws are too few for it: they alone may have moved it by {facts['noise']:.2f} standard "
            f"deviations, {NOISE} is allowed; run the catalogue with more --draws"
        )
        failed = failed or facts["noise"] > TOO_NOISY
    few = int((effective < FEW).sum())
    if few > FEW_PART * effective.size:
        path, least = poorest[0]
        doubts.append(
            f"{few} of {effective.size} sources have fewer than {FEW:.0f} effective draws under the population, "
            f"{path} {least:.1f}: run the catalogue with more --draws, or look at these sources"
        )
    if doubts:
        return Computation("failed" if failed else "approximate", tuple(doubts))
    word = f"{facts['ess']:.0f} effective draws, noise of the sources' own draws {facts['noise']:.2f} sd"
    return Computation("certified", (word,))


def axis_of(marginals: Mapping[str, Any], name: str) -> Axis:
    """A parameter by its name, in any case.

    Args:
        marginals: Priors by name.
        name: As it was typed.

    Raises:
        DataError: There is none.
    """
    for known, marginal in marginals.items():
        if known.lower() == name.lower():
            return Axis(marginal)
    raise DataError(f"no parameter '{name}' with draws in the table{nearest(name, marginals)}")
