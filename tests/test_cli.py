"""The command line as a user meets it: exit codes, one line per error, machine output that is nothing else."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from command_zoo import Ran, Run, runner
from ogip_zoo import ENERGY_EDGES, power_law_counts, toy_files, write_arf, write_spectrum
from test_summary_schema import validate
from xrayflow.cli import options
from xrayflow.errors import XrayflowError, XrayflowWarning
from xrayflow.ogip import write_pha
from xrayflow.products.write import NAMES
from xrayflow.statistics import TREATMENTS
from xrayflow.statistics.auto import STATISTICS

QUICK = ("--model", "TBabs*powerlaw", "--energies", "1-5", "--grouping", "min:50")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command line in this process."""
    return runner(capsys, monkeypatch)


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    """A power law of some 1e4 counts."""
    return toy_files(tmp_path, exposure=200.0)


def refused(ran: Ran, code: int, message: str) -> bool:
    """Whether a command ended with one clear line and nothing else."""
    assert (ran.code, ran.out) == (code, ""), ran
    assert len(ran.err.splitlines()) == 1, ran.err
    assert ran.err.startswith("xrayflow: ")
    assert re.search(message, ran.err), ran.err
    return True


def test_a_good_fit_prints_tables_and_exits_with_0(run: Run, toy: Path) -> None:
    ran = run("fit", toy, *QUICK)
    assert (ran.code, ran.err) == (0, "")
    for word in ("TBabs.nH", "powerlaw.PhoIndex", "powerlaw.norm", "cstat / dof", "verdict", "next"):
        assert word in ran.out
    assert "\x1b" not in ran.out
    assert max(map(len, ran.out.splitlines())) <= 80


def test_json_is_one_object_and_nothing_else(run: Run, toy: Path, tmp_path: Path) -> None:
    ran = run("fit", toy, *QUICK, "--json", "--out", tmp_path / "result")
    assert (ran.code, ran.err) == (0, "")
    summary = json.loads(ran.out)
    assert validate(summary) == []
    assert all(Path(path).is_file() for path in summary["products"].values())
    written = json.loads((tmp_path / "result" / "summary.json").read_text(encoding="utf-8"))
    assert summary | {"products": None} == written | {"products": None}


def test_a_time_limit_ends_in_a_verdict_that_says_so(run: Run, toy: Path) -> None:
    ran = run("fit", toy, *QUICK, "--time-limit", "0.01", "--json")
    assert (ran.code, ran.err) == (0, "")
    found = json.loads(ran.out)["computation"]
    assert found["status"] != "certified"
    assert found["reasons"][0] == "stopped at the time limit of 0.01 s"
    assert run("fit", toy, *QUICK, "--time-limit", "0").code == 2


def test_json_without_out_needs_no_figures(toy: Path) -> None:
    code = (
        "import sys; from xrayflow.cli import run; "
        f"code = run({['fit', str(toy), *QUICK, '--json']!r}); "
        "print('matplotlib' in sys.modules, code, file=sys.stderr)"
    )
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert validate(json.loads(finished.stdout)) == []
    assert finished.stderr == "False 0\n"


def test_help_and_version_come_at_once_and_without_torch() -> None:
    code = (
        "import sys; from xrayflow.cli import run; "
        "codes = run(['--version']), run(['--help']), run([]), run(['fit', '--help']); "
        "print(codes, [m for m in ('torch', 'numpy', 'astropy', 'matplotlib') if m in sys.modules], file=sys.stderr)"
    )
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert finished.stderr == "(0, 0, 0, 0) []\n"
    assert finished.stdout.startswith("xrayflow 0.")
    assert "demo" in finished.stdout
    assert "--systematic" in finished.stdout


def test_every_option_of_fit_has_a_line_of_help(run: Run) -> None:
    ran = run("fit", "--help")
    options = "rmf arf background model freeze link prior abund xsect energies channels grouping statistic systematic"
    options += " draws ess seed out"
    for option in [*options.split(), "json", "debug"]:
        assert re.search(rf"--{option}\b.*[A-Za-z]{{4}}", ran.out), option


def test_the_statistics_and_likelihoods_on_offer_are_those_that_exist() -> None:
    assert tuple(name.value for name in options.Statistic) == STATISTICS
    assert tuple(name.value for name in options.LikelihoodOf) == TREATMENTS


def test_the_same_seed_gives_the_same_answer_and_another_does_not(run: Run, toy: Path) -> None:
    first, again, other = (json.loads(run("fit", toy, *QUICK, "--json", "--seed", seed).out) for seed in (1, 1, 2))
    assert first["parameters"] == again["parameters"]
    assert first["log_evidence"] == again["log_evidence"]
    assert first["log_evidence"] != other["log_evidence"]


