"""The demo: a real and a simulated spectrum, answered, written, and ready to be fitted again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from answer_zoo import toy_posterior
from test_summary_schema import validate
from xrayflow import cli, demo, read_observation
from xrayflow.errors import FileError


def run(*arguments: object) -> tuple[int, str, str]:
    """A command's exit code and what it printed."""
    out, err = StringIO(), StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = cli.run([str(argument) for argument in arguments])
    return code, out.getvalue(), err.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the demo wrote."""
    return tmp_path_factory.mktemp("demo") / "xrayflow-demo"


@pytest.fixture(scope="module")
def answer(folder: Path) -> dict[str, Any]:
    """What `demo --json` prints; it must end with exit code 0 and say nothing on stderr."""
    code, out, err = run("demo", "--json", "--out", folder)
    assert (code, err) == (0, "")
    printed: dict[str, Any] = json.loads(out)
    return printed


def test_both_fits_hold_to_the_schema(answer: dict[str, Any]) -> None:
    assert set(answer) == {"schema_version", "fits"}
    assert answer["schema_version"] == 1
    real, simulated = answer["fits"]
    assert validate(real) == []
    assert validate(simulated, truth=True) == []


def test_the_real_spectrum_is_the_bundled_one_and_honestly_judged(answer: dict[str, Any]) -> None:
    real = answer["fits"][0]
    assert real["source"] == "MAXI_J1820+070"
    assert real["observations"][0]["counts"] == pytest.approx(9.6e7, rel=0.01)
    assert (real["systematic"], real["grouping"]) == (0.0, "file")
    assert (real["calibration"]["name"], real["calibration"]["amplitude"]) == ("nicer-v1", 2.0)
    assert real["deviance"]["value"] / real["deviance"]["dof"] == pytest.approx(0.95, abs=0.1)
    assert real["computation"]["status"] == "certified"
    assert real["fit"]["p_value"] > 0.1
    # what is left is a broad iron line, at the limit of what is told
    assert real["fit"]["status"] in ("acceptable", "poor")
    assert real["fit"]["status"] == "acceptable" or any("6.7" in reason for reason in real["fit"]["reasons"])
    assert abs(real["nuisances"]["calibration.lnA"]["median"]) < 0.3


def test_the_simulated_spectrum_gives_its_truth_back(answer: dict[str, Any]) -> None:
    """Five 90 % intervals; with the seed fixed this is no statistical test, only that none of them is far off."""
    simulated = answer["fits"][1]
    assert simulated["verdict"] == "certified"
    assert simulated["truth"] == demo.TRUTH
    assert simulated["observations"][0]["counts"] == pytest.approx(2e5, rel=0.1)
    for name, truth in simulated["truth"].items():
        row = simulated["parameters"][name]
        width = row["upper90"] - row["lower90"]
        assert row["lower90"] - 0.5 * width < truth < row["upper90"] + 0.5 * width
        assert width < 0.5 * truth


def test_products_are_where_the_answer_says(answer: dict[str, Any], folder: Path) -> None:
    for fit, name in zip(answer["fits"], ("real", "simulated"), strict=True):
        assert set(fit["products"]) == {
            "summary",
            "draws",
            "answer",
            "chain",
            "xcm",
            "corner",
            "spectrum",
            "bins",
            "report",
        }
        assert all(Path(path).parent == folder / name and Path(path).is_file() for path in fit["products"].values())
    assert {path.name for path in (folder / "real").iterdir()} == {
        "summary.json",
        "draws.npz",
        "answer.npz",
        "chain.fits",
        "model.xcm",
        "corner.png",
        "spectrum.png",
        "spectrum.ecsv",
        "report.html",
    }


@pytest.mark.usefixtures("answer")
def test_the_simulated_file_can_be_read_and_fitted_again(answer: dict[str, Any], folder: Path) -> None:
    spectrum = folder / "simulated" / "simulated.pha"
    observation = read_observation(spectrum)
    assert observation.rmf.path.parent == spectrum.parent
    code, out, err = run("fit", spectrum, "--systematic", "0", "--json")
    assert (code, err) == (0, "")
    again, first = json.loads(out), answer["fits"][1]
    assert again["parameters"] == first["parameters"]
    assert again["log_evidence"] == first["log_evidence"]


def test_the_tables_say_what_to_try_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def quick(folder: Path, progress: object = None) -> Iterator[demo.Fit]:
        yield demo.Fit(
            "real", "the first", toy_posterior(), {"corner": folder / "corner.png", "spectrum": folder / "s.png"}
        )

    monkeypatch.setattr(demo, "run", quick)
    code, out, err = run("demo", "--out", tmp_path)
    assert (code, err) == (0, "")
    assert "the first" in out
    assert "verdict" in out
    assert f"xrayflow fit {tmp_path / 'simulated' / 'simulated.pha'}" in out


def test_a_folder_that_cannot_be_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    code, out, err = run("demo", "--out", tmp_path / "taken")
    assert (code, out) == (1, "")
    assert err.startswith("xrayflow: ")
    assert err.count("\n") == 1


def test_responses_that_cannot_be_copied_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(source: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(demo, "copyfile", full)
    template = read_observation(demo.bundled_pha())
    with pytest.raises(FileError, match="cannot be written to \\(No space left on device\\); choose another --out"):
        demo.simulated_observation(template, tmp_path)
