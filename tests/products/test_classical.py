"""XSPEC's error and steppar beside the posterior."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from answer_zoo import altered
from ogip_zoo import toy_observation
from xrayflow import infer, optimise
from xrayflow.dataset import Calibration
from xrayflow.errors import DataError, ModelError
from xrayflow.fitting import error
from xrayflow.inference import Posterior
from xrayflow.products import Axis, intervals, profile, profile_lines
from xrayflow.products.classical import Intervals, known_name

SAID = {"energies": [(1.0, 6.0)], "grouping": "min:20"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("toy")


@pytest.fixture(scope="module")
def answer(folder: Path) -> Posterior:
    return infer(toy_observation(folder, exposure=200.0, background=True), "TBabs*powerlaw", **SAID)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def found(answer: Posterior) -> Intervals:
    return intervals(answer)


def test_intervals_are_those_of_the_statistic(answer: Posterior, found: Intervals, folder: Path) -> None:
    fit = optimise(
        toy_observation(folder, exposure=200.0, background=True),
        "TBabs*powerlaw",
        objective="statistic",
        **SAID,  # type: ignore[arg-type]
    )
    assert found.fit.value == pytest.approx(fit.value, abs=1e-3)
    for one, other in zip(found.intervals, error(fit).intervals, strict=True):
        assert one.name == other.name
        np.testing.assert_allclose([one.lo, one.hi], [other.lo, other.hi], rtol=2e-3)
    row = found.rows()[1]
    assert row["posterior"]["median"] == answer.summary()["parameters"]["powerlaw.PhoIndex"]["median"]
    assert row["statistic"]["lower"] < row["posterior"]["median"] < row["statistic"]["upper"]


def test_a_smaller_rise_is_a_narrower_interval(answer: Posterior, found: Intervals) -> None:
    wide, (narrow,) = found.intervals[1], intervals(answer, ["2"], 1.0).intervals
    assert wide.name == narrow.name == "powerlaw.PhoIndex"
    assert wide.lo < narrow.lo < narrow.hi < wide.hi
    with pytest.raises(DataError, match="delta -1 is no rise"):
        intervals(answer, ["2"], -1.0)


def shown(found: Intervals) -> str:
    console = Console(width=80, highlight=False, markup=False, emoji=False)
    with console.capture() as capture:
        console.print(found.table())
    return capture.get()


def test_the_table_has_both_and_marks_what_is_at_an_edge(found: Intervals) -> None:
    text = shown(found)
    assert max(map(len, text.splitlines())) <= 80
    for word in ("TBabs*powerlaw", "wstat", "rise of 2.706", "posterior, 90 %", "powerlaw.PhoIndex"):
        assert word in text
    # the toy's absorption is too small to be measured
    assert "* the edge of the box: the statistic does not rise so far" in text


def test_a_parameter_is_known_by_its_name_or_its_number(answer: Posterior) -> None:
    assert known_name(answer, "POWERLAW.phoindex") == known_name(answer, " 2 ") == "powerlaw.PhoIndex"
    for name, words in (
        ("powerlaw.PhoIdx", r"no parameter 'powerlaw.PhoIdx'; did you mean 'powerlaw.PhoIndex'\?"),
        ("9", "no parameter '9'"),
        ("background.lnA", "no parameter 'background.lnA'"),
    ):
        with pytest.raises(ModelError, match=words):
            known_name(answer, name)


def test_a_frozen_parameter_is_told_as_such(answer: Posterior) -> None:
    from answer_zoo import first_parameters

    with pytest.raises(ModelError, match=r"powerlaw.PhoIndex is frozen; free are TBabs.nH"):
        known_name(first_parameters(answer, 1), "2")


def test_a_profile_rises_by_delta_at_the_ends_of_an_interval(answer: Posterior, found: Intervals) -> None:
    one = found.intervals[1]
    made = profile(answer, [Axis("2", one.lo, one.hi, 4)])
    np.testing.assert_allclose(made.rise[[0, -1]], 2.706, rtol=0.01)
    lines = profile_lines(answer, made)
    assert lines[0].startswith("# wstat ")
    assert lines[1] == "# powerlaw.PhoIndex  wstat  rise"
    values = np.array([line.split() for line in lines[2:]], dtype=float)
    np.testing.assert_allclose(values[:, 0], np.linspace(one.lo, one.hi, 5), rtol=1e-5)
    np.testing.assert_allclose(values[:, 2], made.rise, atol=1e-3)


def test_a_plane_is_told_point_by_point(answer: Posterior) -> None:
    found = profile(answer, [Axis("powerlaw.PhoIndex", 1.6, 1.7, 1), Axis("powerlaw.norm", 0.04, 0.05, 2, True)])
    lines = profile_lines(answer, found)[2:]
    assert [tuple(map(float, line.split()[:2])) for line in lines] == [
        (index, pytest.approx(norm, rel=1e-5)) for index in (1.6, 1.7) for norm in (0.04, 0.0447214, 0.05)
    ]


@pytest.mark.parametrize("text", ["", "a", "a=1", "a=1:2:x", "a=x:2", "a=1:2:3:4", "=1:2", "a=1:2:1.5"])
def test_what_is_no_axis_is_one_line(text: str) -> None:
    with pytest.raises(DataError, match="write NAME=LO:HI or NAME=LO:HI:STEPS"):
        Axis.parse(text)


def test_axes_are_read() -> None:
    assert Axis.parse("TBabs.nH=0.1:0.5") == Axis("TBabs.nH", 0.1, 0.5, 10, False)
    assert Axis.parse("2=-1:3:log") == Axis("2", -1.0, 3.0, 10, True)


def test_too_many_points_are_refused(answer: Posterior) -> None:
    with pytest.raises(DataError, match="steppar: 40401 points; give at most 10000"):
        profile(answer, [Axis("1", 0.01, 0.02, 200), Axis("2", 1.0, 2.0, 200)])


def test_it_is_told_that_calibration_modes_are_left_out(found: Intervals) -> None:
    modes = altered(found.posterior, calibration=Calibration("nicer-v1", "0", 1.0))
    for intervals_of, told in ((found, False), (replace(found, posterior=modes), True)):
        console = Console(width=120)
        with console.capture() as capture:
            console.print(intervals_of.table())
        assert ("calibration modes" in capture.get()) is told
        assert [("calibration modes" in note) for note in intervals_of.notes] == [True] * told
