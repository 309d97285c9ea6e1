"""A matrix that stays packed multiplies as the same one unpacked, whatever its groups."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.sparse import csr_array

from xrayflow.ogip import PackedMatrix, packed

CHANNELS = 9


def made(rows: list[list[tuple[int, int]]]) -> tuple[PackedMatrix, NDArray[np.float64]]:
    """Groups (first column, number of columns) of each row, and the same matrix whole; groups may overlap."""
    whole = np.zeros((len(rows), CHANNELS + 20))
    values: list[float] = []
    for number, groups in enumerate(rows):
        for begin, count in groups:
            new = np.arange(len(values), len(values) + count) % 7 / 8.0  # some are 0
            whole[number, begin : begin + count] += new
            values.extend(new)
    length = np.array([sum(count for _, count in groups) for groups in rows])
    number = np.array([len(groups) for groups in rows])
    flat = np.array([group for groups in rows for group in groups], dtype=np.int64).reshape(-1, 2)
    stored = np.array(values, dtype=">f4")
    begins = (np.cumsum(length) - length, length, np.cumsum(number) - number, number)
    return PackedMatrix(stored, *begins, flat[:, 0], flat[:, 1], CHANNELS), whole[:, :CHANNELS]


ROWS = st.lists(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 6)), max_size=3), min_size=1, max_size=8)


@settings(deadline=None, max_examples=80)
@given(rows=ROWS, together=st.integers(1, 20))
def test_products_and_sums_are_those_of_the_whole_matrix(rows: list[list[tuple[int, int]]], together: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packed, "PIECE", together)
        matrix, whole = made(rows)
        bins = np.random.default_rng(1).random((CHANNELS, 3)).round(3)
        photons = np.random.default_rng(2).random((2, len(rows)))
        np.testing.assert_allclose((matrix @ csr_array(bins)).toarray(), whole @ bins, rtol=1e-12)
        np.testing.assert_allclose(photons @ matrix, photons @ whole, rtol=1e-12)
        np.testing.assert_allclose(photons[0] @ matrix, photons[0] @ whole, rtol=1e-12)
        np.testing.assert_allclose(matrix.sum(axis=1), whole.sum(axis=1), rtol=1e-12)
        pieces = list(matrix.pieces())
        assert [row for rows, _ in pieces for row in range(rows.start, rows.stop)] == list(range(len(whole)))
        assert matrix.shape == whole.shape
        order = np.arange(len(whole))[::-1]
        assert np.array_equal(matrix.reordered(order)[order].toarray(), whole)
        assert np.array_equal(np.diff(matrix.indptr), [sum(count for _, count in row) for row in rows])


def test_only_rows_are_summed() -> None:
    with pytest.raises(ValueError, match="rows alone are summed"):
        made([[(0, 2)]])[0].sum(axis=0)
