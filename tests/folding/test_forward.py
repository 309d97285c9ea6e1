"""Parameters -> expected counts: the model and the fold, at one fidelity or another."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from ogip_zoo import toy_observation
from xrayflow.folding import EXACT, FINER, SEARCH, TRAINING, Fold, Forward, Grid
from xrayflow.models import Model, parse_model
from xrayflow.ogip import Spectrum

BAND = ((1.0, 6.0),)


@pytest.fixture(scope="module")
def spectra(tmp_path_factory: pytest.TempPathFactory) -> list[Spectrum]:
    """Of other exposures and groupings."""
    first = toy_observation(tmp_path_factory.mktemp("toy"))
    longer = replace(first, pha=replace(first.pha, exposure=300.0))
    return [first.bin(BAND), longer.bin(((2.0, 5.0),)), longer.bin(BAND, grouping="min:50")]


@pytest.fixture(scope="module")
def model() -> Model:
    return parse_model("TBabs*powerlaw")


def theta_of(sources: int, draws: int = 4) -> Tensor:
    lo, hi = torch.tensor([0.01, 1.0, 0.01]).double(), torch.tensor([1.0, 3.0, 0.1]).double()
    unit = torch.rand((sources, draws, 3), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return lo + (hi - lo) * unit


def test_expected_counts_are_the_folded_model(model: Model, spectra: list[Spectrum]) -> None:
    forward, theta = Forward.of(model, spectra), theta_of(3)
    photons = model.photon_flux(theta, torch.from_numpy(forward.grid.energy_edges))
    torch.testing.assert_close(forward.expected(theta), Fold.of(spectra, forward.grid)(photons), rtol=1e-10, atol=0)
    assert forward.fidelity == EXACT
    assert forward.energies == forward.grid.energy_edges.size


def test_the_jacobian_is_what_differences_find(model: Model, spectra: list[Spectrum]) -> None:
    forward, theta = Forward.of(model, spectra), theta_of(3)
    expected, jacobian = forward.linearised(theta)
    torch.testing.assert_close(expected, forward.expected(theta), rtol=1e-10, atol=0)
    for i in range(3):
        step = torch.zeros_like(theta)
        step[..., i] = 1e-5 * theta[..., i]
        difference = (forward.expected(theta + step) - forward.expected(theta - step)) / (2e-5 * theta[..., i, None])
        error = (jacobian[..., i] - difference).abs() * theta[..., i, None] / expected.amax(-1, keepdim=True)
        assert float(error.max()) < 1e-7


@pytest.mark.parametrize("fidelity", [FINER, TRAINING], ids=lambda one: one.name)
def test_another_fidelity_is_another_grid_or_precision_of_the_same_sources(
    model: Model, spectra: list[Spectrum], fidelity: object
) -> None:
    exact, theta = Forward.of(model, spectra), theta_of(3)
    other = exact.at(fidelity)  # type: ignore[arg-type]
    assert other.fidelity == fidelity
    assert other.grid.energy_edges.size != exact.grid.energy_edges.size
    assert other.expected(theta).dtype == torch.float64
    error = (other.expected(theta) - exact.expected(theta)).abs() / exact.expected(theta).amax(-1, keepdim=True)
    assert 1e-9 < float(error.max()) < 3e-2
    back = other.at(EXACT)
    assert torch.equal(back.expected(theta), exact.expected(theta))


def test_a_fidelity_is_made_once_for_a_batch_and_selected_from_thereafter(
    model: Model, spectra: list[Spectrum]
) -> None:
    exact, theta = Forward.of(model, spectra), theta_of(3)
    one = exact.select(torch.tensor([1]))
    assert one.at(FINER).flux is exact.at(FINER).flux
    torch.testing.assert_close(
        one.at(FINER).expected(theta[1:2]),
        exact.at(FINER).expected(theta)[1:2, :, : spectra[1].counts.size],
        rtol=1e-12,
        atol=0,
    )
    chosen = exact.at(FINER).select(torch.tensor([2, 0])).select(torch.tensor([1]))
    torch.testing.assert_close(chosen.expected(theta[:1]), exact.at(FINER).expected(theta)[:1], rtol=1e-12, atol=0)


def test_the_searchs_photons_are_within_their_tolerance(spectra: list[Spectrum]) -> None:
    """A disc, whose photons are sums over nodes: on one grid, with the search's nodes and with the exact ones."""
    disc = parse_model("TBabs*ezdiskbb")
    search = Forward.of(disc, spectra).at(SEARCH)
    theta = torch.tensor([0.3, 0.2, 1e3], dtype=torch.float64).expand(3, 1, -1)
    photons = disc.photon_flux(theta, torch.from_numpy(search.grid.energy_edges))
    exact = search.fold(photons)
    off = (search.expected(theta) - exact).abs() / exact.amax(-1, keepdim=True)
    assert float(off.max()) < SEARCH.tolerance


def test_a_grid_too_coarse_to_thin_is_exact_by_name_too(model: Model, spectra: list[Spectrum]) -> None:
    forward = Forward.of(model, spectra, Grid.log(0.2, 12.0, 150))
    assert forward.at(SEARCH).fidelity == EXACT
    assert forward.at(SEARCH).grid is forward.grid


def test_another_grid_becomes_the_answers_own(model: Model, spectra: list[Spectrum]) -> None:
    grid, theta = Grid.log(0.3, 11.0, 900), theta_of(3)
    forward = Forward.of(model, spectra).select(torch.tensor([2, 0])).on(grid)
    assert (forward.grid, forward.fidelity) == (grid, EXACT)
    alone = Forward.of(model, [spectra[2], spectra[0]], grid)
    torch.testing.assert_close(forward.expected(theta[:2]), alone.expected(theta[:2]), rtol=1e-12, atol=0)
    assert forward.at(FINER).grid.energy_edges.size == 2701
    # what it makes at other fidelities, it makes of its own sources alone
    assert len(forward.family.spectra) == 2
    assert forward.rows.tolist() == [0, 1]
    assert forward.at(FINER).fold.matrix_of_source.numel() == 2


def test_the_search_knows_the_energies_of_the_response(spectra: list[Spectrum]) -> None:
    """From 0.2 keV down to 1 eV no photon is detected: the search has few bins there."""
    grid = Forward.of(parse_model("TBabs*simpl*ezdiskbb"), spectra).at(SEARCH).grid
    response = spectra[0].observation.rmf.energy_edges
    np.testing.assert_array_equal(
        grid.energy_edges,
        SEARCH.grid(Grid.of_response(response), (float(response[0]), float(response[-1]))).energy_edges,
    )
    below = (grid.energy_edges < response[0]).sum() / np.log10(response[0] / grid.energy_edges[0])
    assert below < 30.0


def test_the_default_grid_is_wide_where_the_model_convolves(spectra: list[Spectrum]) -> None:
    assert Forward.of(parse_model("TBabs*simpl*ezdiskbb"), spectra).grid.energy_edges[0] == 1e-3
    assert Forward.of(parse_model("TBabs*powerlaw"), spectra).grid.energy_edges[0] == 0.2
