"""xrayflow population, as a user meets it: tables in, words and files out, one line where something is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table

from command_zoo import Ran, Run, runner
from population_zoo import INDEX, NORM, planted, write_catalogue


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `xrayflow population` in this process."""
    return runner(capsys, monkeypatch, "population", columns=100)


def write(folder: Path, number: int = 24, ending: str = ".ecsv") -> Path:
    """A small catalogue: of eight rows one failed, and one is not to be trusted."""
    generator = np.random.default_rng(1)
    truth = np.array([1.7, -2.0]) + 0.2 * generator.standard_normal((number, 2))
    found = planted(truth, np.full((number, 2), 0.1), 400, generator)
    verdicts = ("certified",) * 5 + ("approximate", "failed", "do-not-trust")
    return write_catalogue(folder, found, verdicts=verdicts, batch=10, ending=ending)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that tests only read."""
    return write(tmp_path_factory.mktemp("catalogue"))


def refused(ran: Ran, code: int, *words: str) -> None:
    """A command ended with one clear line and nothing else."""
    assert (ran.code, ran.out) == (code, ""), ran
    assert len(ran.err.splitlines()) == 1, ran.err
    for word in ("xrayflow: ", *words):
        assert word in ran.err


def test_a_population_is_told_in_words_and_written(run: Run, table: Path, tmp_path: Path) -> None:
    ran = run(table, "--parameter", "POWERLAW.phoindex", "--out", tmp_path / "out")
    assert (ran.code, ran.err) == (0, "")
    for word in ("normal: powerlaw.PhoIndex, 18 sources", "left out: 3 failed, 3 do-not-trust", "mean ", "68 % [",
                 "computation  certified", "selection is ignored"):  # fmt: skip
        assert word in ran.out, word
    assert sorted(one.name for one in (tmp_path / "out").iterdir()) == ["population.json", "population.png"]
    told = json.loads((tmp_path / "out" / "population.json").read_text())
    assert told["sources"] == 18
    assert told["left_out"] == {"failed": 3, "do-not-trust": 3}
    assert told["hyperparameters"]["mean"]["median"] == pytest.approx(1.7, abs=0.15)


def test_json_is_one_object_and_certified_rows_can_be_asked_for(run: Run, table: Path) -> None:
    ran = run(table, "--parameter", NORM, "--certified", "--shape", "histogram", "--bins", "4", "--json")
    assert (ran.code, ran.err) == (0, "")
    told = json.loads(ran.out)
    assert (told["schema_version"], told["sources"], told["shape"]) == (1, 15, "histogram")
    assert told["left_out"]["approximate"] == 3
    assert told["parameters"][0]["x"] == "log10 powerlaw.norm [ph/cm^2/s/keV]"
    assert len(told["edges"]) == len(told["hyperparameters"]) + 1
    assert sum(row["median"] for row in told["hyperparameters"].values()) == pytest.approx(1.0, abs=0.3)


def test_two_parameters_go_together(run: Run, table: Path, tmp_path: Path) -> None:
    ran = run(table, "--parameter", INDEX, "--parameter", NORM, "--out", tmp_path, "--format", "pdf")
    assert (ran.code, ran.err) == (0, "")
    assert "correlated: powerlaw.PhoIndex, log10 powerlaw.norm" in ran.out
    assert "rho" in ran.out
    assert (tmp_path / "population.pdf").stat().st_size > 5000


def test_fits_and_ecsv_say_the_same(run: Run, table: Path, tmp_path: Path) -> None:
    other = write(tmp_path / "fits", ending=".fits")
    one, two = (json.loads(run(place, "--parameter", INDEX, "--json").out) for place in (table, other))
    assert one["hyperparameters"] == two["hyperparameters"]
    assert one["poorest"] == two["poorest"]


def test_draws_may_lie_elsewhere(run: Run, tmp_path: Path) -> None:
    table = write(tmp_path / "a")
    (tmp_path / "a" / "draws").rename(tmp_path / "moved")
    refused(run(table, "--parameter", INDEX), 1, "batch-0.fits: No such file or directory; give --draws-dir")
    assert run(table, "--parameter", INDEX, "--draws-dir", tmp_path / "moved", "--json").code == 0


def test_a_selection_is_read_from_a_table(run: Run, table: Path, tmp_path: Path) -> None:
    chosen = tmp_path / "found.csv"
    Table({INDEX: [-1.0, 1.5, 1.9, 5.0], "found": [0.1, 0.1, 1.0, 1.0]}).write(chosen, format="ascii.csv")
    given = json.loads(run(table, "--parameter", INDEX, "--selection", chosen, "--json").out)
    plain = json.loads(run(table, "--parameter", INDEX, "--json").out)
    assert (given["selection"], plain["selection"][:20]) == ("given", "selection is ignored")
    assert given["hyperparameters"]["mean"]["median"] < plain["hyperparameters"]["mean"]["median"]


@pytest.mark.parametrize(
    ("columns", "ending", "words"),
    [
        ({"powerlaw.norm": [1.0], "found": [0.5]}, "csv", "found.csv: powerlaw.norm has to rise from row to row"),
        ({"powerlaw.norm": [0.0, 1.0], "found": [0, 1]}, "csv", "powerlaw.norm starts at 0; its prior is logarithmic"),
        ({"powerlaw.norm": [0.1, 1.0], "found": [0, 2]}, "csv", "found is a part, between 0 and 1"),
        ({"norm": [0.1, 1.0], "found": [0, 1]}, "csv", "no column powerlaw.norm among norm, found"),
        ({"powerlaw.norm": [0.1, 1.0], "found": ["a", "b"]}, "csv", "found.csv: found holds words"),
        ({"powerlaw.norm": [0.1, 1.0], "found": [0, 1]}, "txt", "--selection reads .ecsv, .csv or .fits"),
    ],
)  # fmt: skip
def test_a_selection_that_is_none_is_one_line(
    run: Run, table: Path, tmp_path: Path, columns: dict[str, list[object]], ending: str, words: str
) -> None:
    chosen = tmp_path / f"found.{ending}"
    Table(columns).write(chosen, format="ascii.csv")
    refused(run(table, "--parameter", NORM, "--selection", chosen), 1, words)


def test_wrong_usage_is_said(run: Run, table: Path) -> None:
    refused(run(table), 2, "give one parameter, as simpl.Gamma, or two")
    refused(run(table, "--parameter", INDEX, "--bins", "5"), 2, "goes with --shape histogram")


def test_what_is_wrong_with_a_catalogue_is_one_line(run: Run, tmp_path: Path) -> None:
    table = write(tmp_path / "a")
    ask = ("--parameter", INDEX)
    refused(run(table, "--parameter", "powerlaw.PhoIndx"), 1, "no parameter 'powerlaw.PhoIndx'", "did you mean")
    refused(run(tmp_path / "none.fits", *ask), 1, "none.fits: no such file")
    refused(run(tmp_path / "table.txt", *ask), 1, "ends in .fits, .ecsv or .parquet")
    broken = tmp_path / "broken.fits"
    broken.write_bytes(b"SIMPLE  = nonsense")
    refused(run(broken, *ask), 1, "broken.fits: no table that can be read")
    other = tmp_path / "other.ecsv"
    Table({"a": [1, 2]}).write(other, format="ascii.ecsv")
    refused(run(other, *ask), 1, "other.ecsv: no column path")

    draws = tmp_path / "a" / "draws" / "batch-0.fits"
    kept = draws.read_bytes()
    draws.write_bytes(kept[:-2880])
    refused(run(table, *ask), 1, "batch-0.fits: other draws than those that the table was made of")
    draws.write_bytes(kept)
    manifest = tmp_path / "a" / "table.manifest.json"
    for document, words in (
        ({}, "table.manifest.json: not a manifest of this version"),
        ({"schema_version": 1}, "table.manifest.json: it does not say the model and its priors"),
        (
            {"schema_version": 1, "model": {"expression": "TBabs*nope"}, "prior": {}},
            "its model and priors cannot be read: ",
        ),
        (
            {"schema_version": 1, "model": {"expression": "powerlaw"}, "prior": {"a": ["powerlaw.PhoIndex=3:1"]}},
            "its model and priors cannot be read: --prior 'powerlaw.PhoIndex=3:1': 3 is not below 1",
        ),
    ):
        manifest.write_text(json.dumps(document))
        refused(run(table, *ask, "--out", tmp_path / "out"), 1, words)
    manifest.unlink()
    refused(run(table, *ask), 1, "table.manifest.json: no manifest that can be read")
    assert not (tmp_path / "out").exists()


def test_a_catalogue_without_draws_says_how_to_have_them(run: Run, tmp_path: Path) -> None:
    table = write(tmp_path / "a")
    found = Table.read(table)
    found.remove_columns(["draws_file", "draws_sha256"])
    found.write(table, overwrite=True)
    refused(run(table, "--parameter", INDEX), 1, "no row with draws", "run the catalogue with --draws-dir")


def test_a_catalogue_is_drawn_beside_its_table(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plot = runner(capsys, monkeypatch, "catalogue-plot")
    ran = plot(table, "--out", tmp_path / "plots", "--format", "svg", "--json")
    assert (ran.code, ran.err) == (0, "")
    told = json.loads(ran.out)
    names = ["time.svg", "hardness-intensity.svg", "quality.svg", "catalogue.html"]
    assert (told["rows"], list(told["products"])) == (24, names)
    assert sorted(one.name for one in (tmp_path / "plots").iterdir()) == sorted(names)
    page = (tmp_path / "plots" / "catalogue.html").read_text()
    assert "no such file" in page  # the spectra of this table never were
    assert '"draws":[' in page
    assert plot(table, "--out", tmp_path / "few", "--no-page", "--parameter", NORM).code == 0
    assert not (tmp_path / "few" / "catalogue.html").exists()


def test_what_cannot_be_drawn_leaves_no_folder(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plot = runner(capsys, monkeypatch, "catalogue-plot")
    refused(plot(table, "--parameter", "nope", "--out", tmp_path / "plots"), 1, "no parameter 'nope' in the table")
    refused(plot(tmp_path / "gone.fits"), 1, "gone.fits: no such file")
    assert not (tmp_path / "plots").exists()
    (tmp_path / "taken").write_text("")
    refused(plot(table, "--no-page", "--out", tmp_path / "taken"), 1, "taken: is a file, not a folder")
