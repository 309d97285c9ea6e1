"""A response that comes again, byte for byte, is not parsed again; anything else is."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from ogip_zoo import toy_files, write_rmf
from xrayflow.errors import FormatError, XrayflowWarning
from xrayflow.ogip import read_arf, read_rmf
from xrayflow.ogip.fits import FitsFile
from xrayflow.ogip.known import KnownFiles
from xrayflow.ogip.rmf import RMF
from xrayflow.ogip.rmf import read_rmf as read


@pytest.fixture
def rmf(tmp_path: Path) -> Path:
    toy_files(tmp_path)
    (found,) = tmp_path.glob("*.rmf")
    return found


def test_the_same_bytes_under_another_name_are_the_same_arrays(rmf: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.rmf"
    shutil.copy(rmf, copy)
    first, second = read_rmf(rmf), read_rmf(copy)
    assert (first.path, second.path) == (rmf, copy)
    assert second.matrix is first.matrix
    assert second.sha256 == first.sha256


def test_a_file_that_changed_is_read_again(rmf: Path) -> None:
    before = read_rmf(rmf)
    fits.setval(rmf, "NOTE", value="another", ext=1)
    after = read_rmf(rmf)
    assert after.matrix is not before.matrix
    assert after.sha256 != before.sha256
    np.testing.assert_array_equal(after.matrix.toarray(), before.matrix.toarray())


def test_areas_too(rmf: Path) -> None:
    (arf,) = rmf.parent.glob("*.arf")
    assert read_arf(arf).area is read_arf(arf).area


def test_warnings_are_said_each_time_with_the_name_of_the_file_that_was_given(tmp_path: Path) -> None:
    names = [tmp_path / name for name in ("one.rmf", "two.rmf")]
    with fits.open(write_rmf(names[0]), mode="update") as units:
        units["MATRIX"].data["F_CHAN"][75] = 115  # some of its channels lie beyond the last
    shutil.copy(names[0], names[1])
    said = []
    for name in names:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", XrayflowWarning)
            read(name)
        said.append([str(one.message) for one in caught])
    assert len(said[0]) == 1
    assert names[0].name in said[0][0]
    assert said[1] == [text.replace(str(names[0]), str(names[1])) for text in said[0]]


def test_what_cannot_be_read_is_not_kept(tmp_path: Path, rmf: Path) -> None:
    known: KnownFiles[RMF] = KnownFiles()

    def refuse(file: FitsFile) -> RMF:
        raise FormatError(f"{file.path}: no")

    for _ in range(2):
        with pytest.raises(FormatError, match="no"):
            known.read(rmf, refuse)
    assert known.kept == []


def test_the_least_recently_used_go_when_the_room_is_full(rmf: Path, tmp_path: Path) -> None:
    files = [rmf]
    for number in range(3):
        files.append(tmp_path / f"other{number}.rmf")
        shutil.copy(rmf, files[-1])
        fits.setval(files[-1], "NOTE", value=f"number {number}", ext=1)
    one = read_rmf(rmf)
    each = len(files[1].read_bytes()) + one.size
    known: KnownFiles[RMF] = KnownFiles(most_bytes=2 * each + 1)
    parsed: list[Path] = []

    def parse(file: FitsFile) -> RMF:
        parsed.append(file.path)
        return read_rmf(file.path)

    for file in (files[0], files[1], files[0], files[2], files[0], files[1]):
        known.read(file, parse)
    assert parsed == [files[0], files[1], files[2], files[1]], "the first was used in between, the second was not"
    assert len(known.kept) == 2
