"""xrayflow watch, as a user meets it: one look for cron, words, JSON, one line where something is wrong, Ctrl-C."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from command_zoo import Run, runner
from ogip_zoo import toy_files
from xrayflow.studies import catalogue, running
from xrayflow.studies.catalogue import Round, Watch
from xrayflow.studies.running import Inline

ASKED = ("--model", "powerlaw", "--energies", "1-6", "--grouping", "min:10", "--network", "none", "--draws", "200",
         "--ess", "60", "--once")  # fmt: skip


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `xrayflow watch` with workers in this process."""
    monkeypatch.setattr(running, "Children", Here)
    return runner(capsys, monkeypatch, "watch", columns=200)


class Here(Inline):
    """In the place of processes."""

    def __init__(self, workers: int, limit: float | None) -> None:
        super().__init__()

    def __enter__(self) -> Here:
        return self

    def __exit__(self, *error: object) -> None:
        return None


def arrive(folder: Path, number: int) -> Path:
    (folder / f"obs{number}").mkdir(parents=True)
    path = toy_files(folder / f"obs{number}", norm=0.05, exposure=30.0, seed=number)
    os.utime(path, (time.time() - 100.0,) * 2)
    return path


def test_one_look_fits_what_is_new_and_says_what_is_waited_for(run: Run, tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "table.fits"
    first, second = arrive(folder, 0), arrive(folder, 1)
    second.write_bytes(second.read_bytes()[:5000])
    os.utime(second, (time.time() - 100.0,) * 2)
    ran = run(folder, *ASKED, "--out", out)
    assert (ran.code, ran.err) == (0, "")
    new, waiting = ran.out.splitlines()
    assert f"{first}  " in new
    assert "powerlaw.PhoIndex" in new
    assert waiting.startswith("waiting  ")
    assert str(second) in waiting
    ran = run(folder, *ASKED, "--out", out, "--patience", "0", "--json")
    told = json.loads(ran.out)
    assert (told["table"], list(told["new"]), told["waiting"]) == (str(out), [str(second)], {})
    assert told["new"][str(second)]["verdict"] == "failed"
    assert run(folder, *ASKED, "--out", out, "--patience", "0").out == f"{out}: nothing new\n"


def test_ctrl_c_ends_a_watch_and_says_how_to_go_on(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(watching: Watch, every: float, told: object) -> Iterator[Round]:
        yield Round(new={"a.pha": {"verdict": "failed", "mjd": 58000.0, "reasons": "broken", "medians": {}}})
        raise KeyboardInterrupt

    monkeypatch.setattr(catalogue, "rounds", interrupted)
    out = tmp_path / "table.fits"
    ran = run(tmp_path, *ASKED[:-1], "--out", out)
    assert ran.code == 0
    assert ran.out == "MJD 58000.0000  a.pha  failed: broken\n"
    assert ran.err == f"{out}: the same command goes on\n"


def test_what_is_wrong_is_one_line(run: Run, tmp_path: Path) -> None:
    ran = run(tmp_path / "gone", *ASKED)
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == f"xrayflow: {tmp_path / 'gone'}: no such folder; give the one where spectra arrive\n"
    ran = run(tmp_path, *ASKED[:-1], "--json")
    assert (ran.code, ran.out) == (2, "")
    assert "goes with --once" in ran.err
    ran = run(tmp_path, *ASKED, "--out", tmp_path / "none" / "table.fits")
    assert (ran.code, len(ran.err.splitlines())) == (1, 1)
