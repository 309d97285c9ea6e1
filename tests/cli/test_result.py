"""Verbs on a result folder, as a user meets them: exit codes, one line per error, JSON that is nothing else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from command_zoo import Ran, Run, runner
from ogip_zoo import toy_files
from xrayflow import cli
from xrayflow.products.xspec import read_session


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command line in this process."""
    return runner(capsys, monkeypatch)


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a fit."""
    folder = tmp_path_factory.mktemp("fit")
    toy = toy_files(folder, exposure=200.0)
    model = ("--model", "TBabs*powerlaw", "--energies", "1-5", "--grouping", "min:50")
    assert cli.run(["fit", str(toy), *model, "--json", "--out", str(folder / "result")]) == 0
    return folder / "result"


def refused(ran: Ran, code: int, *words: str) -> None:
    """A command ended with one clear line and nothing else."""
    assert (ran.code, ran.out) == (code, ""), ran
    assert len(ran.err.splitlines()) == 1, ran.err
    for word in ("xrayflow: ", *words):
        assert word in ran.err


def test_fluxes_are_told_of_the_band_of_the_fit_and_of_2_to_10_kev(run: Run, result: Path) -> None:
    ran = run("flux", result)
    assert (ran.code, ran.err) == (0, "")
    for word in ("TBabs*powerlaw", "flux 1-5 keV", "flux 2-10 keV+", "erg/cm^2/s", "+ beyond the data (1-"):
        assert word in ran.out
    assert max(map(len, ran.out.splitlines())) <= 80


def test_fluxes_as_json_are_one_object_with_the_numbers_of_the_summary(run: Run, result: Path) -> None:
    ran = run("flux", result, "--band", "1-5", "--unabsorbed", "--distance", "8(1) kpc", "--json")
    assert (ran.code, ran.err) == (0, "")
    told = json.loads(ran.out)
    kinds = ["flux", "photon_flux", "luminosity"]
    assert [row["kind"] for row in told["quantities"]] == kinds * 2
    summary = json.loads((result / "summary.json").read_text(encoding="utf-8"))["fluxes"][0]
    for row, kind in ((told["quantities"][0], "absorbed"), (told["quantities"][3], "unabsorbed")):
        assert row["median"] == pytest.approx(summary[kind]["energy"]["median"], rel=1e-3)
        assert row["absorbed"] is (kind == "absorbed")
    assert (told["schema_version"], told["model"]) == (1, "TBabs*powerlaw")


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (("--component", "diskbb"), "no additive component 'diskbb'"),
        (("--ew", "powerlaw"), "powerlaw has no LineE"),
        (("--radius", "powerlaw", "--distance", "8"), "whose norm is a radius"),
    ],
)
def test_what_a_flux_cannot_be_is_one_line(run: Run, result: Path, options: tuple[str, ...], word: str) -> None:
    refused(run("flux", result, *options), 1, word)


def test_a_folder_without_a_result_is_one_line(run: Run, tmp_path: Path) -> None:
    refused(run("flux", tmp_path), 1, "holds no answer.npz", "xrayflow fit --out")
    refused(run("flux", tmp_path / "nowhere"), 1, "is no folder")
    assert run("flux").code == 2


def test_a_session_of_xspec_is_fitted(run: Run, result: Path) -> None:
    ran = run("fit", "--xcm", result / "model.xcm", "--grouping", "min:50", "--energies", "1-5", "--json")
    assert (ran.code, ran.err) == (0, "")
    summary = json.loads((result / "summary.json").read_text(encoding="utf-8"))
    again = json.loads(ran.out)
    assert again["parameters"] == summary["parameters"]
    assert again["observations"] == summary["observations"]
    other = json.loads(run("fit", "--xcm", result / "model.xcm", "--model", "powerlaw", "--json").out)
    assert other["model"] == "powerlaw"


def test_the_statistic_at_a_sessions_values_is_told_where_its_model_is_fitted(run: Run, result: Path) -> None:
    statistic = json.loads((result / "summary.json").read_text(encoding="utf-8"))["statistic"]
    told = run("fit", "--xcm", result / "model.xcm", "--grouping", "min:50", "--energies", "1-5").out.splitlines()[0]
    assert told.startswith(f"session         {statistic['name']} {statistic['value']:.2f} at its values, ")
    other = run("fit", "--xcm", result / "model.xcm", "--model", "powerlaw", "--energies", "1-5")
    assert "at its values" not in other.out


@pytest.fixture
def narrow(result: Path, tmp_path: Path) -> Path:
    """A session with other abundances than ours, and a range of its own for a free parameter."""
    lines = (result / "model.xcm").read_text(encoding="utf-8").splitlines()
    at = next(place for place, line in enumerate(lines) if line.startswith("model "))
    lines[at + 2] = "1.7 0.01 0 0 3 3"
    (tmp_path / "a.xcm").write_text("\n".join(lines).replace("abund wilm", "abund angr") + "\n")
    return tmp_path / "a.xcm"


def test_what_is_frozen_or_linked_has_no_range_of_the_session(run: Run, narrow: Path) -> None:
    for words in (("--freeze", "powerlaw.phoindex=1.7"), ("--link", "powerlaw.PhoIndex=1.7+0*powerlaw.norm")):
        ran = run("fit", "--xcm", narrow, *words, "--json")
        assert (ran.code, ran.err) == (0, "")
        assert json.loads(ran.out)["parameters"]["powerlaw.PhoIndex"]["median"] == 1.7


def test_abundances_that_are_asked_for_count_before_those_of_the_session(run: Run, narrow: Path) -> None:
    asked = (((), "angr"), (("--abund", "lodd"), "lodd"), (("--model", "TBabs*powerlaw"), "angr"))
    for words, abund in asked:
        assert json.loads(run("fit", "--xcm", narrow, *words, "--json").out)["abund"] == abund
    both = run("fit", "--xcm", narrow, "--model", "phabs*powerlaw", "--abund", "wilm", "--json")
    assert json.loads(both.out)["abund"] == "wilm"
    refused(run("fit", "--xcm", narrow, "--abund", "solar"), 1, "solar")


def test_a_published_session_is_fitted_and_written_back(run: Run, data_folder: Path, tmp_path: Path) -> None:
    """constant*vphabs(diskbb+gaussian+nthComp): a link, 19 frozen parameters, a subtracted background with SYS_ERR."""
    session = data_folder / "rxte_pca_GRS1915+105_20402-01-15-00" / "mendez_bestfit_load.xcm"
    ran = run("fit", "--xcm", session, "--no-report", "--out", tmp_path / "out")
    assert ran.code == 0
    assert ran.out.startswith("session         chi2 29.71 at its values, 25.05 on the response's energies (XSPEC's)\n")
    summary = json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))
    assert (summary["statistic"]["name"], summary["statistic"]["dof"]) == ("chi2", 54 - 8)
    assert summary["statistic"]["value"] < 28.0
    assert summary["verdict"] == "approximate"
    written = read_session(tmp_path / "out" / "model.xcm").model
    assert written is not None
    lines = written.lines
    assert [at for at, line in enumerate(lines, start=1) if line.link] == [27]
    assert lines[26].link == "p20"
    assert [lines[at].fields[0] for at in (0, 1, 16, 27)] == [1.0, 4.701, 4.43477, 1.0]


def test_what_is_no_session_is_one_line(run: Run, result: Path, tmp_path: Path) -> None:
    refused(run("fit", "--xcm", tmp_path / "no.xcm"), 1, "no.xcm: cannot be read")
    (tmp_path / "a.xcm").write_text("set i 3\n")
    refused(run("fit", "--xcm", tmp_path / "a.xcm"), 1, "a.xcm:1: 'set i 3': this computes")
    refused(run("fit"), 2, "PHA: give a spectrum, or --xcm FILE")


def test_the_script_for_xspecs_prompt_is_a_file(run: Run) -> None:
    ran = run("tcl")
    assert (ran.code, ran.err) == (0, "")
    assert "proc xrayflow" in Path(ran.out.strip()).read_text(encoding="utf-8")


def test_an_answer_is_verified(run: Run, result: Path) -> None:
    ran = run("verify", result)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines()[-1] == "verified: the answer is what its files give"
    told = json.loads(run("verify", result, "--json").out)
    verdict = json.loads((result / "summary.json").read_text(encoding="utf-8"))["verdict"]
    assert (told["schema_version"], told["verified"], told["verdict"]) == (1, True, verdict)


def test_an_answer_that_was_changed_is_not(run: Run, result: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(result, tmp_path / "copy"))
    (copy / "summary.json").write_text((copy / "summary.json").read_text().replace('"certified"', '"approximate"'))
    ran = run("verify", copy)
    assert ran.code == 1
    assert "DIFFERS  summary.json" in ran.out
    assert ran.err == f"xrayflow: {copy}: summary.json differ from what the files give\n"
    told = run("verify", copy, "--json")
    assert (told.code, json.loads(told.out)["verified"]) == (1, False)
    refused(run("verify", tmp_path), 1, "holds no answer.npz")


def test_errors_are_those_of_xspec_beside_the_posteriors(run: Run, result: Path) -> None:
    ran = run("error", result, "powerlaw.PhoIndex")
    assert (ran.code, ran.err) == (0, "")
    assert "powerlaw.PhoIndex" in ran.out
    assert "powerlaw.norm" not in ran.out
    told = json.loads(run("error", result, "2", "--json").out)
    assert told["notes"] == []
    (row,) = told["parameters"]
    assert row["name"] == "powerlaw.PhoIndex"
    assert row["statistic"]["lower"] < row["posterior"]["median"] < row["statistic"]["upper"]
    spectrum = ("--model", "TBabs*powerlaw", "--energies", "1-5", "--grouping", "min:50")
    again = json.loads(run("error", result.parent / "toy.pha", "2", *spectrum, "--json").out)
    assert again["parameters"][0]["statistic"]["lower"] == pytest.approx(row["statistic"]["lower"], rel=1e-3)


def test_a_grid_is_columns_or_json(run: Run, result: Path) -> None:
    ran = run("steppar", result, "powerlaw.PhoIndex=1.6:1.8:2")
    assert (ran.code, ran.err) == (0, "")
    assert len(ran.out.splitlines()) == 5
    told = json.loads(run("steppar", result, "2=1.6:1.8:2", "3=0.04:0.06:3", "--json").out)
    assert list(told["values"]) == ["powerlaw.PhoIndex", "powerlaw.norm"]
    assert [len(row) for row in told["rise"]] == [4, 4, 4]


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (("error", "RESULT", "diskbb.Tin"), 1, "has no parameter 'diskbb.Tin'"),
        (("error", "RESULT", "--delta", "-1"), 2, "is no rise"),
        (("error", "RESULT", "--model", "powerlaw"), 2, "is an answer already, so leave model out"),
        (("error", "nothing.pha"), 1, "nothing.pha: no such file"),
        (("steppar", "RESULT", "2=1"), 2, "write NAME=LO:HI"),
        (("steppar", "RESULT", "2=3:1"), 1, "give lo < hi within its box"),
        (("steppar", "RESULT"), 2, "Missing argument"),
    ],
)
def test_what_has_no_error_is_one_line(
    run: Run, result: Path, arguments: tuple[str, ...], code: int, word: str
) -> None:
    refused(run(*(result if one == "RESULT" else one for one in arguments)), code, word)


def test_another_prior_is_another_answer(run: Run, result: Path, tmp_path: Path) -> None:
    prior = ("--prior", "powerlaw.PhoIndex~N(1.7,0.05)")
    ran = run("reweigh", result, *prior, "--out", tmp_path / "new", "--level", "95")
    assert (ran.code, ran.err) == (0, "")
    assert "reweighed from the draws of another prior" in " ".join(ran.out.split())
    assert "before, 95 %" in ran.out
    told = json.loads(run("reweigh", result, *prior, "--json").out)
    assert told["reweighed"]["level"] == 90.0
    assert (
        told["reweighed"]["after"]["powerlaw.PhoIndex"]["lower"] == told["parameters"]["powerlaw.PhoIndex"]["lower90"]
    )
    assert run("verify", tmp_path / "new").code == 0


@pytest.mark.parametrize(
    ("options", "code", "word"),
    [
        ((), 2, "--prior: say which"),
        (("--prior", "powerlaw.PhoIndex"), 2, "write NAME=lo:hi"),
        (("--prior", "powerlaw.PhoIndex~N(3,0.01)"), 1, "are left; fit again with this prior"),
        (("--prior", "powerlaw.PhoIndex=-3:9"), 1, "which was fitted; fit again with it"),
        (("--prior", "powerlaw.PhoIndex=1:2", "--level", "100"), 2, "--level"),
    ],
)
def test_a_prior_that_cannot_be_reweighed_is_one_line(
    run: Run, result: Path, options: tuple[str, ...], code: int, word: str
) -> None:
    refused(run("reweigh", result, *options), code, word)


def test_answers_are_rows_of_a_table(run: Run, result: Path) -> None:
    ran = run("table", result, result)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.count(r"$\Gamma$ (powerlaw)") == 1
    assert ran.out.splitlines()[-1] == r"\end{tabular}"
    assert (
        run("table", result, "--format", "csv", "--level", "68").out.splitlines()[0].startswith("source,file,TBabs_nH,")
    )
    assert run("table", result, "--format", "word").code == 2
    refused(run("table", result, result.parent), 1, "holds no answer.npz")


def test_an_answer_is_exported(run: Run, result: Path, tmp_path: Path) -> None:
    pytest.importorskip("xarray")
    pytest.importorskip("h5netcdf")
    pytest.importorskip("h5py")
    ran = run("export", result, "--out", tmp_path / "a.nc")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == f"{tmp_path / 'a.nc'}: read it with arviz.from_netcdf or xarray.open_datatree\n"
    assert (tmp_path / "a.nc").stat().st_size > 10_000
    refused(run("export", tmp_path), 1, "holds no answer.npz")


def test_a_figure_is_drawn_on_demand(run: Run, result: Path, tmp_path: Path) -> None:
    ran = run("plot", result, "--out", tmp_path / "a.svg")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines() == [str(tmp_path / name) for name in ("a.svg", "a.ecsv", "a-data.ecsv")]
    refused(run("plot", result, "--out", tmp_path / "a.jpg"), 1, "no figure ends so")
    assert run("plot", result, "contour").code == 2
    asked = ("--residuals", "ratio", "--axis", "angstrom", "--rebin", "8,20")
    ran = run("plot", result, "spectrum", *asked, "--out", tmp_path / "b.pdf")
    assert ran.out.splitlines() == [str(tmp_path / name) for name in ("b.pdf", "b.ecsv", "b-shown.ecsv")]
    for wrong in ("8", "0,4", "8,0", "a,b"):
        refused(run("plot", result, "spectrum", "--rebin", wrong), 2, "write a significance above 0")


def test_a_figure_of_another_kind_does_not_replace_that_of_the_fit(run: Run, result: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(result, tmp_path / "result"))
    before = (folder / "spectrum.png").read_bytes()
    ran = run("plot", folder, "spectrum", "--residuals", "ratio")
    assert ran.out.splitlines()[0] == str(folder / "spectrum-ratio.png")
    assert (folder / "spectrum.png").read_bytes() == before
    asked = ("--residuals", "ratio", "--out", folder / "spectrum.png")
    refused(run("plot", folder, "spectrum", *asked), 1, "spectrum.png: is one of the files that fit --out wrote there")


def test_what_a_model_may_lack_is_ranked(run: Run, result: Path) -> None:
    ran = run("misfit", result, "--simulated", "150")
    assert (ran.code, ran.err) == (0, "")
    for words in ("ln B", "narrow line", "partial covering", "energy scale", "of 150 simulated spectra"):
        assert words in ran.out
    told = json.loads(run("misfit", result, "--simulated", "150", "--json").out)
    assert (told["schema_version"], told["simulated"]) == (1, 150)
    values = [one["log_bayes"] for one in told["missing"]]
    assert values == sorted(values, reverse=True)
    assert run("misfit", result, "--simulated", "9").code == 2


def test_the_likeliest_that_a_model_may_lack_is_fitted(run: Run, result: Path) -> None:
    told = json.loads(run("misfit", result, "--simulated", "100", "--refit", "1", "--json").out)
    first, second = told["missing"][:2]
    if not first["why_not"]:
        refit = first["refit"]
        assert abs(refit["log_bayes"] - first["log_bayes"]) < 4.0
        assert {"verdict", "verdict_here", "computation", "parameters", "prior"} <= set(refit)
    assert second["refit"] is None
    assert run("misfit", result, "--refit", "-1").code == 2


def test_another_exposure_is_foretold(run: Run, result: Path) -> None:
    ran = run("forecast", result, "--exposure", "800", "--spectra", "2", "--json")
    assert (ran.code, ran.err) == (0, "")
    told = json.loads(ran.out)
    assert (told["spectra"], told["exposure"]) == (2, 800.0)
    assert [row["name"] for row in told["parameters"]] == ["TBabs.nH", "powerlaw.PhoIndex", "powerlaw.norm"]
    curved = run("forecast", result, "--exposure", "800", "--fisher", "--json")
    assert (curved.code, curved.err) == (0, "")
    assert [row["name"] for row in json.loads(curved.out)["parameters"]] == [row["name"] for row in told["parameters"]]
    assert "by Fisher's information" in run("forecast", result, "--exposure", "800", "--fisher").out
    both = run("forecast", result, "--exposure", "800", "--fisher", "--spectra", "4")
    assert (both.code, both.out) == (2, "")
    assert "not both" in both.err
    refused(run("forecast", result), 2, "say what will be different")
    for wrong in ("0", "-5", "nan"):
        refused(run("forecast", result, "--exposure", wrong), 2, "is no time above 0")


def test_what_is_not_a_terminal_is_not_cut_at_80_columns(
    result: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert cli.run(["flux", str(result), "--band", "1-5", "--unabsorbed"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert not any("…" in line for line in lines)
    assert cli.run(["error", str(result)]) == 0
    assert "…" not in capsys.readouterr().out


def test_a_report_is_made_of_a_stored_answer(run: Run, result: Path, tmp_path: Path) -> None:
    ran = run("report", result, "--out", tmp_path / "a.html")
    assert (ran.code, ran.out, ran.err) == (0, f"{tmp_path / 'a.html'}\n", "")
    assert (tmp_path / "a.html").read_bytes() == (result / "report.html").read_bytes()
    refused(run("report", result, "--out", result / "corner.png"), 1, "corner.png: is one of the files that fit --out")


def test_a_verb_that_fails_leaves_no_folder(run: Run, result: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "one"
    refused(run("fit", result.parent / "toy.pha", "--energies", "90-99", "--out", out), 1)
    refused(run("reweigh", result, "--prior", "powerlaw.PhoIndex~N(9,0.01)", "--out", out), 1)
    assert list(tmp_path.iterdir()) == []
    out.mkdir(parents=True)
    refused(run("fit", result.parent / "nowhere.pha", "--out", out), 1)
    assert out.is_dir()


def test_the_reason_of_a_statistic_stands_when_a_prior_changes(run: Run, result: Path) -> None:
    before = json.loads((result / "summary.json").read_text(encoding="utf-8"))
    after = json.loads(run("reweigh", result, "--prior", "powerlaw.PhoIndex~N(1.7,0.5)", "--json").out)
    assert after["statistic"]["reason"] == before["statistic"]["reason"] != "asked for"


def test_help_keeps_its_brackets(run: Run) -> None:
    for verb, words in (("export", "'xrayflow[io]'"), ("tcl", "source [exec xrayflow tcl]")):
        assert words in " ".join(run(verb, "--help").out.split())


def test_products_of_the_fit_are_not_replaced(run: Run, result: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(result, tmp_path / "result"))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    for out in ("spectrum.png", "corner.png", "spectrum.svg"):
        refused(run("plot", folder, "--out", folder / out), 1, "is one of the files that fit --out wrote there")
    refused(run("plot", folder, "corner", "--out", folder / "spectrum.png"), 1, "choose another --out")
    for out in before:
        refused(run("export", folder, "--out", folder / out), 1, f"{out}: is one of the files that fit --out wrote")
    spectrum = result.parent / "toy.pha"
    refused(run("export", folder, "--out", spectrum), 1, "toy.pha: is one of the files that the answer reads")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert run("plot", folder, "corner").code == 0  # the same figure again


def test_models_are_compared_by_their_evidence(run: Run, result: Path) -> None:
    said = ("--energies", "1-5", "--grouping", "min:50")
    models = ("--models", "TBabs*powerlaw", "--models", "TBabs*bbody")
    told = json.loads(run("compare", result.parent / "toy.pha", *models, *said, "--json").out)["models"]
    assert [row["words"] for row in told] == ["best", "very strongly disfavoured"]
    copied = shutil.copytree(result, result.parent / "copied")
    ran = run("compare", result, copied)
    assert (ran.code, ran.err) == (0, "")
    assert all(f"TBabs*powerlaw  ({folder})\n" in ran.out for folder in (result, copied))
    refused(run("compare", result, result / "."), 2, "again; give another answer of the same data")
    refused(run("compare", result), 1, "a comparison is one of two models at least")
    refused(run("compare", result, result, *models), 2, "give one spectrum with --models")
