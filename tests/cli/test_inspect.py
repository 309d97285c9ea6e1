"""inspect as a user meets it: what files hold, what is odd, what a fit would take; it fits nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from command_zoo import Ran, Run, runner
from ogip_zoo import toy_files, write_spectrum
from xrayflow.ogip import read_observation, write_pha


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command line in this process."""
    return runner(capsys, monkeypatch, columns=100)


def as_json(ran: Ran) -> list[dict[str, Any]]:
    document = json.loads(ran.out)
    assert document["schema_version"] == 1
    files: list[dict[str, Any]] = document["files"]
    return files


def test_a_spectrum_is_told_with_what_a_fit_would_take(run: Run, tmp_path: Path) -> None:
    path = toy_files(tmp_path, exposure=200.0, background=True)
    ran = run("inspect", path, "--energies", "1-5", "--json")
    assert (ran.code, ran.err) == (0, "")
    (found,) = as_json(ran)
    spectrum = read_observation(path).bin([(1.0, 5.0)])
    fit = found["fit"]
    assert (found["kind"], found["oddities"]) == ("PHA", [])
    assert fit["files"]["rmf"] == {"path": str(tmp_path / "toy.rmf"), "why": "RESPFILE"}
    assert fit["files"]["background"]["why"] == "BACKFILE"
    assert fit["counts"] == spectrum.counts.sum()
    assert fit["bins"] == {"all": 120, "noticed": len(spectrum.counts), "bad": 0, "outside": 120 - len(spectrum.counts)}
    assert spectrum.background is not None
    assert fit["background"]["share"] == pytest.approx(spectrum.background.sum() / 4.0 / spectrum.counts.sum())
    assert fit["statistic"]["name"] == "wstat"
    assert fit["likelihood"]["kind"] == "exact"
    assert fit["error"] is None


def test_people_read_a_table(run: Run, tmp_path: Path) -> None:
    path = toy_files(tmp_path, exposure=200.0, background=True)
    ran = run("inspect", path, tmp_path / "toy.rmf", tmp_path / "toy.arf", tmp_path / "toy.bkg")
    assert (ran.code, ran.err) == (0, "")
    for words in ("power law, TOY CCD", "RESPFILE toy.rmf", "(ANCRFILE)", "of these counts", "wstat: Poisson counts"):
        assert words in ran.out
    unwrapped = " ".join(ran.out.split())  # long paths wrap
    for kind in ("PHA: spectrum", "RMF: redistribution matrix", "ARF: effective area", "resolution FWHM"):
        assert kind in unwrapped
    assert max(map(len, ran.out.splitlines())) <= 100
    assert "\x1b" not in ran.out


def test_options_of_fit_change_what_would_be_taken(run: Run, tmp_path: Path) -> None:
    path = toy_files(tmp_path, exposure=200.0, background=True)
    (found,) = as_json(
        run("inspect", path, "--background", "none", "--channels", "10-59", "--grouping", "min:50", "--json")
    )
    fit = found["fit"]
    assert fit["files"]["background"] == {"path": None, "why": "asked for none"}
    assert (fit["channels"], fit["grouping"], fit["statistic"]["name"]) == ([10, 59], "min:50", "cstat")
    assert fit["bins"]["noticed"] < 50
    assert any("the counts decided where groups end" in remark for remark in fit["remarks"])
    (found,) = as_json(run("inspect", path, "--arf", tmp_path / "toy.arf", "--json"))
    assert found["fit"]["files"]["arf"]["why"] == "--arf"


def test_a_response_beside_the_spectrum_is_told_as_such(run: Run, tmp_path: Path) -> None:
    toy_files(tmp_path)
    path = write_pha(tmp_path / "toy.pha", np.arange(120), np.ones(120), 10.0)
    (found,) = as_json(run("inspect", path, "--json"))
    assert found["fit"]["files"]["rmf"]["why"] == "beside the spectrum; RESPFILE names none that is there"
    assert any("toy.rmf beside it is taken" in text for text in found["fit"]["warnings"])


def test_a_spectrum_without_a_response_says_where_a_fit_would_stop(run: Run, tmp_path: Path) -> None:
    path = write_pha(tmp_path / "a.pha", np.arange(120), np.ones(120), 10.0)
    ran = run("inspect", path)
    assert ran.code == 0
    assert "stops with" in ran.out
    assert "RESPFILE names no file; give --rmf FILE" in " ".join(ran.out.split())


