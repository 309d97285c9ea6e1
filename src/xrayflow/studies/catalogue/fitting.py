"""A batch of a catalogue: read, answered together, each answer as a row of the table, and its draws."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from xrayflow.errors import XrayflowError
from xrayflow.inference import NoAnswer, Posterior, infer_batch
from xrayflow.ogip import Observation
from xrayflow.prior import Prior
from xrayflow.studies.catalogue.question import Question
from xrayflow.studies.running import Looked, Outcome, read_looked


@dataclass(frozen=True)
class DrawsOf:
    """The draws of one source.

    Attributes:
        theta: (draw, parameter) free parameters of the model.
        log_weight: (draw,) natural log of the unnormalised weights.
        log_prior: (draw,) natural log of the prior's density in the units of the parameters.
    """

    theta: NDArray[np.float64]
    log_weight: NDArray[np.float64]
    log_prior: NDArray[np.float64]

    @classmethod
    def of(cls, posterior: Posterior) -> DrawsOf:
        """Those of an answer, without its nuisances."""
        count = len(posterior.model.names)
        theta = posterior.draws[:, :count]
        prior = Prior(posterior.prior.marginals[:count])
        return cls(theta, posterior.log_weight, log_density(prior, theta))


@dataclass(frozen=True)
class Fitting:
    """Answers sources.

    Attributes:
        question: What is asked.
        kept: What is kept of an answer beside its row; None: nothing.
    """

    question: Question
    kept: Callable[[Posterior], Any] | None = None

    def read(self, sources: Sequence[Looked]) -> list[Observation | XrayflowError]:
        """The spectra; in the place of one that is gone, or another one now, the error.

        Args:
            sources: With the hashes of their files.
        """
        return read_looked(self.question.rmf, sources)

    def work(self, read: list[Observation | XrayflowError]) -> list[Outcome]:
        """The row of each source, and its draws where they are kept.

        Args:
            read: Of `read`.
        """
        found: list[Outcome] = [Outcome(error=str(one)) for one in read]
        places = [place for place, one in enumerate(read) if isinstance(one, Observation)]
        observations = [one for one in read if isinstance(one, Observation)]
        for place, outcome in zip(places, self._answered(observations), strict=True):
            found[place] = outcome
        return found

    def _answered(self, observations: list[Observation]) -> list[Outcome]:
        """All together; where one of them spoils that, each alone."""
        question = self.question
        if not observations:
            return []
        try:
            answers = infer_batch(
                observations,
                question.setup,
                question.network,
                question.amortised,
                question.seed,
                question.budget,
                on_error="row",
            )
        except Exception as error:  # noqa: BLE001  whatever it is, it is one row's, and the others are answered
            if len(observations) == 1:
                said = str(error) if isinstance(error, XrayflowError) else f"{type(error).__name__}: {error}"
                return [Outcome(error=" ".join(said.split()) or type(error).__name__)]
            return [outcome for one in observations for outcome in self._answered([one])]
        return [self._outcome(one) for one in answers]

    def _outcome(self, answer: Posterior | NoAnswer) -> Outcome:
        if isinstance(answer, NoAnswer):
            return Outcome(error=answer.reason)
        return Outcome(record_of(answer), extra=None if self.kept is None else self.kept(answer))


def record_of(posterior: Posterior) -> dict[str, Any]:
    """What the table says of an answer.

    Args:
        posterior: The answer.
    """
    statistic, likelihood = posterior.statistic, posterior.likelihood
    record: dict[str, Any] = {
        "verdict": posterior.verdict,
        "computation": posterior.computation.status,
        "fit": posterior.fit.status,
        "flags": "; ".join(posterior.flags),
        "reasons": "; ".join(posterior.reasons),
        "network": posterior.network or "",
        "statistic_name": statistic.name,
        "statistic": statistic.value,
        "dof": statistic.dof,
        "likelihood": likelihood.kind,
        "deviance": posterior.deviance.value,
        "systematic": str(likelihood.asked),
        "exposure": posterior.data[0].exposure,
        "counts": float(posterior.data[0].counts.sum()),
        "ess": posterior.ess,
        "efficiency": posterior.efficiency,
        "pareto_k": posterior.pareto_k,
        "log_evidence": posterior.log_evidence,
    }
    for name, row in posterior.parameter_rows().items():
        if row["frozen"]:
            continue
        values = {level: row[level] for level in ("best", "median", "lower68", "upper68", "lower90", "upper90")}
        limited = {edge: f"{edge}_limit:{name}" in posterior.flags for edge in ("upper", "lower")}
        values["lolim"] = math.nan if limited["upper"] else row["lower68"]
        values["hilim"] = math.nan if limited["lower"] else row["upper68"]
        record |= {f"{name}_{level}": value for level, value in values.items()}
    return record


def log_density(prior: Prior, theta: NDArray[np.float64]) -> NDArray[np.float64]:
    """(draw,) natural log of a prior's density in the units of its parameters.

    `Prior.log_density` is per unit of log10 theta where the prior is uniform in that; d log10 theta = d theta / (theta
    ln 10).

    Args:
        prior: Of the columns.
        theta: (draw, parameter).
    """
    at = torch.from_numpy(np.ascontiguousarray(theta))
    per_decade = prior.box.is_log & ~prior.box.is_normal
    slope = torch.where(per_decade, torch.log(at.clamp(min=1e-300) * math.log(10.0)), 0.0).sum(-1)
    found: NDArray[np.float64] = (prior.log_density(at) - slope).numpy()
    return found
