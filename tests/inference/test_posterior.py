"""The posterior's numbers: quantiles, resampled draws, a summary that any JSON reader takes."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from answer_zoo import carried_by_few, toy_posterior
from xrayflow.inference import Posterior
from xrayflow.inference.posterior import resampled_rows


@pytest.fixture(scope="module")
def posterior() -> Posterior:
    return toy_posterior()


def with_weights(posterior: Posterior, weights: np.ndarray) -> Posterior:
    with np.errstate(divide="ignore"):
        return replace(posterior, log_weight=np.log(weights))


def test_weights_are_normalised_and_do_not_mind_a_factor(posterior: Posterior) -> None:
    assert posterior.weights.sum() == pytest.approx(1.0)
    shifted = replace(posterior, log_weight=posterior.log_weight + 1e4)
    np.testing.assert_allclose(shifted.weights, posterior.weights, rtol=1e-9)


def test_quantiles_have_the_shape_of_what_was_asked(posterior: Posterior) -> None:
    count = len(posterior.names)
    assert posterior.quantile(0.5).shape == (count,)
    assert posterior.quantile([0.5]).shape == (1, count)
    levels = posterior.quantile([0.05, 0.5, 0.95])
    assert levels.shape == (3, count)
    assert (np.diff(levels, axis=0) > 0).all()
    np.testing.assert_array_equal(levels[1], posterior.quantile(0.5))


def test_weighted_quantiles_are_those_of_repeated_draws(posterior: Posterior) -> None:
    repeats = np.random.default_rng(3).integers(0, 6, posterior.draws.shape[0])
    weighted = with_weights(posterior, repeats.astype(float))
    repeated = replace(
        posterior, draws=np.repeat(posterior.draws, repeats, axis=0), log_weight=np.zeros(int(repeats.sum()))
    )
    q = [0.05, 0.16, 0.5, 0.84, 0.95]
    sd = posterior.draws.std(axis=0)
    np.testing.assert_allclose((weighted.quantile(q) - repeated.quantile(q)) / sd, 0.0, atol=0.03)


def test_draws_without_weight_change_nothing(posterior: Posterior) -> None:
    padded = replace(
        posterior,
        draws=np.concatenate([posterior.draws, 10.0 + posterior.draws]),
        log_weight=np.concatenate([posterior.log_weight, np.full_like(posterior.log_weight, -np.inf)]),
    )
    np.testing.assert_allclose(padded.quantile([0.05, 0.5]), posterior.quantile([0.05, 0.5]), rtol=1e-6)
    assert (padded.resample(500, 1) < posterior.draws.max(axis=0) + 1e-12).all()


def test_systematic_resampling_takes_each_row_its_share() -> None:
    weights = np.random.default_rng(4).random(200)
    rows = resampled_rows(weights, 5000, np.random.default_rng(5))
    share = 5000 * weights / weights.sum()
    counts = np.bincount(rows, minlength=200)
    assert (np.abs(counts - share) < 1.0 + 1e-9).all()
    assert rows.size == 5000
    assert (np.diff(rows) < 0).any(), "in random order"


def test_resampling_repeats_with_its_seed(posterior: Posterior) -> None:
    np.testing.assert_array_equal(posterior.resample(300, 7), posterior.resample(300, 7))
    assert (posterior.resample(300, 7) != posterior.resample(300, 8)).any()
    assert posterior.resample(300, 7).shape == (300, len(posterior.names))


def test_resampled_draws_have_the_weighted_mean(posterior: Posterior) -> None:
    mean = posterior.weights @ posterior.draws
    many = posterior.resample(20_000, 9)
    np.testing.assert_allclose((many.mean(axis=0) - mean) / posterior.draws.std(axis=0), 0.0, atol=1e-2)


@pytest.mark.parametrize("bend", [lambda one: one, carried_by_few, lambda one: replace(one, pareto_k=np.inf)])
def test_the_summary_is_plain_json(posterior: Posterior, bend: object) -> None:
    summary = bend(posterior).summary()  # type: ignore[operator]
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    assert summary["schema_version"] == 1
    assert summary["verdict"] == posterior.verdict


def test_the_summary_has_every_parameter_with_ordered_limits(posterior: Posterior) -> None:
    frozen = replace(posterior, model=posterior.model.thaw(), truth={"powerlaw.PhoIndex": 1.7})
    summary = frozen.summary()
    assert list(summary["parameters"]) == [parameter.name for parameter in posterior.model.parameters]
    for row in summary["parameters"].values():
        assert row["lower90"] <= row["lower68"] <= row["median"] <= row["upper68"] <= row["upper90"]
    assert summary["truth"] == {"powerlaw.PhoIndex": 1.7}
    assert summary["evaluations"]["draws"] >= summary["draws"]


def test_frozen_parameters_stand_in_the_summary_with_their_value(posterior: Posterior) -> None:
    model = posterior.model.freeze({"TBabs.nH": 0.24})
    keep = [i for i, name in enumerate(posterior.names) if name in model.names]
    frozen = replace(
        posterior,
        model=model,
        prior=replace(posterior.prior, marginals=tuple(posterior.prior.marginals[i] for i in keep)),
        draws=posterior.draws[:, keep],
        best=posterior.best[keep],
    )
    row = frozen.summary()["parameters"]["TBabs.nH"]
    assert row["frozen"] is True
    assert {row[key] for key in ("best", "median", "lower68", "upper68", "lower90", "upper90")} == {0.24}


def test_the_text_names_parameters_verdict_and_reasons(posterior: Posterior) -> None:
    text = str(posterior)
    for name in (*posterior.names, posterior.verdict, *posterior.reasons, "ess", "ln evidence"):
        assert name in text
