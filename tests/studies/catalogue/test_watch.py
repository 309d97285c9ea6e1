"""A folder under watch: rows as spectra arrive, half-written files left alone, changes told, nothing done twice."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from catalogue_zoo import QUICK, Here
from ogip_zoo import toy_files
from xrayflow.errors import FileError
from xrayflow.inference import SamplingBudget
from xrayflow.ogip import Observation
from xrayflow.setup import FitSetup
from xrayflow.studies.catalogue import Question, Running, Watch, Watched, read_catalogue, rounds
from xrayflow.studies.catalogue.alarm import LEAST
from xrayflow.studies.running import sources

OLD = 1000.0


def question(**changes: object) -> Question:
    asked = QUICK | changes
    setup = FitSetup(model=asked["model"], energies=asked["energies"], grouping=asked["grouping"])
    return Question.of(setup, "none", False, 0, SamplingBudget(200, 60.0), None, False)


def arrive(folder: Path, number: int, norm: float = 0.05, age: float = OLD) -> Path:
    """A spectrum with its response in a folder of its own, last touched so many seconds ago."""
    place = folder / f"obs{number:02d}"
    place.mkdir(parents=True)
    path = toy_files(place, norm=norm, exposure=30.0, seed=number)
    touched = time.time() - age
    os.utime(path, (touched, touched))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "arriving"
    place.mkdir()
    return place


def watch(folder: Path, workers: Here, **changes: float) -> Watch:
    watched = Watched(folder, ("*.pha",), **changes)  # type: ignore[arg-type]
    return Watch(watched, question(), folder.parent / "table.ecsv", Running(retry=True), workers)


def test_each_new_spectrum_becomes_a_row_once(folder: Path) -> None:
    workers = Here()
    first, second = arrive(folder, 0), arrive(folder, 1)
    watching = watch(folder, workers)
    found = watching.round()
    assert sorted(found.new) == [str(first), str(second)]
    assert all(row["medians"]["powerlaw.norm"] == pytest.approx(0.05, rel=0.3) for row in found.new.values())
    assert (found.waiting, found.alarms, found.stopped) == ({}, [], False)
    assert watching.round().catalogue is None  # nothing new: no run
    third = arrive(folder, 2)
    assert list(watching.round().new) == [str(third)]
    assert workers.done == [[str(first), str(second)], [str(third)]]
    assert read_catalogue(folder.parent / "table.ecsv").rows == 3
    names = {one.name for one in folder.parent.iterdir()}
    assert {"table-time.png", "table-hardness-intensity.png", "table-alarms.json"} <= names
    # and a watch that begins again does nothing twice
    fourth, workers = arrive(folder, 3), Here()
    assert list(watch(folder, workers).round().new) == [str(fourth)]
    assert workers.done == [[str(fourth)]]


def test_a_new_spectrum_is_read_for_the_look_and_for_the_fit(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    usual = sources.read_observation

    def read_observation(path: Path, **words: Any) -> Observation:
        read.append(path.name)
        return usual(path, **words)

    monkeypatch.setattr(sources, "read_observation", read_observation)
    arrive(folder, 0)
    watching = watch(folder, Here())
    watching.round()
    assert read == ["toy.pha"] * 2
    watching.round()
    assert len(read) == 2


def test_a_file_that_is_still_written_is_left_until_it_is_whole(folder: Path) -> None:
    whole = arrive(folder, 0)
    path = arrive(folder, 1, age=30.0)
    content, touched = path.read_bytes(), time.time() - 30.0
    path.write_bytes(content[: len(content) // 2])
    os.utime(path, (touched, touched))
    workers = Here()
    watching = watch(folder, workers)
    found = watching.round()
    assert list(found.new) == [str(whole)]
    assert list(found.waiting) == [str(path)]
    assert path.name in found.waiting[str(path)]
    path.write_bytes(content)
    fresh = watching.round()  # whole, but of this very moment
    assert fresh.catalogue is None
    assert fresh.waiting == {str(path): "was written to just now"}
    os.utime(path, (touched, touched))
    assert list(watching.round().new) == [str(path)]
    assert workers.done == [[str(whole)], [str(path)]]


def test_a_file_that_never_becomes_whole_is_a_failed_row_in_the_end(folder: Path) -> None:
    path = arrive(folder, 0)
    path.write_bytes(path.read_bytes()[:3000])
    begun = time.time()
    watching = watch(folder, Here(), patience=100.0)
    assert list(watching.round(now=lambda: begun + 50.0).waiting) == [str(path)]
    found = watching.round(now=lambda: begun + 200.0)
    assert found.new[str(path)]["verdict"] == "failed"
    assert found.waiting == {}


def test_a_spectrum_waits_for_its_response(folder: Path) -> None:
    path = arrive(folder, 0, age=30.0)
    response = next(one for one in path.parent.iterdir() if one.suffix == ".rmf")
    response.rename(folder / "later.rmf")
    watching = watch(folder, Here())
    assert list(watching.round().waiting) == [str(path)]
    (folder / "later.rmf").rename(response)
    assert list(watching.round().new) == [str(path)]


def test_a_spectrum_that_is_replaced_is_fitted_anew(folder: Path) -> None:
    path = arrive(folder, 0, norm=0.05)
    arrive(folder, 1)
    watching = watch(folder, Here())
    before = watching.round().new[str(path)]
    other = toy_files(folder.parent, norm=0.5, exposure=30.0, seed=7)
    shutil.copyfile(other, path)
    os.utime(path, (time.time() - 100.0,) * 2)
    found = watching.round()
    assert list(found.new) == [str(path)]
    assert found.new[str(path)]["medians"]["powerlaw.norm"] > 5 * before["medians"]["powerlaw.norm"]
    assert found.new[str(path)]["hash"] != before["hash"]


def test_a_change_is_told_of_the_spectrum_that_brought_it(folder: Path) -> None:
    for number in range(LEAST):
        arrive(folder, number)
    watching = watch(folder, Here())
    assert watching.round().alarms == []
    changed = arrive(folder, LEAST, norm=0.5)
    found = watching.round()
    assert [(one.path, one.parameter) for one in found.alarms] == [(str(changed), "powerlaw.norm")]
    told = json.loads((folder.parent / "table-alarms.json").read_text())
    assert told["rate"] == 1e-3
    assert [one["path"] for one in told["alarms"]] == [str(changed)]
    assert watching.round().alarms == ()  # told once


def test_temporary_files_and_other_names_are_none_of_ours(folder: Path) -> None:
    path = arrive(folder, 0)
    shutil.copyfile(path, path.with_name(".part.pha"))
    shutil.copyfile(path, path.with_name("light.lc"))
    (folder / "folder.pha").mkdir()
    assert list(watch(folder, Here()).round().new) == [str(path)]


def test_rounds_end_where_a_run_was_asked_to(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrive(folder, 0)
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    watching = watch(folder, Here())
    every = rounds(watching, 7.0)
    assert len(next(every).new) == 1
    assert next(every).catalogue is None
    assert slept == [7.0]


def test_a_folder_that_is_none_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="gone: no such folder; give the one where spectra arrive"):
        watch(tmp_path / "gone", Here())
