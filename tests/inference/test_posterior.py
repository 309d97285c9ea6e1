"""The posterior's numbers: quantiles, resampled draws, a summary that any JSON reader takes."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse

from answer_zoo import altered, carried_by_few, toy_posterior
from xrayflow.folding import Fold, Grid
from xrayflow.inference import Posterior
from xrayflow.ogip import Observation
from xrayflow.ogip.arf import ARF
from xrayflow.ogip.rmf import RMF


@pytest.fixture(scope="module")
def posterior() -> Posterior:
    return toy_posterior()


def with_weights(posterior: Posterior, weights: np.ndarray) -> Posterior:
    with np.errstate(divide="ignore"):
        return altered(posterior, log_weight=np.log(weights))


def test_weights_are_normalised_and_do_not_mind_a_factor(posterior: Posterior) -> None:
    assert posterior.weights.sum() == pytest.approx(1.0)
    shifted = altered(posterior, log_weight=posterior.log_weight + 1e4)
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
    repeated = altered(
        posterior, draws=np.repeat(posterior.draws, repeats, axis=0), log_weight=np.zeros(int(repeats.sum()))
    )
    q = [0.05, 0.16, 0.5, 0.84, 0.95]
    sd = posterior.draws.std(axis=0)
    np.testing.assert_allclose((weighted.quantile(q) - repeated.quantile(q)) / sd, 0.0, atol=0.03)


def test_draws_without_weight_change_nothing(posterior: Posterior) -> None:
    padded = altered(
        posterior,
        draws=np.concatenate([posterior.draws, 10.0 + posterior.draws]),
        log_weight=np.concatenate([posterior.log_weight, np.full_like(posterior.log_weight, -np.inf)]),
    )
    np.testing.assert_allclose(padded.quantile([0.05, 0.5]), posterior.quantile([0.05, 0.5]), rtol=1e-6)
    assert (padded.resample(500, 1) < posterior.draws.max(axis=0) + 1e-12).all()


def test_resampling_repeats_with_its_seed(posterior: Posterior) -> None:
    np.testing.assert_array_equal(posterior.resample(300, 7), posterior.resample(300, 7))
    assert (posterior.resample(300, 7) != posterior.resample(300, 8)).any()
    assert posterior.resample(300, 7).shape == (300, len(posterior.names))


def test_resampled_draws_have_the_weighted_mean(posterior: Posterior) -> None:
    mean = posterior.weights @ posterior.draws
    many = posterior.resample(20_000, 9)
    np.testing.assert_allclose((many.mean(axis=0) - mean) / posterior.draws.std(axis=0), 0.0, atol=1e-2)


@pytest.mark.parametrize("bend", [lambda one: one, carried_by_few, lambda one: altered(one, pareto_k=np.inf)])
def test_the_summary_is_plain_json(posterior: Posterior, bend: object) -> None:
    summary = bend(posterior).summary()  # type: ignore[operator]
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    assert summary["schema_version"] == 1
    assert summary["verdict"] == posterior.verdict


def test_the_summary_has_every_parameter_with_ordered_limits(posterior: Posterior) -> None:
    frozen = altered(posterior, model=posterior.model.thaw(), truth={"powerlaw.PhoIndex": 1.7})
    summary = frozen.summary()
    assert list(summary["parameters"]) == [parameter.name for parameter in posterior.model.parameters]
    for row in summary["parameters"].values():
        assert row["lower90"] <= row["lower68"] <= row["median"] <= row["upper68"] <= row["upper90"]
    assert summary["truth"] == {"powerlaw.PhoIndex": 1.7}
    assert summary["evaluations"]["draws"] >= summary["draws"]


def test_frozen_parameters_stand_in_the_summary_with_their_value(posterior: Posterior) -> None:
    model = posterior.model.freeze({"TBabs.nH": 0.24})
    keep = [i for i, name in enumerate(posterior.names) if name in model.names]
    frozen = altered(
        posterior,
        model=model,
        prior=altered(posterior.prior, marginals=tuple(posterior.prior.marginals[i] for i in keep)),
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


def test_an_answer_travels_as_a_pickle(posterior: Posterior) -> None:
    pickled = pickle.dumps(posterior)
    again = pickle.loads(pickled)
    assert len(pickled) < 400_000
    assert again.summary() == posterior.summary()
    for name in ("draws", "log_weight", "log_likelihood", "best"):
        np.testing.assert_array_equal(getattr(again, name), getattr(posterior, name))
    np.testing.assert_array_equal(again.resample(50, 1), posterior.resample(50, 1))
    np.testing.assert_array_equal(again.predictive.deviation, posterior.predictive.deviation)
    assert (again.model, again.prior) == (posterior.model, posterior.prior)
    assert str(again) == str(posterior)


def held(value: object, seen: set[int]) -> Iterator[object]:
    """Everything inside an object."""
    if id(value) in seen:
        return
    seen.add(id(value))
    yield value
    if is_dataclass(value):
        inside: list[object] = [*vars(value).values()]
    elif isinstance(value, Mapping):
        inside = [*value.values()]
    elif isinstance(value, list | tuple | set):
        inside = [*value]
    else:
        inside = []
    for one in inside:
        yield from held(one, seen)


def test_an_answer_holds_no_response(posterior: Posterior) -> None:
    inside = list(held(posterior, set()))
    assert not [one for one in inside if isinstance(one, Observation | RMF | ARF | Fold | Grid | scipy.sparse.sparray)]
    # the largest array is that of the draws
    largest = max(one.size for one in inside if isinstance(one, np.ndarray))
    assert largest == posterior.draws.size


def test_a_notebook_shows_one_line_or_a_table_that_runs_no_script(posterior: Posterior) -> None:
    line = repr(posterior)
    assert "\n" not in line
    assert len(line) < 400
    for word in ("toy.pha", "TBabs*powerlaw", *posterior.names, posterior.verdict):
        assert word in line
    evil = "<script>alert(1)</script>&"
    first = replace(posterior.data[0], pha=Path(f"{evil.replace('/', '')}.pha"))
    bent = altered(posterior, data=(first,), fit=replace(posterior.fit, reasons=(evil,)))
    page = bent._repr_html_()
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "&lt;/script&gt;&amp;" in page
    for name in posterior.names:
        assert f"<td>{name}</td>" in page
