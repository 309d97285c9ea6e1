r"""What a bright spectrum says that the model does not: lines, a further continuum, an energy scale that is off.

With errors of the response marginalised, a model fits within them, and an excess shows only if neither the parameters
nor the calibration modes take it in. At the best fit, seen as linear (`statistics.linear`), each place in energy is
asked for a line of three widths; the largest significance is compared with that of simulated spectra that were searched
alike, so that p knows how many places were tried. Iron's lines are asked for by themselves, where few places are tried
and less is enough. A further continuum is asked for alike, as black bodies of many temperatures: the modes leave little
of it that the deviance sees. (An absorber is no small change of a model: seen as linear it raises alarms of its own;
`missing` looks for it in its own way.) The energy scale is asked by its evidence.

All is at the nominal amplitude of the modes: a larger one would take in what the model lacks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from xrayflow.inference.checks.candidates import energies_of
from xrayflow.inference.checks.verdict import in_percent
from xrayflow.linear_set import LinearSet
from xrayflow.problem import Problem

WIDTHS = 0.01, 0.3, 0.8
"""keV, of the lines that are looked for."""

STEP = 0.012
"""Energies of lines are this part apart, or half their width."""

INSIDE = 0.05
"""Of the band's ends: a line at its edge could be anything."""

IRON = 6.4, 6.7, 6.97
"""keV."""

COOLEST, HOTTEST, WARMER = 0.25, 0.3, 1.3
"""kT of black bodies: parts of the band's ends, and from one to the next."""

LEAST_SHARE, MOST_SHARE = 0.01, 0.3
"""Of the counts. What adds less is told of, but what is known of no response is as exact as that; what adds more is no
small change of the model, and not what this can tell."""

LEFT = 1e-6
"""What the fit's own columns leave of a shape's information, at least: of less it cannot be told from rounding."""

SIMULATED = 4000
"""Searches of data without a line."""

LINE_P, HINT_P = 0.005, 0.05
"""Below which a line is suspected, in each of two searches: one clean spectrum of a hundred raises an alarm; likewise a
further continuum. And below which it is told of all the same."""

GAIN_EVIDENCE, GAIN_SD = 5.0, 2.0
"""Natural log of evidence, and standard deviations of what is believed, above which the energy scale is suspected."""

FEWEST = 50.0
"""Counts that are expected below a line: of fewer a sum is not nearly normal, and chance makes any line."""

SHAKE = 1e-6
"""Added to a correlation of 1, which many lines nearly have."""


@dataclass(frozen=True)
class Line:
    """A line that would improve a fit.

    Attributes:
        energy, width: keV.
        significance: Standard deviations; negative where the line is missing light.
        p_value: Share of simulated spectra whose largest one is as large.
        equivalent_width: eV.
    """

    energy: float
    width: float
    significance: float
    p_value: float
    equivalent_width: float

    @property
    def reason(self) -> str:
        """In words."""
        kind = "line" if self.significance > 0 else "dip"
        shape = f"sigma {self.width:g} keV, equivalent width {self.equivalent_width:.0f} eV"
        chance = f"{in_percent(self.p_value)} of searches of simulated spectra"
        return f"a {kind} at {self.energy:.2f} keV ({shape}) would be {abs(self.significance):.1f} sd ({chance})"

    @property
    def advice(self) -> str:
        """What to do about it."""
        return f"add what is missing near {self.energy:.1f} keV to --model, as +gaussian, and compare ln evidence"


@dataclass(frozen=True)
class Continuum:
    """A broad component that would improve a fit.

    Attributes:
        temperature: kT of the black body that it looks like [keV].
        significance: Standard deviations.
        p_value: As for a line.
        share: What it adds to the counts of the band, as a part of them.
    """

    temperature: float
    significance: float
    p_value: float
    share: float

    @property
    def suspected(self) -> bool:
        """Whether it is neither chance nor so little that the response could be to blame."""
        return self.p_value < LINE_P and self.share >= LEAST_SHARE

    @property
    def reason(self) -> str:
        """In words."""
        chance = f"{in_percent(self.p_value)} of searches of simulated spectra"
        shape = f"a further continuum like a black body of kT {self.temperature:.2g} keV"
        return f"{shape} ({self.share:.1%} of the counts) would be {self.significance:.1f} sd ({chance})"

    @property
    def advice(self) -> str:
        """What to do about it."""
        return "xrayflow misfit RESULT --refit 3 fits what --model may lack, and compares the evidence"


