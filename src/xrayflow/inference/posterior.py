"""The answer: weighted draws of the posterior with everything that is needed to judge and to repeat them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from xrayflow.files import SCHEMA_VERSION
from xrayflow.inference.predictive import Predictive
from xrayflow.inference.verdict import Computation, FitQuality, overall, weighted_quantile
from xrayflow.models import Model
from xrayflow.networks import Reconstruction
from xrayflow.ogip import Spectrum
from xrayflow.prior import Prior
from xrayflow.problem import Problem
from xrayflow.statistics import Choice, statistic_per_bin

MAKERS = ("torch", "numpy", "scipy", "astropy")
"""Packages that compute an answer."""

LEVELS = {"68": (0.16, 0.84), "90": (0.05, 0.95)}


@dataclass(frozen=True)
class Value:
    """A statistic with its degrees of freedom and why it was chosen."""

    name: str
    value: float
    dof: int
    reason: str


@dataclass(frozen=True)
class AtBest:
    """What an answer shows at its best point, exact or not.

    Attributes:
        statistic: XSPEC's.
        deviance: Of the likelihood that the posterior rests on.
        systematic: Fractional error of the source model.
    """

    statistic: Value
    deviance: Value
    systematic: float

    @classmethod
    def of(cls, problem: Problem, asked: Problem, choice: Choice, best: torch.Tensor) -> AtBest:
        """Of one source.

        Args:
            problem: Of this source.
            asked: The same in the bins that were asked for.
            choice: Its statistic.
            best: (parameter,) the point.
        """
        noise, spectrum, free = problem.noise, asked.spectra[0], len(problem.prior.names)
        expected = asked.expected(best[None, None])
        systematic = float(noise.systematic[0, 0])
        shown = statistic_per_bin(spectrum, choice, expected[0, 0, : spectrum.counts.size], systematic)
        deviance = float(noise.deviance(problem.expected(best[None, None])))
        return cls(
            Value(choice.name, float(shown.sum()), spectrum.counts.size - free, choice.reason),
            Value("deviance", deviance, problem.spectra[0].counts.size - free, noise.name),
            systematic,
        )


@dataclass(frozen=True)
class Posterior:
    """The certified posterior of one spectrum.

    Attributes:
        model: The spectral model.
        prior: Of its free parameters.
        spectrum: The noticed bins, as they were asked for.
        draws: (draw, parameter) in the prior's order and the parameters' units; weighted.
        log_weight: (draw,) natural log of the unnormalised weights; their mean is the evidence.
        log_likelihood: (draw,) natural log of the normalised likelihood.
        best: (parameter,) mode of log prior + log likelihood, in each parameter's own scale.
        statistic: XSPEC's, at `best`.
        deviance: Of the likelihood that the posterior rests on, at `best`.
        likelihood: Its name; `likelihood_kind` is exact, approximate or profile.
        ess, efficiency, pareto_k: Of the weights; efficiency counts every likelihood evaluation spent on draws.
        log_evidence, log_evidence_error: Natural log of the integral of the likelihood over the prior.
        predictive: The posterior predictive check, with the bands of figures.
        computation, fit, flags: The verdict's parts.
        evaluations: {draws, optimise}.
        seconds: {read, propose, optimise, certify, total}.
        mode: "exact", or "amortised" where a network answered alone: no weights, and no evidence then.
        network: Name of the network that started the answer.
        notes: Facts beside the verdict, in words.
        reconstruction: What the decoder of a network that answered alone makes of its draws; None without one.
    """

    model: Model
    prior: Prior
    spectrum: Spectrum
    draws: NDArray[np.float64]
    log_weight: NDArray[np.float64]
    log_likelihood: NDArray[np.float64]
    best: NDArray[np.float64]
    statistic: Value
    deviance: Value
    likelihood: str
    likelihood_kind: str
    systematic: float
    ess: float
    efficiency: float
    pareto_k: float
    log_evidence: float
    log_evidence_error: float
    predictive: Predictive
    computation: Computation
    fit: FitQuality
    flags: tuple[str, ...]
    grid: str
    seed: int
    evaluations: Mapping[str, int]
    seconds: Mapping[str, float]
    versions: Mapping[str, str]
    mode: str = "exact"
    network: str | None = None
    notes: tuple[str, ...] = ()
    truth: Mapping[str, float] = field(default_factory=dict)
    reconstruction: Reconstruction | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the free parameters, XSPEC's: `TBabs.nH`."""
        return self.prior.names

    @property
    def weights(self) -> NDArray[np.float64]:
        """(draw,) normalised weights."""
        weight = np.exp(self.log_weight - np.max(self.log_weight))
        normalised: NDArray[np.float64] = weight / weight.sum()
        return normalised

    @property
    def verdict(self) -> str:
        """`certified`, `approximate` or `do-not-trust`."""
        return overall(self.computation, self.fit)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why, in words: the computation's, the fit's, then what else there is to know."""
        return self.computation.reasons + self.fit.reasons + self.notes

    def quantile(self, q: float | Sequence[float]) -> NDArray[np.float64]:
        """Quantiles of every parameter.

        Args:
            q: One level or several, 0..1.

        Returns:
            (parameter,) for one level, (level, parameter) for several.
        """
        levels = np.atleast_1d(np.asarray(q, dtype=np.float64))
        columns = [weighted_quantile(column, self.weights, levels) for column in self.draws.T]
        out = np.stack(columns, axis=-1)
        return out[0] if np.isscalar(q) else out

    def resample(self, n: int, seed: int) -> NDArray[np.float64]:
        """Equally weighted draws, by systematic resampling in random order.

        Args:
            n: How many; draws repeat where n exceeds the ess.
            seed: Of the resampling.

        Returns:
            (n, parameter).
        """
        return self.draws[resampled_rows(self.weights, n, np.random.default_rng(seed))]

    def summary(self) -> dict[str, Any]:
        """The answer as plain numbers and words: what `summary.json` and `fit --json` hold (schema_version 1)."""
        spectrum, pha = self.spectrum, self.spectrum.observation.pha
        return {
            "schema_version": SCHEMA_VERSION,
            "source": pha.object,
            "observations": [_observation(spectrum)],
            "model": self.model.text,
            "abund": self.model.abund,
            "xsect": self.model.xsect,
            "network": self.network,
            "mode": self.mode,
            "energies": [list(pair) for pair in spectrum.energies],
            "energy_grid": self.grid,
            "grouping": spectrum.grouping,
            "statistic": _value(self.statistic),
            "likelihood": {"name": self.likelihood, "kind": self.likelihood_kind},
            "deviance": {"value": self.deviance.value, "dof": self.deviance.dof},
            "systematic": self.systematic,
            "parameters": self._parameters(),
            "nuisances": {},
            "prior": {marginal.name: str(marginal) for marginal in self.prior.marginals},
            "draws": int(self.draws.shape[0]),
            "ess": self.ess,
            "efficiency": self.efficiency,
            "pareto_k": self.pareto_k if np.isfinite(self.pareto_k) else None,
            "log_evidence": self.log_evidence,
            "log_evidence_error": self.log_evidence_error,
            "computation": {"status": self.computation.status, "reasons": list(self.computation.reasons)},
            "fit": {
                "status": self.fit.status,
                "p_value": self.fit.p_value,
                "worst_energies": [list(pair) for pair in self.fit.worst_energies],
                "reasons": list(self.fit.reasons),
            },
            "flags": list(self.flags),
            "verdict": self.verdict,
            "reasons": list(self.reasons),
            "seed": self.seed,
            "seconds": dict(self.seconds),
            "evaluations": dict(self.evaluations),
            "versions": dict(self.versions),
            "products": {},
            **({"truth": dict(self.truth)} if self.truth else {}),
        }

    def _parameters(self) -> dict[str, dict[str, Any]]:
        """Per parameter of the model, frozen and linked ones included: unit, best, median, intervals."""
        count = len(self.model.names)
        values = self.model.values(torch.as_tensor(self.draws[:, :count])).numpy()
        best = self.model.values(torch.as_tensor(self.best[:count])).numpy()
        levels = np.array([0.5, *LEVELS["68"], *LEVELS["90"]])
        names = ("median", "lower68", "upper68", "lower90", "upper90")
        out: dict[str, dict[str, Any]] = {}
        for parameter, column, top in zip(self.model.parameters, values.T, best, strict=True):
            quantiles = [parameter.value] * 5 if parameter.frozen else weighted_quantile(column, self.weights, levels)
            row = {"unit": parameter.unit, "best": float(top), **dict(zip(names, map(float, quantiles), strict=True))}
            out[parameter.name] = row | {"frozen": parameter.frozen}
            if parameter.link is not None:
                out[parameter.name]["link"] = parameter.link.text
        return out

    def __str__(self) -> str:
        lines = [f"{self.model.text}  {self.spectrum.observation.pha.path.name}"]
        lines += [
            f"  {name:<18} {row['median']:>11.5g}  [{row['lower90']:.5g}, {row['upper90']:.5g}] {row['unit']}".rstrip()
            for name, row in self._parameters().items()
            if not row["frozen"]
        ]
        lines.append(
            f"  {self.statistic.name} / dof = {self.statistic.value:.2f} / {self.statistic.dof}   deviance / dof = "
            f"{self.deviance.value:.2f} / {self.deviance.dof}"
        )
        lines.append(
            f"  ess {self.ess:.0f}   ln evidence {self.log_evidence:.2f} +- {self.log_evidence_error:.2f}   "
            f"verdict {self.verdict}"
        )
        lines += [f"  - {reason}" for reason in self.reasons]
        return "\n".join(lines)


def regrouped(spectrum: Spectrum) -> tuple[str, ...]:
    """What to say of the likelihood's bins where they are not those asked for; nothing where they are.

    Args:
        spectrum: What the likelihood sees.
    """
    if spectrum.shown is None:
        return ()
    bins, asked = spectrum.counts.size, spectrum.shown.counts.size
    return (
        f"the counts decided where groups end, so the likelihood and p take {bins} bins that they did not decide; "
        f"{asked} groups are shown",
    )


def resampled_rows(weights: NDArray[np.float64], n: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """Rows picked in proportion to their weights with the least scatter (systematic resampling), in random order."""
    places = (np.arange(n) + generator.random()) / n
    rows = np.searchsorted(np.cumsum(weights) / weights.sum(), places)
    return generator.permutation(np.minimum(rows, weights.size - 1))


def _value(value: Value) -> dict[str, Any]:
    return {"name": value.name, "value": value.value, "dof": value.dof, "reason": value.reason}


def _observation(spectrum: Spectrum) -> dict[str, Any]:
    """The files of one observation and what they hold in the band."""
    observation = spectrum.observation
    return {
        "pha": str(observation.pha.path),
        "rmf": str(observation.rmf.path),
        "arf": None if observation.arf is None else str(observation.arf.path),
        "background": None if observation.background is None else str(observation.background.path),
        "sha256": {"pha": observation.pha.sha256, "rmf": observation.rmf.sha256},
        "exposure": observation.pha.exposure,
        "counts": float(spectrum.counts.sum()),
        "bins": int(spectrum.counts.size),
    }
