"""Files that nobody vouches for: each breakage is one clear line, and memory stays bounded."""

from __future__ import annotations

import gzip
import warnings
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits as astropy_fits
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ogip_zoo import toy_files, write_arf, write_rmf, write_spectrum
from xrayflow.errors import FileError, FormatError, XrayflowError, XrayflowWarning
from xrayflow.ogip import fits, read_arf, read_observation, read_pha, read_rmf
from xrayflow.ogip import table as table_file

CHANNELS = np.arange(8)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"nothing\.pha: no such file; check the path"):
        read_pha(tmp_path / "nothing.pha")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="not a file"):
        read_pha(tmp_path)


def test_an_impossible_path_is_one_line() -> None:
    with pytest.raises(FileError, match="cannot be read"):
        read_pha("a\0b")


def test_text_is_not_fits(tmp_path: Path) -> None:
    (tmp_path / "a.pha").write_text("energy counts\n1 2\n")
    with pytest.raises(FileError, match=r"a\.pha: not a FITS file \(it begins with b'energy c'\)"):
        read_pha(tmp_path / "a.pha")


def test_an_empty_file_is_not_fits(tmp_path: Path) -> None:
    (tmp_path / "a.pha").write_bytes(b"")
    with pytest.raises(FileError, match="not a FITS file"):
        read_pha(tmp_path / "a.pha")


def test_a_truncated_gzip_says_so(tmp_path: Path) -> None:
    whole = gzip.compress(toy_files(tmp_path).read_bytes())
    (tmp_path / "cut.pha.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FileError, match=r"cut\.pha\.gz: gzip is cut short or damaged"):
        read_pha(tmp_path / "cut.pha.gz")


def test_a_damaged_gzip_says_so(tmp_path: Path) -> None:
    (tmp_path / "bad.pha.gz").write_bytes(b"\x1f\x8b\x08\x00" + b"\x55" * 60)
    with pytest.raises(FileError, match="gzip is cut short or damaged"):
        read_pha(tmp_path / "bad.pha.gz")


@pytest.mark.parametrize("share", [0.35, 0.6, 0.9])
def test_a_truncated_fits_file_says_so(tmp_path: Path, share: float) -> None:
    whole = write_rmf(tmp_path / "whole.rmf").read_bytes()
    (tmp_path / "cut.rmf").write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(FileError, match=r"cut\.rmf.*(cut short|damaged|no EBOUNDS)"):
        read_rmf(tmp_path / "cut.rmf")


def test_a_file_cut_inside_a_header_says_after_which_extension(tmp_path: Path) -> None:
    whole = write_rmf(tmp_path / "whole.rmf").read_bytes()
    (tmp_path / "cut.rmf").write_bytes(whole[: whole.index(b"EBOUNDS") - 400])
    with pytest.raises(FileError, match="cut short or damaged in the header after MATRIX"):
        read_rmf(tmp_path / "cut.rmf")


def test_a_last_block_without_padding_is_read(tmp_path: Path) -> None:
    path = toy_files(tmp_path)
    end = path.read_bytes()
    path.write_bytes(end[: len(end.rstrip(b"\0"))])
    assert read_pha(path).counts.sum() > 0


def test_absurd_row_numbers_ask_for_no_memory(tmp_path: Path) -> None:
    path = toy_files(tmp_path)
    content = path.read_bytes().replace(b"NAXIS2  =                  120", b"NAXIS2  =       99999999999999")
    path.write_bytes(content)
    with pytest.raises(FileError, match=r"toy\.pha\[SPECTRUM\]: the header announces \d+ bytes"):
        read_pha(path)


def test_rows_that_contradict_their_columns_are_refused(tmp_path: Path) -> None:
    path = toy_files(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"TFORM1  = 'J       '", b"TFORM1  = 'I       '"))
    with pytest.raises(FileError, match=r"columns of \d+ bytes in rows of \d+"):
        read_pha(path)


def test_a_small_file_that_unpacks_to_a_huge_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fits, "MAX_BYTES", 1 << 16)
    (tmp_path / "bomb.pha.gz").write_bytes(gzip.compress(bytes(1 << 20)))
    with pytest.raises(FileError, match="unpacks to more than 65536 bytes"):
        read_pha(tmp_path / "bomb.pha.gz")


def test_a_huge_file_is_refused_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fits, "MAX_BYTES", 100)
    with pytest.raises(FileError, match="the limit is 100"):
        read_pha(toy_files(tmp_path))


