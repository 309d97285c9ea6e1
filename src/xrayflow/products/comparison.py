"""Models of the same data, compared by their evidence.

The evidence is the probability of the data under a model and its prior, so a ratio of two is how much likelier the data
make one of them. It pays for each parameter by the part of its prior that the data rule out: a prior twice as wide, on
its own scale, costs ln 2 where the posterior does not reach its edges. That is what to doubt first in a comparison, so
each row says by how much it would move if the priors of measured parameters that this model and the best do not share
were twice as wide. A difference that is smaller than this, or than its error, decides nothing.

Evidences are comparable only for the same counts in the same bins with the same likelihood; all else is refused.

Source: Kass & Raftery 1995, JASA 90, 773; Jeffreys 1961.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xrayflow.errors import DataError
from xrayflow.inference import Posterior

POSITIVE, STRONG, VERY_STRONG = 1.0, 3.0, 5.0
"""ln of a ratio of evidences: worth a mention, strong, very strong (Kass & Raftery, rounded)."""


OPEN = ("upper_limit:", "lower_limit:", "prior_dominated:")
"""Flags of parameters whose posteriors reach an edge of their priors."""

REMEDY = {
    "data": "files",
    "bins": "--energies and --grouping",
    "bins of the likelihood": "--energies and --grouping",
    "likelihoods": "--systematic, --likelihood and --background",
}
"""What makes answers comparable that differ so."""


@dataclass(frozen=True)
class Compared:
    """One model among several.

    Attributes:
        posterior: Its answer.
        log_ratio: ln evidence above that of the best; 0 for the best, below 0 elsewhere.
        error: Of that.
        probability: Of the model, if all were equally likely before.
        width: By how much `log_ratio` moves where priors that the best and this model do not share are twice as wide.
        name: What the answer was given as; "" for none.
    """

    posterior: Posterior
    log_ratio: float
    error: float
    probability: float
    width: float
    name: str = ""

    @property
    def words(self) -> str:
        """What the number means."""
        if self.log_ratio == 0.0:
            return "best"
        beyond = -self.log_ratio - max(abs(self.width), 2.0 * self.error)
        if beyond < POSITIVE:
            return "not decided"
        how = "" if beyond < STRONG else "strongly " if beyond < VERY_STRONG else "very strongly "
        return f"{how}disfavoured"

    def row(self) -> dict[str, Any]:
        """As plain numbers and words."""
        posterior = self.posterior
        return {
            "model": posterior.model.text,
            "result": self.name or None,
            "log_evidence": posterior.log_evidence,
            "log_evidence_error": posterior.log_evidence_error,
            "log_ratio": self.log_ratio,
            "log_ratio_error": self.error,
            "if_priors_twice_as_wide": self.width,
            "probability": self.probability,
            "words": self.words,
            "deviance": {"value": posterior.deviance.value, "dof": posterior.deviance.dof},
            "computation": posterior.computation.status,
            "fit": posterior.fit.status,
        }


def compare(posteriors: Sequence[Posterior], names: Sequence[str] = ()) -> list[Compared]:
    """Models of the same data, the best first.

    Args:
        posteriors: Their answers.
        names: What they were given as, in error lines and where models are the same; none for their models.

    Raises:
        DataError: Fewer than two, or of different data, bins or likelihoods, or without an evidence.
    """
    if len(posteriors) < 2:
        raise DataError("a comparison is one of two models at least")
    shown = [f"{name}: {one.model.text}" for name, one in zip(names, posteriors, strict=True)] if names else []
    shown = shown or [one.model.text for one in posteriors]
    for said, one in zip(shown, posteriors, strict=True):
        if not math.isfinite(one.log_evidence) or one.computation.status == "failed":
            raise DataError(f"{said}: has no evidence that can be compared ({one.computation.status}); leave it out")
        if (what := _different(posteriors[0], one)) is not None:
            raise DataError(
                f"{said} and {shown[0]} were fitted with different {what}; evidences of those cannot be compared: "
                f"fit both with the same {REMEDY[what]}"
            )
    best = max(posteriors, key=lambda one: one.log_evidence)
    logs = np.array([one.log_evidence for one in posteriors])
    share = np.exp(logs - logs.max())
    share /= share.sum()
    found = [
        Compared(
            posterior=one,
            log_ratio=one.log_evidence - best.log_evidence,
            error=0.0 if one is best else math.hypot(one.log_evidence_error, best.log_evidence_error),
            probability=float(part),
            width=math.log(2.0) * (len(_own(best, one)) - len(_own(one, best))),
            name=name,
        )
        for one, part, name in zip(posteriors, share, names or [""] * len(posteriors), strict=True)
    ]
    return sorted(found, key=lambda one: -one.log_ratio)


def _different(one: Posterior, other: Posterior) -> str | None:
    """In what two answers are of different data."""
    if [data.sha256 for data in one.data] != [data.sha256 for data in other.data]:
        return "data"
    for a, b in zip(one.data, other.data, strict=True):
        if not (np.array_equal(a.energy_lo, b.energy_lo) and np.array_equal(a.energy_hi, b.energy_hi)):
            return "bins"
    if not np.array_equal(one.predictive.energy, other.predictive.energy):
        return "bins of the likelihood"
    settings = [(p.likelihood.name, p.likelihood.systematic, p.likelihood.background) for p in (one, other)]
    if settings[0] != settings[1] or one.likelihood.calibration != other.likelihood.calibration:
        return "likelihoods"
    return None


def _own(one: Posterior, other: Posterior) -> list[str]:
    """Free parameters that the data measure, with a range for a prior that another answer does not have.

    Of a parameter that the data leave open (a line that is not there), a wider prior costs nothing.
    """
    open_ends = {flag.partition(":")[2] for flag in one.flags if flag.startswith(OPEN)}
    own = [
        marginal for marginal in one.prior.marginals if marginal.mean is None and marginal not in other.prior.marginals
    ]
    return [marginal.name for marginal in own if marginal.name not in open_ends]


def comparison_lines(found: Sequence[Compared]) -> list[str]:
    """For a terminal.

    Args:
        found: Of `compare`.
    """
    lines = [f"{found[0].posterior.data[0].pha.name}: the best first"]
    for one in found:
        posterior = one.posterior
        numbers = f"ln evidence {posterior.log_evidence:.2f} +- {posterior.log_evidence_error:.2f}"
        if one.log_ratio:
            numbers += f", ln ratio {one.log_ratio:+.2f} +- {one.error:.2f}"
        said = f"probability {one.probability:.3g}: {one.words}; the fit is {posterior.fit.status}"
        same = sum(other.posterior.model.text == posterior.model.text for other in found) > 1
        title = f"{posterior.model.text}  ({one.name})" if same and one.name else posterior.model.text
        lines += ["", title, f"  {numbers}", f"  {said}"]
        if one.width:
            lines.append(f"  priors twice as wide, of parameters that it and the best do not share: {one.width:+.1f}")
    if all(one.posterior.fit.status != "acceptable" for one in found):
        lines += ["", "none of them describes the data well: the best may be far from right"]
    return lines
