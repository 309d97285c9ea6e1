"""The table of a catalogue: FITS, ECSV or Parquet, written a thousand rows at a time, whole or not at all."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from xrayflow.errors import FileError, MissingExtraError
from xrayflow.files import OTHER_OUT, appearing, package_versions
from xrayflow.studies.catalogue.columns import Column, values_of

if TYPE_CHECKING:
    from astropy.table import Table

Rows = Callable[[], Iterator[dict[str, Any]]]
"""Begins anew each time: the width of texts is known after a first pass."""

TOGETHER = 1000
BLOCK = 2880
"""Bytes, of FITS."""

NAME = "CATALOGUE"
SUFFIXES = (".fits", ".ecsv", ".parquet")

DTYPES = {"number": np.float64, "whole": np.int64}


def check_place(out: Path) -> None:
    """Stop before a long run where its table could not be written.

    Args:
        out: The table.

    Raises:
        FileError: Its suffix is none of ours, or its folder is not there.
        MissingExtraError: pyarrow is not installed.
    """
    if out.suffix.lower() not in SUFFIXES:
        raise FileError(f"{out}: cannot be told what to write; give a name that ends in {', '.join(SUFFIXES)}")
    if not out.parent.is_dir():
        raise FileError(f"{out}: {out.parent} is no folder; make it, or {OTHER_OUT}")
    if out.exists() and not out.is_file():
        raise FileError(f"{out}: is no file that could be replaced; {OTHER_OUT}")
    if out.suffix.lower() == ".parquet":
        _pyarrow()


def write_table(out: Path, columns: Sequence[Column], rows: Rows, carried: Table | None) -> None:
    """Write the table; an existing one is replaced when the new one is complete.

    Args:
        out: The file.
        columns: Ours.
        rows: In order; each says its `place` in the list.
        carried: Columns of the user, a row for each place in the list.

    Raises:
        FileError: It cannot be written.
    """
    write = {".fits": _write_fits, ".ecsv": _write_ecsv, ".parquet": _write_parquet}[out.suffix.lower()]
    with appearing(out) as temporary:
        write(temporary, columns, rows, carried)


def parts_of(columns: Sequence[Column], rows: Iterator[dict[str, Any]], carried: Table | None) -> Iterator[Table]:
    """The rows as tables of a thousand each, our columns first.

    Args:
        columns: Ours.
        rows: As for `write_table`.
        carried: Likewise.
    """
    from astropy.table import Column as TableColumn
    from astropy.table import Table

    while some := list(islice(rows, TOGETHER)):
        part = Table()
        for column in columns:
            values, dtype = values_of(some, column), DTYPES.get(column.kind, str)
            unit = column.unit or None
            part[column.name] = TableColumn(
                values, column.name, dtype, unit=unit, description=column.description, meta={"ucd": column.ucd}
            )
        if carried is not None:
            places = [row["place"] for row in some]
            for name, given in _carried(columns, carried):
                part[name] = given[places]
        yield part


def _carried(columns: Sequence[Column], carried: Table) -> list[tuple[str, Any]]:
    """The user's columns, under names that ours leave."""
    ours = {column.name.lower() for column in columns}
    return [(f"{name}_given" if name.lower() in ours else name, carried[name]) for name in carried.colnames]


