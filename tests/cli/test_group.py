"""group as a user meets it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from ogip_zoo import toy_files
from xrayflow import cli
from xrayflow.ogip import read_pha


def test_a_spectrum_is_grouped_and_the_bins_are_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path, out = toy_files(tmp_path, exposure=20.0), tmp_path / "grouped.pha"
    assert cli.run(["group", str(path), "--grouping", "min:20", "--out", str(out)]) == 0
    told, said = capsys.readouterr()
    assert told.startswith(f"{out}: ")
    assert "good bins of" in told
    assert "20 counts or more in each" in told
    assert said == ""
    assert cli.run(["group", str(path), "--grouping", "min:20", "--out", str(out), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["good"] == int(sum((read_pha(out).grouping == 1) & (read_pha(out).quality == 0)))
    assert (document["schema_version"], document["path"]) == (1, str(out))


def test_another_folder_is_remarked(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    out = str(tmp_path / "there" / "grouped.pha")
    assert cli.run(["group", str(toy_files(tmp_path)), "--grouping", "optimal", "--out", out]) == 0
    assert "the files that its header names are looked for beside it" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--grouping", "file", "--out", "x"], 2, "'file' is what it has; give optimal, min:N"),
        (["--grouping", "minimum:20", "--out", "x"], 2, "is none of file, none, optimal"),
        (["--grouping", "min:20", "--out", "no/such/folder"], 1, "cannot be written .*choose another --out"),
        (["--grouping", "min:20"], 2, "Missing option '--out'"),
        (["--out", "x"], 2, "Missing option '--grouping'"),
    ],
)
def test_what_is_wrong_is_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, options: list[str], code: int, message: str
) -> None:
    assert cli.run(["group", str(toy_files(tmp_path)), *options]) == code
    told, said = capsys.readouterr()
    assert told == ""
    assert len(said.splitlines()) == 1
    assert re.search(message, said), said


def test_no_file_that_is_read_is_replaced(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = toy_files(tmp_path, background=True)
    before = {one: one.read_bytes() for one in tmp_path.iterdir()}
    assert len(before) > 3
    (tmp_path / "symbolic.pha").symlink_to(path)
    (tmp_path / "hard.pha").hardlink_to(path)
    for out in (*before, tmp_path / "symbolic.pha", tmp_path / "hard.pha"):
        assert cli.run(["group", str(path), "--grouping", "min:20", "--out", str(out)]) == 1
        told, said = capsys.readouterr()
        assert told == ""
        assert said.startswith(f"xrayflow: {out}: is one of the files that ")
        assert said.endswith("reads; choose another --out\n")
    assert {one: one.read_bytes() for one in before} == before


def test_groups_without_a_good_bin_are_not_written(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path, out = toy_files(tmp_path, exposure=20.0), tmp_path / "new.pha"
    for kind in ("min:100000000", "optmin:100000000"):
        assert cli.run(["group", str(path), "--grouping", kind, "--out", str(out)]) == 1
        told, said = capsys.readouterr()
        assert (told, len(said.splitlines())) == ("", 1)
        assert f"{kind} leaves no good bin of the " in said
        assert not out.exists()
