"""simplcutx: conservation, its direct double sum, its limits, and the shape of nthComp."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from xrayflow.errors import ModelError
from xrayflow.models import parse_model
from xrayflow.models.convolution import scattered as scattered_by_simpl
from xrayflow.models.edges import EnergyBins
from xrayflow.models.simplcutx import bind_simplcutx, load_thermal_table, log_turnover, scattered, with_tail

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")
REFERENCE = Path(__file__).resolve().parents[1] / "reference"
EDGES = np.geomspace(1e-3, 1e3, 601)
BINS = EnergyBins(torch.as_tensor(EDGES))


def seed(edges: np.ndarray = EDGES) -> torch.Tensor:
    middle = torch.as_tensor(np.sqrt(edges[1:] * edges[:-1]))
    return middle**2 * torch.exp(-middle)


def tensor(value: float) -> torch.Tensor:
    return torch.tensor(value, dtype=torch.float64)


def convolve(
    photons: torch.Tensor, gamma: float, fraction: float, turnover: float, bins: EnergyBins = BINS
) -> np.ndarray:
    return bind_simplcutx(bins)(photons, tensor(gamma), tensor(fraction), 0.0, turnover).numpy()


@pytest.mark.parametrize("turnover", [-3.0, -80.0, 20.0, 100.0])
@pytest.mark.parametrize("gamma", [1.3, 2.3, 4.0])
def test_the_cumulative_sums_are_the_double_sum(gamma: float, turnover: float) -> None:
    grid, photons = with_tail(BINS), seed().numpy()
    low, high = np.exp((grid.log_high - grid.log_width).numpy()), np.exp(grid.log_high.numpy())
    kernel = np.exp(log_turnover(tensor(gamma), turnover, grid.energy).numpy())
    expected = 0.7 * photons
    for energy, count in zip(0.5 * (EDGES[1:] + EDGES[:-1]), photons, strict=True):
        mass = kernel * (np.maximum(low, energy) ** (1.0 - gamma) - np.maximum(high, energy) ** (1.0 - gamma))
        # a seed so far above the turnover that its kernel underflows stays where it is
        mass = mass if mass.sum() > 1e-140 else 1.0 * ((low < energy) & (energy <= high))
        expected = expected + 0.3 * count * (mass / mass.sum())[: photons.size]
    np.testing.assert_allclose(convolve(seed(), gamma, 0.3, turnover), expected, rtol=1e-10, atol=1e-290)


@given(
    gamma=st.floats(1.1, 5.0),
    fraction=st.floats(0.0, 1.0),
    turnover=st.floats(1.0, 1000.0),
    sign=st.sampled_from([-1, 1]),
)
@settings(deadline=None)
def test_photons_are_conserved_on_a_grid_beyond_the_turnover(
    gamma: float, fraction: float, turnover: float, sign: int
) -> None:
    edges = np.geomspace(1e-3, 9e4, 400)
    total = convolve(seed(edges), gamma, fraction, sign * turnover, EnergyBins(torch.as_tensor(edges))).sum()
    assert total == pytest.approx(float(seed(edges).sum()), rel=1e-10)


def test_what_scatters_beyond_the_grid_leaves_it() -> None:
    short = EDGES[EDGES < 30.0]
    inside = convolve(seed(short), 1.7, 1.0, 100.0, EnergyBins(torch.as_tensor(short)))
    whole = convolve(seed(), 1.7, 1.0, 100.0)
    np.testing.assert_allclose(inside[:-1], whole[: inside.size - 1], rtol=3e-3)
    assert inside.sum() < 0.99 * float(seed(short).sum())


@pytest.mark.parametrize("gamma", [1.5, 2.3, 4.0])
def test_without_a_turnover_it_is_simpl_that_scatters_up_only(gamma: float) -> None:
    grid = with_tail(BINS)
    ours = scattered(seed(), tensor(gamma), torch.zeros_like(grid.energy), grid)
    exact = scattered_by_simpl(seed(), tensor(gamma), True, BINS) + seed()
    # the norm of ours ends at 1e5 keV
    torch.testing.assert_close((ours + seed())[:400], exact[:400], rtol=1e-5 if gamma > 2.0 else 5e-3, atol=0.0)


def test_no_scattering_changes_nothing() -> None:
    np.testing.assert_allclose(convolve(seed(), 2.0, 0.0, 100.0), seed().numpy(), rtol=1e-14)


@pytest.mark.parametrize("turnover", [-20.0, 30.0])
def test_splitting_bins_keeps_the_photons(turnover: float) -> None:
    def seed_line(edges: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(np.diff(edges) * ((edges[:-1] > 0.0999) & (edges[1:] < 0.2001)))

    coarse = np.unique(
        np.concatenate([np.geomspace(1e-2, 0.1, 201), np.geomspace(0.1, 0.2, 61), np.geomspace(0.2, 1e3, 701)])
    )
    fine = np.sort(np.concatenate([coarse, np.sqrt(coarse[1:] * coarse[:-1])]))
    whole = convolve(seed_line(coarse), 1.8, 1.0, turnover, EnergyBins(torch.as_tensor(coarse)))
    parts = convolve(seed_line(fine), 1.8, 1.0, turnover, EnergyBins(torch.as_tensor(fine)))
    parts = parts.reshape(-1, 2).sum(axis=1)
    seen = (coarse[:-1] > 0.21) & (coarse[1:] < 200.0)
    np.testing.assert_allclose(whole[seen], parts[seen], rtol=1e-3)


def test_a_scattered_line_has_the_shape_of_nthcomp() -> None:
    with np.load(REFERENCE / "components.npz") as table:
        theta, bins, ratios = (table[f"simplcutx {name}"] for name in ("theta", "bins", "ratios"))
    edges = np.geomspace(1e-2, 1e3, 4001)
    line = torch.zeros(4000, dtype=torch.float64)
    line[100] = 1.0
    change = bind_simplcutx(EnergyBins(torch.as_tensor(edges)))
    wrong = []
    for (gamma, kt), bin_numbers, expected in zip(theta.astype(np.float64), bins, ratios, strict=True):
        found = change(line, tensor(gamma), tensor(1.0), 0.0, float(kt)).numpy()
        wrong.append(np.log(found[bin_numbers[1:]] / found[bin_numbers[0]]) - np.log(expected))
    assert len(wrong) == 200
    assert np.abs(wrong).max() < 0.04
    assert np.sqrt(np.mean(np.square(wrong))) < 3e-3


def test_a_free_turnover_gives_what_frozen_ones_give() -> None:
    values = torch.tensor([20.0, 100.0, 700.0, -30.0, -1.0], dtype=torch.float64)
    bound, gamma = bind_simplcutx(BINS), torch.linspace(1.3, 4.0, 5, dtype=torch.float64)
    together = bound(seed(), gamma, tensor(0.4), 0.0, values)
    for row, (index, value) in enumerate(zip(gamma, values, strict=True)):
        alone = bound(seed(), index, tensor(0.4), 0.0, float(value))
        torch.testing.assert_close(together[row], alone, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("turnover", [-5.0, 30.0])
def test_gradients_are_right(turnover: float) -> None:
    bound = bind_simplcutx(EnergyBins(torch.logspace(-1, 2, 9, dtype=torch.float64)))
    inputs = (torch.rand(8, dtype=torch.float64), tensor(2.2), tensor(0.4), tensor(turnover))
    inputs = tuple(value.requires_grad_() for value in inputs)
    assert torch.autograd.gradcheck(lambda n, g, f, t: bound(n, g, f, 0.0, t), inputs, check_forward_ad=True)


@pytest.mark.parametrize("turnover", [-1.0, -300.0, 1.0, 100.0, 1000.0])
@pytest.mark.parametrize("gamma", [1.3, 4.0])
def test_single_precision_is_good_to_1e_4(gamma: float, turnover: float) -> None:
    exact = convolve(seed(), gamma, 0.1, turnover)
    rough = bind_simplcutx(EnergyBins(torch.as_tensor(EDGES), torch.float32))
    found = rough(seed().float(), torch.tensor(gamma), torch.tensor(0.1), 0.0, turnover).double().numpy()
    seen = exact > 1e-8 * exact.max()
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found[seen], exact[seen], rtol=1e-4)


def test_seeds_above_the_turnover_stay_and_give_no_nans() -> None:
    model = parse_model("simplcutx*powerlaw").freeze({"simplcutx.kT_e": -1.0})
    theta = torch.tensor([2.0, 0.5, 0.0, 1e10], dtype=torch.float64, requires_grad=True)
    photons = model.photon_flux(theta, torch.as_tensor(EDGES))
    assert float(photons[-1].detach()) == pytest.approx(1e10 * (EDGES[-1] - EDGES[-2]), rel=1e-6)
    assert bool(torch.isfinite(torch.autograd.grad(photons.sum(), theta)[0]).all())


def test_it_has_the_parameters_of_the_paper() -> None:
    model = parse_model("TBabs*simplcutx*ezdiskbb")
    assert model.names == ("TBabs.nH", "simplcutx.Gamma", "simplcutx.FracSctr", "ezdiskbb.T_max", "ezdiskbb.norm")
    assert {p.name: p.value for p in model.parameters if p.frozen} == {
        "simplcutx.ReflFrac": 0.0,
        "simplcutx.kT_e": 100.0,
    }
    flux = model.on(torch.as_tensor(EDGES))
    theta = torch.tensor([[0.3, 2.2, 0.1, 0.4, 2e4], [1.0, 1.5, 0.02, 1.2, 30.0]], dtype=torch.float64)
    torch.testing.assert_close(torch.func.vmap(flux)(theta), flux(theta))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"simplcutx.ReflFrac": 1.0}, "simplcutx.ReflFrac: 1 is not implemented; leave it at 0"),
        ({"simplcutx.kT_e": 0.3}, "simplcutx.kT_e: 0.3 is between -1 and 1; choose a value outside"),
        ({"simplcutx.kT_e": 2e3}, r"simplcutx.kT_e: 2000 is outside its limits -1000 \.\. 1000"),
        ({"simplcutx.Gamma": 1.0}, r"simplcutx.Gamma: 1 is outside its limits 1\.1 \.\. 5"),
    ],
)
def test_what_is_not_implemented_is_refused(values: dict[str, float], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        parse_model("simplcutx*powerlaw").freeze(values)


def test_the_table_covers_the_limits_of_the_parameters() -> None:
    table = load_thermal_table()
    parameters = {p.name: p for p in parse_model("simplcutx*powerlaw").parameters}
    assert table.gamma == parameters["simplcutx.Gamma"].hard
    assert table.kt[1] == parameters["simplcutx.kT_e"].hard[1]
    assert table.kt[0] == (parameters["simplcutx.kT_e"].gap or (0.0, 0.0))[1]
