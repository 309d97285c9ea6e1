"""catalogue as a user meets it."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path
from typing import Any

import pytest
from astropy.table import Table

from catalogue_zoo import NORMS, Here, write_archive
from command_zoo import Run, runner
from xrayflow import cli
from xrayflow.data import bundled_pha
from xrayflow.demo import simulated_observation
from xrayflow.ogip import read_observation
from xrayflow.studies.catalogue import catalogue as room

WORDS = (
    "--model",
    "powerlaw",
    "--energies",
    "1-6",
    "--grouping",
    "min:10",
    "--network",
    "none",
    "--draws",
    "200",
    "--ess",
    "60",
)

BEGUN = (
    "xrayflow: fitting: {} of {} done; {} left, of 1 response, in {} {} of {} at most; a line follows the first batch, "
    "then one a minute\n"
)
"""What a run says first where no terminal is."""


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """The command in a folder with two spectra and a file that is none; nothing leaves this process."""
    write_archive(tmp_path, NORMS[:2])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(room, "Children", lambda *arguments: Here())
    return runner(capsys, monkeypatch, "catalogue")


def test_an_archive_becomes_a_table_and_a_summary(run: Run, tmp_path: Path) -> None:
    ran = run("toy*/toy.pha", "broken.pha", *WORDS, "--out", "t.fits", "--draws-dir", "draws")
    assert (ran.code, ran.err) == (0, BEGUN.format(1, 3, 2, 1, "batch", 24))
    assert ran.out.startswith("t.fits: 3 of 3 spectra: 2 certified, 1 failed\n  failed: broken.pha: not a FITS file")
    table = Table.read(tmp_path / "t.fits")
    assert table["path"].tolist() == ["toy0/toy.pha", "toy1/toy.pha", "broken.pha"]
    assert (tmp_path / "draws" / table["draws_file"][0]).exists()
    ran = run("toy*/toy.pha", "broken.pha", *WORDS, "--out", "t.fits", "--draws-dir", "draws", "--json", "--strict")
    assert ran.code == 1
    assert json.loads(ran.out) == {
        "schema_version": 1,
        "table": "t.fits",
        "manifest": "t.manifest.json",
        "sources": 3,
        "complete": True,
        "outcomes": {"certified": 2, "failed": 1},
        "failed": {"broken.pha": table["reasons"][2]},
    }


def test_many_failures_are_named_where_they_can_be_read(run: Run, tmp_path: Path) -> None:
    for number in range(7):
        (tmp_path / f"bad{number}.pha").write_bytes(b"no spectrum")
    ran = run("bad*.pha", *WORDS, "--dry-run")
    assert ran.out.count("failed: ") == 5
    assert ran.out.endswith("  and 2 more: --json names them all\n")
    ran = run("bad*.pha", *WORDS, "--out", "t.fits")
    assert ran.out.endswith("  and 2 more: the table has their reasons\n")


def test_a_dry_run_looks_and_writes_nothing(run: Run, tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    ran = run("toy*/toy.pha", "broken.pha", *WORDS, "--dry-run", "--batch", "1")
    assert ran.code == 0
    assert ran.out.splitlines()[:2] == [
        "3 spectra: 0 done, 1 cannot be read, 2 to fit in 2 batches",
        "responses: 1 (2 spectra)",
    ]
    assert "failed: broken.pha: not a FITS file" in ran.out
    assert sorted(tmp_path.iterdir()) == before
    assert run("toy0/toy.pha", *WORDS).code == 0
    assert run("broken.pha", *WORDS, "--dry-run").out.splitlines() == [
        "1 spectra: 0 done, 1 cannot be read, 0 to fit in 0 batches",
        "  failed: broken.pha: not a FITS file (it begins with b'no spect'); give an OGIP FITS file",
    ]
    told = json.loads(run("toy*/toy.pha", *WORDS, "--dry-run", "--json").out)
    assert (told["sources"], told["done"], told["left"], told["matrices"], told["batches"]) == (2, 1, 1, [1], 1)


def test_an_interrupted_run_keeps_what_it_has_and_says_how_to_go_on(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted(Here):
        def run(self, batches: Any, stopping: Any = lambda: False) -> Any:
            for number, one in enumerate(super().run(batches, stopping)):
                yield one
                if type(one.items[0]).__name__ == "Looked" and one.items[0].hash and number == 0:
                    signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(room, "Children", lambda *arguments: Interrupted())
    before = signal.getsignal(signal.SIGINT)
    ran = run("toy*/toy.pha", *WORDS, "--batch", "1", "--out", "t.ecsv")
    assert ran.code == 130
    assert ran.out == "t.ecsv: 1 of 2 spectra: 1 certified\n"
    begun, first, *others = ran.err.splitlines()
    assert begun + "\n" == BEGUN.format(0, 2, 2, 2, "batches", 1)
    assert re.fullmatch(r"xrayflow: fitting: 1 of 2, \S+ /s, \d+ s left", first)
    assert others == [
        "xrayflow: finishing the batch; Ctrl-C again ends at once, and the same command goes on either way",
        "xrayflow: stopped with 1 spectra left; the same command goes on",
    ]
    assert len(Table.read("t.ecsv")) == 1
    assert signal.getsignal(signal.SIGINT) is before
    monkeypatch.setattr(room, "Children", lambda *arguments: Here())
    assert run("toy*/toy.pha", *WORDS, "--batch", "1", "--out", "t.ecsv", "--resume").code == 0
    assert len(Table.read("t.ecsv")) == 2


def test_a_network_alone_answers_bright_spectra_with_the_modes_that_it_knows(run: Run, tmp_path: Path) -> None:
    """2e5 counts of NICER, and the same file again."""
    path = simulated_observation(read_observation(bundled_pha()), tmp_path).pha.path
    (tmp_path / "again.pha").write_bytes(path.read_bytes())
    asked = ("--amortised", "--systematic", "modes", "--draws", "300", "--out", "t.fits")
    ran = run(path.name, "again.pha", *asked)
    begun = BEGUN.format(0, 2, 2, 1, "batch", 24)
    assert (ran.code, ran.err, ran.out) == (0, begun, "t.fits: 2 of 2 spectra: 2 approximate\n")
    table = Table.read(tmp_path / "t.fits")
    assert (table["network"].tolist(), table["systematic"].tolist()) == (["nicer-bhb"] * 2, ["modes:nicer-v1:2"] * 2)
    assert table["TBabs.nH_median"].tolist() == pytest.approx([0.2, 0.2], rel=0.1)


def test_columns_of_a_table_are_carried_through(run: Run, tmp_path: Path) -> None:
    Path("list.csv").write_text("pha,name,distance,counts\ntoy1/toy.pha,GX 1-1,8.5,12\n")
    assert run("--list", "list.csv", *WORDS, "--out", "t.fits").code == 0
    (row,) = Table.read(tmp_path / "t.fits")
    assert (row["source"], row["distance"], row["counts_given"]) == ("GX 1-1", 8.5, 12)


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        ([], 1, "no spectra; give PHA files, or --list FILE"),
        (["no*.pha"], 1, "no*.pha: nothing there has such a name"),
        (["toy0/toy.pha", "--out", "t.txt"], 1, "give a name that ends in"),
        (["toy0/toy.pha", "--resume", "--restart"], 2, "give --resume or --restart, not both"),
        (["toy0/toy.pha", "--workers", "0"], 2, "workers"),
        (["toy0/toy.pha", "--workers", "2", "--scheduler", "tcp://x:1"], 2, "give --workers or --scheduler, not both"),
        (["toy0/toy.pha", "--network", "nicer-bhb", "--model", "powerlaw"], 1, "it was made for TBabs"),
        (["toy0/toy.pha", "--model", "powerlw"], 1, "powerlaw"),
        (["toy0/toy.pha", "--rmf", "none.rmf"], 0, ""),
    ],
)
def test_what_is_wrong_is_one_line(run: Run, options: list[str], code: int, said: str) -> None:
    ran = run(*options)
    assert ran.code == code
    assert said in ran.err
    assert ran.err.count("\n") == (1 if said else 0)


def test_the_verb_is_there() -> None:
    assert cli.run(["catalogue", "--help"]) == 0
