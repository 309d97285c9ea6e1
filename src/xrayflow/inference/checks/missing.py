r"""The misfit microscope: which further component the data ask for, by evidence, and how often chance asks as much.

At the best fit, seen as linear (`statistics.linear`: parameters with their priors, nuisances and calibration modes are
projected out), a further component of shape t with amplitude a, where A = t'Me / t'Mt and I = t'Mt,

    ln L(a) - ln L(0) = A I a - I a^2 / 2,

so its evidence over that of the model without it, with the prior p(a) of its amplitude, is an integral in closed form:

* a line, an edge: a >= 0, half normal of scale s.   ln B = z^2 w / 2 - ln(1 + I s^2) / 2 + ln 2 Phi(z w^(1/2)),
                                                     z = A I^(1/2), w = I s^2 / (1 + I s^2); a dip likewise of -t;
* an energy scale: offset and slope, normal, both at once.

An absorber is a large change. At each column and covering fraction the changed model is first fitted to what the
unchanged one expects, and is linear about that point: with residuals q, derivatives B and parameters v there,

    ln Z = -q'D^-1 q / 2 - v'v / 2 + b'H^-1 b / 2 - ln det H / 2,     b = B'D^-1 q - v,   H = B'D^-1 B + 1.

The places of a search (energies, widths, columns) share the prior evenly: what was tried is paid for. That is the
Laplace approximation of what the draws say: good where a component is a small change of the model, a hint where it is a
large one; a fit with it and `compare` decide.

Gaussian formulas on counts, a linear fit: so how often chance does as much is not read off B, but simulated. Spectra
like the observed one, without anything missing, are searched alike; p counts how many reach the same ln B in the same
kind of component, and the best p of all kinds is compared with that of the simulated ones.

Source: Kass & Raftery 1995 (JASA 90, 773) on evidence; Protassov et al. 2002 (ApJ 571, 545) on simulating a search.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from xrayflow.linear_set import LinearSet
from xrayflow.models import additive_components
from xrayflow.problem import Problem

NARROW, BROAD = 0.01, (0.3, 0.8)
"""keV, widths of lines."""

LINE_EV, BROAD_EV = 100.0, 300.0
"""eV, scale of the half-normal priors of equivalent widths."""

DEPTH = 0.3
"""Scale of the half-normal prior of an edge's optical depth."""

COLUMNS = tuple(10.0 ** (-2.0 + 0.25 * i) for i in range(17))
FRACTIONS = (0.2, 0.4, 0.6, 0.8, 0.95)
"""10^22 cm^-2, of absorbers: 1e20 to 1e24 cm^-2; and what they cover."""

OFFSET_EV, SLOPE = 10.0, 0.003
"""Standard deviations of the prior of an energy scale, where calibration modes do not say."""

STEP, EDGE_STEP, INSIDE = 0.012, 0.03, 0.05
"""Lines and edges stand this part of their energy apart (lines also half a width), this part inside of the band."""

FEWEST = 25.0
"""Counts that are expected below a line: of fewer a sum is far from normal."""

SIMULATED, AT_ONCE = 1000, 50

REFITS, SETTLED, FARTHEST = 25, 0.02, 8.0
"""Steps of the fits that make up for an absorber at most; shorter ones end them; how far they go in probit units."""


Residual = Float[Tensor, "spectrum bin"]


@dataclass(frozen=True)
class Missing:
    """A component that the model may lack.

    Attributes:
        kind: "narrow line", "broad line", "dip", "edge", "absorber", "absorber of powerlaw", "partial covering",
            "energy scale".
        where: The likeliest place, in words; "" where the kind has none.
        size: The likeliest amplitude there, in words.
        log_bayes: Natural log of the evidence with it over that without.
        p_value: Share of simulated spectra, without it, that reach as much in this kind.
        expression: The model with it, in XSPEC's words; "" where no component of this package does it.
    """

    kind: str
    where: str
    size: str
    log_bayes: float
    p_value: float
    expression: str


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


