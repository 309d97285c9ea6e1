r"""Components that a fit may lack, as small changes: lines, dips, edges, an energy scale that is off.

At the best fit, seen as linear (`statistics.linear`: parameters with their priors, nuisances and calibration modes are
projected out), a further component of shape t with amplitude a, where A = t'Me / t'Mt and I = t'Mt,

    ln L(a) - ln L(0) = A I a - I a^2 / 2,

so its evidence over that of the model without it, with the prior p(a) of its amplitude, is an integral in closed form:

* a line, an edge: a >= 0, half normal of scale s.   ln B = z^2 w / 2 - ln(1 + I s^2) / 2 + ln 2 Phi(z w^(1/2)),
                                                     z = A I^(1/2), w = I s^2 / (1 + I s^2); a dip likewise of -t;
* an energy scale: offset and slope, normal, both at once.

Each says how it is written as a model and which priors its parameters have there: those of the search, as far as
independent priors can be.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from xrayflow.linear_set import LinearSet
from xrayflow.models import Model, added, multiplied

NARROW, BROAD = 0.01, (0.3, 0.8)
"""keV, widths of lines."""

BROAD_RANGE, DIP_WIDTH = (0.2, 1.2), 0.03
"""keV: the widths that a fitted broad line may have, and that of a fitted dip, which at 0.01 would be black."""

LINE_EV, BROAD_EV = 100.0, 300.0
"""eV, scale of the half-normal priors of equivalent widths."""

DEPTH = 0.3
"""Scale of the half-normal prior of an edge's optical depth."""

OFFSET_EV, SLOPE = 10.0, 0.003
"""Standard deviations of the prior of an energy scale, where calibration modes do not say."""

STEP, EDGE_STEP, INSIDE = 0.012, 0.03, 0.05
"""Lines and edges stand this part of their energy apart (lines also half a width), this part inside of the band."""

FEWEST = 25.0
"""Counts that are expected below a line: of fewer a sum is far from normal."""

FAR = 10.0
"""Scales of a half-normal prior at which its box ends."""

NO_SCALE = "no component of a model: --systematic modes believes in an energy scale that is off"
SCALE_INSIDE = "in this fit already, as a calibration mode"

Residual = Float[Tensor, "spectrum bin"]


@dataclass(frozen=True)
class Addition:
    """How a component is written as a part of the model.

    Attributes:
        expression: The model with it, in XSPEC's words; "" where it cannot be written.
        component: Its name there, `gaussian_4`.
        prior: Of its parameters, as `--prior` has them.
        freeze: Those that are held.
        why_not: Why it cannot be written; "" where it can.
    """

    expression: str = ""
    component: str = ""
    prior: tuple[str, ...] = ()
    freeze: Mapping[str, float] = field(default_factory=dict)
    why_not: str = ""


@dataclass(frozen=True)
class Kind:
    """Components of one kind at all their places.

    Attributes:
        name: As `Missing.kind`.
        places: In words.
        evidence: Residuals of spectra at the fit -> (spectrum, place) ln B; one place where all is summed already.
        size: Residuals of one spectrum and a place -> words.
        addition: A place -> how it is written, with priors for a fit.
    """

    name: str
    places: tuple[str, ...]
    evidence: Callable[[Residual], Tensor]
    size: Callable[[Residual, int], str]
    addition: Callable[[int], Addition]


@dataclass(frozen=True)
class Lines:
    """Lines of an equivalent width of 1 keV.

    Attributes:
        shapes: Expected counts.
        places: Energy and width of each [keV].
        norms: Photons of each [1 / cm^2 / s].
    """

    shapes: Float[Tensor, "bin line"]
    places: tuple[tuple[float, float], ...]
    norms: tuple[float, ...]

    @property
    def energies(self) -> tuple[float, float]:
        """From half a step below the first to half a step above the last [keV]."""
        return reach([energy for energy, _ in self.places], STEP)


def small_changes(model: Model, one: LinearSet) -> Iterator[Kind]:
    """All that adds counts, takes a few away, or moves them a little.

    Args:
        model: The model of the fit.
        one: The fit.
    """
    lo, hi = float(one.energy_lo.min()) * (1 + INSIDE), float(one.energy_hi.max()) * (1 - INSIDE)
    narrow = lines_of(one, [(energy, NARROW) for energy in energies_of(lo, hi, STEP, NARROW)])
    broad = lines_of(one, [(energy, width) for width in BROAD for energy in energies_of(lo, hi, STEP, width)])
    if narrow.places:
        yield _narrow_line(model, one, narrow)
    if broad.places:
        yield _broad_line(model, one, broad)
    if narrow.places:
        yield _dip(model, one, narrow)
    energies = energies_of(lo, hi, EDGE_STEP, 0.0)
    if energies:
        yield _edge(model, one, energies)
    yield _scale(one)


def _narrow_line(model: Model, one: LinearSet, lines: Lines) -> Kind:
    """Unresolved, in emission."""
    written = added(model, "gaussian")
    name, (first, last) = written.component, lines.energies
    scale = 1e-3 * LINE_EV

    def addition(at: int) -> Addition:
        place = f"{name}.LineE=log:{first:.6g}:{last:.6g}"
        prior = (place, *half_normal(f"{name}.norm", scale * lines.norms[at]))
        return Addition(written.expression, name, prior, {f"{name}.Sigma": NARROW})

    places = tuple(f"{energy:.3g} keV" for energy, _ in lines.places)
    return _added(one, "narrow line", lines.shapes, places, scale, _width, addition)


