"""The size of XRISM's Resolve: read, binned channel by channel and folded in seconds, in bounded memory.

`benchmarks/reading.py` measures it, and NuSTAR's and HRC-I's sizes too.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_array

import hostile_zoo
from hostile_zoo import ANSWERED, in_child
from xrayflow.ogip import ARF, RMF, Origin, write_arf, write_pha, write_rmf

SIZE, WIDTH, REACH = 60_000, 5e-4, 8


@pytest.fixture(scope="module")
def resolve(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A spectrum of 60 000 channels of half an eV, each photon within 8 channels of its own."""
    folder = tmp_path_factory.mktemp("resolve")
    edges = WIDTH * np.arange(1, SIZE + 2)
    column = np.arange(SIZE)[:, None] + np.arange(-REACH, REACH + 1)
    inside = (column >= 0) & (column < SIZE)
    weight = np.broadcast_to(np.exp(-(np.arange(-REACH, REACH + 1) ** 2) / 20.0) / 7.9, column.shape)
    row = np.broadcast_to(np.arange(SIZE)[:, None], column.shape)
    matrix = csr_array((weight[inside], (row[inside], column[inside])), shape=(SIZE, SIZE))
    channel = np.arange(SIZE)
    rmf = RMF(Path("r.rmf"), edges, matrix, channel, edges[:-1], edges[1:], False, "")
    centre = (edges[1:] + edges[:-1]) / 2
    area = 200.0 * np.exp(-(np.log(centre / 5.0) ** 2))
    expected = 1e3 * matrix.T @ (1e-2 * centre**-1.8 * WIDTH * area)
    write_rmf(folder / "r.rmf", rmf, "XRISM", "RESOLVE")
    write_arf(folder / "r.arf", ARF(Path("r.arf"), edges, area, ""))
    counts = np.random.default_rng(0).poisson(expected)
    return write_pha(folder / "r.pha", channel, counts, 1e3, origin=Origin("XRISM", "RESOLVE", "toy", "r.rmf", "r.arf"))


def test_sixty_thousand_channels_are_read_in_seconds(resolve: Path) -> None:
    def read() -> None:
        from xrayflow.ogip import read_observation

        spectrum = read_observation(resolve).bin([(2.0, 10.0)])
        assert len(spectrum.counts) == 15_999

    outcome = in_child(read)
    assert outcome.kind == ANSWERED, outcome
    assert outcome.seconds < 5.0
    assert outcome.megabytes < 1000


def test_sixty_thousand_channels_are_folded_one_by_one(resolve: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fold() -> None:
        import torch

        from xrayflow.ogip import read_observation
        from xrayflow.setup import FitSetup, build_problem

        setup = FitSetup(model="powerlaw", energies=[(2.0, 10.0)])
        problem = build_problem([read_observation(resolve)], setup)
        value = problem.log_target(torch.zeros((1, 3, problem.parameters), dtype=torch.float64))
        assert bool(torch.isfinite(value).all())

    monkeypatch.setattr(hostile_zoo, "SECONDS", 15)
    monkeypatch.setattr(hostile_zoo, "MEGABYTES", 1500)
    assert in_child(fold).kind == ANSWERED


@pytest.fixture(scope="module")
def with_continuum(resolve: Path) -> Path:
    """The same with an electron loss continuum on 16 times wider energies: 13 million elements, 210 on one grid."""
    size, folder = 20_000, resolve.parent
    edges = WIDTH * np.arange(1, size + 2)
    core = csr_array((np.full(size, 0.98), (np.arange(size), np.arange(size))), shape=(size, size))
    filled = np.arange(16, size + 1, 16)
    indptr = np.concatenate([[0], np.cumsum(filled)])
    column = np.arange(indptr[-1]) - np.repeat(indptr[:-1], filled)
    tail = csr_array((np.repeat(np.float32(0.02) / filled, filled), column, indptr), shape=(len(filled), size))
    parts = []
    for own, matrix in ((edges, core), (edges[::16], tail)):
        rmf = RMF(Path("r.rmf"), own, matrix, np.arange(size), edges[:-1], edges[1:], True, "")
        parts.append(write_rmf(folder / "part.rmf", rmf, "XRISM", "RESOLVE").read_bytes())
    (folder / "both.rmf").write_bytes(parts[0] + parts[1][2880:])  # MATRIX, EBOUNDS, MATRIX, EBOUNDS, as rslmkrmf
    counts = np.random.default_rng(0).poisson(2.0, size)
    return write_pha(folder / "both.pha", np.arange(size), counts, 1e3, origin=Origin("XRISM", "X", "toy", "both.rmf"))


def test_a_continuum_on_wider_energies_is_folded_without_a_common_grid(
    with_continuum: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fold() -> None:
        import torch

        from xrayflow.ogip import read_observation
        from xrayflow.setup import FitSetup, build_problem

        setup = FitSetup(model="powerlaw", energies=[(6.0, 8.0)])
        observation = read_observation(with_continuum)
        assert len(observation.rmf.tails) == 1
        problem = build_problem([observation], setup)
        value = problem.log_target(torch.zeros((1, 3, problem.parameters), dtype=torch.float64))
        assert bool(torch.isfinite(value).all())

    monkeypatch.setattr(hostile_zoo, "SECONDS", 15)
    monkeypatch.setattr(hostile_zoo, "MEGABYTES", 1000)
    outcome = in_child(fold)
    assert outcome.kind == ANSWERED, outcome
