"""Rows of one source: those that follow each other, and all of them as its draws."""

from __future__ import annotations

import torch

from xrayflow.rows import Layout, runs


def test_rows_of_one_source_are_one_run_and_a_source_that_comes_again_is_another() -> None:
    found = list(runs(torch.tensor([2, 2, 2, 0, 2])))
    assert found == [(2, slice(0, 3)), (0, slice(3, 4)), (2, slice(4, 5))]


def test_no_rows_are_no_runs() -> None:
    assert list(runs(torch.zeros(0, dtype=torch.int64))) == []


def laid_out(sources: list[int]) -> tuple[Layout, ...]:
    return Layout.of(torch.tensor(sources, dtype=torch.int64))


def test_rows_of_a_source_stand_together_and_come_back_to_their_places() -> None:
    sources = [4, 1, 4, 4, 1, 7, 4, 4, 4]
    each = torch.arange(9.0)[:, None, None] + torch.tensor([[[0.0, 0.25], [0.5, 0.75]]])
    back = torch.zeros_like(each)
    for layout in laid_out(sources):
        together = layout.together(each)
        assert together.shape == (layout.sources.numel(), 2 * layout.places.shape[1], 2)
        for source, places in zip(layout.sources.tolist(), layout.places.tolist(), strict=True):
            assert {sources[place] for place in places} == {source}
        layout.put(back, together)
    assert torch.equal(back, each)


def test_a_source_with_few_rows_is_not_padded_to_one_with_many() -> None:
    found = laid_out([0] * 40 + [1, 2, 2])
    assert sum(layout.places.numel() for layout in found) <= 2 * 43
    assert sorted(torch.cat([layout.rows for layout in found]).tolist()) == list(range(43))


def test_rows_that_all_have_their_own_source_are_not_copied() -> None:
    (layout,) = laid_out([2, 0, 1])
    each = torch.zeros((3, 5))
    assert layout.together(each) is each


def test_nothing_is_laid_out_as_nothing() -> None:
    assert laid_out([]) == ()
