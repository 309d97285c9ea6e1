"""The second flow: a normalised density around the modes, whose draws it knows, and which learns a bent posterior."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from network_zoo import toy_network, toy_recipe, trained, write_toy
from xrayflow.networks import Level, NeuralPosterior, load_network
from xrayflow.networks.densities import LocalPosterior
from xrayflow.networks.inputs import ModeFeatures, ModeFrames
from xrayflow.networks.level import Remembered
from xrayflow.networks.nn.local import Local
from xrayflow.prior import Marginal, Prior

SEEN = {"local": True, "local_width": 16, "local_hidden": 16, "local_transforms": 4}
STAGES = (
    {"epochs": 1},
    {"name": "local", "trains": ["local"], "flow": 0.0, "local": 1.0, "epochs": 6, "steps": None, "warmup": 2},
)


def local_of(parameters: int, stir: float = 0.5) -> Local:
    state = torch.random.get_rng_state()
    torch.manual_seed(0)
    local = Local(parameters, 12, 4, 6, 12)
    with torch.no_grad():
        for weight in local.parameters():
            weight += stir * weight.abs().mean() * torch.randn(weight.shape)
    torch.random.set_rng_state(state)
    return local


def homes_of(*information: list[list[float]]) -> ModeFrames:
    curved = torch.tensor(information, dtype=torch.float64)
    sources, parameters = curved.shape[:2]
    place = torch.linspace(-0.5, 0.5, sources * parameters, dtype=torch.float64).reshape(sources, parameters)
    return ModeFeatures(place, curved, torch.zeros((sources, 3), dtype=torch.float64)).frames()


def plain(prior: Prior) -> Level:
    """No level: w is v."""
    return Level(prior, (), lambda theta: theta[..., 0])


def test_the_density_integrates_to_one() -> None:
    local, homes = local_of(2), homes_of([[30.0, 12.0], [12.0, 20.0]])
    x = torch.linspace(-5.0, 5.0, 401, dtype=torch.float64)
    grid = torch.cartesian_prod(x, x)[None]
    with torch.no_grad():
        density = local.log_density_told(grid, local.told(homes)).exp()
    assert float(density.sum()) * float(x[1] - x[0]) ** 2 == pytest.approx(1.0, abs=0.01)


def test_draws_follow_the_density() -> None:
    local, homes = local_of(2), homes_of([[30.0, 12.0], [12.0, 20.0]])
    base = torch.randn((1, 4, 2), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    told = local.told(homes)

    def drawn(z: torch.Tensor) -> torch.Tensor:
        return local.draw_told(z[None, None], told)[0, 0]

    for z in base[0]:
        v = drawn(z).detach()
        slope = torch.autograd.functional.jacobian(drawn, z)
        normal = -0.5 * float(z @ z) - math.log(2.0 * math.pi)
        expected = normal - float(torch.linalg.slogdet(slope)[1])
        found = float(local.log_density_told(v[None, None], told)[0, 0].detach())
        assert found == pytest.approx(expected, abs=2e-3)


def test_a_shift_and_a_stretch_of_the_posterior_shift_and_stretch_its_coordinates() -> None:
    local = local_of(2, stir=0.0)
    near, far = homes_of([[4.0, 0.0], [0.0, 4.0]]), homes_of([[400.0, 0.0], [0.0, 400.0]])
    said = local.flow.told(local.read(near).detach())  # the same of both
    v = near.v[:, None] + torch.tensor([[[0.3, -0.2]]], dtype=torch.float64)
    closer = far.v[:, None] + torch.tensor([[[0.03, -0.02]]], dtype=torch.float64)
    there, here = ((*local.told(one)[:2], *said) for one in (far, near))
    difference = local.log_density_told(closer, there) - local.log_density_told(v, here)
    assert float(difference.detach()) == pytest.approx(2.0 * math.log(10.0), abs=1e-4)


def test_features_beyond_the_training_are_cut() -> None:
    local = local_of(2)
    local.fit(homes_of([[4.0, 0.0], [0.0, 4.0]], [[9.0, 1.0], [1.0, 5.0]]))
    huge = homes_of([[1e12, 0.0], [0.0, 1e12]])
    assert bool(torch.isfinite(local.read(huge)).all())


def test_draws_do_not_depend_on_how_many_are_asked_for() -> None:
    local, homes = local_of(2), homes_of([[30.0, 12.0], [12.0, 20.0]])
    box = Prior(tuple(Marginal(name, "", 0.0, 1.0, "linear") for name in "ab"))
    seen = LocalPosterior(local, local.told(homes), 2, Remembered(plain(box)))
    v = seen.sample(600, torch.Generator().manual_seed(3))
    assert torch.equal(seen.log_density(v)[:7], seen.log_density(v[:7]))
    assert seen.sample(0, torch.Generator().manual_seed(3)).shape == (0, 2)


def test_training_writes_and_resumes_it(tmp_path: Path) -> None:
    recipe = toy_recipe(*STAGES, network=SEEN, data={"modes": 300, "validation": 40})
    write_toy(tmp_path)
    progress = trained(recipe, tmp_path, tmp_path / "run")
    assert [one.modes for one in progress if one.modes is not None][-1] == 1.0
    path = progress[-1].network
    assert path is not None
    network = load_network(path)
    assert network.core.local is not None
    assert (tmp_path / "run" / "modes.safetensors").exists()
    local = [one for one in progress if one.stage == "local" and one.validation]
    assert local[-1].losses["local"] < local[0].losses["local"] - 0.02


def test_it_stands_aside_under_another_prior(tmp_path: Path) -> None:
    network, _ = toy_network(tmp_path, toy_recipe(*STAGES, network=SEEN, data={"modes": 10}))
    own = network.training_prior.prior
    narrow = Prior((Marginal("powerlaw.PhoIndex", "", 1.5, 2.5, "linear"), own.marginals[1]))
    width = network.recipe.network.context
    frames = homes_of([[30.0, 12.0], [12.0, 20.0]])
    homes = ModeFeatures(frames.v, frames.information, frames.numbers)
    for prior, answers in ((own, True), (narrow, False)):
        found = NeuralPosterior(network, prior, (None,), torch.zeros((1, width)), torch.tensor([True]), ("",), ((),))
        assert len(found.seen_from_modes(0, homes, plain(prior))) == (1 if answers else 0)
