"""What a network is trained on can be set, is checked, and goes through JSON unchanged."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch

from xrayflow.errors import DataError
from xrayflow.models import parse_model
from xrayflow.prior import Prior
from xrayflow.simulate import TrainingPrior

BOX = Prior.of(parse_model("TBabs*simpl*ezdiskbb"), ["TBabs.nH~N(1.1,0.3)"])
MARGINAL = {"name": "a", "unit": "", "lo": 1, "hi": 2, "scale": "log"}
EDGES = np.linspace(0.3, 10.0, 195)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_it_goes_through_json_unchanged() -> None:
    training = TrainingPrior(BOX, rate=(0.1 + 0.2, 1e4), background_slope=1.0 / 7.0)
    assert TrainingPrior.from_dict(json.loads(json.dumps(training.to_dict()))) == training


def test_an_error_of_the_background_is_named_only_where_there_is_one() -> None:
    """Headers of older networks and libraries stay what they are."""
    assert not any("background_error" in name or "background_level" in name for name in TrainingPrior(BOX).to_dict())
    training = TrainingPrior(BOX, background_error=0.2, background_level=0.1)
    assert training.to_dict()["background_error"] == 0.2
    assert TrainingPrior.from_dict(json.loads(json.dumps(training.to_dict()))) == training


def test_errors_of_the_response_are_named_only_where_there_are_any() -> None:
    plain = TrainingPrior(BOX, amplitude=(1.0, 2.0)).to_dict()
    assert not {"calibration", "amplitude", "without_calibration"} & plain.keys()
    training = TrainingPrior(BOX, calibration="nicer-v1", without_calibration=0.0)
    values = json.loads(json.dumps(training.to_dict()))
    assert (values["calibration"], values["amplitude"], values["without_calibration"]) == ("nicer-v1", [0.1, 4.0], 0.0)
    assert TrainingPrior.from_dict(values) == training


def test_amplitudes_are_log_uniform_or_none() -> None:
    """False-alarm probability 1e-5 each."""
    amplitude = TrainingPrior(BOX, calibration="nicer-v1").draw_amplitude(4000, generator(3))
    assert scipy.stats.binomtest(int((amplitude == 0).sum()), 4000, 0.1).pvalue > 1e-5
    place = torch.log(amplitude[amplitude > 0] / 0.1) / np.log(40.0)
    assert scipy.stats.kstest(place.numpy(), "uniform").pvalue > 1e-5


def test_a_background_is_its_files_or_scatters_about_it_as_the_likelihood_believes() -> None:
    """Means and spreads of a gamma distribution and a cut normal; false-alarm probability 1e-5."""
    files = torch.tensor([[40.0, 3.0, 0.0]], dtype=torch.float64).expand(4000, 3)
    assert torch.equal(TrainingPrior(BOX).draw_truth(files, generator()), files)
    for error, level in ((0.2, 0.1), (0.9, 0.0)):
        training = TrainingPrior(BOX, background_error=error, background_level=level)
        truth = training.draw_truth(files, generator(1)).numpy()
        assert (truth[:, 2] == 0.0).all()
        for bin_, middle in ((0, 40.0), (1, 3.0)):
            known = scipy.stats.truncnorm(-1.0 / error, np.inf, loc=middle, scale=error * middle)
            mean = known.mean() * np.exp(0.5 * level**2)
            spread = mean * np.sqrt(np.exp(level**2) * (1.0 + known.var() / known.mean() ** 2) - 1.0)
            assert abs(truth[:, bin_].mean() - mean) < 4.5 * spread / 4000**0.5
            assert truth[:, bin_].std() == pytest.approx(spread, rel=0.08)


def test_a_counted_background_is_named_only_where_there_is_one() -> None:
    assert not any("background_counted" in name or "region" in name for name in TrainingPrior(BOX).to_dict())
    training = TrainingPrior(BOX, background_counted=0.5, background_region=(2.0, 20.0))
    values = json.loads(json.dumps(training.to_dict()))
    assert (values["background_counted"], values["background_region"]) == (0.5, [2.0, 20.0])
    assert TrainingPrior.from_dict(values) == training


def test_a_counted_background_scatters_as_counts_of_its_region_about_what_the_spectrum_has() -> None:
    """Files of models do not, but their truths; false-alarm probability 1e-5."""
    smooth = torch.tensor([[40.0, 0.7, 0.0]], dtype=torch.float64).expand(8000, 3)
    training = TrainingPrior(BOX, background_error=0.2, background_counted=0.5, background_region=(2.0, 2.0))
    file, truth, region = training.draw_files(smooth, generator(1))
    counted = region > 0
    assert scipy.stats.binomtest(int(counted.sum()), 8000, 0.5).pvalue > 1e-5
    assert region.unique().tolist() == [0.0, 2.0]
    assert torch.equal(truth[counted], smooth[counted])
    assert torch.equal(file[~counted], smooth[~counted])
    assert bool((truth[~counted][:, 0] != 40.0).all())
    counts = 2.0 * file[counted].numpy()
    assert np.array_equal(counts, np.rint(counts))
    for bin_, mean in ((0, 80.0), (1, 1.4)):
        assert abs(counts[:, bin_].mean() - mean) < 4.5 * (mean / len(counts)) ** 0.5
        assert counts[:, bin_].var() == pytest.approx(mean, rel=0.12)
    assert (counts[:, 2] == 0.0).all()
    sizes = replace(training, background_region=(1.0, 10.0)).draw_files(smooth, generator(2))[2]
    assert scipy.stats.kstest(torch.log10(sizes[sizes > 0]).numpy(), "uniform").pvalue > 1e-5


def test_no_background_is_none_that_was_counted() -> None:
    training = TrainingPrior(BOX, background_counted=1.0)
    smooth = torch.zeros((5, 3), dtype=torch.float64)
    file, truth, region = training.draw_files(smooth, generator())
    assert all(float(one.abs().max()) == 0.0 for one in (file, truth, region))


def test_what_is_left_out_has_its_default() -> None:
    assert TrainingPrior.from_dict({"prior": TrainingPrior(BOX).to_dict()["prior"]}) == TrainingPrior(BOX)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rates": [1, 2]}, "unknown key 'training_prior.rates'; did you mean 'rate'"),
        ({"rate": [2.0, 1.0]}, "training_prior.rate: 2 .. 1; give lo <= hi, above 0"),
        ({"rate": [1.0, 1e300]}, r"training_prior.rate: 1 .. 1e\+300; give lo <= hi, above 0, up to 1e\+30"),
        ({"rate": [1.0]}, "'training_prior.rate.1' is missing; give it"),
        ({"rate": ["1", 2.0]}, r"training_prior.rate.0: Input should be a valid number \(found '1'\)"),
        ({"exposure": [0.0, 1.0]}, "training_prior.exposure: 0 .. 1; give lo <= hi, above 0"),
        (
            {"exposure": [1.0, float("inf")]},
            r"training_prior.exposure.1: Input should be a finite number \(found inf\)",
        ),
        ({"area": "much"}, r"training_prior.area: Input should be a valid tuple \(found 'much'\)"),
        ({"systematic": [0.01, 0.5]}, "training_prior.systematic: 0.01 .. 0.5; give lo <= hi, above 0, up to 0.5"),
        (
            {"without_background": 1.5},
            r"training_prior.without_background: Input should be less than or equal to 1 \(found 1.5\)",
        ),
        ({"partial": "a"}, r"training_prior.partial: Input should be a valid number \(found 'a'\)"),
        ({"background_edges": [0.3, 10.0]}, "training_prior: background_edges .*; give one more than background_sha"),
        ({"background_edges": [1.0] * 1001}, "training_prior.background_edges: Tuple should have at most 1000 items"),
        (
            {"background_shares": [0.1, 0.2, 0.2, 0.2, 0.2, -0.1]},
            r"training_prior.background_shares.5: Input should be greater than 0 \(found -0.1\)",
        ),
        (
            {"background_slope": -1.0},
            r"training_prior.background_slope: Input should be greater than or equal to 0 \(found -1.0\)",
        ),
        ({"background_counted": 1.5}, "training_prior.background_counted: Input should be less than or equal to 1"),
        ({"background_region": [0.0, 1.0]}, "training_prior.background_region: 0 .. 1; give lo <= hi, above 0"),
        ({"highest_start": 6.0}, "training_prior: highest_start .. lowest_stop 6 .. 5; give lo <= hi"),
        ({"group_reach": [-1.0, 0.0]}, "training_prior.group_reach.0: Input should be greater than or equal to 0"),
        ({"prior": [3]}, r"training_prior.prior.0: give a table of names and values \(found 3\)"),
        ({"prior": [{"name": "a"}]}, "'training_prior.prior.0.unit' is missing; give it"),
        ({"prior": [MARGINAL | {"high": 2}]}, "unknown key 'training_prior.prior.0.high'; did you mean 'hi'"),
        ({"prior": [MARGINAL | {"lo": "x"}]}, "training_prior.prior.0.lo: Input should be a valid number, .*found 'x'"),
        ({"prior": [MARGINAL | {"hi": float("inf")}]}, "training_prior.prior.0.hi: Input should be a finite number"),
        ({"prior": [MARGINAL | {"lo": 0}]}, "training_prior.prior.0: a is 0 .. 2 log; give lo < hi, and lo above 0"),
        ({"prior": [MARGINAL | {"scale": "ln"}]}, "training_prior.prior.0: a has scale 'ln'; give log or linear"),
        ({"prior": [MARGINAL | {"mean": 1}]}, "training_prior.prior.0: a has mean 1.0, sd None; give both, sd > 0, or"),
    ],
)
def test_a_value_that_cannot_be_is_refused(changes: dict[str, Any], message: str) -> None:
    values = TrainingPrior(BOX).to_dict() | changes
    with pytest.raises(DataError, match=f"^{message}"):
        TrainingPrior.from_dict(values)


def test_a_table_must_be_given() -> None:
    with pytest.raises(DataError, match=r"^training_prior: give a table of names and values \(found 3\)$"):
        TrainingPrior.from_dict(3)  # type: ignore[arg-type]


def test_values_of_python_are_checked_alike() -> None:
    with pytest.raises(DataError, match=r"^training_prior\.rate: 2 \.\. 1; give lo <= hi"):
        TrainingPrior(BOX, rate=(2.0, 1.0))
    with pytest.raises(DataError, match=r"^training_prior\.prior: Input should be a valid tuple \(found 3\)$"):
        TrainingPrior(3)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"^training_prior\.partial: Input should be less than or equal to 1"):
        replace(TrainingPrior(BOX), partial=2.0)


def test_a_prior_must_be_there() -> None:
    with pytest.raises(DataError, match=r"^'training_prior.prior' is missing; give it$"):
        TrainingPrior.from_dict({})


def test_the_background_has_the_shares_and_the_rate() -> None:
    training = replace(TrainingPrior(BOX), without_background=0.0, background_slope=0.0)
    rates = training.draw_background(EDGES[:-1], EDGES[1:], 300, generator())
    total = rates.sum(-1)
    assert bool(((total >= 0.3) & (total <= 10.0)).all())
    middle = 0.5 * (EDGES[1:] + EDGES[:-1])
    bands = zip(training.background_edges, training.background_edges[1:], training.background_shares, strict=False)
    for lo, hi, share in bands:
        inside = torch.from_numpy((middle > lo) & (middle < hi))
        np.testing.assert_allclose((rates[:, inside].sum(-1) / total).numpy(), share, rtol=0.02)


def test_the_slope_of_the_background_scatters_at_the_same_rate() -> None:
    training = replace(TrainingPrior(BOX), without_background=0.0, background_rate=(2.0, 2.0))
    rates = training.draw_background(EDGES[:-1], EDGES[1:], 2000, generator())
    torch.testing.assert_close(rates.sum(-1), torch.full((2000,), 2.0, dtype=torch.float64))
    steep = torch.log(rates[:, 150] / rates[:, 10]) / np.log(EDGES[150] / EDGES[10])
    assert float(steep.std()) == pytest.approx(0.15, rel=0.1)


def test_bands_are_cut_below_above_and_on_both_sides() -> None:
    training = replace(TrainingPrior(BOX), partial=0.6, grouped=0.0)
    start, stop = training.draw_band(0.3, 10.0, 6000, generator())
    below, above = start > 0.3, stop < 10.0
    for found in (below & ~above, below & above, above & ~below):
        assert float(found.double().mean()) == pytest.approx(0.2, abs=0.03)
    assert bool((start <= 1.0).all())
    assert bool((stop >= 5.0).all())


def test_bands_lose_a_little_to_the_users_groups() -> None:
    training = replace(TrainingPrior(BOX), partial=0.0, grouped=0.5)
    start, stop = training.draw_band(0.3, 10.0, 6000, generator())
    assert float((start > 0.3).double().mean()) == pytest.approx(0.5, abs=0.04)
    assert float((stop < 10.0).double().mean()) == pytest.approx(0.5, abs=0.04)
    assert bool((start <= 0.33).all())
    assert bool((stop >= 9.6).all())


def test_none_is_cut_where_the_share_is_zero() -> None:
    start, stop = replace(TrainingPrior(BOX), partial=0.0, grouped=0.0).draw_band(0.3, 10.0, 100, generator())
    assert start.unique().tolist() == [0.3]
    assert stop.unique().tolist() == [10.0]