def _write_fits(path: Path, columns: Sequence[Column], rows: Rows, carried: Table | None) -> None:
    """A binary table whose header is made of the first row, and whose rows follow as bytes."""
    from astropy.io import fits

    widths, number = _widths(columns, rows())
    parts = parts_of(columns, rows(), carried)
    first = next(parts)
    if carried is not None:
        widths |= {name: _widest(given) for name, given in _carried(columns, carried) if given.dtype.kind in "SUO"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # names with a dot are right, if not advised
        header = fits.BinTableHDU(_records(first[:1], widths), name=NAME).header
    header["NAXIS2"] = number
    for place, name in enumerate(first.colnames, 1):
        for keyword, text in zip(("TUNIT", "TCOMM", "TUCD"), _words(first[name], columns), strict=True):
            if text:  # where TOPCAT looks for them
                header.set(f"{keyword}{place}", text, after=f"TFORM{place}")
    for place, column in enumerate(columns, 1):
        if column.kind == "whole":
            header.set(f"TNULL{place}", column.empty, after=f"TFORM{place}")
    header["CREATOR"] = f"xrayflow {package_versions()['xrayflow']}"
    written = 0
    with path.open("wb") as stream:
        fits.PrimaryHDU().writeto(stream)
        stream.write(header.tostring().encode("ascii"))
        for part in chain([first], parts):
            written += stream.write(_bytes(_records(part, widths)))
        stream.write(bytes(-written % BLOCK))


def _widths(columns: Sequence[Column], rows: Iterator[dict[str, Any]]) -> tuple[dict[str, int], int]:
    """Bytes of the longest text of each column of texts, at least 1; and how many rows there are."""
    widths, number = {column.name: 1 for column in columns if column.kind == "text"}, 0
    for row in rows:
        number += 1
        for name, width in widths.items():
            widths[name] = max(width, len(str(row.get(name, "")).encode()))
    return widths, number


def _widest(texts: Iterable[Any]) -> int:
    """Bytes of the longest text, at least 1."""
    return max((len(_encoded(one)) for one in texts), default=1) or 1


def _encoded(text: Any) -> bytes:
    return text if isinstance(text, bytes) else str(text).encode()


def _records(part: Table, widths: Mapping[str, int]) -> NDArray[Any]:
    """Rows as FITS has them, but for truths."""
    forms = [(n, f"S{widths[n]}" if n in widths else part[n].dtype.newbyteorder(">").str) for n in part.colnames]
    made = np.zeros(len(part), dtype=forms)
    for name in part.colnames:
        made[name] = [_encoded(one) for one in part[name]] if name in widths else np.asarray(part[name])
    return made


def _bytes(records: NDArray[Any]) -> bytes:
    """The same, with T and F for true and false."""
    names = records.dtype.names or ()
    truths = [name for name in names if records.dtype[name].kind == "b"]
    made = records.astype([(name, "S1" if name in truths else records.dtype[name].str) for name in names])
    for name in truths:
        made[name] = np.where(records[name], b"T", b"F")
    return made.tobytes()


def _words(one: Any, columns: Sequence[Column]) -> tuple[str, str, str]:
    """Unit, description and UCD of a column, ours or the user's."""
    ours = next((column for column in columns if column.name == one.name), None)
    unit = ours.unit if ours is not None else "" if one.unit is None else one.unit.to_string()
    return unit, one.description or "", one.meta.get("ucd", "")


def _write_ecsv(path: Path, columns: Sequence[Column], rows: Rows, carried: Table | None) -> None:
    """The header of the first part, and the lines of all."""
    with path.open("w", encoding="utf-8") as stream:
        for number, part in enumerate(parts_of(columns, rows(), carried)):
            text = io.StringIO()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                part.write(text, format="ascii.ecsv")
            lines = text.getvalue().splitlines(keepends=True)
            first = next(place for place, line in enumerate(lines) if not line.startswith("#")) + 1
            stream.writelines(lines if number == 0 else lines[first:])


def _pyarrow() -> Any:
    try:
        import pyarrow.parquet
    except ImportError:
        raise MissingExtraError("pyarrow: not installed; pip install 'xrayflow[io]'") from None
    return pyarrow


def _write_parquet(path: Path, columns: Sequence[Column], rows: Rows, carried: Table | None) -> None:
    """A row group of each part; unit, description and UCD stand with each field."""
    arrow, writer = _pyarrow(), None
    try:
        for part in parts_of(columns, rows(), carried):
            arrays = [arrow.array(part[name].tolist()) for name in part.colnames]
            if writer is None:
                words = [
                    zip(("unit", "description", "ucd"), _words(part[n], columns), strict=True) for n in part.colnames
                ]
                fields = [
                    arrow.field(name, array.type, metadata={key: text for key, text in said if text})
                    for name, array, said in zip(part.colnames, arrays, words, strict=True)
                ]
                writer = arrow.parquet.ParquetWriter(path, arrow.schema(fields))
            typed = [array.cast(field.type) for array, field in zip(arrays, writer.schema, strict=True)]
            writer.write_table(arrow.Table.from_arrays(typed, schema=writer.schema))
    finally:
        if writer is not None:
            writer.close()
