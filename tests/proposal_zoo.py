"""Proposals and modes made by hand: mixtures, a bent ridge, modes of one source."""

from __future__ import annotations

import torch
from torch import Tensor

from bent_zoo import Bent
from guide_zoo import Fake, OneOfFake
from xrayflow.fitting import Modes
from xrayflow.inference.proposals.density import Density, PriorDensity
from xrayflow.inference.proposals.draws import WeightedDraws
from xrayflow.inference.proposals.mixture import Components, Proposal
from xrayflow.inference.proposals.ridge import Ridge
from xrayflow.inference.proposals.student import StudentMixture


def seeded(seed: int, count: int = 1) -> list[torch.Generator]:
    """A generator for each source."""
    return [torch.Generator().manual_seed(seed + i) for i in range(count)]


def mixture() -> StudentMixture:
    """Two sources: three components in two parameters, and one that is padded."""
    share = torch.tensor([[0.5, 0.3, 0.2], [1.0, 0.0, 0.0]], dtype=torch.float64)
    mean = torch.tensor(
        [[[0.0, 0.0], [2.0, -1.0], [-3.0, 1.5]], [[1.0, 1.0], [0.0, 0.0], [0.0, 0.0]]], dtype=torch.float64
    )
    scale = torch.eye(2, dtype=torch.float64).expand(2, 3, -1, -1).clone()
    scale[0, 0] = torch.tensor([[0.5, 0.0], [0.4, 0.3]])
    scale[0, 1] = torch.tensor([[1.0, 0.0], [-0.6, 0.8]])
    scale[0, 2] = torch.tensor([[0.1, 0.0], [0.0, 1.2]])
    return StudentMixture(torch.log(share), mean, scale)


def bow() -> Ridge:
    """The first parameter follows half the square of the second."""
    place = torch.linspace(-2.0, 2.0, 7, dtype=torch.float64)
    width = torch.linspace(0.2, 0.4, 7, dtype=torch.float64)[:, None, None]
    return Ridge.of(1, place, 0.5 * place[:, None] ** 2, place[:, None], width, -0.5 * place**2)


def fake() -> Fake:
    return Fake(torch.tensor([[1.0, -1.0], [-1.0, 0.0]], dtype=torch.float64), 0.5, torch.tensor([True, False]))


def proposal(kind: str) -> Proposal:
    """One of the kinds that there are; the second source has no part but the prior."""
    parts: list[Density] = [PriorDensity(2)]
    floors, shares = [0.0 if kind == "bare" else 0.1], [0.0]
    if kind in ("guided", "everything"):
        parts.append(OneOfFake(fake().select(torch.tensor([0]))))
        floors.append(0.2)
        shares.append(0.0)
    if kind in ("ridges", "everything"):
        parts += [bow(), bow()]
        floors += [0.0, 0.0]
        shares += [0.4, 0.2]
    return Proposal(mixture(), (Components.of(parts, floors, shares), Components.prior(2, floors[0])))


KINDS = ["bare", "with the prior", "ridges", "guided", "everything"]


def plain(mixture: StudentMixture) -> Proposal:
    """A proposal of one source with nothing beside but the prior."""
    return Proposal(mixture, (Components.prior(mixture.mean.shape[-1]),))


def draw(problem: Bent, proposal: Proposal, count: int, generators: list[torch.Generator]) -> WeightedDraws:
    """Weighted draws of a posterior with a known density."""
    v = proposal.sample(count, generators)
    return WeightedDraws.of(proposal, v, problem.log_target(v))


def modes_at(v: Tensor, objective: list[float], precision: float = 100.0) -> Modes:
    """Modes of one source with one round information matrix."""
    count, parameters = v.shape
    information = precision * torch.eye(parameters, dtype=torch.float64).expand(1, count, -1, -1)
    return Modes(
        v[None], torch.tensor([objective], dtype=torch.float64), information, torch.zeros(1, dtype=torch.int64)
    )
