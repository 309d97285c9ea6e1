"""What makes the paper's table: the archive-like set, the cells of the ablation, the rival of the compiled library."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from xrayflow.data import bundled_arf, bundled_pha, bundled_rmf
from xrayflow.fitting import optimise
from xrayflow.models import parse_model
from xrayflow.models.xspec import XspecLibrary
from xrayflow.ogip import read_arf, read_observation, read_rmf
from xrayflow.setup import FitSetup, build_problem
from xrayflow.simulate import simulate
from xrayflow.studies.running.sources import read_list
from xrayflow.studies.validation import TruthAndDraws

MODEL = "TBabs*simplcutx*ezdiskbb"
TRUTH = {
    "TBabs.nH": 0.5,
    "simplcutx.Gamma": 2.0,
    "simplcutx.FracSctr": 0.2,
    "ezdiskbb.T_max": 0.8,
    "ezdiskbb.norm": 100.0,
}


def benchmark(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module of benchmarks/."""
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2] / "benchmarks"))
    return importlib.import_module(name)


def test_the_cells_of_the_ablation_are_recipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room = benchmark("paper_ablation", monkeypatch)
    found = {name: recipe for name, _, recipe in room.runs(tmp_path / "archive", tmp_path)}
    cells = {name.rsplit("-", 1)[0] for name in found if not name.startswith(("table-", "long"))}
    assert len(cells) == 12
    assert sum(name.startswith("headline") for name in found) == 3
    assert {recipe.stage[0].spectra for recipe in found.values()} == {str(tmp_path / "archive" / "targets.safetensors")}
    headline = found["headline-1"]
    for name, recipe in found.items():  # one thing is changed at a time, the losses of the paper's own weights apart
        own, other = headline.stage[0].model_dump(), recipe.stage[0].model_dump()
        changed = {key for key in own if own[key] != other[key]}
        assert changed <= {"flow", "latent", "reconstruction", "epochs", "batch"}, name
        assert recipe.data == headline.data
        assert recipe.training_prior == headline.training_prior


def test_an_archive_like_set_is_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room = benchmark("archive_like", monkeypatch)
    monkeypatch.setattr(sys, "argv", ["archive_like.py", str(tmp_path), "--spectra", "25", "--seed", "3"])
    room.main()
    sources = read_list(tmp_path / "list.txt")
    assert len(sources) == 25
    rmf = read_rmf(tmp_path / "nicer.rmf.gz")
    truth = np.load(tmp_path / "truth.npz")
    for row, source in enumerate(sources[:4]):
        one = read_observation(source.pha, rmf=rmf, arf=source.arf, background=source.background)
        spectrum = one.bin()
        assert spectrum.counts.size == 239
        assert spectrum.background_err is not None
        problem = build_problem([one], FitSetup(systematic=0.0, model=MODEL))
        expected = problem.expected(torch.from_numpy(truth["theta"][row])[None, None])[0, 0].numpy()
        net = spectrum.counts - spectrum.background
        # the model lacks a line, a hump, and calibration: some per cent, no more
        assert abs(net.sum() / expected.sum() - 1.0) < 0.06 + 5.0 / np.sqrt(spectrum.counts.sum())


def test_some_spectra_of_an_archive_are_those_of_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room = benchmark("archive_like", monkeypatch)
    whole, some = tmp_path / "whole", tmp_path / "some"
    room.write_archive(whole, 25, 3)
    assert [source.pha.stem for source in read_list(room.write_archive(some, 25, 3, {7, 20}))] == ["00007", "00020"]
    for name in ("00007.pha", "00007.bg", "00020.pha"):
        assert (some / "pha" / name).read_bytes() == (whole / "pha" / name).read_bytes()
    assert len(list((some / "pha").iterdir())) == 4


