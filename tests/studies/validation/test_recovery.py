"""Correlation and lines between draws and truths: against numpy's own and closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from xrayflow.studies.validation import TruthAndDraws, draw_sets, linear_fits, pearson


def noisy_answers(sources: int = 400, draws: int = 60, seed: int = 2) -> TruthAndDraws:
    """Draws 0.8 truth + 0.3 + noise of one parameter, and of another that has nothing to do with it."""
    random = np.random.default_rng(seed)
    truth = random.normal(size=(sources, 2))
    found = 0.3 + 0.8 * truth[:, None] + 0.5 * random.normal(size=(sources, draws, 2))
    found[..., 1] = random.normal(size=(sources, draws))
    return TruthAndDraws.of(("a", "b"), truth, found)


def test_pearson_is_numpys_over_all_draws() -> None:
    answers = noisy_answers()
    for parameter in range(2):
        truth = np.repeat(answers.truth[:, parameter], 60)
        right = np.corrcoef(truth, answers.draws[..., parameter].ravel())[0, 1]
        assert pearson(answers)[parameter] == pytest.approx(right, abs=1e-12)
    assert pearson(answers)[0] == pytest.approx(0.8 / np.hypot(0.8, 0.5), abs=0.03)


def test_pearson_of_weighted_draws_is_that_of_repeated_ones() -> None:
    answers = noisy_answers(draws=6)
    count = np.random.default_rng(0).permuted(np.tile([0, 1, 1, 2, 3, 5], (answers.sources, 1)), axis=1)
    weighted = TruthAndDraws.of(answers.names, answers.truth, answers.draws, count.astype(float))
    repeated = np.stack([np.repeat(d, c, axis=0) for d, c in zip(answers.draws, count, strict=True)])
    np.testing.assert_allclose(pearson(weighted), pearson(TruthAndDraws.of(answers.names, answers.truth, repeated)))


def test_pearson_of_what_never_changes_is_no_number() -> None:
    answers = TruthAndDraws.of(("a",), np.ones((3, 1)), np.random.default_rng(0).normal(size=(3, 5, 1)))
    assert np.isnan(pearson(answers)[0])
    assert np.isnan(linear_fits(answers.truth, draw_sets(answers, 0, 5)).slope[0])


def test_lines_are_numpys_set_by_set() -> None:
    answers = noisy_answers()
    sets = draw_sets(answers, seed=1)
    fits = linear_fits(answers.truth, sets)
    lines = np.array([np.polyfit(answers.truth[:, 0], one[:, 0], 1) for one in sets])
    np.testing.assert_allclose([fits.slope[0], fits.intercept[0]], lines.mean(axis=0))
    np.testing.assert_allclose([fits.slope_sd[0], fits.intercept_sd[0]], lines.std(axis=0, ddof=1))
    # the deviation of one line's slope is noise / sqrt(sources): 0.5 / 20
    assert fits.slope[0] == pytest.approx(0.8, abs=0.02)
    assert fits.slope_sd[0] == pytest.approx(0.025, rel=0.4)


def test_one_set_has_no_deviation() -> None:
    answers = noisy_answers()
    assert linear_fits(answers.truth, draw_sets(answers, 1, 1)).slope_sd[0] == 0.0


def test_draw_sets_follow_the_weights() -> None:
    draws = np.arange(4.0)[None, :, None].repeat(500, axis=0)
    answers = TruthAndDraws.of(("a",), np.zeros((500, 1)), draws, np.tile([0.5, 0.3, 0.2, 0.0], (500, 1)))
    sets = draw_sets(answers, seed=3, sets=10)
    assert sets.shape == (10, 500, 1)
    share = [(sets == value).mean() for value in range(4)]
    np.testing.assert_allclose(share, [0.5, 0.3, 0.2, 0.0], atol=1e-12)
    assert (sets[0] == 0).mean() == pytest.approx(0.5, abs=0.1)
