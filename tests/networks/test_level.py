"""The coordinates of a local flow: there and back, their slopes, and what they make of a posterior that bends."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from network_zoo import WHOLE, toy_network, toy_recipe, trained, write_toy
from xrayflow.folding import SEARCH
from xrayflow.models import Model, parse_model
from xrayflow.networks import Level, ModeFeatures, load_network
from xrayflow.networks.level import Remembered
from xrayflow.prior import FAR, Marginal, Prior

LOCAL = {"local": True, "local_width": 16, "local_hidden": 16, "local_transforms": 2, "local_coordinates": "counts"}
STAGES = (
    {"epochs": 1},
    {"name": "local", "trains": ["local"], "flow": 0.0, "local": 1.0, "epochs": 2, "steps": None, "warmup": 2},
)


def level_of(expression: str, *changes: str) -> tuple[Model, Level]:
    """Counts of each additive component: its norm times e to the sum of all other parameters' places."""
    model = parse_model(expression)
    prior = Prior.of(model, changes)
    norms = [i for i, one in enumerate(model.free) if one.is_norm]
    others = [i for i in range(len(model.free)) if i not in norms]

    def counts(theta: torch.Tensor) -> torch.Tensor:
        bend = torch.sin(theta[..., others]).sum(-1)
        return sum(theta[..., norm] * torch.exp((1.0 + place) * bend) for place, norm in enumerate(norms))  # type: ignore[return-value]

    return model, Level.of(model, prior, counts)


def places(level: Level, rows: int = 50) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randn((rows, len(level.prior.marginals)), generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("expression", ["powerlaw", "TBabs*(bbodyrad+powerlaw)"])
def test_there_and_back(expression: str) -> None:
    _, level = level_of(expression)
    v = places(level)
    assert torch.allclose(level.back(level.into(v)), v, atol=1e-7)


@pytest.mark.parametrize("expression", ["powerlaw", "TBabs*(bbodyrad+powerlaw)"])
def test_slopes_are_those_of_the_map(expression: str) -> None:
    _, level = level_of(expression)
    v = places(level, 6)
    information = torch.eye(v.shape[1], dtype=torch.float64).repeat(6, 1, 1)
    frames = level.frames(ModeFeatures(v, information, torch.zeros((6, 3), dtype=torch.float64)))
    for row in range(6):
        slope = torch.autograd.functional.jacobian(level.into, v[row])
        assert float(torch.linalg.slogdet(slope)[1]) == pytest.approx(float(level.log_slope(v[row])), abs=1e-9)
        back = torch.linalg.inv(slope)
        assert torch.allclose(frames.information[row], back.T @ back, rtol=1e-5, atol=1e-7)
    assert torch.equal(frames.place, level.into(v))
    assert torch.equal(frames.v, v)


@pytest.mark.parametrize("expression", ["powerlaw", "bbodyrad+powerlaw"])
def test_the_level_is_the_counts(expression: str) -> None:
    model, level = level_of(expression)
    v = places(level)
    first = next(i for i, one in enumerate(model.free) if one.is_norm)
    assert torch.allclose(level.into(v)[:, first].exp(), level.counts(level.prior.to_theta(v)))


def test_a_norm_that_is_frozen_or_may_be_negative_leaves_the_probits() -> None:
    frozen = parse_model("powerlaw+gaussian").freeze({"powerlaw.norm": 1.0})
    negative = Prior(
        (Prior.of(parse_model("powerlaw")).marginals[0], Marginal("powerlaw.norm", "", -1.0, 1.0, "linear"))
    )
    for model, prior in ((frozen, Prior.of(frozen)), (parse_model("powerlaw"), negative)):
        level = Level.of(model, prior, lambda theta: theta[..., 0])
        v = places(level)
        assert level.norms == ()
        assert torch.equal(level.into(v), v)
        assert torch.equal(level.back(v), v)
        assert bool((level.log_slope(v) == 0.0).all())


def test_what_lies_beyond_the_box_comes_to_its_far_end() -> None:
    _, level = level_of("powerlaw")
    w = level.into(places(level, 2))
    w[0, 1], w[1, 1] = 1e4, torch.nan
    v = level.back(w)
    assert bool((v[:, 1] >= FAR - 1e-9).all())
    assert bool(torch.isfinite(v).all())


def test_places_that_come_again_are_not_computed_again() -> None:
    _, level = level_of("powerlaw")
    calls: list[int] = []

    def counted(theta: torch.Tensor) -> torch.Tensor:
        calls.append(theta.shape[0])
        return theta[..., 1]

    remembered = Remembered(Level(level.prior, level.norms, counted))
    v = places(level)
    first = remembered(v)[0].clone()
    assert torch.equal(remembered(v.clone())[0], first)
    assert len(calls) == 1
    v += 1.0
    assert not torch.equal(remembered(v)[0], first)
    assert len(calls) == 2


def test_a_trained_network_works_in_them(tmp_path: Path) -> None:
    recipe = toy_recipe(*STAGES, network=LOCAL, training_prior=WHOLE, data={"modes": 200, "validation": 40})
    write_toy(tmp_path)
    path = trained(recipe, tmp_path, tmp_path / "run")[-1].network
    assert path is not None
    network = load_network(path)
    assert network.recipe.network.local_coordinates == "counts"
    _, simulator = toy_network(tmp_path, recipe)
    exact = simulator.for_searches()
    assert exact.forward.fidelity.dtype == SEARCH.dtype
    level = Level.of(network.model, network.training_prior.prior, lambda theta: exact.rates(theta).sum(-1))
    local = network.core.local
    assert local is not None
    curved = torch.tensor([[[400.0, 100.0], [100.0, 90.0]]], dtype=torch.float64)
    modes = ModeFeatures(torch.tensor([[0.2, 0.1]], dtype=torch.float64), curved, torch.tensor([[3.0, 0.0, 0.0]]))
    frames = level.frames(modes)
    x = torch.linspace(-1.6, 1.6, 241, dtype=torch.float64)
    grid = torch.cartesian_prod(x, x)
    with torch.no_grad():
        density = local.log_density_told(level.into(grid)[None], local.told(frames))[0] + level.log_slope(grid)
    assert float(density.exp().sum()) * float(x[1] - x[0]) ** 2 == pytest.approx(1.0, abs=0.02)
