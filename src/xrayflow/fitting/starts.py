"""Where an optimiser starts: draws of the prior scaled to the observed counts, and of a proposal.

Few starts are unsafe: one spectrum in 260 hides a mode that eight of them miss (docs/decisions/0007).
"""

from __future__ import annotations

from typing import Protocol

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from xrayflow.fitting.objective import FAR
from xrayflow.folding import SEARCH
from xrayflow.problem import Problem

CANDIDATES = 32
"""Prior draws from which each start takes the likeliest."""

GUIDED_STARTS = 4
"""Of a source with a proposal, half of all at most: it knows where the answer is, the rest look for what it missed."""

GUIDED_CANDIDATES = 4
"""Draws of the proposal per start that comes from it; the likeliest of all are taken."""


class StartingProposal(Protocol):
    """What knows the answers of a batch roughly, for some of its starts."""

    @property
    def present(self) -> Bool[Tensor, " source"]:
        """Whether it knows a source; the others are never asked."""
        ...

    def sample(self, draws: int, generators: list[torch.Generator]) -> Float[Tensor, "source draw parameter"]:
        """Draws of the model's parameters in the prior's probit coordinates, one generator per source."""
        ...

    def select(self, sources: Tensor) -> StartingProposal:
        """The same for some of the sources."""
        ...


def starting_points(
    problem: Problem, starts: int, generators: list[torch.Generator], proposal: StartingProposal | None = None
) -> tuple[Float[Tensor, "source start parameter"], Tensor]:
    """Independent starts: from the prior, and some from a proposal where a source has one.

    Args:
        problem: The batch.
        starts: Of each source.
        generators: One per source.
        proposal: Of the same sources.

    Returns:
        Probit coordinates, and the evaluations per source.
    """
    search = problem.at(SEARCH)
    present = torch.zeros(problem.sources, dtype=torch.bool) if proposal is None else proposal.present
    places = torch.empty((problem.sources, starts, problem.parameters), dtype=torch.float64)
    tried = torch.zeros(problem.sources, dtype=torch.int64)
    for sources, guided in ((~present).nonzero()[:, 0], 0), (present.nonzero()[:, 0], min(GUIDED_STARTS, starts // 2)):
        if sources.numel() == 0:
            continue
        some, own = search.select(sources), [generators[i] for i in sources.tolist()]
        places[sources, guided:] = _prior_starts(some, starts - guided, own)
        tried[sources] = (starts - guided) * CANDIDATES
        if proposal is not None and guided:
            places[sources, :guided] = _guided_starts(some, proposal.select(sources), guided, own)
            tried[sources] += guided * GUIDED_CANDIDATES
    return places, tried


def _prior_starts(problem: Problem, starts: int, generators: list[torch.Generator]) -> Tensor:
    """(source, start, parameter) the likeliest of `CANDIDATES` prior draws each, scaled to the observed counts.

    On a background and a response that are taken at their word: what those may be off by is dear far from the data, and
    decides no such choice.
    """
    shape = (starts * CANDIDATES, problem.parameters)
    v = torch.stack([torch.randn(shape, generator=generator, dtype=torch.float64) for generator in generators])
    v[..., len(problem.model.free) :] = 0.0  # nuisances set out from the middle of their prior
    theta, value = problem.softened(0.0).matched(problem.prior.to_theta(v))
    if problem.norms:
        v = problem.prior.to_probit(theta).clamp(-FAR, FAR)
    value = torch.where(torch.isfinite(value), value, -torch.inf).reshape(problem.sources, starts, CANDIDATES)
    best = value.argmax(-1)[..., None, None].expand(-1, -1, 1, v.shape[-1])
    return v.reshape(problem.sources, starts, CANDIDATES, -1).gather(2, best)[:, :, 0]


def _guided_starts(
    problem: Problem, proposal: StartingProposal, starts: int, generators: list[torch.Generator]
) -> Tensor:
    """(source, start, parameter) the likeliest of the proposal's draws."""
    v = proposal.sample(starts * GUIDED_CANDIDATES, generators).to(torch.float64).clamp(-FAR, FAR)
    v = torch.nn.functional.pad(v, (0, problem.parameters - v.shape[-1]))  # it knows no nuisance: the prior's middle
    value = problem.log_likelihood(problem.prior.to_theta(v))
    best = torch.where(torch.isfinite(value), value, -torch.inf).topk(starts, dim=1).indices
    return v.gather(1, best[..., None].expand(-1, -1, v.shape[-1]))
