"""Scripts of XSPEC: what `save all`, pipelines and people write, and what is refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from xrayflow.errors import DataError, FormatError
from xrayflow.products.xspec.session import MOST_BYTES, Notice, Session, read_session

SAVED = """statistic cstat
data 1:1 source.pha
response  1:1 source.rmf
arf  1:1 source.arf
backgrnd 1 back.pha
ignore 1:1-29,301-1024

method leven 10 0.01
abund wilm
xsect vern
cosmo 70 0 0.73
xset delta 0.01
xset APECROOT /somewhere/apec
systematic 0
energies extend low 0.001 200 log
model  TBabs*powerlaw
            0.3      0.001          0          0     100000      1e+06
            1.7       0.01         -3         -2          9         10
              1       0.01          0          0      1e+20      1e+24
bayes off
"""

TYPED = """
# by hand
query yes
data 1 source.pha
back none
resp source.rmf
ignore bad
ign **-0.3,10.-**
setplot energy
stat pgstat
mo tbabs(po) & 0.3 -1 & 1.7 & 1
newpar 2 1.9
freeze 3
fit 100
"""


def session(folder: Path, text: str) -> Session:
    (folder / "session.xcm").write_text(text)
    return read_session(folder / "session.xcm")


def test_what_save_all_writes_is_read(tmp_path: Path) -> None:
    found = session(tmp_path, SAVED)
    assert found.files == {"data": "source.pha", "response": "source.rmf", "arf": "source.arf", "backgrnd": "back.pha"}
    assert (found.statistic, found.abund, found.xsect, found.systematic) == ("cstat", "wilm", "vern", 0.0)
    assert found.notices == [Notice(False, 1, 29, False), Notice(False, 301, 1024, False)]
    assert found.model is not None
    assert found.model.text == "TBabs*powerlaw"
    assert [line.fields[0] for line in found.model.lines] == [0.3, 1.7, 1.0]
    assert found.remarks == []


def test_what_people_type_is_read(tmp_path: Path) -> None:
    found = session(tmp_path, TYPED)
    assert found.files == {"data": "source.pha", "backgrnd": "none", "response": "source.rmf"}
    assert found.ignores_bad
    assert found.statistic == "pgstat-xspec"
    assert found.notices == [Notice(False, None, 0.3, True), Notice(False, 10.0, None, True)]
    assert found.model is not None
    assert found.model.text == "tbabs(po)"
    assert [line.fields[:2] for line in found.model.lines] == [(0.3, -1.0), (1.9, None), (1.0, -0.01)]


def test_lines_below_the_model_end_where_a_command_begins(tmp_path: Path) -> None:
    found = session(tmp_path, "model TBabs*powerlaw\n0.3\n, , 0 0 1 1\n= p1\nbayes off\n")
    assert found.model is not None
    assert len(found.model.lines) == 3
    found = session(tmp_path, "model po\n/*\nfit\n")
    assert found.model is not None
    assert found.model.lines[0].accepts_all


@pytest.mark.parametrize(
    ("words", "notices"),
    [
        ("ignore 1:1-3,57-129", [Notice(False, 1, 3, False), Notice(False, 57, 129, False)]),
        ("ignore *:**-0.3", [Notice(False, None, 0.3, True)]),
        ("ignore 1-**", [Notice(False, 1, None, False)]),
        ("ignore **-3 5.-7", [Notice(False, None, 3, False), Notice(False, 5, 7, True)]),
        ("ignore 1.5e0-2", [Notice(False, 1.5, 2, True)]),
        ("ignore 4", [Notice(False, 4, 4, False)]),
        ("notice 0.5-2.", [Notice(True, 0.5, 2, True)]),
        ("notice all", [Notice(True, None, None, False)]),
        ("ignore 1: 1-3", [Notice(False, 1, 3, False)]),
    ],
)
def test_ranges_are_bins_or_energies(tmp_path: Path, words: str, notices: list[Notice]) -> None:
    assert session(tmp_path, f"data a.pha\n{words}\n").notices == notices


def test_files_are_found_from_the_folder_of_the_script(tmp_path: Path) -> None:
    found = session(tmp_path, SAVED)
    assert found.file("data") == "source.pha"
    (tmp_path / "source.pha").write_bytes(b"")
    (tmp_path / "source.rmf.gz").write_bytes(b"")
    assert found.file("data") == str(tmp_path / "source.pha")
    assert found.file("response") == str(tmp_path / "source.rmf.gz")
    assert session(tmp_path, "data source.pha{3}").file("data") == f"{tmp_path / 'source.pha'}{{3}}"
    assert session(tmp_path, TYPED).file("backgrnd") == "none"
    assert session(tmp_path, TYPED).file("arf") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("set id 3", "this computes; load it in XSPEC, then save all"),
        ("data $file", "this computes"),
        ("data [glob *.pha]", "this computes"),
        ("if {1} {", "this computes"),
        ("}", "this computes"),
        ("source other.tcl", "this computes"),
        ("@other.xcm", "another script; load it in XSPEC"),
        ("frobnicate 3", "no command of XSPEC that is known here"),
        ("data 1:1 a.pha 2:2 b.pha", "more than one spectrum"),
        ("data a.pha\ndata 2:2 b.pha", "more than one spectrum"),
        ("response 2:1 a.rmf", "another source or spectrum"),
        ("arf 1:2 a.arf", "another source or spectrum"),
        ("ignore 2:1-3", "another spectrum"),
        ("ignore one", "is no range"),
        ("ignore 1-2-3", "is no range"),
        ("ignore 1:8-0.5", "is no range; write the lower end first, as 0.5-8"),
        ("notice 50-3", "is no range; write the lower end first, as 3-50"),
        ("gain fit 1", "has no counterpart here: it changes the energies"),
        ("corfile a.cor", "has no counterpart here: it changes the background"),
        ("mdefine mine E+a : add", "has no counterpart here: it makes a component"),
        ("statistic whittle", "no statistic of that name here; one of chi, cstat"),
        ("systematic lots", "'lots' is no number"),
        ("model po\nmodel po", "a second model"),
        ("model 2:nxb po", "a model of a name or for another source"),
        ("model", "write model and an expression"),
        ("model po\n1 2 3 4 5 6 7", "7 numbers; a parameter has"),
        ("newpar 1 3", "there is no model yet"),
        ("model po\nnewpar 1 x", "is no line of a parameter"),
        ("model po\nfreeze all", "write the numbers of parameters"),
        ("cd elsewhere", "start xrayflow in that folder"),
        ("abund file my.abund", "write abund and the name of a table"),
    ],
)
def test_what_cannot_be_followed_is_one_line_with_its_number(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(FormatError, match=rf"session.xcm:\d+: '.*': .*{message}"):
        session(tmp_path, f"{text}\n")


def test_a_script_that_says_nothing_is_refused(tmp_path: Path) -> None:
    for text in ("", "# nothing\n", "fit\nquit\n"):
        with pytest.raises(FormatError, match="names neither data nor a model"):
            session(tmp_path, text)


def test_a_file_that_is_no_script_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"nowhere.xcm: cannot be read \(No such file"):
        read_session(tmp_path / "nowhere.xcm")
    (tmp_path / "a.xcm").write_bytes(bytes(range(256)) * 20)
    with pytest.raises(FormatError, match=r"a.xcm:\d+: "):
        read_session(tmp_path / "a.xcm")
    (tmp_path / "a.xcm").write_bytes(b"#" * (MOST_BYTES + 1))
    with pytest.raises(FormatError, match="larger than any saved session"):
        read_session(tmp_path / "a.xcm")


def test_a_session_without_data_needs_a_spectrum(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="names no data; give the spectrum too"):
        session(tmp_path, "model po\n").observation()


def test_a_grid_that_is_not_taken_is_told(tmp_path: Path) -> None:
    assert session(tmp_path, SAVED).remarks == []
    found = session(tmp_path, "data a.pha\nenergies 0.01 200. 1000 log\n")
    assert found.remarks == ["session.xcm: energies 0.01 200. 1000 log is not taken; the response makes the grid"]


@pytest.mark.parametrize("obsid", ["10258-01-02-00", "10408-01-42-00", "20402-01-15-00", "50125-01-03-00"])
def test_sessions_of_real_work_are_read(data_folder: Path, obsid: str) -> None:
    found = read_session(data_folder / f"rxte_pca_GRS1915+105_{obsid}" / "mendez_bestfit_load.xcm")
    assert found.model is not None
    assert found.model.text == "constant*vphabs(diskbb + gaussian + nthComp)"
    assert len(found.model.lines) == 30
    assert (found.statistic, found.abund) == ("chi2", "wilm")
    observation = found.observation()
    assert observation.pha.path.name == "src_pcu2.pha"
    assert observation.background is not None
