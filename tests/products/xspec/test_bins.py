"""The bins of a session as ranges of energy: exactly those bins, whatever was typed."""

from __future__ import annotations

import csv
import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ogip_zoo import toy_files, toy_observation
from xrayflow import infer
from xrayflow.errors import DataError, FormatError, XrayflowWarning
from xrayflow.ogip import Bins, read_observation
from xrayflow.ogip.grouping import notice_energies
from xrayflow.products.xspec import chain_file, read_session, script, session_fit
from xrayflow.products.xspec.bins import noticed, noticed_ranges
from xrayflow.products.xspec.session import Notice


def bins(size: int, descending: bool = False) -> Bins:
    """Bins of some width that grow."""
    edges = 0.2 * 1.07 ** np.arange(size + 1)
    low, high = (edges[:-1], edges[1:]) if not descending else (edges[:-1][::-1], edges[1:][::-1])
    each = np.arange(size)
    return Bins(each, np.zeros(size, dtype=np.int64), low, high, each, each)


numbers = st.integers(1, 40)
ranges = st.lists(st.tuples(st.booleans(), numbers, numbers), min_size=1, max_size=6)


@given(ranges, st.booleans())
def test_ranges_of_energy_notice_just_the_bins_of_a_session(
    said: list[tuple[bool, int, int]], descending: bool
) -> None:
    every = bins(40, descending)
    notices = [Notice(keep, min(low, high), max(low, high), False) for keep, low, high in said]
    kept = np.ones(40, dtype=bool)
    for one in notices:
        kept[int(one.low or 0) - 1 : int(one.high or 0)] = one.keep
    assert noticed(every, notices).tolist() == kept.tolist()
    if kept.any():
        assert notice_energies(every, noticed_ranges(every, notices, "a.xcm")).tolist() == kept.tolist()
    else:
        with pytest.raises(DataError, match=r"a\.xcm: ignores all 40 bins"):
            noticed_ranges(every, notices, "a.xcm")


def test_ranges_of_bins_end_where_the_bins_do() -> None:
    """Bins a third as wide as their energies: the band of the fit, whose flux is told, is that of the data."""
    edges = 1.4 ** np.arange(11)
    each = np.arange(10)
    every = Bins(each, np.zeros(10, dtype=np.int64), edges[:-1], edges[1:], each, each)
    (found,) = noticed_ranges(every, [Notice(False, 1.0, 3.0, False), Notice(False, 8.0, 10.0, False)], "")
    np.testing.assert_allclose(found, edges[[3, 7]], rtol=0.005)


