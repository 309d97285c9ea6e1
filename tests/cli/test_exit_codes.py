"""One rule for all verbs: an option that can never be is wrong usage, exit 2, in one line; all else is 1."""

from __future__ import annotations

from pathlib import Path

import pytest

from command_zoo import Run, runner
from ogip_zoo import toy_files
from xrayflow import cli


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    return runner(capsys, monkeypatch)


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a fit, beside its spectrum."""
    folder = tmp_path_factory.mktemp("fit")
    model = ("--model", "TBabs*powerlaw", "--energies", "1-5", "--no-report", "--json")
    assert cli.run(["fit", str(toy_files(folder)), *model, "--out", str(folder / "result")]) in (0, 3)
    return folder / "result"


PHA, RESULT = "PHA", "RESULT"
MISUSED = [
    (("fit", PHA, "--energies", "10-2"), "write ranges in keV"),
    (("fit", PHA, "--systematic", "-0.1"), "is not 0 or more"),
    (("fit", PHA, "--systematic", "5"), "it is a fraction"),
    (("fit", PHA, "--systematic", "modes:nicer-v1:x:2"), "write modes"),
    (("fit", PHA, "--grouping", "min:0"), "grouping 'min:0' is none of"),
    (("fit", PHA, "--grouping", "min:many"), "grouping 'min:many' is none of"),
    (("fit", PHA, "--prior", "TBabs.nH=2:1"), "2 is not below 1"),
    (("fit", PHA, "--prior", "TBabs.nH=thin:thick"), "'thin' is not a number"),
    (("fit", PHA, "--prior", "powerlaw.PhoIndex~N(1.7,0)"), "with sd > 0"),
    (("group", PHA, "--grouping", "min:0", "--out", "new.pha"), "grouping 'min:0' is none of"),
    (("inspect", PHA, "--grouping", "min:0"), "grouping 'min:0' is none of"),
    (("compare", PHA, "--models", "powerlaw", "--models", "bbody", "--systematic", "5"), "it is a fraction"),
    (("compare", PHA, "--models", "powerlaw", "--models", "bbody", "--grouping", "min:0"), "is none of"),
    (("error", PHA, "--model", "powerlaw", "--energies", "10-2"), "write ranges in keV"),
    (("error", RESULT, "--delta", "-1"), "is no rise of the statistic"),
    (("steppar", RESULT, "powerlaw.norm=x"), "write NAME=LO:HI"),
    (("steppar", RESULT, "powerlaw.norm=1:2:200000"), "give at most"),
    (("reweigh", RESULT, "--prior", "powerlaw.PhoIndex=3:1"), "3 is not below 1"),
    (("flux", RESULT, "--band", "10-2"), "give two energies in order"),
    (("flux", RESULT, "--band", "2"), "write a range in keV"),
    (("flux", RESULT, "--distance", "far"), "write a number with its error"),
    (("flux", RESULT, "--redshift", "-1"), "--redshift -1: give a number above 0"),
    (("flux", RESULT, "--hardness", "2-10"), "the hard one first"),
    (("flux", RESULT, "--hardening", "0.1"), "--hardening 0.1"),
    (("plot", RESULT, "spectrum", "--rebin", "0,4"), "write a significance above 0"),
    (("plot", RESULT, "qq", "--axis", "angstrom"), "are those of the spectrum"),
    (("forecast", RESULT, "--exposure", "-5"), "is no time above 0"),
    (("forecast", RESULT, "--energies", "10-2"), "write ranges in keV"),
]
MISTAKEN = [
    (("fit", PHA, "--model", "powerlow"), "unknown component"),
    (("fit", PHA, "--freeze", "TBabs.nH=-1"), "outside its limits"),
    (("fit", PHA, "--prior", "TBabs.NHX=1:2"), "no free parameter"),
    (("fit", PHA, "--energies", "100-200"), "no channel left"),
    (("fit", "nowhere.pha"), "no such file"),
    (("flux", RESULT, "--component", "diskbb"), "no additive component"),
    (("error", RESULT, "TBabs.NH2"), "TBabs.NH2"),
    (("misfit", "nowhere"), "is no folder"),
    (("report", "nowhere"), "is no folder"),
]


@pytest.mark.parametrize(("words", "said"), MISUSED)
def test_an_option_that_can_never_be_is_wrong_usage(run: Run, result: Path, words: tuple[str, ...], said: str) -> None:
    check(run, result, words, said, 2)


@pytest.mark.parametrize(("words", "said"), MISTAKEN)
def test_what_files_and_models_do_not_allow_is_an_error(
    run: Run, result: Path, words: tuple[str, ...], said: str
) -> None:
    check(run, result, words, said, 1)


def check(run: Run, result: Path, words: tuple[str, ...], said: str, code: int) -> None:
    places = {PHA: str(result.parent / "toy.pha"), RESULT: str(result), "new.pha": str(result.parent / "new.pha")}
    own = ("--model", "TBabs*powerlaw") if words[0] == "fit" and "--model" not in words else ()
    ran = run(*(places.get(word, word) for word in words), *own)
    assert (ran.code, ran.out) == (code, ""), ran
    assert len(ran.err.splitlines()) == 1, ran.err
    assert said in ran.err
    assert not (result.parent / "new.pha").exists()


def test_a_distance_that_is_hardly_above_0_is_said(run: Run, result: Path) -> None:
    ran = run("flux", result, "--distance", "8(10) kpc")
    assert ran.code == 0
    assert "--distance '8(10) kpc': 21 % of a normal with that error is not above 0, and is cut off" in ran.err
    assert run("flux", result, "--distance", "8(1) kpc").err == ""


def test_a_value_that_the_prior_would_not_have_is_said(run: Run, result: Path, tmp_path: Path) -> None:
    asked = ("--model", "TBabs*powerlaw", "--energies", "1-5", "--no-report")
    ran = run("fit", result.parent / "toy.pha", *asked, "--freeze", "TBabs.nH=0.001")
    assert "TBabs.nH is held at 0.001, where its prior would not go (0.005 .. 75)" in " ".join(ran.out.split())
    none = run("fit", result.parent / "toy.pha", *asked, "--freeze", "TBabs.nH=0")
    assert "is held at" not in none.out


def test_a_demo_that_fails_leaves_no_folder(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from xrayflow import demo
    from xrayflow.errors import FileError

    def fail(path: object) -> None:
        raise FileError("toy.pha: is broken")

    monkeypatch.setattr(demo, "read_observation", fail)
    assert run("demo", "--out", tmp_path / "new" / "demo").code == 1
    assert list(tmp_path.iterdir()) == []
