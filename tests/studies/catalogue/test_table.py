"""Tables that astropy, TOPCAT and pyarrow read: values, units, descriptions, UCDs, and the user's own columns."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import MaskedColumn, Table

from xrayflow.errors import FileError
from xrayflow.models import parse_model
from xrayflow.studies.catalogue import table as room
from xrayflow.studies.catalogue.columns import LEADING, columns_of, row_of
from xrayflow.studies.catalogue.table import check_place, write_table
from xrayflow.studies.running.ledger import Kept

MODEL = parse_model("TBabs*powerlaw").freeze({"powerlaw.PhoIndex": 1.7})
COLUMNS = columns_of(MODEL)


def rows() -> Iterator[dict[str, Any]]:
    """Three sources, the second without an answer."""
    look = {"source": "MAXI", "exposure": 10.0, "mjd": 58000.5, "hash": "f00", "said": ["no BACKSCAL"]}
    record = {"verdict": "certified", "statistic": 1 / 3, "dof": 7, "reasons": "good", "TBabs.nH_best": 0.1}
    kept = [
        Kept(0, "/a", look, record, "", None),
        Kept(1, "/é", look, {}, "no counts", None),
        Kept(2, "/c", {}, record | {"reasons": ""}, "", None),
    ]
    for one in kept:
        yield row_of(one, one.key, "", MODEL, 3) | {"place": one.place}


def carried() -> Table:
    found = Table({"z": [0.1, 0.2, 0.3], "type": ["BH", "neutron star", ""], "counts": [5, 6, 7]})
    found["z"].unit, found["z"].description = "km/s", "velocity"
    found["flag"] = MaskedColumn([True, False, True])
    return found


@pytest.fixture(params=[".fits", ".ecsv", ".parquet"])
def path(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A table, written two rows at a time."""
    monkeypatch.setattr(room, "TOGETHER", 2)
    place = tmp_path / f"t{request.param}"
    write_table(place, COLUMNS, rows, carried())
    return place


def read(path: Path) -> Table:
    if path.suffix != ".parquet":
        return Table.read(path)
    from pyarrow import parquet

    found = parquet.read_table(path)
    return Table({name: found.column(name).to_pylist() for name in found.column_names})


def test_what_is_written_is_what_is_read(path: Path) -> None:
    table = read(path)
    names = [column.name for column in COLUMNS]
    assert table.colnames == [*names, "z", "type", "counts_given", "flag"]
    assert [str(one) for one in table["path"]] == ["/a", "/é", "/c"]
    assert table["verdict"].tolist() == ["certified", "failed", "certified"]
    assert [str(one) for one in table["reasons"]][:2] == ["good; no BACKSCAL", "no counts"]
    assert table["statistic"][0] == 1 / 3
    assert math.isnan(np.ma.filled(table["statistic"], np.nan)[1])
    assert np.ma.filled(table["dof"], -1).tolist() == [7, -1, 7]
    assert table["seed"].tolist() == [3, 3, 3]
    assert np.ma.filled(table["mjd"], np.nan)[:2].tolist() == [58000.5, 58000.5]
    assert table["z"].tolist() == [0.1, 0.2, 0.3]
    assert [str(one) for one in table["type"]][:2] == ["BH", "neutron star"]
    assert table["counts_given"].tolist() == [5, 6, 7]
    assert table["flag"].tolist() == [True, False, True]


def test_columns_say_what_they_are(path: Path) -> None:
    if path.suffix == ".parquet":
        from pyarrow import parquet

        field = parquet.read_schema(path).field("TBabs.nH_lolim")
        told = {key.decode(): text.decode() for key, text in field.metadata.items()}
    elif path.suffix == ".ecsv":
        column = read(path)["TBabs.nH_lolim"]
        told = {"unit": column.unit.to_string("fits"), "description": column.description, **column.meta}
    else:
        header = fits.getheader(path, 1)
        number = next(n for n in range(1, 999) if header[f"TTYPE{n}"] == "TBabs.nH_lolim")
        told = {
            "unit": header[f"TUNIT{number}"],
            "description": header[f"TCOMM{number}"],
            "ucd": header[f"TUCD{number}"],
        }
    assert told["unit"].replace("**", "^").replace("^-", "-") in ("10^22 cm-2",)
    assert told["description"] == (
        "TBabs.nH: 68 % lower confidence limit; empty where the data give an upper limit alone"
    )
    assert told["ucd"] == "stat.min;phys.columnDensity"


def test_a_fits_table_is_one_that_the_standard_knows(tmp_path: Path) -> None:
    write_table(tmp_path / "t.fits", COLUMNS, rows, carried())
    with fits.open(tmp_path / "t.fits", checksum=True) as units:
        units.verify("exception")
        assert units[1].name == "CATALOGUE"
        assert units[1].header["TUNIT27"] == "10**22 cm**-2"
    assert (tmp_path / "t.fits").stat().st_size % 2880 == 0


def test_what_is_frozen_has_no_column_and_what_is_linked_has() -> None:
    assert {column.name.rpartition("_")[0] for column in COLUMNS[len(LEADING) :]} == {"TBabs.nH", "powerlaw.norm"}
    linked = parse_model("TBabs*(powerlaw+bbody)").link({"bbody.norm": "0.1*powerlaw.norm"})
    assert any(column.name == "bbody.norm_best" for column in columns_of(linked))


def test_every_column_has_a_name_of_its_own_and_says_what_it_is() -> None:
    names = [column.name for column in COLUMNS]
    assert len(set(names)) == len(names)
    assert all(column.description and column.ucd for column in COLUMNS)


def test_a_table_that_cannot_be_written_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "t.ecsv"
    place.write_text("old")

    def broken() -> Iterator[dict[str, Any]]:
        yield from rows()
        raise OSError(28, "No space left on device")

    with pytest.raises(FileError, match="No space left on device"):
        write_table(place, COLUMNS, broken, None)
    assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [("t.ecsv", "old")]


@pytest.mark.parametrize(
    ("name", "said"),
    [("t.txt", "ends in .fits, .ecsv, .parquet"), ("no/t.fits", "is no folder"), ("d.fits", "no file")],
)
def test_places_that_take_no_table_are_refused(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "d.fits").mkdir()
    with pytest.raises(FileError, match=said):
        check_place(tmp_path / name)
