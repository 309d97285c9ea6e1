"""Draws of some spectra seen through a response with errors: ln p and how it bends, about the likeliest errors."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from xrayflow.rows import Layout
from xrayflow.statistics.likelihood import Curvature, Expected, Likelihood
from xrayflow.statistics.mode_basis import ModeBasis, Peak
from xrayflow.statistics.mode_peak import find_peak
from xrayflow.statistics.seen import Seen, behind_slopes

MOST_DECREMENT = 1.0
"""Of what is added to ln p for a peak that is not quite reached."""


@dataclass(frozen=True)
class ModeRows:
    """Rows of some sources, all draws of a source in one axis.

    Attributes:
        layout: Which rows.
        basis: Of the sources.
        inner: The likelihood of the sources behind a response without errors.
        seen: The same, as the search for a peak sees it.
        expected: (source, draw, bin) mu.
        amplitude: (source, 1 or draw, 1) A.
        nuisance: (source, 1 or draw, nuisance) of the inner likelihood; None where it has none.
    """

    layout: Layout
    basis: ModeBasis
    inner: Likelihood
    seen: Seen
    expected: Expected
    amplitude: Tensor
    nuisance: Tensor | None

    @cached_property
    def peak(self) -> Peak:
        """The likeliest errors of the response."""
        return find_peak(self.basis, self.expected, self.amplitude, self.seen)

    @cached_property
    def weight(self) -> Expected:
        """W at the peak."""
        return self.seen.weight(self.peak.expected)

    def log_density(self) -> Float[Tensor, "source draw"]:
        """ln p(counts | expected, nuisance) with z integrated out."""
        peak = self.peak
        # a draw that the data rule out may not have settled: what is there bounds its ln p from below
        above = peak.decrement.clamp(max=MOST_DECREMENT) - (peak.z**2).sum(-1)
        determinant = self.basis.log_determinant(peak, self.weight, self.amplitude)
        return self.inner.log_density(peak.expected, self.nuisance) + 0.5 * (above - determinant)

    def curvature(self, jacobian: Float[Tensor, "source draw bin parameter"]) -> Curvature:
        """Its gradient, the determinant held, and Fisher's information with the modes projected out.

        Args:
            jacobian: d mu / d parameter.
        """
        peak, basis, amplitude = self.peak, self.basis, self.amplitude
        bent = basis.bent_jacobian(peak, jacobian, amplitude)
        found, columns = self.inner.curvature(peak.expected, bent, self.nuisance), bent
        if self.nuisance is not None:
            behind = behind_slopes(self.inner, self.nuisance)
            columns = torch.cat([bent, behind.expand(-1, bent.shape[1], -1, -1)], -1)
        relative = columns / peak.expected.clamp(min=1e-300)[..., None]
        information = basis.projected(relative, self.weight, amplitude)
        # what is known of the nuisances beside the counts of the source's region
        own = jacobian.shape[-1]
        precision = self.seen.precision(peak.expected)[..., None]
        beside = found.information[..., own:, own:] - columns[..., own:].mT @ (precision * columns[..., own:])
        information[..., own:, own:] += beside
        told = basis.told(amplitude).expand(-1, peak.z.shape[1], -1)
        by_amplitude = (peak.z**2).sum(-1, keepdim=True) - told.sum(-1, keepdim=True)
        wide = pad(information, (0, 1, 0, 1))
        wide[..., -1, -1] = 2.0 * (told**2).sum(-1)
        return Curvature(torch.cat([found.gradient, by_amplitude], -1), wide)
