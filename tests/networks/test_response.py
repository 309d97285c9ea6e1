"""A network knows its instrument by what the response does, and takes one factor of the area."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from ogip_zoo import effective_area, redistribution, write_arf, write_rmf
from xrayflow.data import bundled_arf, bundled_pha, bundled_rmf
from xrayflow.errors import MismatchError, NetworkError
from xrayflow.networks.response import INDICES, Response, probe_response
from xrayflow.ogip import ARF, RMF, read_arf, read_observation, read_rmf
from xrayflow.simulate import Layout


@pytest.fixture(scope="module")
def nicer() -> tuple[RMF, ARF]:
    return read_rmf(bundled_rmf()), read_arf(bundled_arf())


def toy(folder: Path) -> tuple[RMF, ARF, Layout]:
    rmf, arf = read_rmf(write_rmf(folder / "toy.rmf")), read_arf(write_arf(folder / "toy.arf"))
    return rmf, arf, Layout.of(rmf, (0, 40), (4, 10), (0.5, 8.5))


def test_a_response_with_fewer_detectors_is_the_same_instrument(nicer: tuple[RMF, ARF]) -> None:
    rmf, arf = nicer
    response = Response.of(rmf, arf, Layout.paper())
    assert response.area(rmf, arf, Layout.paper()) == pytest.approx(1.0)
    assert response.area(rmf, replace(arf, area=0.9 * arf.area), Layout.paper()) == pytest.approx(0.9)
    bundled = read_observation(bundled_pha())
    assert response.area(bundled.rmf, bundled.arf, Layout.paper()) == pytest.approx(1.0, abs=0.01)


def test_the_probe_is_what_power_laws_give(tmp_path: Path) -> None:
    rmf, arf, layout = toy(tmp_path)
    probe = probe_response(rmf, arf, layout)
    first, last = layout.groups(rmf.channel, rmf.e_min, rmf.e_max)
    centre, width = 0.5 * (rmf.energy_edges[1:] + rmf.energy_edges[:-1]), np.diff(rmf.energy_edges)
    for index, row in zip(INDICES, probe, strict=True):
        counts = (centre**-index * width * effective_area()) @ redistribution()
        wanted = [counts[a : b + 1].sum() for a, b in zip(first, last, strict=True)]
        assert row == pytest.approx(wanted, rel=0.02)
    without = probe_response(replace(rmf, includes_area=True), None, layout)
    assert (without < probe).all()


def test_the_energies_of_the_bins_are_kept(tmp_path: Path) -> None:
    rmf, arf, layout = toy(tmp_path)
    energies = Response.of(rmf, arf, layout).energies
    assert energies[0] == pytest.approx((0.4, 0.8))
    assert energies[-1] == pytest.approx((8.0, 9.0))
    assert all(hi == pytest.approx(lo) for (_, hi), (lo, _) in pairwise(energies))


def test_another_area_curve_is_another_instrument(tmp_path: Path) -> None:
    rmf, arf, layout = toy(tmp_path)
    middle = 0.5 * (arf.energy_edges[1:] + arf.energy_edges[:-1])
    with pytest.raises(MismatchError, match=r"the response differs from the network's by \d+% in a typical bin"):
        Response.of(rmf, arf, layout).area(rmf, replace(arf, area=arf.area * middle), layout)


def test_a_response_without_area_is_refused(tmp_path: Path) -> None:
    rmf, arf, layout = toy(tmp_path)
    with pytest.raises(MismatchError, match="the response has no area in the network's band"):
        Response.of(rmf, arf, layout).area(rmf, replace(arf, area=0.0 * arf.area), layout)


def test_real_responses_of_other_instruments_are_refused(nicer: tuple[RMF, ARF], data_folder: Path) -> None:
    response = Response.of(*nicer, Layout.paper())
    for name in ("swift_xrt_2M0259+3855_00092220001", "rxte_pca_GRS1915+105_20402-01-15-00"):
        matrix = next(path for path in sorted((data_folder / name).iterdir()) if ".r" in path.name)
        with pytest.raises(MismatchError):
            response.area(read_rmf(matrix), None, Layout.paper())


def test_real_responses_of_nicer_are_recognised(nicer: tuple[RMF, ARF], data_folder: Path) -> None:
    response = Response.of(*nicer, Layout.paper())
    home = data_folder / "nicer_MAXIJ1535-571"
    matrix = next((data_folder / "nicer_response").glob("*.rmf*"))
    areas = sorted(home.glob("*.arf"))
    assert areas
    for area in areas:
        assert 0.3 < response.area(read_rmf(matrix), read_arf(area), Layout.paper()) < 1.1


def test_a_response_survives_a_header(tmp_path: Path) -> None:
    response = Response.of(*toy(tmp_path))
    assert Response.from_dict(response.to_dict(), 14) == response


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"probe": None}, r"response\.probe: Input should be a valid tuple \(found None\)"),
        ({"prope": None}, r"unknown key 'response\.prope'; did you mean 'probe'"),
        ({"probe": [[1.0, "x"]]}, r"response\.probe\.0\.1: Input should be a valid number \(found 'x'\)"),
        ({"energies": [[1.0]]}, r"'response\.energies\.0\.1' is missing; give it"),
        ({"probe": [[1.0] * 14] * 2}, r"response\.probe: Tuple should have at least 3 items"),
        ({"probe": [[1.0] * 13] * 3}, "response: a probe is not counts in the 14 bins of its energies"),
        ({"probe": [[float("nan")] * 14] * 3}, r"response\.probe\.0\.0: Input should be a finite number \(found nan\)"),
        ({"probe": [[0.0] * 14] * 3}, "response: a probe is not counts in the 14 bins of its energies"),
        ({"energies": [[1.0, 2.0]] * 3}, "response: a probe is not counts in the 3 bins of its energies"),
        ({"energies": [[1.0, float("inf")]] * 14}, r"response\.energies\.0\.1: Input should be a finite number"),
    ],
)
def test_a_response_that_cannot_be_is_refused(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    response = Response.of(*toy(tmp_path)).to_dict()
    with pytest.raises(NetworkError, match=f"^{message}"):
        Response.from_dict({**response, **changes}, 14)


def test_a_response_of_other_bins_is_refused(tmp_path: Path) -> None:
    response = Response.of(*toy(tmp_path)).to_dict()
    with pytest.raises(NetworkError, match=r"^response: it has 14 bins, the network 13$"):
        Response.from_dict(response, 13)


def test_a_header_without_a_response_is_refused() -> None:
    with pytest.raises(NetworkError, match=r"^'response.rmf_sha256' is missing; give it$"):
        Response.from_dict({}, 14)
