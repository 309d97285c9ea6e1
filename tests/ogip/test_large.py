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
