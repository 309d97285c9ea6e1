"""Fluxes at the draws of an answer, against closed forms and against the compiled library."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from answer_zoo import altered, toy_posterior
from xrayflow.errors import DataError, ModelError
from xrayflow.folding import Grid
from xrayflow.inference.flux import ERG, ModelDraws, fitted_band, flux_rows, is_beyond
from xrayflow.models import Model, parse_model
from xrayflow.models.xspec import XspecLibrary

BANDS = [(0.3, 10.0), (2.0, 10.0), (0.5, 2.0)]


@pytest.fixture(scope="module")
def library() -> Iterator[XspecLibrary]:
    pytest.importorskip("xspectrampoline")
    with XspecLibrary() as opened:
        yield opened


def draws(model: Model, *rows: list[float], parts: int = 2) -> ModelDraws:
    """Some rows of parameters, of one weight each; the first is the best."""
    theta = torch.tensor(rows, dtype=torch.float64)
    return ModelDraws(model, theta, np.full(len(rows), 1.0 / len(rows)), theta[0], parts)


def test_a_power_law_has_its_closed_form() -> None:
    model = parse_model("powerlaw")
    (found,) = draws(model, [1.0, 3.0], [2.0, 0.5]).fluxes([(2.0, 10.0)])
    assert_allclose(found.photon_flux.values, [3.0 * np.log(5.0), 0.5 * 0.4], rtol=1e-12)
    assert_allclose(found.energy_flux.values, np.array([3.0 * 8.0, 0.5 * np.log(5.0)]) * ERG, rtol=1e-5)
    assert found.energy_flux.best == found.energy_flux.values[0]
    assert (found.energy_flux.unit, found.photon_flux.unit) == ("erg/cm^2/s", "ph/cm^2/s")


DISC = [[0.24, 2.1, 0.1, 0.55, 4e3], [1.5, 1.8, 0.4, 1.1, 300.0], [0.05, 2.6, 0.01, 0.2, 2e5]]


@pytest.mark.parametrize("parts", [1, 2])
def test_fluxes_are_those_that_the_compiled_library_integrates(library: XspecLibrary, parts: int) -> None:
    # both sides of the absorption edges are among these: logarithmic bins of 1e-4 would still be off by 3e-5
    edges = Grid.of_response([0.3, 0.5, 2.0, 10.0]).finer(6).energy_edges
    middle = 0.5 * (edges[1:] + edges[:-1])
    rows = np.insert(np.array(DISC), 3, 1.0, axis=1)
    reference = library.evaluate("TBabs*simpl*ezdiskbb", rows, edges)
    # one part is what a summary has, which is quicker
    for found in draws(parse_model("TBabs*simpl*ezdiskbb"), *DISC, parts=parts).fluxes(BANDS):
        inside = (edges[:-1] >= found.band[0]) & (edges[1:] <= found.band[1])
        assert_allclose(found.photon_flux.values, reference[:, inside].sum(-1), rtol=1e-4)
        assert_allclose(found.energy_flux.values, reference[:, inside] @ middle[inside] * ERG, rtol=1e-4)


def test_a_flux_that_cflux_is_given_changes_nothing(library: XspecLibrary) -> None:
    edges = Grid.of_response([0.1, 2.0, 10.0, 50.0], wide=False).finer(4).energy_edges
    model, rows = parse_model("TBabs*powerlaw"), [[0.3, 1.7, 0.02], [5.0, 2.4, 1.0]]
    (absorbed,) = draws(model, *rows).fluxes([(2.0, 10.0)])
    (bare,) = draws(model, *rows).fluxes([(2.0, 10.0)], unabsorbed=True)
    matrix = np.array(rows)
    powerlaw = library.call("powerlaw", matrix[:, 1:2], edges) * matrix[:, 2:]
    through = library.call("TBabs", matrix[:, :1], edges) * powerlaw
    for photons, flux in ((through, absorbed), (powerlaw, bare)):
        asked = np.column_stack([np.full(2, 2.0), np.full(2, 10.0), np.log10(flux.energy_flux.values)])
        # as if cflux had been fitted: its norm is the flux, and the spectrum is what it was
        scaled = library.call("cflux", asked, edges, photons)
        assert_allclose(scaled.sum(-1), photons.sum(-1), rtol=1e-4)


def test_fluxes_of_components_add_up() -> None:
    model = parse_model("TBabs*(powerlaw+bbodyrad)")
    of = draws(model, [0.3, 1.7, 0.02, 0.6, 30.0])
    for unabsorbed in (False, True):
        whole = of.fluxes([(0.5, 2.0)], unabsorbed)[0]
        parts = [of.fluxes([(0.5, 2.0)], unabsorbed, name)[0] for name in ("powerlaw", "BBODYRAD")]
        assert_allclose(sum(one.energy_flux.values for one in parts), whole.energy_flux.values, rtol=1e-12)
        assert parts[1].component == "bbodyrad"
        assert "of bbodyrad" in parts[1].energy_flux.name


def test_the_flux_of_a_band_does_not_depend_on_what_else_is_asked() -> None:
    of = draws(parse_model("TBabs*simpl*ezdiskbb"), *DISC)
    alone = of.fluxes([(2.0, 10.0)])[0].energy_flux.values
    assert_allclose(of.fluxes(BANDS)[1].energy_flux.values, alone, rtol=2e-5)


def test_an_equivalent_width_is_that_of_eqwidth() -> None:
    model = parse_model("TBabs*(powerlaw+gaussian)")
    # a continuum of E^-2: its mean density within 5 % of 6.4 keV is 1 / (6.08 x 6.72) per keV and norm
    width = draws(model, [1e-6, 2.0, 1.0, 6.4, 0.01, 1e-3], [1e-6, 2.0, 2.0, 6.4, 0.3, 1e-3]).equivalent_width(
        "gaussian"
    )
    assert_allclose(width.values, np.array([1.0, 0.5]) * 1e-3 * 6.08 * 6.72 * 1e3, rtol=2e-4)
    assert width.unit == "eV"


def test_an_equivalent_width_of_a_line_with_nothing_around_it_is_refused() -> None:
    of = draws(parse_model("gaussian"), [6.4, 0.1, 1e-3])
    with pytest.raises(DataError, match="gaussian: no other photons around it"):
        of.equivalent_width("gaussian")
    with pytest.raises(DataError, match="powerlaw has no LineE"):
        draws(parse_model("powerlaw"), [1.7, 1.0]).equivalent_width("powerlaw")


@pytest.mark.parametrize("band", [(10.0, 2.0), (0.0, 10.0), (2.0, 2.0), (1.0, 2e3), (np.nan, 3.0)])
def test_a_band_that_is_none_is_refused(band: tuple[float, float]) -> None:
    with pytest.raises(DataError, match="give two energies in order"):
        draws(parse_model("powerlaw"), [1.7, 1.0]).fluxes([band])


def test_draws_without_weight_are_left_out_and_change_nothing() -> None:
    model = parse_model("powerlaw")
    theta = np.array([[1.7, 1.0], [1.8, 2.0], [1.9, 3.0]])
    of = ModelDraws.of(model, theta, np.array([0.4, 1e-9, 0.6]), theta[0])
    assert of.theta[:, 1].tolist() == [1.0, 3.0]
    assert_allclose(of.weights, [0.4, 0.6])


def test_many_draws_are_told_by_fewer_of_equal_weight() -> None:
    theta = np.column_stack([np.full(5000, 1.7), np.linspace(1.0, 2.0, 5000)])
    weights = np.linspace(1.0, 3.0, 5000) / np.linspace(1.0, 3.0, 5000).sum()
    of = ModelDraws.of(parse_model("powerlaw"), theta, weights, theta[0], most=1000)
    assert of.weights.shape == (1000,)
    assert float(of.theta[:, 1].numpy() @ of.weights) == pytest.approx(float(theta[:, 1] @ weights), abs=1e-3)


def test_quantiles_follow_the_weights() -> None:
    posterior = toy_posterior()
    row = posterior.flux(1.0, 6.0).energy_flux.row()
    order = ["lower90", "lower68", "median", "upper68", "upper90"]
    assert [row[name] for name in order] == sorted(row[name] for name in order)
    pulled = altered(posterior, log_weight=np.where(np.arange(posterior.draws.shape[0]) == 7, 0.0, -np.inf))
    one = pulled.flux(1.0, 6.0).energy_flux
    assert one.quantile(0.05) == one.quantile(0.95)


def test_a_summary_has_the_band_of_the_fit_and_2_to_10_kev() -> None:
    posterior = toy_posterior()
    rows = posterior.summary()["fluxes"]
    assert [(row["band"], row["extrapolated"]) for row in rows] == [([1.0, 6.0], True), ([2.0, 10.0], True)]
    direct = posterior.flux(2.0, 10.0, unabsorbed=True)
    assert rows[1]["unabsorbed"]["energy"]["median"] == pytest.approx(direct.energy_flux.row()["median"], rel=1e-3)
    assert rows[0]["absorbed"]["photons"]["unit"] == "ph/cm^2/s"


def test_rows_say_what_reaches_beyond_the_data() -> None:
    of = draws(parse_model("powerlaw"), [1.7, 1.0])
    assert [row["extrapolated"] for row in flux_rows(of, [(1.0, 5.0), (0.5, 5.0)], (1.0, 6.0))] == [False, True]
    assert not is_beyond((0.995, 6.05), (1.0, 6.0))


def test_the_band_of_a_fit_is_what_was_asked_where_there_are_bins() -> None:
    low, high = np.array([0.305, 5.0]), np.array([5.0, 9.95])
    assert fitted_band([([(0.3, 1.5), (2.3, 10.0)], low, high)]) == (0.3, 10.0)
    assert fitted_band([([(0.0, 1e9)], low, high)]) == (0.305, 9.95)
    assert fitted_band([([(10.0, 8e3)], np.array([20.0]), np.array([8e3]))]) == (20.0, 1e3)


def test_a_component_that_is_not_there_is_one_line() -> None:
    with pytest.raises(ModelError, match="no additive component 'diskbb'"):
        toy_posterior().flux(1.0, 6.0, component="diskbb")
