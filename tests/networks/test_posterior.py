"""A network's draws and densities: the same in any company, right in any prior's coordinates, or absent."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from network_zoo import PAPER, SMALL, stirred, toy_network, toy_recipe
from ogip_zoo import toy_observation
from xrayflow.errors import MismatchError
from xrayflow.models import parse_model
from xrayflow.networks import Network, NeuralPosterior
from xrayflow.ogip import Spectrum
from xrayflow.prior import FAR, Prior

MODEL = parse_model("powerlaw")
BOX = ["powerlaw.PhoIndex=1:3", "powerlaw.norm=0.001:10"]
OWN = Prior.of(MODEL, BOX)
PRIORS = {
    "own": OWN,
    "narrower": Prior.of(MODEL, ["powerlaw.PhoIndex=1.6:2.1", "powerlaw.norm=0.05:0.3"]),
    "wider": Prior.of(MODEL, ["powerlaw.PhoIndex=0:4", "powerlaw.norm=1e-4:100"]),
    "normal": Prior.of(MODEL, [*BOX, "powerlaw.PhoIndex~N(1.8,0.4)"]),
    "linear": Prior.of(MODEL, ["powerlaw.PhoIndex=1:3", "powerlaw.norm=lin:0.001:10"]),
}
KINDS = {"ours": toy_recipe(network=SMALL | {"transforms": 4}), "paper": toy_recipe(network=PAPER)}


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Network]:
    found = {}
    for name, recipe in KINDS.items():
        found[name], _ = toy_network(tmp_path_factory.mktemp(name), recipe)
        stirred(found[name].core, size=0.3)
    return found


@pytest.fixture(scope="module")
def spectra(tmp_path_factory: pytest.TempPathFactory) -> list[Spectrum]:
    """Three that lie inside the training, then one that does not, for its exposure."""
    return [
        toy_observation(tmp_path_factory.mktemp("pha"), exposure=exposure, norm=norm, background=i == 1).bin(
            energies=[(0.6, 8.0)], grouping="none"
        )
        for i, (exposure, norm) in enumerate([(200.0, 0.05), (500.0, 0.5), (900.0, 0.2), (5000.0, 0.05)])
    ]


def amortised(network: Network, spectra: list[Spectrum], prior: Prior = OWN) -> NeuralPosterior:
    return NeuralPosterior.of(network, MODEL, prior, spectra, [0.0] * len(spectra))


def seeds(*numbers: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(number) for number in numbers]


def spread(rows: int, seed: int = 9) -> Tensor:
    """(draw, parameter) places to ask the density at."""
    return 1.5 * torch.randn((rows, 2), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("prior", ["own", "narrower"])
def test_an_answer_does_not_depend_on_its_company(
    networks: dict[str, Network], spectra: list[Spectrum], kind: str, prior: str
) -> None:
    alone = amortised(networks[kind], spectra[1:2], PRIORS[prior])
    company = amortised(networks[kind], spectra, PRIORS[prior])
    assert torch.equal(alone.context[0], company.context[1])
    v = company.sample(700, seeds(1, 2, 3, 4))
    assert torch.equal(alone.sample(700, seeds(2))[0], v[1])
    assert torch.equal(alone.log_density(v[1:2])[0], company.log_density(v)[1])
    chosen = company.select(torch.tensor([2, 1]))
    assert torch.equal(chosen.log_density(v[[2, 1]]), company.log_density(v)[[2, 1]])
    assert chosen.outside == ((), ())


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_density_does_not_depend_on_how_many_are_asked(
    networks: dict[str, Network], spectra: list[Spectrum], kind: str
) -> None:
    one = amortised(networks[kind], spectra[:1])
    many = one.sample(1600, seeds(1))
    # PyTorch's normal numbers agree in multiples of 16
    assert torch.equal(one.sample(800, seeds(1))[0], many[0, :800])
    density = one.log_density(many)
    for rows in (1, 7, 512, 513):
        assert torch.equal(one.log_density(many[:, :rows]), density[:, :rows])


def test_draws_follow_their_generator(networks: dict[str, Network], spectra: list[Spectrum]) -> None:
    one = amortised(networks["ours"], spectra[:1])
    generator = seeds(1)
    first, second = one.sample(50, generator), one.sample(50, generator)
    assert not torch.equal(first, second)
    assert torch.equal(one.sample(50, seeds(1)), first)


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("prior", list(PRIORS))
def test_the_density_is_that_of_the_answers_coordinates(
    networks: dict[str, Network], spectra: list[Spectrum], kind: str, prior: str
) -> None:
    network, answer = networks[kind], PRIORS[prior]
    v = spread(200)
    found = amortised(network, spectra[:1], answer).log_density(v[None])[0]
    theta = answer.to_theta(v)
    with torch.no_grad():
        per_theta = network.core.log_density(theta[None], network.inputs(spectra[0]))[0]
    step = 1e-5
    slope = (answer.to_theta(v + step) - answer.to_theta(v - step)) / (2.0 * step)
    wanted = per_theta + slope.log().sum(-1)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=2e-3)
    if kind == "ours" and prior == "wider":
        assert bool(torch.isinf(found).any())
        assert torch.equal(torch.isfinite(found), OWN.contains(theta))


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("prior", list(PRIORS))
def test_the_density_holds_the_draws_that_stay_inside(
    networks: dict[str, Network], spectra: list[Spectrum], kind: str, prior: str
) -> None:
    one = amortised(networks[kind], spectra[:1], PRIORS[prior])
    v = one.sample(4000, seeds(5))[0]
    inside = float((v.abs() < FAR).all(-1).double().mean())
    x = torch.linspace(-7.0, 7.0, 221, dtype=torch.float64)
    mass = float(one.log_density(torch.cartesian_prod(x, x)[None]).exp().sum()) * float(x[1] - x[0]) ** 2
    # 5 standard errors of a share of 4000 draws, 6e-7, beside the error of the grid
    assert mass == pytest.approx(inside, abs=5.0 * math.sqrt(max(inside * (1.0 - inside), 1e-3) / 4000) + 0.02)


def test_draws_beyond_a_narrower_box_come_to_its_far_end(networks: dict[str, Network], spectra: list[Spectrum]) -> None:
    narrower = PRIORS["narrower"]
    one = amortised(networks["ours"], spectra[:1], narrower)
    v = one.sample(1000, seeds(5))
    theta = OWN.to_theta(amortised(networks["ours"], spectra[:1]).sample(1000, seeds(5)))
    beyond = ~narrower.contains(theta)
    assert 0.05 < float(beyond.double().mean()) < 0.999
    assert torch.equal((v.abs() == FAR).any(-1), beyond)
    assert bool(torch.isinf(one.log_density(v))[beyond].all())
    assert bool(torch.isfinite(one.log_density(v))[~beyond].all())


def test_a_draw_that_rounds_to_no_number_comes_to_the_far_end(
    networks: dict[str, Network], spectra: list[Spectrum], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = amortised(networks["ours"], spectra[:1])
    monkeypatch.setattr(networks["ours"].core.flow, "draw_told", lambda base, told: base * torch.nan)
    assert bool((one.sample(5, seeds(0)) == FAR).all())
    monkeypatch.setattr(networks["ours"].core.flow, "log_density_told", lambda x, told: x[..., 0] * torch.nan)
    assert bool(torch.isneginf(one.log_density(torch.zeros(1, 5, 2, dtype=torch.float64))).all())


def test_a_source_outside_the_training_has_no_network(networks: dict[str, Network], spectra: list[Spectrum]) -> None:
    found = amortised(networks["ours"], spectra)
    assert found.name == "toy"
    assert found.present.tolist() == [True, True, True, False]
    assert found.outside[3] == ("exposure 5000 s, trained on 100 .. 1000 s",)
    assert found.mismatch == ("",) * 4
    v = found.sample(20, seeds(1, 2, 3, 4))
    assert bool((v[3] == 0).all())
    density = found.log_density(v)
    assert bool(torch.isneginf(density[3]).all())
    assert bool(torch.isfinite(density[:3]).all())
    # its generator moves on as if it had one
    left, moved = seeds(4, 4)
    found.sample(20, [*seeds(1, 2, 3), left])
    torch.randn((20, 2), generator=moved, dtype=torch.float64)
    assert torch.equal(left.get_state(), moved.get_state())


def test_a_source_of_another_instrument_has_no_network(
    networks: dict[str, Network], spectra: list[Spectrum], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = Network.inputs

    def inputs(self: Network, spectrum: Spectrum, systematic: float = 0.0, amplitude: float = 0.0) -> object:
        if spectrum is spectra[0]:
            raise MismatchError("other channels")
        return own(self, spectrum, systematic, amplitude)

    monkeypatch.setattr(Network, "inputs", inputs)
    found = amortised(networks["ours"], spectra[:2])
    assert found.mismatch == ("other channels", "")
    assert found.present.tolist() == [False, True]


def test_another_model_and_a_network_without_a_density_are_refused(
    networks: dict[str, Network], spectra: list[Spectrum], tmp_path: Path
) -> None:
    model = parse_model("TBabs*powerlaw")
    with pytest.raises(MismatchError, match=r"it was made for powerlaw, not TBabs\*powerlaw"):
        NeuralPosterior.of(networks["ours"], model, Prior.of(model), spectra[:1], [0.0])
    point, _ = toy_network(tmp_path, toy_recipe({"flow": 0.0, "latent": 1.0}, network={"latent": "point"}))
    with pytest.raises(MismatchError, match="it gives one value and no density"):
        amortised(point, spectra[:1])


def test_a_physical_decoder_reconstructs_what_the_likelihood_expects(tmp_path: Path) -> None:
    """One draw again and again: the forward model's own counts/s/keV, the background of the file included."""
    network, simulator = toy_network(tmp_path, toy_recipe(network=PAPER | {"decoder": "physical"}))
    spectrum = toy_observation(tmp_path, exposure=500.0, norm=0.5, background=True).bin(
        energies=[(0.6, 8.0)], grouping="none"
    )
    one = amortised(network, [spectrum])
    theta = torch.tensor([[1.8, 0.4]], dtype=torch.float64).expand(5, -1)
    made = one.reconstruction(0, theta)
    assert made is not None
    inputs = network.inputs(spectrum)
    kept = inputs.noticed[0] > 0
    width = torch.from_numpy(made.energy_hi - made.energy_lo)
    counts = simulator.expected(theta[:1], inputs.exposure, inputs.area)[0]
    known = (counts + inputs.background[0] / torch.where(kept, inputs.noticed[0], 1.0))[kept] / (500.0 * width)
    for row in made.density:
        torch.testing.assert_close(torch.from_numpy(row), known, rtol=1e-4, atol=1e-9)


def test_a_network_without_a_decoder_reconstructs_nothing(
    networks: dict[str, Network], spectra: list[Spectrum]
) -> None:
    theta = torch.tensor([[1.8, 0.4]], dtype=torch.float64)
    assert amortised(networks["ours"], spectra).reconstruction(0, theta) is None
