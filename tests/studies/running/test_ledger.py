"""What is done stands on disk, once; what changed is named; and one process writes at a time."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from xrayflow.errors import DataError, FileError
from xrayflow.studies.running import ledger as room
from xrayflow.studies.running.ledger import Ledger

ASKED: dict[str, Any] = {"seed": 0, "network": {"name": "none", "sha256": ""}, "prior": None}


def look(matrix: str = "m") -> dict[str, Any]:
    return {"matrix": matrix, "hash": "h", "files": {}}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "table.fits"


def begun(out: Path, keys: str = "abcd") -> Ledger:
    """A ledger that has looked at some sources; x cannot be read."""
    ledger = Ledger(out)
    ledger.settle(ASKED)
    ledger.ask_for(keys)
    ledger.keep_looks((key, look("n" if key == "c" else "m"), "broken" if key == "x" else "") for key in keys)
    return ledger


def row(key: str, error: str = "", **record: Any) -> tuple[str, dict[str, Any], str, None]:
    return key, record, error, None


def test_a_batch_that_was_kept_is_there_when_the_ledger_is_opened_again(out: Path) -> None:
    with begun(out) as ledger:
        ledger.keep_batch([row("b", value=1.5), row("a", error="no counts")], 2.0, "draws.fits", "f00")
    with Ledger(out) as ledger:
        ledger.ask_for("abcd")
        found = {one.key: (one.record, one.error) for one in ledger.rows()}
        assert found == {"a": ({}, "no counts"), "b": ({"value": 1.5}, ""), "c": (None, ""), "d": (None, "")}
        assert ledger.count() == (4, 2, 1)
        assert ledger.files() == [("draws.fits", "f00")]
        assert {matrix: list(places) for matrix, places in ledger.left().items()} == {"n": [2], "m": [3]}
        assert list(ledger.left(retry=True)["m"]) == [0, 3]


def test_rows_are_those_that_are_asked_for_in_their_order(out: Path) -> None:
    with begun(out) as ledger:
        ledger.keep_batch([row(key) for key in "abcd"], 1.0)
        ledger.ask_for("ca")
        assert [(one.place, one.key) for one in ledger.rows()] == [(0, "c"), (1, "a")]
        ledger.ask_for("cae")
        assert ledger.not_looked_at() == [2]
        assert ledger.count() == (3, 2, 0)


def test_a_file_that_cannot_be_read_is_looked_at_again_and_is_done_meanwhile(out: Path) -> None:
    with begun(out, "ax") as ledger:
        assert ledger.not_looked_at() == [1]
        assert next(iter(ledger.left().values())).tolist() == [0]
        assert [(one.key, one.error) for one in ledger.rows() if one.record is not None] == [("x", "broken")]


def test_numbers_that_json_does_not_have_come_back(out: Path) -> None:
    with begun(out) as ledger:
        ledger.keep_batch([row("a", nan=float("nan"), inf=float("-inf"), tenth=0.1)], 1.0)
        record = next(ledger.rows()).record
    assert record is not None
    assert record["nan"] != record["nan"]
    assert (record["inf"], record["tenth"]) == (float("-inf"), 0.1)


def test_other_settings_are_refused_and_named(out: Path) -> None:
    begun(out).__exit__(None, None, None)
    other = {"seed": 3, "network": {"name": "mine", "sha256": ""}, "prior": ["TBabs.nH=0.1:2"]}
    with Ledger(out) as ledger, pytest.raises(DataError) as caught:
        ledger.settle(other)
    assert 'network name was none, is mine; prior was not given, is ["TBabs.nH=0.1:2"]; seed was 0, is 3.' in str(
        caught.value
    )
    with Ledger(out, restart=True) as ledger:
        ledger.settle(other)
        assert ledger.count() == (0, 0, 0)


def test_a_second_run_is_refused_while_the_first_lives_and_not_after_it_was_killed(out: Path) -> None:
    script = (  # the file alone: the room around it would load torch
        "import sys, pathlib; from importlib.util import module_from_spec, spec_from_file_location; "
        "spec = spec_from_file_location('ledger', sys.argv[2]); room = module_from_spec(spec); "
        "sys.modules['ledger'] = room; spec.loader.exec_module(room); "
        "held = room.Ledger(pathlib.Path(sys.argv[1])); print('open', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(out), str(Path(room.__file__))]
    first = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert first.stdout is not None
    assert first.stdout.readline() == "open\n"
    with pytest.raises(FileError, match="another run is writing it"):
        Ledger(out)
    first.kill()
    first.communicate()
    with Ledger(out) as ledger:
        assert ledger.count() == (0, 0, 0)
    assert sorted(path.name for path in out.parent.iterdir()) == ["table.fits.ledger"]


def test_a_full_disk_is_one_line_and_what_was_kept_stays(out: Path) -> None:
    with begun(out) as ledger:
        ledger.keep_batch([row("a")], 1.0)
        pages = ledger._base.execute("PRAGMA page_count").fetchone()[0]
        ledger._base.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(FileError, match=r"database or disk is full\); make room and give the same command"):
            ledger.keep_batch([row("b", text="x" * 100_000)], 1.0)
    with Ledger(out) as ledger:
        ledger.ask_for("abcd")
        assert [one.key for one in ledger.rows() if one.record is not None] == ["a"]


@pytest.mark.parametrize("content", [b"no ledger", b"SQLite format 3\0" + b"\1" * 200])
def test_a_file_that_is_no_ledger_is_one_line(out: Path, content: bytes) -> None:
    out.with_name("table.fits.ledger").write_bytes(content)
    with pytest.raises(FileError, match="--restart starts anew"):
        Ledger(out)
    with Ledger(out, restart=True):
        pass


def test_a_database_of_something_else_is_no_ledger(out: Path) -> None:
    base = sqlite3.connect(out.with_name("table.fits.ledger"))
    base.execute("CREATE TABLE mine (x)")
    base.close()
    with pytest.raises(FileError, match="not a ledger of this version"):
        Ledger(out)


def test_a_place_that_takes_no_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="cannot be written"):
        Ledger(tmp_path / "nowhere" / "table.fits")


def test_files_of_a_batch_that_was_not_kept_are_remembered(out: Path) -> None:
    with begun(out) as ledger:
        ledger.begin_file("one.fits")
    with Ledger(out) as ledger:
        assert ledger.abandoned() == ["one.fits"]
        ledger.keep_batch([row("a")], 1.0, "one.fits", "f00")
        assert ledger.abandoned() == []


def test_what_is_forgotten_is_done_again(out: Path) -> None:
    with begun(out) as ledger:
        ledger.keep_batch([row("a"), row("b", error="no counts")], 1.0)
        assert ledger.answered(["a", "b", "c"]) == {"a", "c"}
        ledger.forget(["a"])
        assert ledger.not_looked_at() == [0]