@dataclass(frozen=True)
class Kind:
    """Components of one kind at all their places.

    Attributes:
        name: As `Missing.kind`.
        places: In words.
        evidence: Residuals of spectra at the fit -> (spectrum, place) ln B; one place where all is summed already.
        size: Residuals of one spectrum and a place -> words.
        expression: As `Missing.expression`.
    """

    name: str
    places: tuple[str, ...]
    evidence: Callable[[Residual], Tensor]
    size: Callable[[Residual, int], str]
    expression: str


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
    kinds = list(_kinds(problem, one, v))
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
        Missing(kind.name, *_likeliest(kind, residual), float(log_bayes), float(chance_of_it), kind.expression)
        for kind, log_bayes, chance_of_it in zip(kinds, found, p, strict=True)
    ]
    missing.sort(key=lambda one: -one.log_bayes)
    return Microscope(tuple(missing), (1 + int(as_striking.sum())) / (1.0 + simulated), simulated)


def _likeliest(kind: Kind, residual: Residual) -> tuple[str, str]:
    """The likeliest place of a kind, and the size there, in words."""
    at = int(kind.evidence(residual)[0].argmax())
    return kind.places[at], kind.size(residual, at)


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


def _kinds(problem: Problem, one: LinearSet, v: Tensor) -> Iterator[Kind]:
    """All that is looked for."""
    model = problem.model
    lo, hi = float(one.energy_lo.min()) * (1 + INSIDE), float(one.energy_hi.max()) * (1 - INSIDE)
    narrow = _lines(one, [(energy, NARROW) for energy in _energies(lo, hi, STEP, NARROW)])
    broad = _lines(one, [(energy, width) for width in BROAD for energy in _energies(lo, hi, STEP, width)])
    line = f"{model.text}+gaussian"
    for name, (shapes, places), scale, sign in (
        ("narrow line", narrow, LINE_EV, 1.0),
        ("broad line", broad, BROAD_EV, 1.0),
        ("dip", narrow, LINE_EV, -1.0),
    ):
        if places:
            words = tuple(
                f"{energy:.3g} keV" + (f", sigma {width:g} keV" if name == "broad line" else "")
                for energy, width in places
            )
            expression = line if sign > 0 else f"gabs*({model.text})"
            yield _added(one, name, sign * shapes, words, 1e-3 * scale, _width, expression)
    energies = _energies(lo, hi, EDGE_STEP, 0.0)
    if energies:
        grid, start = one.energies, np.array(energies)[:, None]
        # tau small: exp(-tau (E / E_c)^-3) is 1 - tau (E / E_c)^-3
        depth = np.where(grid >= start, -((grid / start) ** -3.0), 0.0)
        words = tuple(f"{energy:.3g} keV" for energy in energies)
        yield _added(one, "edge", one.times(depth), words, DEPTH, _depth, f"edge*({model.text})")
    yield from _absorbers(problem, one, v)
    yield _scale(one)


def _added(
    one: LinearSet,
    name: str,
    shapes: Float[Tensor, "bin place"],
    places: tuple[str, ...],
    scale: float,
    words: Callable[[float, float], str],
    expression: str,
) -> Kind:
    """A kind whose counts are added, with a half-normal prior of the amplitude."""
    weighed = one.fit.weighed(shapes)
    information = (shapes * weighed).sum(0).clamp(min=1e-300)
    share = information * scale**2 / (1.0 + information * scale**2)
    offset = one.fit.columns @ one.fit.at

    def evidence(residual: Residual) -> Tensor:
        z = (residual + offset) @ weighed / information.sqrt()
        positive = torch.special.log_ndtr(z * share.sqrt()) + math.log(2.0)
        found: Tensor = 0.5 * share * z**2 - 0.5 * torch.log1p(information * scale**2) + positive
        return found

    def size(residual: Residual, at: int) -> str:
        amplitude = (residual[0] + offset) @ weighed[:, at] / information[at]
        return words(float(amplitude), float(information[at].rsqrt()))

    return Kind(name, places, evidence, size, expression)


