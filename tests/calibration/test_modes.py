"""Sets of modes: what is shipped, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save

from xrayflow.calibration import find_mode_set, read_mode_set, shipped_mode_sets
from xrayflow.calibration.make import EDGES, generic_v1, nicer_v1, write_mode_set
from xrayflow.calibration.modes import HEADER
from xrayflow.errors import DataError, FileError


def test_two_sets_are_shipped() -> None:
    assert set(shipped_mode_sets()) == {"nicer-v1", "generic-v1"}
    nicer, generic = find_mode_set("nicer-v1"), find_mode_set("generic-v1")
    assert (nicer.has_gain, generic.has_gain) == (True, False)
    assert nicer.gain_offset == 0.010
    assert "Crab" in nicer.source
    assert len(nicer.sha256) == 64


@pytest.mark.parametrize(("name", "made"), [("nicer-v1", nicer_v1), ("generic-v1", generic_v1)])
def test_a_shipped_set_is_what_its_recipe_makes(name: str, made: object, tmp_path: Path) -> None:
    """Not its bytes: eigenvectors of nearly equal eigenvalues depend on the machine, their covariance does not."""
    energy, phi, header = made()  # type: ignore[operator]
    found = find_mode_set(name)
    assert found.energy == pytest.approx(energy, rel=1e-6)
    assert found.names == tuple(header["names"])
    assert found.phi.T @ found.phi == pytest.approx(phi.T @ phi, abs=1e-9)


def test_errors_of_nicer_are_a_hundredth_and_larger_at_edges_and_below() -> None:
    found = find_mode_set("nicer-v1")
    sd = np.sqrt((found.at(np.array([5.0, 2.21, 0.45, 1.2])) ** 2).sum(0))
    assert sd[0] == pytest.approx(np.hypot(0.01, 0.005), rel=0.05)
    assert sd[1] > sd[0]
    assert sd[2] > np.hypot(0.01, 0.015)
    assert sd[3] == pytest.approx(np.hypot(0.01, 0.005), rel=0.05)


def test_a_step_rises_at_its_edge_and_fades_as_the_cube() -> None:
    found = find_mode_set("nicer-v1")
    at, size = EDGES["Si K"]
    below, above, far = found.at(np.array([0.98 * at, 1.01 * at, 2 * at]))[found.names.index("Si K")]
    assert below == 0.0
    assert above == pytest.approx(size * 1.01**-3, rel=0.01)
    assert far == pytest.approx(size / 8, rel=0.01)


def test_correlations_are_those_of_the_processes() -> None:
    found = find_mode_set("generic-v1")
    at = np.array([1.0, np.exp(0.05), np.exp(0.3)])
    phi = found.at(at)
    covariance = phi.T @ phi
    wanted = 0.01**2 * np.exp(-0.5 * (np.log(at[:, None] / at) / 0.3) ** 2)
    wanted = wanted + 0.005**2 * np.exp(-0.5 * (np.log(at[:, None] / at) / 0.05) ** 2)
    assert covariance == pytest.approx(wanted, rel=0.01)


def test_amplitudes_follow_the_year_of_a_response() -> None:
    found = find_mode_set("nicer-v1")
    years = (None, 2016, 2020, 2022, 2030)
    assert [found.nominal_of(year) for year in years] == [2.0, 2.0, 2.0, 1.0, 1.0]


def test_energy_scales_of_other_detectors_scatter_as_believed() -> None:
    generator = torch.Generator().manual_seed(1)
    drawn = np.array([find_mode_set("nicer-v1").drawn_scale(2.0, generator) for _ in range(2000)])
    assert drawn.std(0) == pytest.approx([0.020, 0.010], rel=0.06)
    assert find_mode_set("generic-v1").drawn_scale(2.0, generator) == (0.0, 0.0)


def test_beyond_its_ends_a_set_stays_as_it_is_there() -> None:
    found = find_mode_set("nicer-v1")
    assert found.at(np.array([1e-3, 1e3])) == pytest.approx(found.phi[:, [0, -1]])


def test_a_set_comes_back_from_its_file(tmp_path: Path) -> None:
    energy, phi, header = nicer_v1()
    write_mode_set(tmp_path / "own.safetensors", energy, phi, header)
    found = find_mode_set(str(tmp_path / "own.safetensors"))
    assert found.name == "own"
    assert found.phi == pytest.approx(phi, abs=1e-8)


def test_an_unknown_set_gets_the_nearest_name() -> None:
    with pytest.raises(DataError, match=r"no such set of modes.*nicer-v1"):
        find_mode_set("nicer-v2")


GOOD = {
    "format_version": 1,
    "names": ["a"],
    "gain_offset_keV": 0.01,
    "gain_slope": 0.0,
    "nominal": {"2017": 1.0},
    "source": "",
}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"names": ["a", "b"]}, "2 names"),
        ({"gain_slope": 3.0}, "a gain"),
        ({"gain_slope": float("nan")}, "a gain"),
        ({"nominal": {}}, "no amplitude"),
        ({"nominal": {"2017": -1.0}}, "no amplitude"),
        ({"nominal": 3}, "not a set"),
        ({"nominal": {"2017": 1e300}}, "no amplitude"),
        ({"format_version": 99}, "not of version 1"),
        ({"nominal": {"soon": 1.0}}, "not a set"),
    ],
)
def test_headers_that_cannot_be_are_refused(tmp_path: Path, change: dict[str, object], said: str) -> None:
    arrays = {"energy": np.array([1.0, 2.0], "<f4"), "phi": np.full((1, 2), 0.01, "<f4")}
    (tmp_path / "bad.safetensors").write_bytes(save(arrays, {HEADER: json.dumps({**GOOD, **change})}))
    with pytest.raises(FileError, match=said):
        read_mode_set(tmp_path / "bad.safetensors")


@pytest.mark.parametrize(
    ("energy", "phi", "said"),
    [
        ([2.0, 1.0], [[0.01, 0.01]], "increase"),
        ([0.0, 1.0], [[0.01, 0.01]], "increase"),
        ([1.0, 2.0], [[0.01, np.nan]], "not finite"),
        ([1.0, 2.0], [[0.01, 0.9]], "above 0.5"),
        ([1.0, 2.0], [[0.01]], "shape"),
    ],
)
def test_numbers_that_cannot_be_are_refused(tmp_path: Path, energy: object, phi: object, said: str) -> None:
    arrays = {"energy": np.array(energy, "<f4"), "phi": np.array(phi, "<f4")}
    (tmp_path / "bad.safetensors").write_bytes(save(arrays, {HEADER: json.dumps(GOOD)}))
    with pytest.raises(FileError, match=said):
        read_mode_set(tmp_path / "bad.safetensors")


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff" * 100, save({"a": np.zeros(3, "<f4")}, {"x": "y"})])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "other.safetensors").write_bytes(content)
    with pytest.raises(FileError, match="not a set of calibration modes"):
        read_mode_set(tmp_path / "other.safetensors")


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="cannot be read"):
        read_mode_set(tmp_path / "none.safetensors")
