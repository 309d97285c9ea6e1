"""Simulated spectra: the mean is the model's, the seed decides, and what cannot be simulated is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import torch

from ogip_zoo import toy_observation
from xrayflow.errors import DataError, ModelError, XrayflowWarning
from xrayflow.folding import Fold, Grid
from xrayflow.models import Model, parse_model
from xrayflow.ogip import Observation
from xrayflow.simulate import simulate

TRUTH = {"TBabs.nH": 0.1, "powerlaw.PhoIndex": 1.7, "powerlaw.norm": 0.05}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Observation:
    return toy_observation(tmp_path_factory.mktemp("toy"), background=True)


@pytest.fixture(scope="module")
def model() -> Model:
    return parse_model("TBabs*powerlaw")


def expected_counts(template: Observation, model: Model, exposure: float) -> np.ndarray:
    pha = replace(template.pha, exposure=exposure)
    spectrum = replace(template, pha=pha, background=None).bin(channels=(0, 119), grouping="none")
    grid = Grid.of_response(template.rmf.energy_edges)
    theta = torch.tensor([[list(TRUTH.values())]], dtype=torch.float64)
    photons = model.photon_flux(theta, torch.from_numpy(grid.energy_edges))
    return np.asarray(Fold.of([spectrum], grid)(photons)[0, 0])


# False-alarm probability 1e-4: chi2 over 120 channels of the sum of 200 spectra.
def test_the_mean_of_simulated_counts_is_the_models(template: Observation, model: Model) -> None:
    total = np.sum([simulate(template, model, TRUTH, 50.0, seed).pha.counts for seed in range(200)], axis=0)
    expected = 200 * expected_counts(template, model, 50.0)
    seen = expected > 20
    chi2 = ((total - expected) ** 2 / expected)[seen].sum()
    assert 1e-4 < scipy.stats.chi2(seen.sum()).sf(chi2) < 1 - 1e-4
    assert total[~seen].sum() == pytest.approx(expected[~seen].sum(), abs=4 * np.sqrt(expected[~seen].sum()) + 1)


def test_the_seed_decides(template: Observation, model: Model) -> None:
    one, same, other = (simulate(template, model, TRUTH, 100.0, seed).pha for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.counts, same.counts)
    assert one.sha256 == same.sha256
    assert not np.array_equal(one.counts, other.counts)
    assert one.sha256 != other.sha256


def test_a_simulated_spectrum_is_poisson_counts_without_a_background(template: Observation, model: Model) -> None:
    quality = template.pha.quality.copy()
    quality[:7] = 1
    marked = replace(template, pha=replace(template.pha, quality=quality))
    faked = simulate(marked, model, TRUTH, 123.0, 0, name="fake.pha")
    pha = faked.pha
    assert (pha.exposure, pha.path, pha.object) == (123.0, Path("fake.pha"), "simulated")
    assert (pha.poisserr, pha.is_rate, pha.stat_err, pha.background_file) == (True, False, None, None)
    assert faked.background is None
    assert (pha.counts == np.round(pha.counts)).all()
    # every channel has its counts, and the template's marks say which are good
    np.testing.assert_array_equal(pha.quality, quality)
    assert pha.counts.sum() > 100
    np.testing.assert_array_equal(pha.counts, simulate(template, model, TRUTH, 123.0, 0).pha.counts)
    assert faked.rmf is template.rmf


def test_areascal_is_in_the_counts(template: Observation, model: Model) -> None:
    half = replace(template, pha=replace(template.pha, areascal=np.full(120, 0.5)))
    whole = simulate(template, model, TRUTH, 1000.0, 0).pha.counts.sum()
    assert simulate(half, model, TRUTH, 1000.0, 0).pha.counts.sum() == pytest.approx(whole / 2, rel=0.1)


def test_names_go_in_any_case_and_a_frozen_model_needs_none(template: Observation, model: Model) -> None:
    plain = simulate(template, model, TRUTH, 100.0, 3).pha.counts
    lower = {name.lower(): value for name, value in TRUTH.items()}
    np.testing.assert_array_equal(simulate(template, model, lower, 100.0, 3).pha.counts, plain)
    np.testing.assert_array_equal(simulate(template, model.freeze(TRUTH), {}, 100.0, 3).pha.counts, plain)


def test_an_unknown_parameter_is_refused_with_the_nearest(template: Observation, model: Model) -> None:
    with pytest.raises(ModelError, match=r"no free parameter 'TBabs.nHH'; did you mean 'TBabs.nH'"):
        simulate(template, model, {**TRUTH, "TBabs.nHH": 1.0}, 100.0, 0)


def test_a_missing_value_is_named(template: Observation, model: Model) -> None:
    with pytest.raises(ModelError, match=r"no value for powerlaw.PhoIndex, powerlaw.norm; give one for every free"):
        simulate(template, model, {"TBabs.nH": 0.1}, 100.0, 0)


def test_a_value_outside_its_limits_is_refused(template: Observation, model: Model) -> None:
    with pytest.raises(ModelError, match=r"TBabs.nH: -1 is outside its limits"):
        simulate(template, model, {**TRUTH, "TBabs.nH": -1.0}, 100.0, 0)


@pytest.mark.parametrize("exposure", [0.0, -5.0, float("nan"), float("inf")])
def test_an_exposure_that_cannot_be_is_refused(template: Observation, model: Model, exposure: float) -> None:
    with pytest.raises(DataError, match=r"exposure .* s: simulating takes a time above 0"):
        simulate(template, model, TRUTH, exposure, 0)


def test_a_background_is_scaled_to_exposure_and_region_and_kept(template: Observation, model: Model) -> None:
    assert template.background is not None
    faked = simulate(template, model, TRUTH, 500.0, 0, background=template.background, noisy=False)
    # as long as the background file, half of that, in a fourth of its region
    added = faked.pha.counts - simulate(template, model, TRUTH, 500.0, 0, noisy=False).pha.counts
    np.testing.assert_allclose(added, template.background.counts / 8.0, rtol=1e-9, atol=1e-9)
    assert faked.background is template.background


# False-alarm probability 1e-6: the sum of all counts of 300 spectra.
def test_a_background_scatters_with_the_source(template: Observation, model: Model) -> None:
    assert template.background is not None
    spectra = [simulate(template, model, TRUTH, 50.0, s, background=template.background).pha.counts for s in range(300)]
    mean = simulate(template, model, TRUTH, 50.0, 0, background=template.background, noisy=False).pha.counts
    total, expected = np.sum(spectra), 300 * mean.sum()
    assert abs(total - expected) < 4.9 * np.sqrt(expected)
    assert (np.asarray(spectra) == np.round(spectra)).all()
    pull = (np.asarray(spectra) - mean).sum(axis=1) / np.sqrt(mean.sum())
    assert pull.std() == pytest.approx(1.0, abs=0.2)


def test_a_systematic_error_scatters_beyond_poisson(template: Observation, model: Model) -> None:
    bright = {**TRUTH, "powerlaw.norm": 50.0}
    mean = simulate(template, model, bright, 1e4, 0, noisy=False).pha.counts
    seen = mean > 1e5
    counts = simulate(template, model, bright, 1e4, 0, systematic=0.05).pha.counts
    assert (counts[seen] / mean[seen] - 1.0).std() == pytest.approx(0.05, rel=0.4)


def test_channels_of_a_negative_background_stay_empty_and_are_bad(template: Observation, model: Model) -> None:
    assert template.background is not None
    counts = template.background.counts.copy()
    counts[[30, 31]] = -5.0
    modelled = replace(template.background, counts=counts)
    with pytest.warns(XrayflowWarning, match=r"toy.bkg.*: negative in 2 channels of 30-31; they stay empty"):
        faked = simulate(template, model, TRUTH, 1000.0, 0, background=modelled)
    assert faked.pha.counts[[30, 31]].tolist() == [0.0, 0.0]
    assert np.flatnonzero(faked.pha.quality).tolist() == [30, 31]
    assert (faked.pha.counts[[29, 32]] > 0).all()


def test_a_background_that_is_negative_everywhere_is_refused(template: Observation, model: Model) -> None:
    assert template.background is not None
    negative = replace(template.background, counts=template.background.counts - 1e6)
    with pytest.warns(XrayflowWarning), pytest.raises(DataError, match="no channel left: of 120, 120 are bad"):
        simulate(template, model, TRUTH, 100.0, 0, background=negative)


def test_a_background_region_is_observed_anew(template: Observation, model: Model) -> None:
    """Its counts are Poisson about those that were given, another file with another seed."""
    given = template.background
    assert given is not None
    fakes = [simulate(template, model, TRUTH, 50.0, s, background=given).background for s in range(200)]
    counts = np.array([one.counts for one in fakes if one is not None])
    assert (counts == np.round(counts)).all()
    spread = np.sqrt(np.maximum(given.counts, 1.0) / 200)
    assert (np.abs(counts.mean(0) - given.counts) < 5.0 * spread).all()
    first, second = fakes[0], fakes[1]
    assert first is not None
    assert second is not None
    assert (first.path.name, first.sha256 != second.sha256) == ("simulated_bkg.pha", True)


def test_the_truth_scatters_about_a_modelled_background(template: Observation, model: Model) -> None:
    """In level and in every channel; the model stays what it is."""
    assert template.background is not None
    level = np.full_like(template.background.counts, 4000.0)
    given = replace(template.background, counts=level, stat_err=0.2 * level, poisserr=False)
    theta = {**TRUTH, "powerlaw.norm": 1e-6}
    fakes = [simulate(template, model, theta, 1000.0, s, background=given) for s in range(100)]
    assert all(one.background is given for one in fakes)
    counts = np.array([one.pha.counts for one in fakes])
    total = counts.sum(1) / counts.sum(1).mean()
    assert total.std() == pytest.approx(0.1, rel=0.3)
    of_channel = counts / counts.mean(1, keepdims=True)
    assert of_channel.std(0).mean() == pytest.approx(np.hypot(0.2, 1.0 / np.sqrt(1000.0)), rel=0.1)