@pytest.mark.parametrize(("options", "name"), [(("--row", "2"), ""), ((), "{2}")])
def test_one_spectrum_of_several_is_chosen(run: Run, tmp_path: Path, options: tuple[str, ...], name: str) -> None:
    toy_files(tmp_path)
    counts = np.vstack([np.ones(120), 2 * np.ones(120), 3 * np.ones(120)])
    columns = {"COUNTS": counts, "CHANNEL": np.tile(np.arange(120), (3, 1))}
    path = write_spectrum(tmp_path / "two.pha", columns, RESPFILE="toy.rmf", ANCRFILE="toy.arf")
    listed = run("inspect", path)
    assert "3 (TYPE:II) of up to 120 channels" in listed.out
    assert "choose one: --row 1 to 3, or two.pha{1}" in listed.out
    (found,) = as_json(run("inspect", f"{path}{name}", *options, "--json"))
    assert (found["holds"]["row"], found["holds"]["counts"]) == (2, 240.0)
    assert found["fit"]["statistic"]["name"] == "cstat"


def test_a_broken_file_is_one_line_and_the_others_are_told(run: Run, tmp_path: Path) -> None:
    path = toy_files(tmp_path)
    (tmp_path / "text").write_text("no fits")
    ran = run("inspect", tmp_path / "text", path, "--json")
    broken, whole = as_json(ran)
    assert ran.code == 1
    assert ran.err.startswith(f"xrayflow: {tmp_path / 'text'}: not a FITS file")
    assert len(ran.err.splitlines()) == 1
    assert broken["error"] in ran.err
    assert whole["kind"] == "PHA"


def test_a_matrix_and_an_area_need_no_torch() -> None:
    import subprocess
    import sys

    from xrayflow.data import bundled_rmf

    code = (
        "import sys; from xrayflow import cli; "
        f"code = cli.run(['inspect', {str(bundled_rmf())!r}, '--json']); print(code, 'torch' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "0 False"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "Missing argument 'FILE...'"),
        (("a.pha", "--energies", "5-1"), "write ranges in keV"),
        (("a.pha", "--energies", "1-5", "--channels", "1-5"), "give --energies or --channels, not both"),
    ],
)
def test_wrong_usage_is_one_line(run: Run, options: tuple[str, ...], message: str) -> None:
    ran = run("inspect", *options)
    assert (ran.code, len(ran.err.splitlines())) == (2, 1)
    assert message in ran.err


def test_a_gross_background_beside_chi2_is_told(run: Run, data_folder: Path) -> None:
    path = data_folder / "rxte_pca_GRS1915+105_10258-01-02-00/src_pcu2.pha"
    (found,) = as_json(run("inspect", path, "--json"))
    assert found["fit"]["statistic"]["name"] == "chi2"
    assert 0.0 < found["fit"]["background"]["share"] < 0.1
    assert any("DATASUM" in one["what"] for one in found["oddities"])


def test_published_bins_are_those_of_the_band(run: Run, data_folder: Path) -> None:
    path = data_folder / "exosat_me_1E1048-5937_s54405/s54405.pha"
    (found,) = as_json(run("inspect", path, "--energies", "0-15", "--json"))
    assert found["fit"]["bins"]["noticed"] == 45
    assert found["fit"]["files"]["rmf"]["why"] == "RESPFILE is %match%"


def test_the_name_of_a_file_cannot_command_a_terminal(run: Run) -> None:
    ran = run("inspect", "a\x1b[2Jb.pha")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == "xrayflow: a?[2Jb.pha: no such file; check the path\n"


def test_a_text_of_the_header_cannot_command_a_terminal(run: Run, tmp_path: Path) -> None:
    path = toy_files(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"'power law'", b"'p\x1b[2J law'"))
    assert "p?[2J law" in run("inspect", path).out


@pytest.mark.parametrize(("options", "name"), [(("--row", "2"), ""), ((), "{2}")])
def test_the_background_of_a_chosen_spectrum_is_its_own(
    run: Run, tmp_path: Path, options: tuple[str, ...], name: str
) -> None:
    toy_files(tmp_path)
    channel, counts = np.tile(np.arange(120), (3, 1)), np.vstack([np.ones(120), 2 * np.ones(120), 3 * np.ones(120)])
    write_spectrum(tmp_path / "back.pha", {"COUNTS": counts, "CHANNEL": channel})
    names = {"RESPFILE": "toy.rmf", "ANCRFILE": "toy.arf", "BACKFILE": "back.pha"}
    path = write_spectrum(tmp_path / "two.pha", {"COUNTS": 10 * counts, "CHANNEL": channel}, **names)
    (found,) = as_json(run("inspect", f"{path}{name}", *options, "--energies", "1-5", "--json"))
    assert found["fit"]["error"] is None
    assert found["fit"]["background"]["share"] == pytest.approx(0.1)
