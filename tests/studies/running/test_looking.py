"""A look at a source's files: hashes, what it shares with others, what is odd; and what changed since."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from ogip_zoo import ENERGY_EDGES, redistribution, toy_files, write_parts
from xrayflow.files import sha256_of
from xrayflow.studies.running.looking import Looked, Looking, changed_file, look_at
from xrayflow.studies.running.sources import Source


def test_a_look_says_files_hashes_and_what_is_odd(tmp_path: Path) -> None:
    path = toy_files(tmp_path, background=True)
    (tmp_path / "toy.rmf").rename(tmp_path / "other.rmf")
    shutil.copy(tmp_path / "other.rmf", tmp_path / "toy.rsp")
    (found,) = Looking().work([Looked(Source(path, name="mine"), "")])
    record = found.record
    assert found.error == ""
    assert {role: Path(path).name for role, (path, _) in record["files"].items()} == {
        "pha": "toy.pha",
        "rmf": "toy.rsp",
        "arf": "toy.arf",
        "background": "toy.bkg",
    }
    assert all(sha256 == sha256_of(path) for path, sha256 in record["files"].values())
    assert (record["source"], record["exposure"]) == ("mine", 1000.0)
    assert "toy.rsp beside it is taken" in record["said"][0]


def test_what_cannot_be_read_has_its_reason_and_the_hash_of_the_spectrum(tmp_path: Path) -> None:
    path = toy_files(tmp_path)
    (tmp_path / "toy.arf").unlink()
    found = look_at(None, Source(path))
    assert "ANCRFILE = 'toy.arf' is not there" in found.error
    assert found.record["files"] == {"pha": [str(path), sha256_of(path)]}
    assert look_at(None, Source(tmp_path / "none.pha")).record["files"]["pha"][1] == ""


def test_sources_share_a_matrix_whatever_their_areas_and_not_with_another_of_its_file(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        toy_files(tmp_path / name, seed=ord(name))
    matrix = redistribution()
    many = {"TSTART": 0.0}, {"TSTART": 1.0}
    write_parts(tmp_path / "many.rsp", [(ENERGY_EDGES, matrix), (ENERGY_EDGES, 0.5 * matrix)], many)
    shared = {look_at(None, Source(tmp_path / name / "toy.pha")).record["matrix"] for name in "ab"}
    assert len(shared) == 1
    parts = [Source(tmp_path / "a" / "toy.pha", rmf=str(tmp_path / f"many.rsp{{{n}}}")) for n in (1, 2)]
    assert len({look_at(None, one).record["matrix"] for one in parts} | shared) == 3


@pytest.mark.parametrize("role", ["pha", "rmf", "arf", "background"])
def test_a_change_of_any_file_is_seen(tmp_path: Path, role: str) -> None:
    record = look_at(None, Source(toy_files(tmp_path, background=True))).record
    assert changed_file(record, {}) == ""
    path = Path(record["files"][role][0])
    path.write_bytes(path.read_bytes() + b" ")
    os.utime(path, (0, 0))
    assert changed_file(record, {}) == str(path)
    path.unlink()
    assert changed_file(record, {}) == str(path)


def test_a_pipe_is_no_file_and_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pha")
    assert sha256_of(tmp_path / "pipe.pha") == ""
    assert "not a file" in look_at(None, Source(tmp_path / "pipe.pha")).error