@given(st.lists(st.floats(0.1, 4.0), min_size=2, max_size=6, unique=True), st.booleans())
def test_energies_that_were_typed_are_kept_as_they_are(energies: list[float], descending: bool) -> None:
    edges = sorted(energies)[: len(energies) // 2 * 2]
    every = bins(40, descending)
    gaps = list(itertools.pairwise(edges))[1::2]
    notices = [Notice(False, None, edges[0], True), Notice(False, edges[-1], None, True)]
    notices += [Notice(False, low, high, True) for low, high in gaps]
    pairs = tuple(zip(edges[::2], edges[1::2], strict=True))
    kept = noticed(every, notices)
    assert kept.tolist() == notice_energies(every, pairs).tolist()
    if kept.any():
        assert noticed_ranges(every, notices, "a.xcm") == pairs


def test_real_lists_of_noticed_bins_come_back(data_folder: Path) -> None:
    folder = data_folder / "nicer_MAXIJ1535-571"
    with (data_folder / "tables" / "maxij1535_simpl_diskbb_xspec_fits.csv").open() as stream:
        rows = {row["id"]: row["noticed_bins"] for row in csv.DictReader(stream)}
    rmf = data_folder / "nicer_response" / "nicer.rmf.gz"
    typed = [Notice(False, None, 0.5, True), Notice(False, 1.5, 2.3, True), Notice(False, 10.0, None, True)]
    for name in list(rows)[:3]:
        obsid, gti = name.split("_")
        pha = folder / obsid / f"js_ni{obsid}_0mpu7_silver_GTI{gti}.jsgrp.gz"
        every = read_observation(pha, rmf, folder / "nicer_d49_55575341.arf", "none").bins()
        logged = np.zeros(every.e_min.size, dtype=bool)
        for part in rows[name].split(","):
            first, last = map(int, part.split("-"))
            logged[first - 1 : last] = True
        assert noticed(every, typed).tolist() == logged.tolist()
        places = np.flatnonzero(~logged) + 1
        by_number = [Notice(False, int(place), int(place), False) for place in places]
        assert notice_energies(every, noticed_ranges(every, by_number, "")).tolist() == logged.tolist()


def toy_session(folder: Path, text: str, background: bool = False) -> Path:
    toy_files(folder, exposure=200.0, background=background)
    (folder / "session.xcm").write_text(text)
    return folder / "session.xcm"


def test_a_session_is_a_fit(tmp_path: Path) -> None:
    text = "data toy.pha\nignore bad\nignore 1:1-9,50-**\nstatistic cstat\n"
    model = "model TBabs*powerlaw\n0.02 -1\n1.7 0.01 0 0 3 3\n1\n"
    session = read_session(toy_session(tmp_path, text + model))
    observation = session.observation()
    said = session_fit(session, observation)
    assert said.model is not None
    assert said.model.names == ("powerlaw.PhoIndex", "powerlaw.norm")
    assert said.prior == ("powerlaw.PhoIndex=0:3",)
    assert (said.statistic, said.systematic, said.remarks) == ("cstat", None, ())
    assert said.energies is not None
    assert observation.bin(said.energies).number.tolist() == list(range(10, 50))


def test_what_xspec_calls_cstat_is_w_beside_a_background(tmp_path: Path) -> None:
    session = read_session(toy_session(tmp_path, "data toy.pha\nignore bad\nstatistic cstat\n", background=True))
    said = session_fit(session, session.observation())
    assert (said.statistic, said.model, said.energies) == ("wstat", None, None)


def test_a_systematic_error_acts_on_chi_squared_alone(tmp_path: Path) -> None:
    for statistic, systematic, told in (("chi", "0.02", 0), ("cstat", None, 1)):
        path = toy_session(tmp_path, f"data toy.pha\nignore bad\nstatistic {statistic}\nsystematic 0.02\n")
        session = read_session(path)
        said = session_fit(session, session.observation())
        assert said.systematic == systematic
        assert len(said.remarks) == told
    with pytest.warns(XrayflowWarning, match="systematic 0.02 acts on chi\\^2 alone in XSPEC; it is left out"):
        said.tell()


def test_a_model_is_left_alone_where_another_is_fitted(tmp_path: Path) -> None:
    session = read_session(toy_session(tmp_path, "data toy.pha\nmodel wabs*mekal\n"))
    assert session_fit(session, session.observation(), with_model=False).model is None


def test_a_model_of_too_many_lines_is_told_with_the_script(tmp_path: Path) -> None:
    session = read_session(toy_session(tmp_path, "data toy.pha\nmodel powerlaw\n1\n1\n1\n"))
    with pytest.raises(FormatError, match=r"session.xcm: 3 parameters for powerlaw, which has 2"):
        session_fit(session, session.observation())


def test_our_own_script_is_the_same_fit_again(tmp_path: Path) -> None:
    observation = toy_observation(tmp_path, exposure=200.0, background=True)
    model, prior = "TBabs*powerlaw", ["powerlaw.PhoIndex=1:2.5"]
    answer = infer(observation, model, prior, {"TBabs.nH": 0.02}, energies=[(1.0, 2.0), (3.0, 6.0)])
    (tmp_path / "model.xcm").write_text(script(answer))
    session = read_session(tmp_path / "model.xcm")
    read = session.observation()
    said = session_fit(session, read)
    again = infer(read, said.model, said.prior, energies=said.energies, statistic=said.statistic)
    assert again.prior == answer.prior
    assert again.model == answer.model
    assert again.data[0].number.tolist() == answer.data[0].number.tolist()
    assert again.statistic.value == pytest.approx(answer.statistic.value, abs=1e-6)
    assert chain_file(again) == chain_file(answer)
