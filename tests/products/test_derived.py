"""What people ask of an answer: luminosities, hardness, equivalent widths, radii, and what they know from elsewhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from answer_zoo import altered, toy_posterior
from xrayflow.errors import DataError, ModelError, XrayflowWarning
from xrayflow.inference import Posterior
from xrayflow.models import parse_model
from xrayflow.prior import Prior
from xrayflow.products import Asked, Measured, parse_band, parse_ratio, quantities
from xrayflow.products.derived import CENTIMETRES, luminosity_distance

KPC = ("kpc", "pc", "Mpc")


def distance(text: str) -> Measured:
    return Measured.parse(text, KPC, "--distance")


def degrees(text: str) -> Measured:
    return Measured.parse(text, ("deg",), "--inclination")


def of_model(text: str, *rows: list[float]) -> Posterior:
    """The toy answer as if it were one of another model, with these draws."""
    model, toy = parse_model(text), toy_posterior()
    draws = np.array(rows)
    log_weight = np.zeros(len(rows))
    return altered(toy, model=model, prior=Prior.of(model), draws=draws, best=draws[0], log_weight=log_weight)


def values(found: Any) -> np.ndarray:
    (one,) = found
    return np.asarray(one.derived.values)


@pytest.mark.parametrize(
    ("text", "value", "error", "unit"),
    [
        ("8", 8.0, 0.0, "kpc"),
        ("8(1) kpc", 8.0, 1.0, "kpc"),
        ("8.20(35)kpc", 8.2, 0.35, "kpc"),
        ("8.2(0.3) KPC", 8.2, 0.3, "kpc"),
        ("780 +- 20 pc", 780.0, 20.0, "pc"),
        ("3.6+/-0.2 mpc", 3.6, 0.2, "Mpc"),
        ("1.2e1(2)", 12.0, 0.2, "kpc"),
    ],
)
def test_a_number_with_its_error_is_read_as_people_write_it(text: str, value: float, error: float, unit: str) -> None:
    found = distance(text)
    assert (found.value, found.unit) == (value, unit)
    assert found.error == pytest.approx(error)


@pytest.mark.parametrize(
    "text", ["", "kpc", "-8 kpc", "0 kpc", "8 ly", "8(1", "8(-1) kpc", "nan kpc", "1e999 kpc", "8;1"]
)
def test_what_is_no_distance_is_one_line(text: str) -> None:
    with pytest.raises(DataError, match=r"^--distance "):
        distance(text)


def test_an_exact_distance_scales_a_flux() -> None:
    posterior = toy_posterior()
    flux, _, luminosity = quantities(posterior, Asked(bands=((2.0, 10.0),), distance=distance("8 kpc")))
    area = 4.0 * np.pi * (8.0 * CENTIMETRES["kpc"]) ** 2
    assert_allclose(luminosity.derived.values, flux.derived.values * area, rtol=1e-12)
    assert luminosity.derived.best == pytest.approx(flux.derived.best * area, rel=1e-12)
    assert luminosity.derived.unit == "erg/s"


def test_the_error_of_a_distance_widens_a_luminosity() -> None:
    asked = [Asked(bands=((2.0, 10.0),), distance=distance(text)) for text in ("8 kpc", "8(1) kpc")]
    exact, blurred = (quantities(toy_posterior(), one)[-1].derived.row() for one in asked)
    # d ln L = 2 d ln D = 2 / 8, and a normal has 1.645 sd between its median and 5 %
    share = np.log(blurred["upper90"] / blurred["lower90"])
    assert share == pytest.approx(2 * 1.645 * 0.25, rel=0.12)
    assert np.log(exact["upper90"] / exact["lower90"]) < 0.2
    assert blurred["best"] == exact["best"]


def test_drawn_numbers_stay_where_they_can_be() -> None:
    drawn = degrees("85(10)").drawn(4000, np.random.default_rng(1), 90.0)
    assert (drawn.min() > 0.0, drawn.max() < 90.0) == (True, True)
    with pytest.warns(
        XrayflowWarning, match=r"--distance '1\(1\) kpc': 16 % of a normal with that error is not above 0"
    ):
        uncertain = distance("1(1) kpc")
    assert uncertain.drawn(4000, np.random.default_rng(1)).min() > 0.0


def test_a_redshift_moves_the_band_and_takes_the_luminosity_distance() -> None:
    posterior = of_model("powerlaw", [2.0, 1.0], [2.0, 3.0])
    flux, _, luminosity = quantities(posterior, Asked(bands=((2.0, 10.0),), redshift=0.1))
    assert flux.details["band"] == pytest.approx([2.0 / 1.1, 10.0 / 1.1])
    # a photon index of 2 has the same energy flux in any band of that ratio
    ergs = np.log(5.0) * 1.602176634e-9 * np.array([1.0, 3.0])
    assert_allclose(luminosity.derived.values, 4 * np.pi * luminosity_distance(0.1) ** 2 * ergs, rtol=1e-5)
    assert luminosity.details["rest_band"] == [2.0, 10.0]


def test_luminosity_distances_are_those_of_a_flat_universe() -> None:
    # by hand: c / H0 (1 + z) times the integral of 1 / sqrt(0.27 (1 + z)^3 + 0.73)
    for z in (0.01, 0.5, 3.0):
        grid = np.linspace(0.0, z, 200_001)
        inverse = 1.0 / np.sqrt(0.27 * (1.0 + grid) ** 3 + 0.73)
        integral = np.sum(0.5 * (inverse[1:] + inverse[:-1]) * np.diff(grid))
        by_hand = 299792.458 / 70.0 * (1.0 + z) * integral * CENTIMETRES["Mpc"]
        # astropy counts the photons of the microwave background too
        assert luminosity_distance(z) == pytest.approx(by_hand, rel=1e-3)


def test_a_hardness_is_a_ratio_at_each_draw() -> None:
    posterior = of_model("powerlaw", [2.0, 1.0], [2.0, 5.0], [1.0, 5.0])
    found = values(quantities(posterior, Asked(hardness=(((4.0, 10.0), (2.0, 4.0)),))))
    assert_allclose(found, [np.log(2.5) / np.log(2.0)] * 2 + [3.0], rtol=1e-5)


def test_the_radius_of_a_disc_follows_from_its_norm() -> None:
    asked = Asked(radii=("DISKBB",), distance=distance("5 kpc"), inclination=degrees("60"))
    found = values(quantities(of_model("diskbb", [0.5, 800.0], [0.5, 3200.0]), asked))
    # R = sqrt(norm / cos i) D / 10 kpc
    assert_allclose(found, [np.sqrt(800.0 / 0.5) * 0.5, np.sqrt(3200.0 / 0.5) * 0.5], rtol=1e-12)
    hardened = Asked(radii=("diskbb",), distance=distance("5 kpc"), inclination=degrees("60"), hardening=1.7)
    again = values(quantities(of_model("diskbb", [0.5, 800.0]), hardened))
    assert_allclose(again, found[:1] * 1.7**2, rtol=1e-12)


def test_the_radius_of_a_sphere_needs_no_inclination() -> None:
    asked = Asked(radii=("bbodyrad_2",), distance=distance("10 kpc"))
    posterior = of_model("bbodyrad+bbodyrad", [0.5, 9.0, 2.0, 100.0])
    assert_allclose(values(quantities(posterior, asked)), [10.0], rtol=1e-12)


def test_parts_and_their_names() -> None:
    posterior = of_model("TBabs*(powerlaw+gaussian)", [0.3, 1.7, 1.0, 6.4, 0.1, 0.01])
    asked = Asked(bands=((5.0, 8.0),), unabsorbed=True, components=("Gaussian",), widths=("gaussian",))
    found = quantities(posterior, asked)
    assert [one.row()["name"] for one in found] == [
        "flux, 5-8 keV",
        "photon flux, 5-8 keV",
        "unabsorbed flux, 5-8 keV",
        "unabsorbed photon flux, 5-8 keV",
        "flux of gaussian, 5-8 keV",
        "photon flux of gaussian, 5-8 keV",
        "unabsorbed flux of gaussian, 5-8 keV",
        "unabsorbed photon flux of gaussian, 5-8 keV",
        "equivalent width of gaussian",
    ]
    assert [one.extrapolated for one in found] == [True] * 8 + [False]
    assert found[7].derived.best == pytest.approx(0.01, rel=1e-9)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"distance": distance("8"), "redshift": 0.1}, "--distance and --redshift: give one of them"),
        ({"redshift": 0.0}, "--redshift 0: give a number above 0"),
        ({"redshift": np.nan}, "--redshift nan: give a number above 0"),
        ({"radii": ("diskbb",)}, "--radius needs a --distance"),
        ({"inclination": degrees("90")}, "--inclination 90: give degrees below 90"),
        ({"hardening": np.nan}, "--hardening nan: give a colour correction"),
    ],
)
def test_what_does_not_go_together_is_one_line(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Asked(**settings)


def test_what_the_model_does_not_have_is_one_line() -> None:
    posterior = of_model("TBabs*diskbb", [0.3, 0.5, 800.0])
    for name, message in (("powerlaw", "no component 'powerlaw' whose norm is a radius; the model has diskbb"),):
        with pytest.raises(DataError, match=message):
            quantities(posterior, Asked(radii=(name,), distance=distance("8")))
    with pytest.raises(DataError, match="the radius of a disc needs an --inclination"):
        quantities(posterior, Asked(radii=("diskbb",), distance=distance("8")))
    with pytest.raises(DataError, match="those are diskbb, ezdiskbb, bbodyrad"):
        quantities(toy_posterior(), Asked(radii=("diskbb",), distance=distance("8")))
    with pytest.raises(ModelError, match="no additive component 'gaussian'"):
        quantities(posterior, Asked(widths=("gaussian",)))


def test_bands_are_read_or_refused() -> None:
    assert parse_band(" 0.3 - 10 ") == (0.3, 10.0)
    assert parse_ratio("4-10/2-4") == ((4.0, 10.0), (2.0, 4.0))
    for text in ("2", "2-", "a-b", "-2-10"):
        with pytest.raises(DataError, match="write a range in keV, as 2-10"):
            parse_band(text)
    with pytest.raises(DataError, match="give two energies in order"):
        parse_band("10-2")
    with pytest.raises(DataError, match="write two ranges in keV, the hard one first"):
        parse_ratio("2-10")


def test_the_same_seed_gives_the_same_luminosity() -> None:
    asked = Asked(bands=((2.0, 10.0),), distance=distance("8(1)"))
    first, again, other = (quantities(toy_posterior(), asked, seed)[-1].derived.values for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
