"""What is written is what is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from xrayflow.errors import DataError, FileError, FormatError
from xrayflow.ogip import Origin, read_pha, write_pha

SIZES = st.shared(st.integers(1, 20), key="size")
FINITE = st.floats(-1e9, 1e9, allow_nan=False)
# a header card has 20 characters for a number
CARD = st.floats(1e-3, 1e8).map(lambda number: float(f"{number:.12g}"))
# smaller ones are refused: their squares are no numbers
POSITIVE = st.just(0.0) | st.floats(1e-29, 1e6)
TEXT = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=120).filter(
    lambda text: text.lower() not in {"none", "null", "n/a"}
)


def arrays(elements: st.SearchStrategy[Any], kind: Any) -> st.SearchStrategy[Any]:
    return SIZES.flatmap(lambda size: hnp.arrays(kind, size, elements=elements))


@pytest.mark.parametrize(
    "name", ["'/", "Barnard's/star", "a'/ b 'c", "''/", "ab' /c", "it's", "y" * 66 + "'/" + "'" * 90]
)
def test_a_name_with_quotes_and_slashes_reads_back_the_same(tmp_path: Path, name: str) -> None:
    path = write_pha(tmp_path / "a.pha", np.arange(3), np.zeros(3), 1.0, origin=Origin(object=name))
    assert read_pha(path).object == name


@settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    counts=arrays(FINITE, np.float64) | arrays(st.integers(-5, 2**40), np.int64),
    exposure=CARD,
    first=st.integers(0, 100),
    quality=st.none() | arrays(st.sampled_from([0, 1, 2, 5]), np.int64),
    grouping=st.none() | arrays(st.sampled_from([-1, 0, 1]), np.int64),
    stat_err=st.none() | arrays(POSITIVE, np.float64),
    areascal=CARD | arrays(POSITIVE, np.float64),
    names=st.tuples(TEXT, TEXT, TEXT),
    poisserr=st.booleans(),
    suffix=st.sampled_from([".pha", ".pha.gz"]),
)
def test_a_written_spectrum_reads_back_the_same(
    tmp_path: Path,
    counts: Any,
    exposure: float,
    first: int,
    quality: Any,
    grouping: Any,
    stat_err: Any,
    areascal: Any,
    names: tuple[str, str, str],
    poisserr: bool,
    suffix: str,
) -> None:
    size = len(counts)
    origin = Origin(telescope=names[0], object=names[1], background_file=names[2])
    path = write_pha(
        tmp_path / f"a{suffix}",
        np.arange(first, first + size),
        counts,
        exposure,
        quality=quality,
        grouping=grouping,
        stat_err=stat_err,
        areascal=areascal,
        backscal=0.25,
        poisserr=poisserr,
        origin=origin,
    )
    pha = read_pha(path)
    assert np.array_equal(pha.counts, counts)
    assert np.array_equal(pha.channel, np.arange(first, first + size))
    assert np.array_equal(pha.quality, np.zeros(size) if quality is None else quality)
    assert np.array_equal(pha.grouping, np.zeros(size) if grouping is None else grouping)
    assert (pha.stat_err is None) == (stat_err is None)
    assert stat_err is None or np.array_equal(pha.stat_err, stat_err)
    assert np.array_equal(pha.areascal, np.broadcast_to(areascal, size))
    assert np.array_equal(pha.backscal, np.full(size, 0.25))
    assert (pha.exposure, pha.poisserr, pha.first_channel, pha.detchans) == (exposure, poisserr, first, size)
    assert (pha.telescope, pha.object, pha.background_file) == names


def test_equal_spectra_have_equal_bytes(tmp_path: Path) -> None:
    one = write_pha(tmp_path / "one.pha.gz", [0, 1], [3, 4], 1.0).read_bytes()
    assert write_pha(tmp_path / "two.pha.gz", [0, 1], [3, 4], 1.0).read_bytes() == one


def test_an_existing_file_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    for counts in ([3, 4], [5, 6]):
        write_pha(tmp_path / "a.pha", [0, 1], counts, 1.0)
    assert read_pha(tmp_path / "a.pha").counts.tolist() == [5, 6]
    assert [path.name for path in tmp_path.iterdir()] == ["a.pha"]


@pytest.mark.parametrize("name", ["counts", "quality", "stat_err", "backscal"])
def test_columns_of_other_lengths_are_refused(tmp_path: Path, name: str) -> None:
    arguments: dict[str, Any] = {"counts": [1, 2], name: [1, 2, 3]}
    with pytest.raises(FormatError, match=rf"{name.upper()} has shape \(3,\) for 2 channels"):
        write_pha(tmp_path / "a.pha", [0, 1], exposure=1.0, **arguments)


@pytest.mark.parametrize("exposure", [0.0, -1.0, float("nan")])
def test_an_exposure_must_be_positive(tmp_path: Path, exposure: float) -> None:
    with pytest.raises(DataError, match=r"a\.pha\[SPECTRUM\]: exposure .* give a positive one"):
        write_pha(tmp_path / "a.pha", [0, 1], [1, 2], exposure)


def test_counts_must_be_numbers(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="1 counts are not numbers"):
        write_pha(tmp_path / "a.pha", [0, 1], [1.0, np.nan], 1.0)


def test_text_that_fits_cannot_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="use plain ASCII text"):
        write_pha(tmp_path / "a.pha", [0, 1], [1, 2], 1.0, origin=Origin(object="Σ Ori"))
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"none/a\.pha: cannot be written \(No such file or directory\)"):
        write_pha(tmp_path / "none" / "a.pha", [0, 1], [1, 2], 1.0)


def test_a_place_that_is_taken_by_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.pha").mkdir()
    with pytest.raises(FileError, match="choose another place"):
        write_pha(tmp_path / "a.pha", [0, 1], [1, 2], 1.0)
    assert [path.name for path in tmp_path.iterdir()] == ["a.pha"]