def test_options_reach_the_fit(run: Run, toy: Path) -> None:
    ran = run(
        *("fit", toy, "--model", "tbabs*powerlaw", "--freeze", "tbabs.nh=0.02", "--prior", "powerlaw.PhoIndex=1:2"),
        *("--energies", "1-2,3-5", "--grouping", "min:30", "--systematic", "0.01", "--draws", "500", "--ess", "100"),
        *("--rmf", toy.with_suffix(".rmf"), "--arf", toy.with_suffix(".arf"), "--background", "none", "--json"),
    )
    summary = json.loads(ran.out)
    assert summary["parameters"]["TBabs.nH"]["frozen"] is True
    assert summary["parameters"]["TBabs.nH"]["best"] == 0.02
    assert summary["prior"] == {
        "powerlaw.PhoIndex": "1 .. 2 linear",
        "powerlaw.norm": summary["prior"]["powerlaw.norm"],
    }
    assert summary["energies"] == [[1.0, 2.0], [3.0, 5.0]]
    assert (summary["grouping"], summary["systematic"], summary["draws"]) == ("min:30", 0.01, 500)
    assert summary["observations"][0]["background"] is None


def test_the_likelihood_of_a_background_is_the_users_choice(run: Run, tmp_path: Path) -> None:
    toy = toy_files(tmp_path, exposure=200.0, background=True)

    def likelihood(*options: str) -> tuple[str, list[str]]:
        summary = json.loads(run("fit", toy, *QUICK, "--json", *options).out)
        return summary["likelihood"]["kind"], list(summary["nuisances"])

    assert likelihood() == ("exact", ["background.lnA", "background.tilt"])
    assert likelihood("--background", "known") == likelihood("--likelihood", "known") == ("approximate", [])
    assert likelihood("--likelihood", "profile") == ("profile", [])
    table = run("fit", toy, *QUICK).out
    assert "background.lnA" in table
    assert "natural log of the factor on the background's level" in table


def test_channels_are_those_of_the_file(run: Run, toy: Path) -> None:
    ran = run("fit", toy, "--model", "TBabs*powerlaw", "--channels", "10-49", "--json")
    assert json.loads(ran.out)["observations"][0]["bins"] == 40
    assert "channels 10-49" in run("fit", toy, "--model", "TBabs*powerlaw", "--channels", "10-49").out


def test_an_untrustworthy_fit_exits_with_3(run: Run, tmp_path: Path) -> None:
    counts = np.round(power_law_counts(1000.0))
    counts[30:34] *= 3
    ran = run("fit", toy_files(tmp_path, counts=counts), *QUICK)
    assert ran.code == 3
    assert "do-not-trust" in ran.out
    assert "the data leave the model at" in ran.out


def missing_file(folder: Path) -> list[object]:
    return [folder / "nothing.pha"]


def not_fits(folder: Path) -> list[object]:
    (folder / "text.pha").write_text("channel counts\n1 2\n")
    return [folder / "text.pha"]


