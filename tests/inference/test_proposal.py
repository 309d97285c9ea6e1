"""Proposals have the density that they say, whatever they are made of."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from guide_zoo import Fake
from xrayflow.inference.guide import GuidePart
from xrayflow.inference.parts import Part, Parts, PriorPart
from xrayflow.inference.proposal import DOF, Mixture, Proposal, log_student, mahalanobis
from xrayflow.inference.ridge import Ridge
from xrayflow.prior import log_standard_normal


def generators(first: int, count: int = 2) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(first + i) for i in range(count)]


def mixture() -> Mixture:
    """Two sources: three components in two parameters, and one that is padded."""
    share = torch.tensor([[0.5, 0.3, 0.2], [1.0, 0.0, 0.0]], dtype=torch.float64)
    mean = torch.tensor(
        [[[0.0, 0.0], [2.0, -1.0], [-3.0, 1.5]], [[1.0, 1.0], [0.0, 0.0], [0.0, 0.0]]], dtype=torch.float64
    )
    scale = torch.eye(2, dtype=torch.float64).expand(2, 3, -1, -1).clone()
    scale[0, 0] = torch.tensor([[0.5, 0.0], [0.4, 0.3]])
    scale[0, 1] = torch.tensor([[1.0, 0.0], [-0.6, 0.8]])
    scale[0, 2] = torch.tensor([[0.1, 0.0], [0.0, 1.2]])
    return Mixture(torch.log(share), mean, scale)


def bow() -> Ridge:
    """The first parameter follows half the square of the second."""
    place = torch.linspace(-2.0, 2.0, 7, dtype=torch.float64)
    width = torch.linspace(0.2, 0.4, 7, dtype=torch.float64)[:, None, None]
    return Ridge.of(1, place, 0.5 * place[:, None] ** 2, place[:, None], width, -0.5 * place**2)


def fake() -> Fake:
    return Fake(torch.tensor([[1.0, -1.0], [-1.0, 0.0]], dtype=torch.float64), 0.5, torch.tensor([True, False]))


def proposal(kind: str) -> Proposal:
    """One of the kinds that there are; the second source has no part but the prior."""
    parts: list[Part] = [PriorPart(2)]
    floors, shares = [0.0 if kind == "bare" else 0.1], [0.0]
    if kind in ("guided", "everything"):
        parts.append(GuidePart(fake().select(torch.tensor([0]))))
        floors.append(0.2)
        shares.append(0.0)
    if kind in ("ridges", "everything"):
        parts += [bow(), bow()]
        floors += [0.0, 0.0]
        shares += [0.4, 0.2]
    return Proposal(mixture(), (Parts.of(parts, floors, shares), Parts.prior(2, floors[0])))


KINDS = ["bare", "with the prior", "ridges", "guided", "everything"]


def stretched(cells: int = 901) -> tuple[np.ndarray, np.ndarray]:
    """Points from -2e3 to 2e3, dense in the middle, and their weights."""
    t = np.linspace(-10.5, 10.5, cells)
    return 0.1 * np.sinh(t), 0.1 * np.cosh(t) * (t[1] - t[0])


@pytest.mark.parametrize("kind", KINDS)
def test_the_density_integrates_to_one(kind: str) -> None:
    """A ridge ends abruptly, which costs the quadrature a digit or two."""
    x, w = stretched()
    grid = torch.from_numpy(np.stack(np.meshgrid(x, x, indexing="ij"), -1).reshape(1, -1, 2)).expand(2, -1, -1)
    density = torch.exp(proposal(kind).log_density(grid)).numpy().reshape(2, x.size, x.size)
    tolerance = 3e-3 if kind in ("ridges", "everything") else 1e-5
    np.testing.assert_allclose(np.einsum("sij,i,j->s", density, w, w), 1.0, atol=tolerance)


def test_one_component_is_scipys_student() -> None:
    one = mixture()
    v = torch.randn((1, 50, 2), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    own = log_student(mahalanobis(v, one.mean[:1, :1], one.scale_tril[:1, :1]), one.scale_tril[:1, :1])[0, :, 0]
    tril = one.scale_tril[0, 0].numpy()
    known = stats.multivariate_t(one.mean[0, 0].numpy(), tril @ tril.T, df=DOF).logpdf(v[0].numpy())
    np.testing.assert_allclose(own, known, rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_draws_follow_the_density(kind: str) -> None:
    """Chi-square of 40 000 draws in 14 x 14 cells and outside; a false alarm once in 10 000 seeds."""
    one = proposal(kind)
    draws = one.sample(40_000, generators(2)).numpy()
    edges = np.linspace(-5.0, 4.0, 15)
    fine, parts = 0.5 * (edges[1] - edges[0]), 24
    nodes = (edges[:-1, None] + 2 * fine * (np.arange(parts) + 0.5) / parts).reshape(-1)
    grid = torch.from_numpy(np.stack(np.meshgrid(nodes, nodes, indexing="ij"), -1).reshape(1, -1, 2)).expand(2, -1, -1)
    density = (
        torch.exp(one.log_density(grid)).numpy().reshape(2, 14, parts, 14, parts).mean(axis=(2, 4)) * (2 * fine) ** 2
    )
    for source in range(2):
        counts, _, _ = np.histogram2d(draws[source, :, 0], draws[source, :, 1], bins=[edges, edges])
        expected = 40_000 * density[source]
        observed = np.append(counts[expected > 8], counts[expected <= 8].sum() + 40_000 - counts.sum())
        wanted = np.append(expected[expected > 8], 40_000 - expected[expected > 8].sum())
        assert stats.chisquare(observed, wanted).pvalue > 1e-4


def test_every_part_gets_its_share_of_the_draws_to_within_one() -> None:
    far = torch.tensor([[50.0, 50.0], [-50.0, 50.0]], dtype=torch.float64)
    guide = Fake(far, 0.1, torch.tensor([True, True]))
    each = [Parts.of([GuidePart(guide.select(torch.tensor([i])))], [0.05], [0.0]) for i in range(2)]
    drawn = Proposal(mixture(), tuple(each)).sample(1000, generators(3))
    assert ((drawn - far[:, None]).norm(dim=-1) < 5.0).sum(1).tolist() == [50, 50]


def test_padded_components_are_never_drawn() -> None:
    one = mixture().select(torch.tensor([1]))
    far = replace(one, mean=torch.tensor([[[1.0, 1.0], [1e6, 1e6], [1e6, 1e6]]]).double())
    drawn = Proposal(far, (Parts.prior(2),)).sample(20_000, generators(4, 1))
    assert float(drawn.abs().max()) < 1e5


def test_joined_mixtures_share_as_told() -> None:
    one, v = mixture(), torch.randn((2, 20, 2), generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    other = Mixture(one.log_share.roll(1, 1), one.mean + 1.0, one.scale_tril)
    both = torch.exp(one.joined(other, 0.25).log_density(v))
    torch.testing.assert_close(both, 0.75 * torch.exp(one.log_density(v)) + 0.25 * torch.exp(other.log_density(v)))


def test_stacked_mixtures_of_other_lengths_keep_their_densities() -> None:
    one = mixture()
    short = Mixture(one.log_share[1:, :1], one.mean[1:, :1], one.scale_tril[1:, :1])
    v = torch.randn((2, 20, 2), generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    both = Mixture.stack([one.select(torch.tensor([0])), short])
    torch.testing.assert_close(both.log_density(v), one.log_density(v))


def test_a_source_without_a_guide_draws_as_if_there_were_none() -> None:
    guided, plain = proposal("guided"), proposal("with the prior")
    assert torch.equal(guided.sample(500, generators(7))[1], plain.sample(500, generators(7))[1])
    v = torch.randn((2, 20, 2), generator=torch.Generator().manual_seed(8), dtype=torch.float64)
    torch.testing.assert_close(guided.log_density(v)[1], plain.log_density(v)[1])
    assert not torch.equal(guided.log_density(v)[0], plain.log_density(v)[0])


def test_the_guides_density_enters_as_it_is() -> None:
    one = proposal("guided")
    v = torch.randn((2, 20, 2), generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    known = 0.1 * log_standard_normal(v)[0].exp() + 0.7 * one.mixture.log_density(v)[0].exp()
    known = known + 0.2 * fake().log_density(v)[0].exp()
    torch.testing.assert_close(one.log_density(v)[0], known.log())
    torch.testing.assert_close(one.log_density(v, one.log_parts(v)), one.log_density(v))


def test_no_part_falls_below_its_floor() -> None:
    beside = proposal("everything").parts[0]
    again = beside.sharing(torch.tensor([0.0, 0.0, 0.0, 0.9], dtype=torch.float64))
    assert bool((again.share >= beside.floor).all())
    assert again.share.tolist() == pytest.approx([0.1, 0.2, 0.0, 0.63])


def test_selected_proposals_are_those_of_their_sources() -> None:
    one = proposal("everything")
    v = torch.randn((2, 20, 2), generator=torch.Generator().manual_seed(10), dtype=torch.float64)
    for source in range(2):
        chosen = one.select(torch.tensor([source]))
        torch.testing.assert_close(chosen.log_density(v[source : source + 1])[0], one.log_density(v)[source])