@dataclass(frozen=True)
class Misfit:
    """What else is in the data of one source.

    Attributes:
        line: The most significant one; None in a band without a place to look.
        iron: The most significant of iron's; None where its energies are not in the band.
        gain_evidence: Natural log of how much likelier the data are with an energy scale in doubt.
        gain_offset: By how much it reads too high [eV].
        gain_slope: The same as a fraction.
        gain_sd: The larger of both in standard deviations of what was believed.
        continuum: The most significant broad component; None where none adds to the counts.
    """

    line: Line | None
    iron: Line | None
    gain_evidence: float
    gain_offset: float
    gain_slope: float
    gain_sd: float
    continuum: Continuum | None = None

    @property
    def flags(self) -> tuple[str, ...]:
        """Facts: `line_suspected`, `continuum_suspected`, `gain_suspected`, `misfit_gain_degenerate`."""
        found = ["line_suspected" if isinstance(one, Line) else "continuum_suspected" for one in self.suspected]
        if self.gain_evidence > GAIN_EVIDENCE:
            found.append("gain_suspected" if self.gain_sd > GAIN_SD else "misfit_gain_degenerate")
        return tuple(found)

    @property
    def suspected(self) -> tuple[Line | Continuum, ...]:
        """What chance does not explain: a line, a further continuum."""
        lines = [one for one in (self.line, self.iron) if one is not None and one.p_value < LINE_P][:1]
        broad = () if self.continuum is None or not self.continuum.suspected else (self.continuum,)
        return (*lines, *broad)

    @property
    def notes(self) -> tuple[str, ...]:
        """What is told beside the verdict: what may be chance, and the energy scale."""
        hints = [
            one
            for one in (self.continuum, self.line, self.iron)
            if one is not None and one.p_value < HINT_P and one not in self.suspected
        ]
        told = () if self.suspected or not hints else (hints[-1].reason,)
        if self.gain_evidence <= GAIN_EVIDENCE:
            return told
        belief = "more than is believed of it" if self.gain_sd > GAIN_SD else "within what is believed of it"
        scale = f"{self.gain_offset:+.1f} eV and {100 * self.gain_slope:+.2f} %"
        return (
            *told,
            f"an energy scale that is off by {scale}, {belief}, makes the data e^{self.gain_evidence:.0f} times "
            "likelier; what a model lacks can look like that",
        )


def find_misfit(problem: Problem, v: Float[Tensor, " parameter"], generator: torch.Generator) -> Misfit | None:
    """Look for what one source's fit lacks.

    Args:
        problem: A batch of one.
        v: The best fit, in probit coordinates.
        generator: Of the simulated searches.

    Returns:
        What was found; None where the response is taken at its word.
    """
    sets = [one for one in problem.linear(v) if one.calibrated]
    if not sets:
        return None
    one = max(sets, key=lambda data: float(data.fit.expected.sum()))
    lo, hi = float(one.energy_lo.min()), float(one.energy_hi.max())
    first, last = lo * (1 + INSIDE), hi * (1 - INSIDE)
    places = [(energy, width) for width in WIDTHS for energy in energies_of(first, last, STEP, width)]
    iron = [(energy, width) for energy in IRON for width in WIDTHS if lo < energy < hi]
    evidence, coefficient = one.fit.gain_evidence()
    offset, slope = coefficient.tolist() if coefficient.numel() else (0.0, 0.0)
    return Misfit(
        line=_searched(one, places, generator),
        iron=_searched(one, iron, generator),
        gain_evidence=evidence,
        gain_offset=1e3 * offset * one.gain_offset,
        gain_slope=slope * one.gain_slope,
        gain_sd=max(abs(offset), abs(slope)),
        continuum=_broad(one, generator),
    )