def truncated_gzip(folder: Path) -> list[object]:
    packed = gzip.compress(toy_files(folder).read_bytes())
    (folder / "cut.pha.gz").write_bytes(packed[: len(packed) // 2])
    return [folder / "cut.pha.gz"]


def other_grid(folder: Path) -> list[object]:
    toy = toy_files(folder)
    write_arf(folder / "other.arf", energy_edges=np.append(ENERGY_EDGES[:-1], [12.1, 12.3]))
    return [toy, "--arf", folder / "other.arf"]


def other_channels(folder: Path) -> list[object]:
    toy = toy_files(folder)
    write_pha(folder / "short.pha", np.arange(100), np.ones(100), 10.0)
    return [folder / "short.pha", "--rmf", toy.with_suffix(".rmf"), "--arf", toy.with_suffix(".arf")]


def other_background(folder: Path) -> list[object]:
    toy = toy_files(folder)
    write_pha(folder / "short.bkg", np.arange(100), np.ones(100), 10.0)
    return [toy, "--background", folder / "short.bkg"]


def no_response(folder: Path) -> list[object]:
    write_pha(folder / "alone.pha", np.arange(120), np.ones(120), 10.0)
    return [folder / "alone.pha"]


def with_exposure(seconds: float) -> Callable[[Path], list[object]]:
    """A file whose header says so many seconds."""

    def make(folder: Path) -> list[object]:
        toy = toy_files(folder)
        with fits.open(toy, mode="update") as file:
            file["SPECTRUM"].header["EXPOSURE"] = seconds
        return [toy]

    return make


def all_bad(folder: Path) -> list[object]:
    return [toy_files(folder, quality=np.full(120, 5))]


def without_counts(folder: Path) -> list[object]:
    return [toy_files(folder, counts=np.zeros(120))]


def long_background(folder: Path) -> list[object]:
    toy = toy_files(folder)
    write_pha(folder / "long.bkg", np.arange(130), np.ones(130), 10.0)
    return [toy, "--background", folder / "long.bkg"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (missing_file, "nothing.pha: no such file"),
        (not_fits, "text.pha: not a FITS file"),
        (truncated_gzip, "cut.pha.gz: .*(cut short|truncated|incomplete|ends)"),
        (other_grid, "other.arf has 151 energies .*toy.rmf has 150"),
        (other_channels, "short.pha.*DETCHANS is 100, .*toy.rmf has 120 channels"),
        (other_background, "short.bkg.*has 100 channels, .*toy.pha.* has 120"),
        (no_response, "alone.pha.*RESPFILE names no file; give --rmf"),
        (with_exposure(0.0), "toy.pha.*EXPOSURE is 0 s; give"),
        (with_exposure(-5.0), "toy.pha.*EXPOSURE is -5 s; give"),
        (all_bad, "toy.pha.*(bad|quality)"),
        (without_counts, "toy.pha: no counts in .* keV; choose another band"),
        (long_background, "long.bkg.*has 130 channels, .*toy.pha.* has 120"),
    ],
)
def test_bad_files_are_one_line_each(
    run: Run, tmp_path: Path, make: Callable[[Path], list[object]], message: str
) -> None:
    assert refused(run("fit", *make(tmp_path), "--model", "TBabs*powerlaw"), 1, message)


@pytest.mark.parametrize(
    ("chosen", "row", "message"),
    [
        ("", [], r"TYPE:II, 2 spectra, but no row was chosen; choose one with --row 1 to 2, or file\{1\}"),
        ("", ["--row", 3], "TYPE:II, 2 spectra, but row 3 was asked for"),
        ("", ["--row", 2], "two.pha: no counts in .* keV"),
        ("{2}", [], "two.pha: no counts in .* keV"),
        ("{2}", ["--row", 1], r"two.pha: row 1 and \{2\} were asked for; give one of them"),
    ],
)
def test_a_spectrum_of_several_is_chosen(
    run: Run, tmp_path: Path, chosen: str, row: list[object], message: str
) -> None:
    toy_files(tmp_path)
    channel = np.arange(120)
    columns = {"CHANNEL": np.stack([channel, channel]), "COUNTS": np.stack([channel, 0 * channel])}
    path = write_spectrum(tmp_path / "two.pha", columns, TLMIN2=0, RESPFILE="toy.rmf", ANCRFILE="toy.arf", DETCHANS=120)
    assert refused(run("fit", f"{path}{chosen}", *row, "--model", "TBabs*powerlaw"), 1, message)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", "TBabs*powerlow"], "unknown component 'powerlow'; did you mean 'powerlaw'"),
        (["--model", "TBabs*("], "TBabs"),
        (["--freeze", "TBabs.nHH=1"], "no parameter 'TBabs.nHH'; did you mean 'TBabs.nH'"),
        (["--freeze", "TBabs.nH=-1"], "TBabs.nH: -1 is outside its limits"),
        (["--link", "TBabs.nH=powerlaw.PhoIndx"], "no parameter 'powerlaw.PhoIndx'; did you mean 'powerlaw.PhoIndex'"),
        (["--link", "TBabs.nH=powerlaw.PhoIndex-2"], "at powerlaw.PhoIndex=1: TBabs.nH: -1 is outside its limits"),
        (["--link", "TBabs.nH=powerlaw.PhoIndex"], "gives -2 .. 9 for powerlaw.PhoIndex=-2:9, beyond its limits"),
        (["--abund", "wilms"], "unknown abundances 'wilms'; did you mean 'wilm'"),
        (["--xsect", "bcmc"], "cross-sections 'bcmc' are not implemented; use vern"),
        (["--prior", "TBabs.NHX=1:2"], "no free parameter 'TBabs.NHX' .*did you mean 'TBabs.nH'"),
        (["--energies", "100-200"], "no channel left"),
        (["--channels", "500-600"], "no channel left"),
        (["--statistic", "wstat"], "wstat needs a background"),
        (["--rmf", "none.rmf"], "none.rmf: no such file"),
        (["--network", "nicer-bbh"], "no network 'nicer-bbh'; did you mean 'nicer-bhb'"),
        (["--network", "nothing.safetensors"], "nothing.safetensors: No such file"),
        (["--network", "nicer-bhb"], "nicer-bhb: it was made for TBabs.simpl.ezdiskbb, not TBabs.powerlaw"),
        (["--amortised"], "--amortised: no shipped network was made for TBabs.powerlaw"),
    ],
)
def test_bad_names_and_values_are_one_line_each(run: Run, toy: Path, options: list[str], message: str) -> None:
    assert refused(run("fit", toy, "--model", "TBabs*powerlaw", *options), 1, message)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--energies", "5"], "--energies: '5': write ranges in keV"),
        (["--energies", "1-2,x"], "--energies"),
        (["--energies", "3-2"], "--energies: '3-2'"),
        (["--freeze", "foo"], "--freeze: 'foo': write NAME=VALUE"),
        (["--freeze", "TBabs.nH=thick"], "--freeze"),
        (["--freeze", "=3"], "--freeze"),
        (["--link", "TBabs.nH"], "--link: 'TBabs.nH': write NAME=EXPR"),
        (["--link", "TBabs.nH="], "--link: 'TBabs.nH=': write NAME=EXPR"),
        (["--link", "TBabs.nH=1", "--freeze", "tbabs.nh=1"], "--link: TBabs.nH is in --freeze too"),
        (["--prior", "foo"], "--prior: 'foo': write NAME=lo:hi"),
        (["--channels", "a-b"], "--channels: 'a-b'"),
        (["--channels", "9-3"], "--channels: '9-3'"),
        (["--channels", "3-9", "--energies", "1-2"], "--energies or --channels, not both"),
        (["--draws", "0"], "--draws"),
        (["--draws", "many"], "--draws"),
        (["--ess", "-1"], "--ess"),
        (["--seed", "-1"], "--seed"),
        (["--systematic", "-0.1"], "--systematic"),
        (["--statistic", "cash"], "--statistic"),
        (["--likelihood", "w"], "--likelihood"),
        (["--background-scale", "2"], "--background-scale"),
        (["--background", "known", "--likelihood", "profile"], "--background: known, and --likelihood profile"),
        (["--nothing"], "--nothing"),
        (["another.pha"], "another.pha"),
    ],
)
def test_bad_usage_is_one_line_and_exits_with_2(run: Run, options: list[str], message: str) -> None:
    ran = run("fit", "a.pha", *options)
    assert refused(ran, 2, message)
    assert "xrayflow fit --help" in ran.err


