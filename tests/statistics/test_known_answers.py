"""Statistics that XSPEC itself printed, through our reader, model, fold and formulas."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fit_zoo import statistic_per_bin
from xrayflow.data import bundled_pha
from xrayflow.errors import XrayflowWarning
from xrayflow.fitting import minimise, starting_points
from xrayflow.folding import Fold, Grid
from xrayflow.models import Model, parse_model
from xrayflow.ogip import Spectrum, read_arf, read_observation, read_rmf
from xrayflow.prior import Prior
from xrayflow.setup import FitSetup, problem_of
from xrayflow.statistics import StatisticChoice, choose

REFERENCE = Path(__file__).resolve().parents[1] / "reference"
# what the library's diskbb is more than the integral; the logs' norms go with it
DISKBB_CONSTANT = 1.00075
LOOP_THETA = ((2.34, 0.117, 0.2, 1.8e7), (2.1, 0.05, 0.35, 4e5), (2.8, 0.3, 0.25, 2e6), (1.9, 0.02, 0.6, 3e4))


def logged_model() -> tuple[Model, Grid]:
    """What the logs of MAXI J1535-571 fit, on their grid."""
    model = parse_model("TBabs*simpl*diskbb", abund="angr").freeze({"TBabs.nH": 3.2107})
    return model, Grid.log(0.01, 200.0, 1000)


def statistics_at(spectrum: Spectrum, theta: tuple[float, ...], names: tuple[str, ...]) -> list[float]:
    model, grid = logged_model()
    point = torch.tensor([[[*theta[:-1], theta[-1] * DISKBB_CONSTANT]]], dtype=torch.float64)
    expected = Fold.of([spectrum], grid)(model.on(torch.from_numpy(grid.energy_edges))(point))[0, 0]
    return [
        float(statistic_per_bin(spectrum, StatisticChoice(name, "", name == "chi2"), expected).sum()) for name in names
    ]


def test_99_spectra_of_maxi_j1535_give_the_chi2_and_pgstat_that_xspec_logged(data_folder: Path) -> None:
    with (data_folder / "tables" / "maxij1535_simpl_diskbb_xspec_fits.csv").open() as file:
        logged = [row for row in csv.DictReader(file) if "_u" not in row["rmf"]]
    rmf = read_rmf(data_folder / "nicer_response" / "nicer.rmf.gz")
    home = data_folder / "nicer_MAXIJ1535-571"
    areas = {name: read_arf(home / name) for name in {row["arf"] for row in logged}}
    assert len(logged) == 99
    for row in logged:
        obsid, gti = row["id"].split("_")
        stem = home / obsid / f"js_ni{obsid}_0mpu7_silver_GTI{gti}"
        pha, background = stem.with_name(stem.name + ".jsgrp.gz"), stem.with_name(stem.name + ".bg.gz")
        observation = read_observation(pha, rmf=rmf, arf=areas[row["arf"]], background=background)
        spectrum = observation.bin(energies=((0.5, 1.5), (2.3, 10.0)))
        assert spectrum.counts.size == int(row["nbins"])
        assert choose(spectrum).name == "pgstat"
        theta = tuple(float(row[name]) for name in ("Gamma", "FracSctr", "Tin", "norm"))
        pgstat, chi2 = statistics_at(spectrum, theta, ("pgstat-xspec", "chi2"))
        assert pgstat == pytest.approx(float(row["pgstat"]), rel=2e-4), row["id"]
        assert chi2 == pytest.approx(float(row["chi2"]), rel=2e-4), row["id"]


def test_synthetic_nicer_spectra_give_the_statistics_of_the_compiled_library() -> None:
    with np.load(REFERENCE / "statistics.npz") as table:
        bin_of_channel = table["loop bin_of_channel"].astype(np.int64)
        counts, background, err = (table[f"loop {name}"] for name in ("counts", "background", "background_err"))
        values = table["loop chi2 pgstat pgstat-xspec"]
    observation = read_observation(bundled_pha())
    observation = replace(observation, pha=replace(observation.pha, exposure=220.0))
    bins = counts.shape[1]
    for i, theta in enumerate(LOOP_THETA):
        spectrum = Spectrum(
            observation=observation,
            bin_of_channel=bin_of_channel,
            number=np.arange(bins) + 1,
            energy_lo=np.linspace(0.5, 9.9, bins),
            energy_hi=np.linspace(0.6, 10.0, bins),
            counts=counts[i],
            source_exposure=np.full(bins, 220.0),
            stat_err=None,
            sys_err=None,
            background=background[i],
            background_err=err[i],
            background_exposure=np.full(bins, 300.0),
            energies=((0.5, 10.0),),
            grouping="file",
        )
        # the library's diskbb scatters by 1e-4 about its constant, which 1e6 counts turn into 0.1 of a statistic
        assert statistics_at(spectrum, theta, ("chi2", "pgstat", "pgstat-xspec")) == pytest.approx(values[i], abs=0.2)


def test_4u_1820_30_before_its_burst_has_the_best_c_statistic_of_xspec(data_folder: Path) -> None:
    # XSPEC evaluates on the response's own energies; there we have 173.0, and 173.3 where the grid is fine enough
    home = data_folder / "nicer_4U1820-30_1050300108_preburst"
    rmf = read_rmf(data_folder / "nicer_response" / "nicer.rmf.gz")
    arf = home / "pre_burst_Tint200_raw.arf"
    observation = read_observation(home / "pre_burst_spectrum_opt.pha", rmf=rmf, arf=arf)
    spectrum = observation.bin(energies=((0.3, 10.0),))
    assert spectrum.counts.size == 133
    choice = choose(spectrum)
    assert choice.name == "cstat"
    model = parse_model("tbabs*(bbodyrad+powerlaw)")
    setup = FitSetup(systematic=0.0, grid=Grid(rmf.energy_edges, "the response's"))
    problem = problem_of([spectrum], model, Prior.of(model), setup, [choice])
    starts, _ = starting_points(problem, 4, [torch.Generator().manual_seed(0)])
    optima = minimise(problem, starts, objective="scale")
    best = problem.prior.to_theta(optima.v[:, optima.objective[0].argmin()][:, None])
    value = float(statistic_per_bin(spectrum, choice, problem.expected(best)[0, 0]).sum())
    assert value == pytest.approx(172.5, abs=0.6)
    by_name = dict(zip(problem.prior.names, best[0, 0].tolist(), strict=True))
    assert by_name["TBabs.nH"] == pytest.approx(0.240, abs=0.01)
    assert by_name["bbodyrad.kT"] == pytest.approx(0.548, abs=0.01)
    fine = problem.on(Grid.of_response(rmf.energy_edges))
    finer = fine.finer(4)
    difference = finer.log_likelihood(best) - fine.log_likelihood(best)
    assert difference.abs().item() < 0.03


def test_1e_1048_of_exosat_has_the_best_chi2_of_xspec(data_folder: Path) -> None:
    home = data_folder / "exosat_me_1E1048-5937_s54405"
    with pytest.warns(XrayflowWarning, match="rows without response"):
        rmf = read_rmf(home / "s54405.rsp")
    spectrum = read_observation(home / "s54405.pha", rmf=rmf).bin(energies=((0.0, 15.0),), grouping="none")
    assert (spectrum.counts.size, spectrum.number[0], spectrum.number[-1]) == (45, 3, 47)
    choice = choose(spectrum)
    assert (choice.name, choice.gaussian) == ("chi2", True)
    model = parse_model("phabs*powerlaw", abund="angr")
    setup = FitSetup(systematic=0.0, grid=Grid(rmf.energy_edges, "the response's"))
    problem = problem_of([spectrum], model, Prior.of(model), setup, [choice])
    starts, _ = starting_points(problem, 4, [torch.Generator().manual_seed(0)])
    optima = minimise(problem, starts, objective="scale")
    best = problem.prior.to_theta(optima.v[:, optima.objective[0].argmin()][:, None])
    value = float(statistic_per_bin(spectrum, choice, problem.expected(best)[0, 0]).sum())
    assert value == pytest.approx(43.82, abs=0.01)
    assert best[0, 0].tolist() == pytest.approx([0.551, 2.236, 1.302e-2], rel=2e-3)
