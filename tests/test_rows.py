"""Rows of one source that follow each other."""

from __future__ import annotations

import torch

from xrayflow.rows import runs


def test_rows_of_one_source_are_one_run_and_a_source_that_comes_again_is_another() -> None:
    found = list(runs(torch.tensor([2, 2, 2, 0, 2])))
    assert found == [(2, slice(0, 3)), (0, slice(3, 4)), (2, slice(4, 5))]


def test_no_rows_are_no_runs() -> None:
    assert list(runs(torch.zeros(0, dtype=torch.int64))) == []