def _absorbers(problem: Problem, one: LinearSet, v: Tensor) -> Iterator[Kind]:
    """A further absorber of everything, of each additive component, and of a part of the source."""
    passed = one.transmission(COLUMNS)
    words = tuple(f"nH {column:.2g} 10^22 cm^-2" for column in COLUMNS)
    text, names = problem.model.text, additive_components(problem.model)
    for name in (None, *(names if len(names) > 1 else ())):
        kind = "absorber" if name is None else f"absorber of {name}"
        expression = f"TBabs*({text})" if name is None else ""
        yield Kind(kind, words, _changed(problem, one, v, passed, name), _no_size, expression)
    covered = np.concatenate([1.0 - fraction * (1.0 - passed) for fraction in FRACTIONS])
    both = tuple(f"{word}, fraction {fraction:g}" for fraction in FRACTIONS for word in words)
    yield Kind("partial covering", both, _changed(problem, one, v, covered, None), _no_size, "")


def _changed(
    problem: Problem, one: LinearSet, v: Tensor, factors: NDArray[np.float64], component: str | None
) -> Callable[[Residual], Tensor]:
    """Evidence of a model that is multiplied by factors, over that of the model as it is.

    Args:
        problem, one, v: The fit.
        factors: (place, energy).
        component: Of which additive component; None is all.
    """
    fit, free = one.fit, one.theta.shape[-1]
    weight = 1.0 / fit.variance.clamp(min=1e-300)
    here, expected, bent = _made_up_for(problem, one, v, factors, component)
    (goal,) = one.times(np.ones((1, factors.shape[1]))).T
    # the rest of the columns (calibration modes) are where they were
    rest, count = fit.columns[:, free:], here.shape[0]
    columns = torch.cat([bent, rest.expand(count, -1, -1)], dim=-1)
    at = torch.cat([here, fit.at[free:].expand(count, -1)], dim=-1)
    left = expected - goal

    def half_gain(residual: Tensor, columns: Tensor, at: Tensor) -> Tensor:
        """b'H^-1 b / 2 - ln det H / 2 - v'v / 2 of (spectrum, place)."""
        weighed = columns * weight[:, None]
        inner = columns.mT @ weighed + torch.eye(at.shape[-1], dtype=at.dtype)
        factor = torch.linalg.cholesky(inner)
        pull = residual @ weighed - at
        solved = torch.linalg.solve_triangular(factor, pull.mT, upper=False)
        log_det = factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        found: Tensor = 0.5 * (solved**2).sum(-2) - log_det[..., None] - 0.5 * (at**2).sum(-1)
        return found

    def evidence(residual: Residual) -> Tensor:
        before = half_gain(residual, fit.columns, fit.at[None])
        each = []
        for own, place, change in zip(columns, at, left, strict=True):
            now = half_gain(residual - change, own, place[None])
            each.append(now - before + (residual - 0.5 * change) @ (weight * change))
        return torch.stack(each, dim=-1)

    return evidence


def _made_up_for(
    problem: Problem, one: LinearSet, v: Tensor, factors: NDArray[np.float64], component: str | None
) -> tuple[Float[Tensor, "place parameter"], Float[Tensor, "place bin"], Float[Tensor, "place bin parameter"]]:
    """Where the parameters of a changed model make up for the change as well as they can (Gauss and Newton).

    Args:
        problem, one, v, factors, component: As for `_changed`.

    Returns:
        Probit coordinates, expected counts, and their derivatives by these coordinates.
    """
    free, weight = one.theta.shape[-1], 1.0 / one.fit.variance.clamp(min=1e-300)
    prior, (goal,) = problem.model_prior, one.times(np.ones((1, factors.shape[1]))).T
    start = v[:free].expand(factors.shape[0], -1)
    here, best = start.clone(), start.clone()
    least = torch.full((factors.shape[0],), torch.inf, dtype=v.dtype)
    for _ in range(REFITS):
        expected, jacobian = one.multiplied(prior.to_theta(here), factors, component)
        left, bent = expected - goal, jacobian * prior.slope(here)[:, None]
        badness = (left**2 * weight).sum(-1) + ((here - start) ** 2).sum(-1)
        best = torch.where((badness < least)[:, None], here, best)
        least = torch.minimum(least, badness)
        normal = bent.mT @ (weight[:, None] * bent) + torch.eye(free, dtype=v.dtype)
        step = torch.linalg.solve(normal, (bent.mT @ (weight * left)[..., None])[..., 0] + here - start)
        if bool((step.norm(dim=-1) < SETTLED).all()):
            break
        here = (here - step * (1.0 / step.norm(dim=-1, keepdim=True).clamp(min=1.0))).clamp(-FARTHEST, FARTHEST)
    expected, jacobian = one.multiplied(prior.to_theta(best), factors, component)
    return best, expected, jacobian * prior.slope(best)[:, None]