def test_a_variable_array_outside_the_heap_is_refused(tmp_path: Path) -> None:
    path = write_rmf(tmp_path / "a.rmf")
    with astropy_fits.open(path) as units:
        where = units["MATRIX"].fileinfo()["datLoc"] + units["MATRIX"].columns.dtype.itemsize - 8
    content = bytearray(path.read_bytes())
    content[where : where + 8] = b"\x7f\xff\xff\xff\x00\x00\x00\x00"
    path.write_bytes(bytes(content))
    with pytest.raises(FormatError, match=r"a\.rmf\[MATRIX\]: column MATRIX points outside the file's heap"):
        read_rmf(path)


def test_a_heap_that_is_used_again_and_again_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_rmf(tmp_path / "a.rmf")
    table = next(t for t in fits.read_fits(path).tables if t.name == "MATRIX")
    monkeypatch.setattr(table_file, "MOST_ELEMENTS", 100)
    with pytest.raises(FormatError, match="column MATRIX has 1545 elements"):
        table.ragged("MATRIX")


def test_a_column_that_is_absent_is_named_with_those_that_are_there(tmp_path: Path) -> None:
    table = fits.read_fits(toy_files(tmp_path)).tables[0]
    with pytest.raises(FormatError, match=r"toy\.pha\[SPECTRUM\]: no column RATE among CHANNEL, COUNTS"):
        table.column("RATE")


def test_a_keyword_that_is_no_number_is_refused(tmp_path: Path) -> None:
    path = write_spectrum(tmp_path / "a.pha", {"CHANNEL": CHANNELS, "COUNTS": CHANNELS}, EXPOSURE="long")
    with pytest.raises(FormatError, match="EXPOSURE = 'long' is not a number"):
        read_pha(path)


def test_scaled_and_unsigned_columns_are_read_as_astropy_reads_them(tmp_path: Path) -> None:
    columns = [
        astropy_fits.Column("CHANNEL", "I", array=CHANNELS),
        astropy_fits.Column("COUNTS", "I", bzero=32768, array=np.array([0, 1, 2, 40000, 65535, 5, 6, 7], np.uint16)),
    ]
    table = astropy_fits.BinTableHDU.from_columns(columns, name="SPECTRUM")
    table.header.update({"EXPOSURE": 1.0, "BACKSCAL": 1.0})
    table.writeto(tmp_path / "a.pha")
    assert read_pha(tmp_path / "a.pha").counts.tolist() == [0, 1, 2, 40000, 65535, 5, 6, 7]


def test_null_values_of_integer_columns_are_not_numbers(tmp_path: Path) -> None:
    columns = [
        astropy_fits.Column("CHANNEL", "I", array=CHANNELS),
        astropy_fits.Column("COUNTS", "I", null=-99, array=np.array([0, 1, 2, -99, 4, 5, 6, 7], np.int16)),
    ]
    table = astropy_fits.BinTableHDU.from_columns(columns, name="SPECTRUM")
    table.header["EXPOSURE"] = 1.0
    table.writeto(tmp_path / "a.pha")
    with pytest.raises(FormatError, match="1 of 8 counts are not numbers"):
        read_pha(tmp_path / "a.pha")


def test_column_names_do_not_distinguish_case(tmp_path: Path) -> None:
    path = write_spectrum(tmp_path / "a.pha", {"channel": CHANNELS, "Counts": CHANNELS})
    assert read_pha(path).counts.tolist() == CHANNELS.tolist()


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_file_is_read_or_refused_but_never_crashes(tmp_path: Path, data: st.DataObject) -> None:
    pha = toy_files(tmp_path)
    victim = data.draw(st.sampled_from([pha, tmp_path / "toy.rmf", tmp_path / "toy.arf"]))
    content = bytearray(victim.read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        # mostly in the headers, where a byte does most harm
        position = data.draw(st.integers(0, len(content) - 1) | st.integers(2880, min(8640, len(content) - 1)))
        content[position] = data.draw(st.sampled_from(b"0179-'=.EPJ \x00\xff"))
    victim.write_bytes(bytes(content))
    line = ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", XrayflowWarning)
        try:
            read_observation(pha).bin()
        except XrayflowError as error:
            line = str(error)
    assert "\n" not in line


def test_the_hash_is_that_of_the_bytes_on_disk(tmp_path: Path) -> None:
    import hashlib

    path = write_arf(tmp_path / "a.arf")
    assert read_arf(path).sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
