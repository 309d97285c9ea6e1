"""The misfit microscope: which further component the data ask for, by evidence, and how often chance asks as much.

The fit is seen as linear: ln B of small changes (`candidates`) and of absorbers (`absorbers`) is an integral in closed
form. The places of a search (energies, widths, columns) share the prior evenly: what was tried is paid for. That is the
Laplace approximation of what the draws say: good where a component is a small change of the model, a hint where it is a
large one; a fit with it decides (`inference.larger`).

Gaussian formulas on counts, a linear fit: so how often chance does as much is not read off B, but simulated. Spectra
like the observed one, without anything missing, are searched alike; p counts how many reach the same ln B in the same
kind of component, and the best p of all kinds is compared with that of the simulated ones.

Source: Kass & Raftery 1995 (JASA 90, 773) on evidence; Protassov et al. 2002 (ApJ 571, 545) on simulating a search.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from xrayflow.inference.checks.absorbers import absorbers_of
from xrayflow.inference.checks.candidates import Kind, Residual, small_changes
from xrayflow.linear_set import LinearSet
from xrayflow.problem import Problem

SIMULATED, AT_ONCE = 1000, 50


@dataclass(frozen=True)
class Refit:
    """A fit of the model with a component that it may lack.

    Attributes:
        log_bayes: Natural log of its evidence over that of the model without it.
        error: Standard error of that.
        verdict: Of the larger fit: `certified`, `approximate` or `do-not-trust`.
        computation, fit: What that rests on.
        verdict_here, computation_here, fit_here: Of the fit without it.
        parameters: Of the component: unit, best, median and intervals of each that is free, by its name.
        prior: Their priors, in words.
        least: What ln B is at least, by the draws of the fit without it (`inference.larger`).
    """

    log_bayes: float
    error: float
    verdict: str
    computation: str
    fit: str
    verdict_here: str
    computation_here: str
    fit_here: str
    parameters: Mapping[str, Mapping[str, float | str | bool]]
    prior: Mapping[str, str]
    least: float = -math.inf

    @property
    def doubt(self) -> str:
        """Why ln B is no more than a hint, in words; "" where both evidences are certified."""
        if self.least > self.log_bayes:
            return f"the fit with it misses a mode: ln B is {self.least:+.1f} at least, by draws of the fit without it"
        pairs = (("with it", self.computation), ("without it", self.computation_here))
        said = [f"{which} {status}" for which, status in pairs if status != "certified"]
        return f"evidence not certified: {', '.join(said)}" if said else ""


@dataclass(frozen=True)
class Missing:
    """A component that the model may lack.

    Attributes:
        kind: "narrow line", "broad line", "dip", "edge", "absorber", "absorber of powerlaw", "partial covering",
            "energy scale".
        where: The likeliest place, in words; "" where the kind has none.
        size: The likeliest amplitude there, in words.
        log_bayes: Natural log of the evidence with it over that without, of the fit as linear.
        p_value: Share of simulated spectra, without it, that reach as much in this kind.
        expression: The model with it, in XSPEC's words; "" where no component of this package does it.
        component: Its name there, `gaussian_4`.
        prior: Of its parameters in a fit, as `--prior` has them.
        freeze: Those that are held.
        why_not: Why it cannot be fitted; "" where it can.
        refit: A fit with it; None where none was asked for.
    """

    kind: str
    where: str
    size: str
    log_bayes: float
    p_value: float
    expression: str
    component: str = ""
    prior: tuple[str, ...] = ()
    freeze: Mapping[str, float] = field(default_factory=dict)
    why_not: str = ""
    refit: Refit | None = None


@dataclass(frozen=True)
class Microscope:
    """What was found.

    Attributes:
        missing: All kinds, the likeliest first.
        p_value: Share of simulated spectra in which some kind stands out as much as the most striking here.
        simulated: How many there were.
    """

    missing: tuple[Missing, ...]
    p_value: float
    simulated: int


def find_missing(
    problem: Problem,
    v: Float[Tensor, " parameter"],
    generator: torch.Generator,
    simulated: int = SIMULATED,
    progress: Callable[[str, float], None] | None = None,
) -> Microscope:
    """Rank what one source's fit may lack.

    Args:
        problem: A batch of one.
        v: The best fit, in probit coordinates.
        generator: Of the simulated spectra.
        simulated: How many of them.
        progress: Called with (step, fraction).
    """
    sets = problem.linear(v)
    place = max(range(len(sets)), key=lambda i: float(sets[i].fit.expected.sum()))
    one = sets[place]
    kinds = list(kinds_of(problem, one, v))
    first = sum(data.fit.residual.numel() for data in sets[:place])
    bins = slice(first, first + one.fit.residual.numel())

    def searched(residual: Residual) -> Float[Tensor, "spectrum kind"]:
        each = [kind.evidence(residual) for kind in kinds]
        return torch.stack([torch.logsumexp(own, -1) - math.log(own.shape[1]) for own in each], dim=-1)

    residual = one.fit.residual[None]
    found = searched(residual)[0]
    chance = torch.cat(
        [searched(residual + change[:, bins]) for change in _changes(problem, v, generator, simulated, progress)]
    )
    p = (1 + (chance >= found).sum(0)).to(found.dtype) / (1.0 + simulated)
    # how striking each simulated spectrum is in the kind where it is that most, among all of them
    rank = chance.argsort(0, descending=True).argsort(0).amin(-1)
    as_striking = rank < p.min() * (1.0 + simulated) - 1
    missing = [
        _missing(kind, residual, float(log_bayes), float(chance_of_it))
        for kind, log_bayes, chance_of_it in zip(kinds, found, p, strict=True)
    ]
    missing.sort(key=lambda one: -one.log_bayes)
    return Microscope(tuple(missing), (1 + int(as_striking.sum())) / (1.0 + simulated), simulated)


def kinds_of(problem: Problem, one: LinearSet, v: Float[Tensor, " parameter"]) -> Iterator[Kind]:
    """All that is looked for.

    Args:
        problem: A batch of one.
        one: Its fit.
        v: The fit, in probit coordinates.
    """
    yield from small_changes(problem.model, one)
    yield from absorbers_of(problem, one, v)


def _missing(kind: Kind, residual: Residual, log_bayes: float, p_value: float) -> Missing:
    """A kind at its likeliest place."""
    at = int(kind.evidence(residual)[0].argmax())
    where, size, addition = kind.places[at], kind.size(residual, at), kind.addition(at)
    return Missing(kind.name, where, size, log_bayes, p_value, **asdict(addition))


def _changes(
    problem: Problem,
    v: Tensor,
    generator: torch.Generator,
    simulated: int,
    progress: Callable[[str, float], None] | None,
) -> Iterator[Float[Tensor, "spectrum bin"]]:
    """By how much the residuals of simulated spectra, seen from the best fit, differ from the observed ones."""
    theta = problem.data.as_judged(problem.prior.to_theta(v)[None, None])
    expected = problem.expected(theta)
    observed = problem.data.residuals(expected, theta)[0]
    for done in range(0, simulated, AT_ONCE):
        count = min(AT_ONCE, simulated - done)
        many, here = (of.expand(-1, count, -1).contiguous() for of in (expected, theta))
        replica = problem.data.replicate(many, here, generator)
        yield replica.residuals(many, here)[0] - observed
        if progress is not None:
            progress("simulating", (done + count) / simulated)