def _scale(one: LinearSet) -> Kind:
    """An energy scale that is off; what calibration modes believe of it is among the fit's columns already."""
    offset, inside = one.fit.columns @ one.fit.at, one.calibrated
    if inside:
        unit, shapes = (one.gain_offset, one.gain_slope), one.fit.gain
    else:
        unit = (1e-3 * OFFSET_EV, SLOPE)
        shapes = one.moved_scale() * torch.tensor(unit, dtype=torch.float64)
    weighed = one.fit.weighed(shapes)
    among, eye = shapes.T @ weighed, torch.eye(shapes.shape[1], dtype=shapes.dtype)
    # with the scale in doubt over without, and the other way round where the fit has it in doubt already
    wide = torch.linalg.inv(eye - among) if inside else eye + among
    narrow = wide if inside else torch.linalg.inv(wide)
    half_log_det = 0.5 * float(torch.logdet(wide))

    def evidence(residual: Residual) -> Tensor:
        seen = (residual + offset) @ weighed
        found: Tensor = 0.5 * ((seen @ narrow) * seen).sum(-1) - half_log_det
        return found[:, None]

    def size(residual: Residual, at: int) -> str:
        seen = (residual[0] + offset) @ weighed
        here = (seen if inside else narrow @ seen).tolist()
        return f"{1e3 * unit[0] * here[0]:+.1f} eV and {100 * unit[1] * here[1]:+.2f} %"

    return Kind("energy scale", ("",), evidence, size, "")


def _lines(
    one: LinearSet, places: list[tuple[float, float]]
) -> tuple[Float[Tensor, "bin line"], list[tuple[float, float]]]:
    """Lines with an equivalent width of 1 keV, where counts enough are expected below them."""
    if not places:
        return one.fit.residual.new_zeros((one.fit.residual.numel(), 0)), []
    shapes = one.lines(places)
    below = shapes.sum(0) ** 2 / (shapes**2 / one.fit.variance.clamp(min=1e-300)[:, None]).sum(0).clamp(min=1e-300)
    kept = (below > FEWEST).nonzero()[:, 0].tolist()
    middle = np.sqrt(one.energy_lo * one.energy_hi)
    per_kev = (one.fit.expected.numpy() / (one.energy_hi - one.energy_lo))[
        [int(np.abs(np.log(middle / places[i][0])).argmin()) for i in kept]
    ]
    shapes = shapes[:, kept] / shapes[:, kept].sum(0).clamp(min=1e-300) * torch.from_numpy(per_kev)
    return shapes, [places[i] for i in kept]


def _energies(lo: float, hi: float, step: float, width: float) -> list[float]:
    """Where a search looks [keV]."""
    found, energy = [], lo
    while energy < hi:
        found.append(energy)
        energy += max(step * energy, 0.5 * width)
    return found


def _width(amplitude: float, error: float) -> str:
    return f"equivalent width {1e3 * amplitude:.0f} +- {1e3 * error:.0f} eV"


def _depth(amplitude: float, error: float) -> str:
    return f"tau {amplitude:.2g} +- {error:.1g}"


def _no_size(residual: Residual, at: int) -> str:
    return ""
