"""The answer: weighted draws of the posterior with everything that is needed to judge and to repeat them.

It is in parts: what was drawn (`Draws`), how the weights came out (`Weighing`), how the model fits (`BestPoint`), and
where all of it came from (`Provenance`). No response is inside: an answer is a few hundred kB and travels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from html import escape
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from xrayflow.dataset import ObservedData
from xrayflow.errors import DataError
from xrayflow.facts import LikelihoodFacts
from xrayflow.files import SCHEMA_VERSION
from xrayflow.fitting import BestFit
from xrayflow.inference.checks.misfit import Misfit
from xrayflow.inference.checks.predictive import Predictive
from xrayflow.inference.checks.verdict import Computation, Evidence, FitQuality, overall
from xrayflow.inference.flux import MOST, PARTS, SHOWN_BAND, BandFlux, ModelDraws, fitted_band, flux_rows
from xrayflow.inference.parts import BestPoint, Draws, Provenance, Weighing
from xrayflow.inference.reread import asked_of, fit_again, fit_statistic_again, read_again, read_problem
from xrayflow.inference.summary_rows import nuisance_rows, observation_row, parameter_rows
from xrayflow.inference.weights import systematic_rows, weighted_quantile
from xrayflow.models import Model
from xrayflow.networks import Reconstruction
from xrayflow.ogip import Observation
from xrayflow.prior import Prior
from xrayflow.problem import Problem
from xrayflow.setup import FitSetup
from xrayflow.shown import Value

SUMMARY_DRAWS = 1000
"""That the fluxes of a summary are told from at most."""


@dataclass(frozen=True, repr=False)
class Posterior:
    """The certified posterior of one spectrum, or of several of one source.

    Attributes:
        model: The spectral model.
        prior: Prior of its free parameters, nuisances last.
        data: What was fitted.
        sample: The draws.
        weighing: How their weights came out.
        best_point: How the model fits at its best.
        likelihood: What the posterior rests on.
        predictive: The posterior predictive check, with the bands of figures.
        computation, fit, flags: The verdict's parts.
        provenance: Where the answer came from.
        mode: "exact", or "amortised" where a network answered alone: no weights, and no evidence then.
        truth: True values by name, where they are known.
        reconstruction: What the decoder of a network that answered alone makes of its draws; None without one.
        misfit: Lines, and an energy scale, that a bright fit lacks; None where the response is taken at its word.
        evidence: What the computation was judged by; None where a network answered alone.
    """

    model: Model
    prior: Prior
    data: tuple[ObservedData, ...]
    sample: Draws
    weighing: Weighing
    best_point: BestPoint
    likelihood: LikelihoodFacts
    predictive: Predictive
    computation: Computation
    fit: FitQuality
    flags: tuple[str, ...]
    provenance: Provenance
    mode: str = "exact"
    truth: Mapping[str, float] = field(default_factory=dict)
    reconstruction: Reconstruction | None = None
    misfit: Misfit | None = None
    evidence: Evidence | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the free parameters, XSPEC's: `TBabs.nH`."""
        return self.prior.names

    @property
    def draws(self) -> NDArray[np.float64]:
        """(draw, parameter) in the prior's order and the parameters' units; weighted."""
        return self.sample.theta

    @property
    def log_weight(self) -> NDArray[np.float64]:
        """(draw,) natural log of the unnormalised weights; their mean is the evidence."""
        return self.sample.log_weight

    @property
    def log_likelihood(self) -> NDArray[np.float64]:
        """(draw,) natural log of the normalised likelihood."""
        return self.sample.log_likelihood

    @property
    def weights(self) -> NDArray[np.float64]:
        """(draw,) normalised weights."""
        weight = np.exp(self.log_weight - np.max(self.log_weight))
        normalised: NDArray[np.float64] = weight / weight.sum()
        return normalised

    @property
    def best(self) -> NDArray[np.float64]:
        """(parameter,) mode of log prior + log likelihood, in each parameter's own scale."""
        return self.best_point.theta

    @property
    def statistic(self) -> Value:
        """XSPEC's, at `best`."""
        return self.best_point.statistic

    @property
    def deviance(self) -> Value:
        """That of the likelihood, at `best`."""
        return self.best_point.deviance

    @property
    def ess(self) -> float:
        """Effective sample size of the draws."""
        return self.weighing.ess

    @property
    def efficiency(self) -> float:
        """ess / likelihood evaluations on draws."""
        return self.weighing.efficiency

    @property
    def pareto_k(self) -> float:
        """Tail shape of the weights."""
        return self.weighing.pareto_k

    @property
    def log_evidence(self) -> float:
        """Natural log of the integral of the likelihood over the prior."""
        return self.weighing.log_evidence

    @property
    def log_evidence_error(self) -> float:
        """Its standard error."""
        return self.weighing.log_evidence_error

    @property
    def seed(self) -> int:
        """The run's seed."""
        return self.provenance.seed

    @property
    def network(self) -> str | None:
        """Name of the network that started the answer."""
        return self.provenance.network

    @property
    def verdict(self) -> str:
        """`certified`, `approximate` or `do-not-trust`."""
        return overall(self.computation, self.fit)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why, in words: the computation's, the fit's, then what else there is to know."""
        return self.computation.reasons + self.fit.reasons + self.provenance.notes

    def __repr__(self) -> str:
        free = ", ".join(f"{name}={median:.4g}" for name, median in zip(self.names, self.quantile(0.5), strict=True))
        return f"<Posterior of {self.data[0].pha.name}: {self.model.text}, {free}; ess {self.ess:.0f}, {self.verdict}>"

    def _repr_html_(self) -> str:
        cells = "".join(
            f"<tr><td>{escape(name)}</td><td>{row['median']:.5g}</td><td>{row['lower90']:.5g} .. {row['upper90']:.5g}"
            f"</td><td>{escape(row['unit'])}</td></tr>"
            for name, row in self._rows()
        )
        words = "".join(f"<li>{escape(reason)}</li>" for reason in self.reasons)
        return (
            f"<b>{escape(self.data[0].pha.name)}</b>: {escape(self.model.text)}"
            "<table><tr><th>parameter</th><th>median</th><th>90 % interval</th><th>unit</th></tr>"
            f"{cells}</table><b>{self.verdict}</b>, ess {self.ess:.0f}<ul>{words}</ul>"
        )

    @cached_property
    def fluxes(self) -> list[dict[str, Any]]:
        """Fluxes of the fit's band and of 2-10 keV, absorbed and not, as plain numbers."""
        bands = list(dict.fromkeys((self.band, SHOWN_BAND)))
        return flux_rows(self.model_draws(SUMMARY_DRAWS, 1), bands, self.data_band)

    @property
    def band(self) -> tuple[float, float]:
        """The band of the fit [keV]: as it was asked for where there are bins."""
        return fitted_band([(data.energies, data.energy_lo, data.energy_hi) for data in self.data])

    @property
    def data_band(self) -> tuple[float, float]:
        """First and last energy of the bins [keV]: `band` may reach farther."""
        lows, highs = zip(*((data.energy_lo.min(), data.energy_hi.max()) for data in self.data), strict=True)
        return float(min(lows)), float(max(highs))

    def best_fit(self) -> BestFit:
        """The best point as a fit, for `error` and `steppar`; the files of the answer are read again.

        Raises:
            FileError: A file is gone, or another one now.
            DataError: The answer was computed on an energy grid of its own.
        """
        return fit_again(self._only_data(), self.asked, self.provenance.grid, torch.from_numpy(self.best))

    def statistic_fit(self) -> BestFit:
        """The minimum of XSPEC's statistic, for `error` and `steppar` as XSPEC has them; the files are read again.

        The response is taken at its word, the background as the statistic has it, and the prior is its box alone.

        Raises:
            FileError: A file is gone, or another one now.
        """
        return fit_statistic_again(self._only_data(), self.asked, self.seed)

    def problem(self) -> Problem:
        """What was answered, as one target again; the files of the answer are read again.

        Raises:
            FileError: A file is gone, or another one now.
            DataError: The answer was computed on an energy grid of its own.
        """
        return read_problem(self._only_data(), self.asked, self.provenance.grid, torch.from_numpy(self.best))

    def _only_data(self) -> ObservedData:
        if len(self.data) != 1:
            raise DataError("an answer of several data sets cannot be fitted again yet; fit them anew")
        return self.data[0]

    @property
    def asked(self) -> FitSetup:
        """What was asked of the data, the photon-energy grid excepted.

        Raises:
            DataError: The answer is of several data sets.
        """
        return asked_of(self._only_data(), self.model, self.prior, self.likelihood, self.statistic.name)

    def observation(self) -> Observation:
        """The data, read again from their files.

        Raises:
            FileError: A file is gone, or another one now.
            DataError: The answer is of several data sets.
        """
        return read_again(self._only_data())

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

    def flux(self, lo: float, hi: float, unabsorbed: bool = False, component: str | None = None) -> BandFlux:
        """The flux of a band at the draws: no new fit.

        Args:
            lo, hi: The band, as observed [keV].
            unabsorbed: Without the absorbers of the model.
            component: Of this additive component alone, `"gaussian_3"`.

        Raises:
            DataError: No such band.
            ModelError: No such component.
        """
        return self.model_draws().fluxes([(lo, hi)], unabsorbed, component)[0]

    def model_draws(self, most: int = MOST, parts: int = PARTS) -> ModelDraws:
        """The draws as values of the model, for what follows from it: fluxes, equivalent widths.

        Args:
            most: Draws at most.
            parts: Into which the bins of the photon-energy grid are cut.
        """
        return ModelDraws.of(self.model, self.draws, self.weights, self.best, most, parts)

    def resample(self, n: int, seed: int) -> NDArray[np.float64]:
        """Equally weighted draws, by systematic resampling in random order.

        Args:
            n: How many; draws repeat where n exceeds the ess.
            seed: Of the resampling.

        Returns:
            (n, parameter).
        """
        rows = systematic_rows(torch.from_numpy(self.weights), n, torch.Generator().manual_seed(seed))
        picked: NDArray[np.float64] = self.draws[rows.numpy()]
        return picked

    def summary(self) -> dict[str, Any]:
        """The answer as plain numbers and words: what `summary.json` and `fit --json` hold (schema_version 1)."""
        first = self.data[0]
        return {
            "schema_version": SCHEMA_VERSION,
            "source": first.source,
            "observations": [observation_row(data) for data in self.data],
            "model": self.model.text,
            "abund": self.model.abund,
            "xsect": self.model.xsect,
            "network": self.provenance.network,
            "mode": self.mode,
            "energies": [list(pair) for pair in first.energies],
            "energy_grid": self.provenance.grid,
            "grouping": first.grouping,
            "statistic": asdict(self.statistic),
            "likelihood": {"name": self.likelihood.name, "kind": self.likelihood.kind},
            "deviance": {"value": self.deviance.value, "dof": self.deviance.dof},
            "systematic": self.likelihood.systematic,
            "calibration": None if self.likelihood.calibration is None else asdict(self.likelihood.calibration),
            "parameters": self.parameter_rows(),
            "nuisances": self._nuisances(),
            "fluxes": self.fluxes,
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
            "misfit": None if self.misfit is None else asdict(self.misfit),
            "flags": list(self.flags),
            "verdict": self.verdict,
            "reasons": list(self.reasons),
            "seed": self.provenance.seed,
            "seconds": dict(self.provenance.seconds),
            "evaluations": dict(self.weighing.evaluations),
            "versions": dict(self.provenance.versions),
            "products": {},
            **({"truth": dict(self.truth)} if self.truth else {}),
        }

    def parameter_rows(self) -> dict[str, dict[str, Any]]:
        """Per parameter of the model, frozen and linked ones included: unit, best, median, intervals."""
        return parameter_rows(self.model, self.draws, self.weights, self.best)

    def _rows(self) -> list[tuple[str, dict[str, Any]]]:
        """What a table shows: free parameters and nuisances."""
        return [(name, row) for name, row in (self.parameter_rows() | self._nuisances()).items() if not row["frozen"]]

    def _nuisances(self) -> dict[str, dict[str, Any]]:
        """The same of the likelihood's own parameters, whose columns stand behind the model's."""
        own = len(self.model.names)
        return nuisance_rows(self.prior.marginals[own:], self.draws[:, own:], self.weights, self.best[own:])

    def __str__(self) -> str:
        lines = [f"{self.model.text}  {self.data[0].pha.name}"]
        lines += [
            f"  {name:<18} {row['median']:>11.5g}  [{row['lower90']:.5g}, {row['upper90']:.5g}] {row['unit']}".rstrip()
            for name, row in self._rows()
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
