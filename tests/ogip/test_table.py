"""Rows and columns that cannot be are one clear line, before any memory is asked for."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits as astropy_fits

from ogip_zoo import toy_files, write_rmf, write_spectrum
from xrayflow.errors import FileError, FormatError
from xrayflow.ogip import fits, read_observation, read_pha, read_rmf
from xrayflow.ogip import table as table_file
from xrayflow.ogip.fits import read_fits

CHANNELS = np.arange(8)


def with_card(path: Path, keyword: str, value: str, extension: bytes = b"XTENSION") -> Path:
    """Replaces the value of a card in the first extension."""
    content = path.read_bytes()
    at = content.index(keyword.ljust(8).encode() + b"=", content.index(extension))
    path.write_bytes(content[:at] + f"{keyword:8}= {value}".encode().ljust(80) + content[at + 80 :])
    return path


@pytest.mark.parametrize(
    ("keyword", "value", "found"),
    [
        ("NAXIS", "2147483647", r"damaged header \(NAXIS = 2147483647\)"),
        ("NAXIS", "-1", r"damaged header \(NAXIS = -1, not a whole number >= 0\)"),
        ("BITPIX", "'8'", r"damaged header \(BITPIX = '8'\)"),
        ("NAXIS2", "9" * 60, r"the header announces 1000000000000000000 bytes, the file holds"),
        ("PCOUNT", "9" * 9, "the header announces 1000000959 bytes"),
        ("NAXIS1", "0", r"damaged header \(120 rows of 0 bytes in 2 columns\)"),
        ("TFIELDS", "99999999999", "damaged header .* in 99999999999 columns"),
        ("TFIELDS", "'2'", "damaged header .TFIELDS = '2', not a whole number"),
        ("TFIELDS", "3", r"damaged header \(TFORM3 = None\)"),
        ("TTYPE2", "-1.5", r"damaged header \(TTYPE2 = -1.5\)"),
        ("TFORM2", "5", r"damaged header \(TFORM2 = 5\)"),
        ("TFORM2", "'Z'", r"damaged header \(TFORM2 = 'Z'\)"),
        ("TFORM2", "'7PE'", r"damaged header \(TFORM2 = '7PE'\)"),
        ("TFORM2", "'P'", r"damaged header \(TFORM2 = 'P'\)"),
        ("TFORM2", "'999999999999E'", "columns of 3999999999999 bytes in rows of 8|columns of 4000000000000 bytes"),
        ("TTYPE2", "'channel'", "two columns of one name among CHANNEL"),
        ("TTYPE2", "'unclosed", r"damaged header \(TTYPE2 "),
        ("XTENSION", "'unclosed", "the card of XTENSION cannot be read"),
    ],
)
def test_a_damaged_structure_is_one_line(tmp_path: Path, keyword: str, value: str, found: str) -> None:
    path = with_card(toy_files(tmp_path), keyword, value)
    with pytest.raises(FileError, match=found) as caught:
        read_pha(path)
    assert len(str(caught.value)) < len(str(tmp_path)) + 250


def test_more_rows_than_any_table_has_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_file, "MOST_ROWS", 100)
    with pytest.raises(FormatError, match=r"damaged header \(120 rows of 8 bytes"):
        read_pha(toy_files(tmp_path))


def test_rows_that_pass_their_own_unit_are_refused(tmp_path: Path) -> None:
    path = with_card(toy_files(tmp_path), "NAXIS", "1")
    with pytest.raises(FormatError, match=r"damaged header \(120 rows of 8 bytes in 8\)"):
        read_pha(path)


def test_damage_to_a_column_that_nobody_needs_does_no_harm(tmp_path: Path) -> None:
    path = write_spectrum(tmp_path / "a.pha", {"CHANNEL": CHANNELS, "COUNTS": CHANNELS, "PI": CHANNELS}, TSCAL3="x")
    assert read_pha(path).counts.tolist() == CHANNELS.tolist()


def test_a_packed_file_may_not_unpack_to_many_times_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fits, "UNPACKED", 4096)
    (tmp_path / "bomb.pha.gz").write_bytes(gzip.compress(bytes(1 << 20)))
    with pytest.raises(FileError, match=r"unpacks to more than \d+ bytes, the limit; .* or unpack it"):
        read_pha(tmp_path / "bomb.pha.gz")


def test_rows_that_share_one_heap_are_bounded(tmp_path: Path) -> None:
    """A hundred rows of a million elements each, all of them the same megabyte."""
    path, rows, size = tmp_path / "shared.pha", 100, 1_000_000
    column = astropy_fits.Column("COUNTS", "PB()", array=np.array([np.zeros(1, np.uint8)] * rows, dtype=object))
    table = astropy_fits.BinTableHDU.from_columns([column], name="SPECTRUM")
    table.writeto(path)
    header, start = read_fits(path).tables[0].header, read_fits(path).tables[0].start
    content = bytearray(path.read_bytes()[:start])
    content += np.tile(np.array([size, 0], ">i4"), rows).tobytes() + bytes(size)
    at = content.index(b"PCOUNT  =")
    content[at : at + 80] = f"PCOUNT  = {size}".encode().ljust(80)
    path.write_bytes(bytes(content))
    assert header.whole("NAXIS2") == rows
    with pytest.raises(FormatError, match="column COUNTS has 100000000 elements"):
        read_fits(path).tables[0].ragged("COUNTS")


def test_a_column_that_would_widen_beyond_bounds_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_file, "MOST_ELEMENTS", 100)
    with pytest.raises(FormatError, match="column COUNTS has 120 elements; the limit is 100"):
        read_pha(toy_files(tmp_path))


def test_spectra_and_matrices_have_at_most_a_million_channels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = toy_files(tmp_path)
    monkeypatch.setattr("xrayflow.ogip.pha.MOST_CHANNELS", 119)
    with pytest.raises(FormatError, match="120 channels; the limit is 119"):
        read_pha(path)
    monkeypatch.setattr("xrayflow.ogip.rmf.MOST_CHANNELS", 148)
    write_rmf(tmp_path / "high.rmf", energy_edges=np.linspace(0.3, 12.0, 150))
    with pytest.raises(FormatError, match="149 energies; the limit is 148"):
        read_rmf(tmp_path / "high.rmf")
    monkeypatch.setattr("xrayflow.ogip.rmf.MOST_CHANNELS", 150)
    write_rmf(tmp_path / "wide.rmf", channel_edges=np.linspace(0.0, 12.0, 152))
    with pytest.raises(FormatError, match="151 channels; the limit is 150"):
        read_rmf(tmp_path / "wide.rmf")


def test_many_extensions_are_named_in_one_short_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    units = [astropy_fits.BinTableHDU.from_columns([], name=f"X{number}") for number in range(40)]
    astropy_fits.HDUList([astropy_fits.PrimaryHDU(), *units]).writeto(tmp_path / "many.fits")
    with pytest.raises(FormatError, match=r"no SPECTRUM extension, it holds X0, X1.*X11 and 28 more; is it"):
        read_pha(tmp_path / "many.fits")
    monkeypatch.setattr(fits, "MOST_UNITS", 20)
    with pytest.raises(FileError, match="more than 20 extensions"):
        read_pha(tmp_path / "many.fits")


def test_junk_after_the_last_extension_does_no_harm(tmp_path: Path) -> None:
    path = toy_files(tmp_path)
    path.write_bytes(path.read_bytes() + b"junk" * 1000)
    assert read_observation(path).bin().counts.sum() > 0


def test_text_of_a_column_cannot_command_a_terminal(tmp_path: Path) -> None:
    rows = np.array([[1.0, 2.0], [3.0, 4.0]])
    columns = {"COUNTS": rows, "OBJECT": np.array(["a\x1b[31mb", "c"])}
    path = write_spectrum(tmp_path / "two.pha", columns)
    assert read_pha(path, row=1).object == "a?[31mb"
    assert read_pha(path, row=2).object == "c"


def test_reading_needs_no_astropy() -> None:
    import subprocess
    import sys

    code = "import sys; from xrayflow.ogip import read_observation; print('astropy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_one_row_of_many_is_read_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    fixed, variable = rng.integers(0, 9, (6, 50)), [rng.random(n) for n in (3, 0, 7, 50, 1, 2)]
    objects = np.empty(6, dtype=object)
    objects[:] = variable
    columns = [
        astropy_fits.Column("COUNTS", "50J", array=fixed),
        astropy_fits.Column("STAT_ERR", "PD()", array=objects),
    ]
    astropy_fits.BinTableHDU.from_columns(columns, name="SPECTRUM").writeto(tmp_path / "two.pha")
    (table,) = read_fits(tmp_path / "two.pha").tables
    assert table.lengths("COUNTS").tolist() == [50] * 6
    assert table.lengths("STAT_ERR").tolist() == [3, 0, 7, 50, 1, 2]
    monkeypatch.setattr(table_file, "MOST_ELEMENTS", 60)  # of all rows it would be too much
    for row in range(6):
        assert np.array_equal(table.cell("COUNTS", row), fixed[row])
        assert np.array_equal(table.cell("STAT_ERR", row), variable[row])
    with pytest.raises(FormatError, match="column COUNTS has 300 elements"):
        table.ragged("COUNTS")


@pytest.mark.parametrize("scaled", [False, True])
def test_numbers_of_a_heap_may_stay_where_they_are(tmp_path: Path, scaled: bool) -> None:
    path = write_rmf(tmp_path / "a.rmf", groups="variable")
    if scaled:
        astropy_fits.setval(path, "TSCAL6", value=2.0, extname="MATRIX")
    table = next(one for one in read_fits(path).tables if one.name == "MATRIX")
    copied, stays = table.ragged("MATRIX", as_stored=True), table.ragged("MATRIX", in_place=True)
    assert (len(stays.values) > len(copied.values)) is not scaled
    rows = [
        [one.values[at : at + size] for at, size in zip(one.start, one.length, strict=True)] for one in (copied, stays)
    ]
    assert all(np.array_equal(a, b) for a, b in zip(*rows, strict=True))