@pytest.mark.parametrize("arguments", [["fit"], ["fut"], ["--nothing"]])
def test_a_command_that_is_none_exits_with_2(run: Run, arguments: list[str]) -> None:
    assert refused(run(*arguments), 2, "--help")


def test_out_that_cannot_be_written_is_said_before_the_work(run: Run, toy: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    started = time.perf_counter()
    assert refused(run("fit", toy, *QUICK, "--out", tmp_path / "taken"), 1, "taken: is a file, not a folder")
    assert time.perf_counter() - started < 5.0


def test_out_replaces_our_products_and_leaves_other_files(run: Run, toy: Path, tmp_path: Path) -> None:
    folder = tmp_path / "result"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    (folder / "summary.json").write_text("old")
    ran = run("fit", toy, *QUICK, "--out", folder)
    assert ran.code == 0
    assert "summary.json" in ran.out
    assert validate(json.loads((folder / "summary.json").read_text(encoding="utf-8"))) == []
    names = {path.name for path in folder.iterdir()}
    assert names == {"notes.txt", *NAMES.values()}


def test_debug_shows_the_traceback(run: Run, tmp_path: Path) -> None:
    ran = run("fit", tmp_path / "nothing.pha", "--debug")
    assert ran.code == 1
    assert "Traceback" in ran.err
    assert ran.err.splitlines()[-1].startswith("xrayflow: ")


def test_our_warnings_are_one_line_each_and_told_once(run: Run, toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from xrayflow import inference

    usual = inference.infer

    def warn(*arguments: Any, **options: Any) -> Any:
        for _ in range(2):
            warnings.warn("toy.pha: assumed\nsomething", XrayflowWarning, stacklevel=1)
        return usual(*arguments, **options)

    monkeypatch.setattr(inference, "infer", warn)
    ran = run("fit", toy, *QUICK, "--json")
    assert ran.err == "xrayflow: warning: toy.pha: assumed something\n"
    assert json.loads(ran.out)["schema_version"] == 1


def test_an_interrupt_is_one_line_and_exits_with_130(run: Run, toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("xrayflow.inference.infer", interrupt)
    assert refused(run("fit", toy, *QUICK), 130, "interrupted")


def test_a_bug_is_not_hidden(run: Run, toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any, **options: Any) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("xrayflow.inference.infer", fail)
    with pytest.raises(ZeroDivisionError):
        run("fit", toy, *QUICK)


def test_progress_is_for_terminals_and_stays_on_stderr(run: Run, toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    ran = run("fit", toy, *QUICK, "--json")
    assert json.loads(ran.out)["schema_version"] == 1
    assert "\x1b" in ran.err


def test_a_reader_that_goes_away_leaves_no_traceback(toy: Path) -> None:
    command = [sys.executable, "-c", "from xrayflow.cli import main; main()", "fit", str(toy), *QUICK]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout is not None
    child.stdout.close()
    assert child.stderr is not None
    with child.stderr as stream:
        said = stream.read()
    assert child.wait(timeout=120) in (0, 1)
    assert "Traceback" not in said


def test_models_lists_every_component_in_one_line(run: Run) -> None:
    ran = run("models")
    assert (ran.code, ran.err) == (0, "")
    for name in ("powerlaw", "TBabs", "simpl", "simplcutx", "ezdiskbb"):
        assert len(re.findall(rf"^  {name} +\S", ran.out, re.MULTILINE)) == 1
    assert max(map(len, ran.out.splitlines())) <= 100


def test_models_shows_the_parameters_of_a_component_and_of_a_model(run: Run) -> None:
    one = run("models", "tbabs").out
    for word in ("nH", "10^22 cm^-2", "0 .. 1e+06 hard", "0.005 .. 75, log", "Wilms"):
        assert word in one
    whole = run("models", "TBabs*(powerlaw+gaussian+gaussian)").out
    assert re.search(r"^4 +gaussian\.LineE +keV +6\.5 ", whole, re.MULTILINE)
    assert re.search(r"^7 +gaussian_4\.LineE ", whole, re.MULTILINE)


def test_models_as_json_is_one_object_and_nothing_else(run: Run) -> None:
    everything = json.loads(run("models", "--json").out)
    assert {component["kind"] for component in everything["components"]} == {
        *("additive", "multiplicative", "convolution")
    }
    assert json.loads(run("models", "TBABS", "--json").out)["component"]["name"] == "TBabs"
    parameters = json.loads(run("models", "TBabs*powerlaw", "--json").out)["parameters"]
    assert [parameter["name"] for parameter in parameters] == ["TBabs.nH", "powerlaw.PhoIndex", "powerlaw.norm"]
    assert parameters[0] | {"meaning": ""} == {
        **{"number": 1, "name": "TBabs.nH", "unit": "10^22 cm^-2", "default": 1.0, "frozen": False, "meaning": ""},
        **{"hard": [0.0, 1e6], "soft": [0.0, 1e5], "prior": [5e-3, 75.0], "scale": "log"},
        **{"norm": False, "switch": False},
    }


@pytest.mark.parametrize("name", ["powerlow", "TBabs*powerlow"])
def test_an_unknown_component_is_one_line(run: Run, name: str) -> None:
    assert refused(run("models", name), 1, "unknown component 'powerlow'; did you mean 'powerlaw'")


def test_links_and_abundances_reach_the_model(run: Run, toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class SeenError(XrayflowError):
        """Ends the command where the fit would start."""

    def infer(observation: object, model: Any, **options: Any) -> None:
        seen.append((model, options))
        raise SeenError("seen")

    seen: list[Any] = []
    monkeypatch.setattr("xrayflow.inference.infer", infer)
    ran = run(
        *("fit", toy, "--model", "TBabs*(powerlaw+powerlaw)", "--abund", "angr", "--prior", "powerlaw.PhoIndex=1:3"),
        *("--link", "powerlaw_3.PhoIndex = powerlaw.PhoIndex - 0.5", "--freeze", "TBabs.nH=0.1"),
    )
    assert refused(ran, 1, "seen")
    [(model, options)] = seen
    assert model.abund == "angr"
    assert options["prior"] == ["powerlaw.PhoIndex=1:3"]
    assert options["link"] == {"powerlaw_3.PhoIndex": "powerlaw.PhoIndex - 0.5"}
    assert options["freeze"] == {"TBabs.nH": 0.1}