def test_the_certified_row_takes_the_tables_first_spectra(monkeypatch: pytest.MonkeyPatch) -> None:
    room = benchmark("paper_certified", monkeypatch)
    some, whole = room.in_the_tables_order(60)
    more, _ = room.in_the_tables_order(100)
    assert more[:60] == some
    assert whole == 2160
    assert len({number * 25 // 10800 for number in more}) == 5  # all of five sources that no network has seen
    row = {
        "computation": "certified",
        "fit": "acceptable",
        "cpu_seconds": 2.0,
        "final_efficiency": 0.5,
        "efficiency": 0.1,
    }
    told = room.told([row, row, row | {"computation": "approximate", "cpu_seconds": 5.0}])
    assert told["certified"] == 2
    assert (told["cpu_seconds_per_spectrum"], told["cpu_seconds_per_certified"]) == (3.0, 4.5)
    apart = room.shift([{"mean": [1.0, 3.0]}], [{"mean": [1.0, 2.0], "sd": [1.0, 0.5]}])
    assert (apart["median"], apart["largest"]) == (1.0, 2.0)


def test_a_wrong_area_and_gain_keep_the_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    room = benchmark("archive_like", monkeypatch)
    energy = 0.005 + 0.01 * np.arange(1501)
    counts = np.tile(1e4 * np.exp(-0.5 * ((energy - 5.0) / 0.5) ** 2), (400, 1))
    found, rms, gain = room.miscalibrated(np.random.default_rng(1), counts, energy)
    mean = (found * energy).sum(1) / found.sum(1)
    assert np.corrcoef(mean, gain)[0, 1] > 0.9
    assert np.abs(found.sum(1) / counts.sum(1) - 1.0).std() < 0.02
    assert (np.abs(gain) <= 10.0).all()
    assert ((rms >= 0.01) & (rms <= 0.015)).all()


def test_claims_are_the_errors_that_were_put_in(monkeypatch: pytest.MonkeyPatch) -> None:
    room = benchmark("paper_claims", monkeypatch)
    rng = np.random.default_rng(2)
    truth = np.column_stack([np.zeros(500), np.full(500, 2.0), rng.uniform(-2, 0, 500), rng.uniform(-1, 0.5, 500)])
    truth = np.column_stack([truth, np.full(500, 3.0)])
    tied = rng.standard_normal((500, 40, 1)) * [0.0, 0.3, 0.0, 0.1, -0.4]
    found = room.claims(TruthAndDraws.of(tuple(TRUTH), truth, truth[:, None] + tied), np.full(500, 50.0))
    assert found["rms_error"]["simplcutx.Gamma"] == pytest.approx(0.3, rel=0.03)
    assert found["kT_and_norm"]["correlation"] == pytest.approx(-1.0)
    assert found["kT_and_norm"]["joint_error_dex2"] == pytest.approx(0.0, abs=1e-6)
    assert found["rms_error_by_rate"]["below 100 c/s"]["spectra"] == 500
    assert sum(one["spectra"] for one in found["gamma_rms_error"].values()) == 500


def test_the_rival_folds_and_fits_as_we_do(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("xspectrampoline")
    room = benchmark("xspec_rival", monkeypatch)
    template = read_observation(bundled_pha(), read_rmf(bundled_rmf()), read_arf(bundled_arf()), "none")
    observation = simulate(template, parse_model(MODEL), TRUTH, 200.0, 3)
    problem = build_problem([observation], FitSetup(systematic=0.0, model=MODEL, grouping="optimal"))
    best = optimise(observation, MODEL, grouping="optimal", objective="statistic", starts=4)
    theta = torch.tensor([list(TRUTH.values())], dtype=torch.float64)
    with XspecLibrary() as library:
        rival = room.Rival(library, problem)
        np.testing.assert_allclose(rival.expected(theta.numpy()), problem.expected(theta[None]), rtol=1e-4)
        monkeypatch.setattr(rival, "start", lambda: np.array([-0.2, 2.1, -0.5, -0.05, 2.1]))
        found, seconds = rival.fit()
    value = problem.statistic(torch.from_numpy(found)[None, None])
    assert float(value) == pytest.approx(best.value, abs=0.05)
    assert seconds > 0


def test_the_papers_formula_extrapolates_a_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    room = benchmark("xspec_rival", monkeypatch)
    chain = room.Chain(seconds=10.0, length=900, burn_in=100, autocorrelation=50.0)
    assert chain.seconds_for(1000, 2) == pytest.approx((1000 * 50 + 100) * 10.0 / 1000 * 2)
