"""Where posteriors are at home: the modes of simulated spectra, and how the likelihood curves there.

A local flow (`local`) describes what a posterior looks like seen from its mode. It learns that from many pairs of a
true theta and the mode that its spectrum has; the modes are found here, by Fisher scoring from the truth.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from xrayflow.models import flux_and_jacobian
from xrayflow.networks.inputs import Rows
from xrayflow.prior import FAR
from xrayflow.simulate import Simulated, Simulator
from xrayflow.statistics import CountNoise

ITERATIONS = 40
TOLERANCE = 0.01
"""In -2 log posterior density: what the last step promises."""

LONGEST = 1.0
"""Of a step, in prior standard deviations."""

NUMBERS = 3
"""Beside mode and curvature: log counts, the background's share of them, the systematic error."""


@dataclass(frozen=True)
class Homes(Rows):
    """Modes in probit coordinates, one per source.

    Attributes:
        v: (source, parameter) the mode.
        information: (source, parameter, parameter) half the curvature of -2 log posterior there, by Fisher.
        numbers: (source, NUMBERS) what else the shape depends on.
    """

    v: Float[Tensor, "source parameter"]
    information: Float[Tensor, "source parameter parameter"]
    numbers: Float[Tensor, "source number"]


def home_numbers(counts: Tensor, background: Tensor, systematic: Tensor) -> Float[Tensor, "source number"]:
    """What the shape of a posterior depends on beside its mode and curvature.

    Args:
        counts: (source,) all counts.
        background: (source,) those of the background.
        systematic: (source,) fractional.
    """
    return torch.stack([torch.log10(counts + 1.0), background / counts.clamp(min=1.0), 100.0 * systematic], dim=-1)


def find_homes(simulator: Simulator, simulated: Simulated) -> tuple[Homes, Bool[Tensor, " source"]]:
    """The modes of simulated spectra, from their truths.

    Args:
        simulator: Of the spectra; in float64, since narrow posteriors ask for exact slopes.
        simulated: The spectra.

    Returns:
        The homes, and (source,) whether each search came to rest.
    """
    noise = simulated.noise()
    scale = (simulated.exposure * simulated.area)[:, None] * simulated.noticed
    v = simulated.v.clamp(-0.5 * FAR, 0.5 * FAR)
    value, gradient, information = _curve(simulator, noise, scale, v)
    damping = torch.full_like(value, 1e-3)
    rested = torch.zeros_like(value, dtype=torch.bool)
    for _ in range(ITERATIONS):
        rows = (~rested).nonzero()[:, 0]
        if rows.numel() == 0:
            break
        curved = information[rows] + torch.diag_embed(
            damping[rows, None] * information[rows].diagonal(dim1=-2, dim2=-1)
        )
        step = torch.linalg.solve(curved, gradient[rows][..., None])[..., 0]
        step = step * (LONGEST / step.abs().amax(-1, keepdim=True).clamp(min=LONGEST))
        rested[rows] = (step * gradient[rows]).sum(-1) < TOLERANCE
        trial = _curve(simulator, noise.select(rows), scale[rows], v[rows] + step)
        better = trial[0] < value[rows]
        kept = rows[better]
        v[kept] = (v[rows] + step)[better]
        for mine, found in zip((value, gradient, information), trial, strict=True):
            mine[kept] = found[better]
        damping[rows] = torch.where(better, 0.2 * damping[rows], 8.0 * damping[rows]).clamp(1e-9, 1e9)
        rested[rows] &= better | (damping[rows] > 1e6)
    counts, background = simulated.counts.sum(-1), simulated.background.sum(-1)
    return Homes(v, information, home_numbers(counts, background, simulated.systematic)), rested & torch.isfinite(value)


def _curve(
    simulator: Simulator, noise: CountNoise, scale: Tensor, v: Tensor
) -> tuple[Float[Tensor, " source"], Float[Tensor, "source parameter"], Float[Tensor, "source parameter parameter"]]:
    """-ln posterior, minus its gradient, and its curvature by Fisher's information."""
    prior = simulator.training_prior.prior
    photons, slopes = flux_and_jacobian(simulator.photon_flux, simulator.fold.cast(prior.to_theta(v)))
    folded = simulator.fold(torch.cat([photons[None], slopes], dim=0).flatten(0, 1)[None])[0]
    folded = folded.reshape(slopes.shape[0] + 1, -1, folded.shape[-1])
    expected = (folded[0] * scale)[:, None]
    jacobian = (folded[1:] * scale).movedim(0, -1) * prior.slope(v)[:, None, :]
    value = -noise.log_likelihood(expected)[:, 0] + 0.5 * v.square().sum(-1)
    used = noise.used[:, None]
    score = torch.where(used > 0, noise.score(expected), 0.0)[:, 0]
    weight = torch.where(used > 0, 1.0 / noise.variance(expected).clamp(min=1e-300), 0.0)[:, 0]
    gradient = (jacobian * score[..., None]).sum(1) - v
    information = (jacobian * weight[..., None]).mT @ jacobian + torch.eye(v.shape[-1], dtype=v.dtype)
    finite = torch.isfinite(value) & torch.isfinite(gradient).all(-1) & torch.isfinite(information).all((-2, -1))
    flat = torch.eye(v.shape[-1], dtype=v.dtype)
    # a place without numbers is never better than another, and never comes to rest
    return (
        torch.where(finite, value, torch.inf),
        torch.where(finite[:, None], gradient, 0.0),
        torch.where(finite[:, None, None], information, flat),
    )