def _searched(one: LinearSet, places: list[tuple[float, float]], generator: torch.Generator) -> Line | None:
    """The most significant line of a search; None where there is no place with counts enough."""
    shapes = one.lines(places) if places else one.fit.residual.new_zeros((one.fit.residual.numel(), 0))
    enough = (one.fit.counts_below(shapes) > FEWEST).nonzero()[:, 0]
    if enough.numel() == 0:
        return None
    shapes, places = shapes[:, enough], [places[i] for i in enough.tolist()]
    search = _Search.of(one, shapes)
    best = int(search.significance.abs().argmax())
    energy, width = places[best]
    p = search.chance_of(search.simulated(generator).abs(), search.significance[best].abs())
    middle = np.sqrt(one.energy_lo * one.energy_hi)
    at = int(np.abs(np.log(middle / energy)).argmin())
    per_kev = float(one.fit.expected[at]) / float(one.energy_hi[at] - one.energy_lo[at])
    width_ev = 1e3 * float(search.amplitude[best] * shapes[:, best].sum()) / max(per_kev, 1e-300)
    return Line(energy, width, float(search.significance[best]), p, width_ev)


def _broad(one: LinearSet, generator: torch.Generator) -> Continuum | None:
    """The most significant further continuum; an amplitude below 0 is none."""
    lo, hi = COOLEST * float(one.energy_lo.min()), HOTTEST * float(one.energy_hi.max())
    kt = [lo * WARMER**i for i in range(1 + int(math.log(hi / lo) / math.log(WARMER)))]
    shapes = one.black_bodies(kt)
    alone = (shapes**2 / one.fit.variance.clamp(min=1e-300)[:, None]).sum(0)
    left = (shapes * one.fit.weighed(shapes)).sum(0)
    seen = (left > LEFT * alone).nonzero()[:, 0]
    if seen.numel() == 0:
        return None
    shapes = shapes[:, seen]
    search = _Search.of(one, shapes)
    best = int(search.significance.argmax())
    share = float(search.amplitude[best] * shapes[:, best].sum() / one.fit.expected.sum())
    if not 0.0 < share < MOST_SHARE:
        return None
    p = search.chance_of(search.simulated(generator), search.significance[best])
    return Continuum(kt[int(seen[best])], float(search.significance[best]), p, share)


@dataclass(frozen=True)
class _Search:
    """Shapes that are looked for, each by itself.

    Attributes:
        amplitude: (shape,) of each.
        significance: (shape,) standard deviations.
        factor: (shape, noise) root of their correlations.
    """

    amplitude: Tensor
    significance: Tensor
    factor: Tensor

    @classmethod
    def of(cls, one: LinearSet, shapes: Float[Tensor, "bin shape"]) -> _Search:
        """In one data set."""
        amplitude, among = one.fit.amplitudes(shapes)
        root = among.diagonal().clamp(min=1e-300).sqrt()
        # counts are skew: in the normal's own units an excess is worth less, and a dip more (Cornish & Fisher 1938)
        skewness = (one.fit.weighed(shapes) ** 3 * one.fit.variance[:, None]).sum(0) / root**3
        significance = amplitude * root
        significance = significance - skewness / 6.0 * (significance**2 - 1.0)
        correlation = among / root[:, None] / root + SHAKE * torch.eye(root.numel(), dtype=root.dtype)
        factor, failed = torch.linalg.cholesky_ex(correlation)
        if int(failed):
            value, vector = torch.linalg.eigh(correlation)
            factor = vector * value.clamp(min=0.0).sqrt()
        return cls(amplitude, significance, factor)

    def simulated(self, generator: torch.Generator) -> Float[Tensor, "search shape"]:
        """Significances where nothing is there."""
        noise = torch.randn((SIMULATED, self.factor.shape[0]), generator=generator, dtype=self.factor.dtype)
        return noise @ self.factor.T

    def chance_of(self, simulated: Float[Tensor, "search shape"], found: Tensor) -> float:
        """Share of searches whose largest significance is as large.

        Args:
            simulated: Of `simulated`, or their sizes.
            found: The largest one of the data.
        """
        return (int((simulated.amax(-1) >= found).sum()) + 1) / (SIMULATED + 1)
