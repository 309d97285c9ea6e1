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

DRAWS_TOGETHER = 4000
"""Draws of a few spectra that are made together: what fits into a processor's cache."""

NUMBERS_TOGETHER = 8000
"""Of the numbers that they are made of."""


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


def seconds_of(network: Network, inputs: NetworkInput, repeats: int, timed: int) -> tuple[list[float], list[float]]:
    """How fast a network is: seconds of one draw, and of a thousand, of all spectra.

    Args:
        network: What is drawn from.
        inputs: The spectra.
        repeats: How often each is measured.
        timed: How many have a thousand draws timed; the time of all is extrapolated from theirs.
    """
    one: list[float] = []
    thousand: list[float] = []
    few = inputs.select(torch.arange(min(timed, inputs.size)))
    for repeat in range(repeats):
        one.append(_seconds(network, inputs, 1, repeat))
        thousand.append(_seconds(network, few, 1000, repeat) * inputs.size / few.size)
    return one, thousand


def sample(network: Network, inputs: NetworkInput, draws: int, seed: int) -> Float[Tensor, "source draw parameter"]:
    """Draws of a network, in the parameters' units; some may leave the box, or be no number.

    Args:
        network: What is drawn from.
        inputs: The spectra.
        draws: Number of draws of each.
        seed: Decides the draws.
    """
    return draws_from(network, inputs, base_noise(inputs.size, draws, len(network.model.names), seed))


def base_noise(sources: int, draws: int, parameters: int, seed: int) -> Float[Tensor, "source draw parameter"]:
    """Standard normal numbers that become draws: those of a source are the same, whichever others are drawn with it.

    Args:
        sources, draws, parameters: How many.
        seed: Decides them.
    """
    generator = torch.Generator().manual_seed(seed)
    each = max(NUMBERS_TOGETHER // draws, 1)
    sizes = [min(each, sources - first) for first in range(0, sources, each)]
    return torch.cat([torch.randn((n, draws, parameters), generator=generator, dtype=torch.float64) for n in sizes])


def draws_from(
    network: Network, inputs: NetworkInput, base: Float[Tensor, "source draw parameter"]
) -> Float[Tensor, "source draw parameter"]:
    """Draws of a network, in the parameters' units; some may leave the box, or be no number.

    Args:
        network: What is drawn from.
        inputs: The spectra.
        base: Of `base_noise`.
    """
    with torch.no_grad():
        each = torch.split(torch.arange(inputs.size), max(DRAWS_TOGETHER // base.shape[1], 1))
        return torch.cat([network.core.draw(inputs.select(rows), base[rows]) for rows in each])


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
    counts, first = counting(prior, draws)
    # what does not count has no weight, and stands where something does
    shown = torch.where(counts[..., None], draws, first[:, None])
    truth, drawn = on_axes(prior, targets.numpy()), on_axes(prior, shown.numpy())
    return TruthAndDraws.of(prior.names, truth, drawn, counts.double().numpy()), first


def counting(prior: Prior, draws: Tensor) -> tuple[Tensor, Tensor]:
    """(source, draw) which draws count, as in `answers_of`; and (source, parameter) the first of them.

    Args:
        prior: The box.
        draws: (source, draw, parameter) in the parameters' units.
    """
    inside = inside_box(prior, draws)
    counts = torch.where(inside.any(1, keepdim=True), inside, torch.isfinite(draws).all(-1))
    return counts, draws[torch.arange(draws.shape[0]), counts.to(torch.uint8).argmax(dim=1)]


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


def held_in(prior: Prior, theta: Tensor) -> Tensor:
    """(source, parameter) the nearest place in the box: a spectrum of which no draw is inside is folded at its edge.

    Args:
        prior: The box.
        theta: (source, parameter) in the parameters' units.
    """
    lo, hi = (torch.tensor([getattr(one, end) for one in prior.marginals], dtype=theta.dtype) for end in ("lo", "hi"))
    return torch.minimum(torch.maximum(theta, lo), hi)
