"""What a catalogue fits: paths, patterns, lists, tables with columns of the user's own."""

from __future__ import annotations

from pathlib import Path

import pytest
from astropy.table import MaskedColumn, Table

from xrayflow.errors import DataError, FileError
from xrayflow.studies.running.listing import key_of, make_listing
from xrayflow.studies.running.sources import Source


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b/s.pha", "a/s.pha", "odd [1].pha"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    return tmp_path


def test_patterns_are_spelled_out_in_order(folder: Path) -> None:
    found = make_listing([str(folder / "*" / "*.pha"), folder / "odd [1].pha"], arf="all.arf")
    assert found.sources == [
        Source(folder / "a" / "s.pha", "all.arf"),
        Source(folder / "b" / "s.pha", "all.arf"),
        Source(folder / "odd [1].pha", "all.arf"),
    ]
    assert (
        make_listing(str(folder / "**" / "s.pha")).sources
        == make_listing([folder / "a/s.pha", folder / "b/s.pha"]).sources
    )


def test_a_pattern_that_nothing_matches_is_an_error(folder: Path) -> None:
    with pytest.raises(FileError, match="nothing there has such a name"):
        make_listing(str(folder / "*.fak"))
    with pytest.raises(DataError, match="no spectra; give PHA files, or --list FILE"):
        make_listing()


def test_a_path_is_one_row_however_it_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder / "a")
    found = make_listing(["s.pha", folder / "a" / "s.pha", "../a/s.pha", "../b/s.pha"])
    assert [str(source.pha) for source in found.sources] == ["s.pha", "../b/s.pha"]
    assert found.keys == [str(folder / "a" / "s.pha"), str(folder / "b" / "s.pha")]
    with pytest.raises(DataError, match="is named twice, with different files"):
        make_listing([Source(Path("s.pha"), "one.arf"), Source(Path("s.pha"), "other.arf")])


def test_links_are_spectra_of_their_own(folder: Path) -> None:
    (folder / "link.pha").symlink_to(folder / "a" / "s.pha")
    assert key_of(Source(folder / "link.pha")) != key_of(Source(folder / "a" / "s.pha"))


@pytest.mark.parametrize("suffix", [".fits", ".ecsv", ".csv", ".vot", ".parquet"])
def test_a_table_says_files_and_names_and_its_other_columns_are_carried(folder: Path, suffix: str) -> None:
    path = folder / f"list{suffix}"
    table = Table(
        {"PHA": ["a/s.pha", "b/s.pha"], "Name": ["one", "two"], "arf": ["x.arf", ""], "backfile": ["", "none"]}
    )
    table["rmf"], table["redshift"], table["ra"] = ["x.rmf", "y.rmf"], [0.1, 0.2], [10.5, 11.5]
    if suffix == ".parquet":
        import pyarrow as pa
        from pyarrow import parquet

        parquet.write_table(pa.table({name: table[name].tolist() for name in table.colnames}), path)
    else:
        table.write(path, format={".vot": "votable", ".csv": "ascii.csv", ".ecsv": "ascii.ecsv"}.get(suffix, "fits"))
    found = make_listing(listed=path, background="all.bkg")
    here = str(folder)
    assert found.sources == [
        Source(folder / "a/s.pha", f"{here}/x.arf", "all.bkg", f"{here}/x.rmf", "one"),
        Source(folder / "b/s.pha", None, "none", f"{here}/y.rmf", "two"),
    ]
    assert found.carried is not None
    assert found.carried.colnames == ["redshift", "ra"]
    assert found.carried["redshift"].tolist() == [0.1, 0.2]


def test_a_table_may_leave_cells_empty_but_not_that_of_the_spectrum(folder: Path) -> None:
    path = folder / "list.ecsv"
    arf = MaskedColumn(["x.arf", "y.arf"], mask=[True, False])
    Table({"spectrum": ["a/s.pha", "b/s.pha"], "arf": arf}).write(path)
    assert [source.arf for source in make_listing(listed=path).sources] == [None, str(folder / "y.arf")]
    Table({"spectrum": ["a/s.pha", ""]}).write(path, overwrite=True)
    with pytest.raises(FileError, match="row 2 names no spectrum; fill column spectrum"):
        make_listing(listed=path)


def test_rows_that_come_again_leave_the_table_in_step(folder: Path) -> None:
    path = folder / "list.csv"
    path.write_text("pha,z\na/s.pha,1\na/s.pha,2\nb/s.pha,3\n")
    found = make_listing(listed=path)
    assert found.carried is not None
    assert [len(found.sources), *found.carried["z"].tolist()] == [2, 1, 3]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("list.csv", b"a,b\n1,2\n", "no column of spectra among a, b"),
        ("list.fits", b"no table", "cannot be read as a table"),
        ("list.parquet", b"no table", "cannot be read as a table"),
        ("list.ecsv", None, "no such file"),
    ],
)
def test_a_table_that_cannot_be_says_so(folder: Path, name: str, content: bytes | None, said: str) -> None:
    if content is not None:
        (folder / name).write_bytes(content)
    with pytest.raises(FileError, match=said):
        make_listing(listed=folder / name)


def test_a_table_is_all_or_nothing(folder: Path) -> None:
    (folder / "list.csv").write_text("pha\na/s.pha\n")
    with pytest.raises(DataError, match="a table says all that is fitted"):
        make_listing([folder / "b/s.pha"], folder / "list.csv")
