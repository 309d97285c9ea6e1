"""Draws of networks for many spectra at once: against targets, and how long they take."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from xrayflow.networks import Network, NetworkInput
from xrayflow.prior import Prior
from xrayflow.studies.validation.truths import Numbers, TruthAndDraws

DRAWS_TOGETHER = 8000
"""Draws of a few spectra that are made together."""


@dataclass(frozen=True)
class Timing:
    """How time is measured.

    Attributes:
        repeats: How often each is measured; 0 measures none.
        spectra: How many have a thousand draws timed; the time of all is extrapolated from theirs.
    """

    repeats: int
    spectra: int


@dataclass(frozen=True, eq=False)
class Row:
    """A row of the table.

    Attributes:
        name: "targets", "exact", or a network's.
        theta: (source, parameter) one draw of each spectrum, in the parameters' units; the targets themselves.
        answers: Draws against targets; None for the targets.
        reduced: (source,) XSPEC's statistic of `theta` over the degrees of freedom.
        outside: Share of draws that left the prior's box.
        seconds_1, seconds_1000: Of each repeat: one draw, a thousand draws of all spectra.
    """

    name: str
    theta: Tensor = field(repr=False)
    answers: TruthAndDraws | None = field(repr=False)
    reduced: Numbers = field(repr=False)
    outside: float = 0.0
    seconds_1: tuple[float, ...] = ()
    seconds_1000: tuple[float, ...] = ()


def network_row(
    network: Network, prior: Prior, inputs: NetworkInput, targets: Tensor, draws: int, seed: int, timing: Timing
) -> Row:
    """What a network says of spectra, and how fast; without their statistic.

    Args:
        network: What is drawn from.
        prior: The box.
        inputs: The spectra.
        targets: (source, parameter) in the parameters' units.
        draws: Draws of each spectrum.
        seed: Seed of the draws.
        timing: How time is measured.
    """
    found = sample(network, inputs, draws, seed)
    answers, first = answers_of(prior, targets, found)
    one: list[float] = []
    thousand: list[float] = []
    few = inputs.select(torch.arange(min(timing.spectra, inputs.size)))
    for repeat in range(timing.repeats):
        one.append(_seconds(network, inputs, 1, repeat))
        thousand.append(_seconds(network, few, 1000, repeat) * inputs.size / few.size)
    outside, single = float(1.0 - inside_box(prior, found).double().mean()), _held(prior, first)
    return Row(network.name, single, answers, np.empty(0), outside, tuple(one), tuple(thousand))


def sample(network: Network, inputs: NetworkInput, draws: int, seed: int) -> Float[Tensor, "source draw parameter"]:
    """Draws of a network, in the parameters' units; some may leave the box, or be no number.

    Args:
        network: What is drawn from.
        inputs: The spectra.
        draws: Number of draws of each.
        seed: Decides the draws.
    """
    generator = torch.Generator().manual_seed(seed)
    parts = []
    with torch.no_grad():
        for rows in torch.split(torch.arange(inputs.size), max(DRAWS_TOGETHER // draws, 1)):
            shape = (rows.numel(), draws, len(network.model.names))
            base = torch.randn(shape, generator=generator, dtype=torch.float64)
            parts.append(network.core.draw(inputs.select(rows), base))
    return torch.cat(parts)


def answers_of(prior: Prior, targets: Tensor, draws: Tensor) -> tuple[TruthAndDraws, Tensor]:
    """Draws against targets; those that count are inside the box, or are numbers at least where no draw is inside.

    Args:
        prior: The box.
        targets: (source, parameter) in the parameters' units.
        draws: (source, draw, parameter) likewise.

    Returns:
        The answers, and (source, parameter) the first draw that counts of each source.

    Raises:
        DataError: No draw of a source is a number.
    """
    inside = inside_box(prior, draws)
    counts = torch.where(inside.any(1, keepdim=True), inside, torch.isfinite(draws).all(-1))
    first = draws[torch.arange(draws.shape[0]), counts.to(torch.uint8).argmax(dim=1)]
    # what does not count has no weight, and stands where something does
    shown = torch.where(counts[..., None], draws, first[:, None])
    truth, drawn = on_axes(prior, targets.numpy()), on_axes(prior, shown.numpy())
    return TruthAndDraws.of(prior.names, truth, drawn, counts.double().numpy()), first


def inside_box(prior: Prior, draws: Tensor) -> Tensor:
    """(source, draw) whether it is a place in the box.

    Args:
        prior: The box.
        draws: (source, draw, parameter) in the parameters' units; some may be no number.
    """
    return prior.contains(draws) & torch.isfinite(draws).all(-1)


def on_axes(prior: Prior, theta: Numbers) -> Numbers:
    """(..., parameter) log10 where the prior is logarithmic; what is not above 0 there goes to the far end.

    Args:
        prior: The parameters'.
        theta: Parameters in their units.
    """
    logarithmic = [marginal.scale == "log" for marginal in prior.marginals]
    return np.where(logarithmic, np.log10(np.where(logarithmic, np.maximum(theta, 1e-30), 1.0)), theta)


def _seconds(network: Network, inputs: NetworkInput, draws: int, seed: int) -> float:
    """Wall time from spectra in memory to draws."""
    started = time.perf_counter()
    sample(network, inputs, draws, seed)
    return time.perf_counter() - started


def _held(prior: Prior, theta: Tensor) -> Tensor:
    """(source, parameter) the nearest place in the box: a spectrum of which no draw is inside is folded at its edge."""
    lo, hi = (torch.tensor([getattr(one, end) for one in prior.marginals], dtype=theta.dtype) for end in ("lo", "hi"))
    return torch.minimum(torch.maximum(theta, lo), hi)