def _broad_line(model: Model, one: LinearSet, lines: Lines) -> Kind:
    """Resolved, in emission."""
    written = added(model, "gaussian")
    name, (first, last) = written.component, lines.energies
    scale = 1e-3 * BROAD_EV

    def addition(at: int) -> Addition:
        place = f"{name}.LineE=lin:{first:.6g}:{last:.6g}"
        width = f"{name}.Sigma=log:{BROAD_RANGE[0]:g}:{BROAD_RANGE[1]:g}"
        return Addition(written.expression, name, (place, width, *half_normal(f"{name}.norm", scale * lines.norms[at])))

    places = tuple(f"{energy:.3g} keV, sigma {width:g} keV" for energy, width in lines.places)
    return _added(one, "broad line", lines.shapes, places, scale, _width, addition)


def _dip(model: Model, one: LinearSet, lines: Lines) -> Kind:
    """Unresolved, in absorption: of a small optical depth, whose integral is the equivalent width."""
    written = multiplied(model, "gabs")
    name, (first, last) = written.component, lines.energies
    scale = 1e-3 * LINE_EV
    prior = (f"{name}.LineE=log:{first:.6g}:{last:.6g}", *half_normal(f"{name}.Strength", scale))
    addition = Addition(written.expression, name, prior, {f"{name}.Sigma": DIP_WIDTH})
    places = tuple(f"{energy:.3g} keV" for energy, _ in lines.places)
    return _added(one, "dip", -lines.shapes, places, scale, _width, lambda at: addition)


def _edge(model: Model, one: LinearSet, energies: list[float]) -> Kind:
    """tau small: exp(-tau (E / E_c)^-3) is 1 - tau (E / E_c)^-3."""
    written = multiplied(model, "edge")
    name, (first, last) = written.component, reach(energies, EDGE_STEP)
    prior = (f"{name}.edgeE=log:{first:.6g}:{last:.6g}", *half_normal(f"{name}.MaxTau", DEPTH))
    addition = Addition(written.expression, name, prior)
    grid, start = one.energies, np.array(energies)[:, None]
    depth = np.where(grid >= start, -((grid / start) ** -3.0), 0.0)
    words = tuple(f"{energy:.3g} keV" for energy in energies)
    return _added(one, "edge", one.times(depth), words, DEPTH, _depth, lambda at: addition)


def reach(energies: Sequence[float], step: float) -> tuple[float, float]:
    """What places stand for: from half a step below the first to half a step above the last [keV].

    Args:
        energies: Of the places [keV].
        step: Part of the energy.
    """
    return min(energies) * (1.0 - 0.5 * step), max(energies) * (1.0 + 0.5 * step)


def half_normal(name: str, scale: float) -> tuple[str, str]:
    """A prior from 0 on, as `--prior` has it.

    Args:
        name: The parameter.
        scale: Its scale.
    """
    return f"{name}=lin:0:{FAR * scale:.6g}", f"{name}~N(0,{scale:.6g})"


def _added(
    one: LinearSet,
    name: str,
    shapes: Float[Tensor, "bin place"],
    places: tuple[str, ...],
    scale: float,
    words: Callable[[float, float], str],
    addition: Callable[[int], Addition],
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

    return Kind(name, places, evidence, size, addition)


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

    why_not = Addition(why_not=SCALE_INSIDE if inside else NO_SCALE)
    return Kind("energy scale", ("",), evidence, size, lambda at: why_not)


def lines_of(one: LinearSet, places: list[tuple[float, float]]) -> Lines:
    """Lines with an equivalent width of 1 keV, where counts enough are expected below them.

    Args:
        one: The fit.
        places: Energy and width of each [keV].
    """
    if not places:
        return Lines(one.fit.residual.new_zeros((one.fit.residual.numel(), 0)), (), ())
    shapes = one.lines(places)
    kept = (one.fit.counts_below(shapes) > FEWEST).nonzero()[:, 0].tolist()
    middle = np.sqrt(one.energy_lo * one.energy_hi)
    per_kev = (one.fit.expected.numpy() / (one.energy_hi - one.energy_lo))[
        [int(np.abs(np.log(middle / places[i][0])).argmin()) for i in kept]
    ]
    norms = torch.from_numpy(per_kev) / shapes[:, kept].sum(0).clamp(min=1e-300)
    return Lines(shapes[:, kept] * norms, tuple(places[i] for i in kept), tuple(norms.tolist()))


def energies_of(lo: float, hi: float, step: float, width: float) -> list[float]:
    """Where a search looks [keV].

    Args:
        lo, hi: From here to there [keV].
        step: Part of the energy.
        width: Of what is looked for [keV]; half of it is the least step.
    """
    found, energy = [], lo
    while energy < hi:
        found.append(energy)
        energy += max(step * energy, 0.5 * width)
    return found


def _width(amplitude: float, error: float) -> str:
    return f"equivalent width {1e3 * amplitude:.0f} +- {1e3 * error:.0f} eV"


def _depth(amplitude: float, error: float) -> str:
    return f"tau {amplitude:.2g} +- {error:.1g}"
