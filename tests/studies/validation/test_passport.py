"""A passport: deviations beside what a right system reaches, by decade; the shipped one is still true."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from network_zoo import WHOLE, stirred, toy_network, toy_recipe
from xrayflow import cli
from xrayflow.errors import MismatchError
from xrayflow.networks import Network, save_network
from xrayflow.networks.nn.flow import Coupling
from xrayflow.studies.validation import PassportConfig, check_network, largest_deviation, write_passport
from xrayflow.studies.validation.calibration import coverage_deviation
from xrayflow.studies.validation.passport import cell_of


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Network, Path]:
    folder = tmp_path_factory.mktemp("passport")
    network, _ = toy_network(folder, toy_recipe(training_prior={**WHOLE, "without_background": 1.0}))
    stirred(network.core)
    return network, folder


def of(toy: tuple[Network, Path], spectra: int, exact: bool, seed: int = 0):  # type: ignore[no-untyped-def]
    network, folder = toy
    config = PassportConfig(spectra=spectra, draws=200, seed=seed, exact=exact)
    return check_network(network, config, folder / "toy.rmf", folder / "toy.arf")


def test_right_posteriors_exceed_the_limit_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(4)
    limit = largest_deviation(40, 3, once_in=10)
    above = [coverage_deviation(generator.random((40, 3))).max() > limit for _ in range(600)]
    assert 0.05 < np.mean(above) < 0.14  # Bonferroni: at most 0.1, and nearly that


def test_more_spectra_allow_less() -> None:
    assert largest_deviation(400, 5) == pytest.approx(0.090, abs=0.004)
    assert largest_deviation(4000, 5) == pytest.approx(0.029, abs=0.002)


def test_a_network_that_is_too_sure_is_found_out(tmp_path: Path) -> None:
    network, _ = toy_network(tmp_path, toy_recipe(training_prior={**WHOLE, "without_background": 1.0}))
    flow = network.core.flow
    assert isinstance(flow, Coupling)
    with torch.no_grad():
        flow.whitening.head.bias[2:4] -= 1.0  # e times narrower than the prior
    alone = of((network, tmp_path), 160, exact=False).summary()["network_alone"]
    assert max(alone["coverage_off_by"].values()) > alone["coverage_limit"]
    assert alone["tarp_off_by"] > alone["tarp_limit"]


def test_exact_answers_are_right_whatever_started_them(toy: tuple[Network, Path]) -> None:
    passport = of(toy, 40, exact=True)
    summary = passport.summary()
    exact = summary["exact"]
    assert max(exact["coverage_off_by"].values()) < largest_deviation(exact["spectra"], 2, once_in=10_000)
    assert exact["spectra"] == len(passport.rows)
    assert {cell["decade"] for cell in summary["cells"]} >= {2, 3, 4, 5}
    assert sum(cell["spectra"] for cell in summary["cells"]) == summary["spectra"] == summary["all"]["spectra"]
    for cell in summary["cells"]:
        low, middle, high = cell["final_efficiency_10_50_90"]
        assert 0.0 < low <= middle <= high <= 1.0
        assert 0.0 <= cell["certified"] <= 1.0
    assert summary["all"]["width_ratio_median"] > 1.5


def test_a_cell_by_hand() -> None:
    rows = [
        {"certified": True, "final_efficiency": 0.5, "efficiency": 0.4, "width_ratio": [2.0, 4.0], "rank_alone": [0.5]},
        {"certified": False, "final_efficiency": 0.1, "efficiency": 0.1, "width_ratio": None, "rank_alone": None},
        {"certified": False, "final_efficiency": None, "efficiency": None, "width_ratio": None, "rank_alone": None},
    ]
    cell = cell_of(rows)
    assert cell["spectra"] == 3
    assert cell["seen_by_network"] == 1
    assert cell["certified"] == pytest.approx(1.0 / 3.0)
    assert cell["final_efficiency_10_50_90"] == pytest.approx([0.14, 0.3, 0.46])
    assert cell["width_ratio_median"] == 3.0
    assert cell["coverage_alone_off_by"] == 1.0  # the truth in the middle: in every interval
    assert set(cell_of([])) == {"spectra", "seen_by_network"}


def test_it_is_written_with_a_figure(toy: tuple[Network, Path], tmp_path: Path) -> None:
    summary = write_passport(of(toy, 16, exact=False), tmp_path / "made")
    assert json.loads((tmp_path / "made" / "toy.passport.json").read_text())["network"] == summary["network"] == "toy"
    assert (tmp_path / "made" / "toy.passport.png").read_bytes().startswith(b"\x89PNG")
    assert summary["exact"] is None
    assert "certified" not in summary["all"]


def test_a_network_without_a_density_has_no_passport(tmp_path: Path) -> None:
    recipe = toy_recipe({"flow": 0.0, "latent": 1.0}, network={"latent": "point"})
    network, _ = toy_network(tmp_path, recipe)
    with pytest.raises(MismatchError, match="one value and no density"):
        check_network(network, PassportConfig(), tmp_path / "toy.rmf", tmp_path / "toy.arf")


def test_check_prints_and_says_what_it_lacks(
    toy: tuple[Network, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network, folder = toy
    path = str(save_network(network, tmp_path / "toy.safetensors"))
    response = ["--rmf", str(folder / "toy.rmf"), "--arf", str(folder / "toy.arf")]
    asked = ["check", path, "--alone", "--n", "16", "--out", str(tmp_path / "out"), *response]
    assert cli.run(asked) == 0
    said = capsys.readouterr()
    assert "the network alone: coverage off by" in said.out
    assert str(tmp_path / "out" / "toy.passport.json") in said.out
    assert cli.run([*asked, "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["spectra"] == sum(cell["spectra"] for cell in json.loads(said.out)["cells"])
    assert said.err == ""
    monkeypatch.chdir(tmp_path)
    assert cli.run(["check", path, "--alone"]) == 1
    assert capsys.readouterr().err.startswith(
        "xrayflow: network toy: it was trained with toy.rmf; give that with --rmf"
    )
    (tmp_path / "taken").write_text("")
    assert cli.run(["check", path, "--out", str(tmp_path / "taken"), *response]) == 1
    assert "taken: is a file, not a folder" in capsys.readouterr().err
    assert cli.run(["check", "nicer-bhbb"]) == 1
    assert "did you mean" in capsys.readouterr().err
    assert cli.run(["check", path, "--n", "0"]) == 2
    assert not list(tmp_path.glob("passport-*"))
