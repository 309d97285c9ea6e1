"""Features by hand on tiny numbers, at the ends of what counts can be."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from network_zoo import whole_inputs
from xrayflow.networks.inputs import NetworkInput
from xrayflow.networks.nn.scaling import LEAST_SPREAD, NOTICED_SPREAD, LogRateScaler, Scaling, SqrtFractionScaler

WIDTH = torch.tensor([0.1, 0.2, 0.2, 0.5], dtype=torch.float64)


def extremes() -> dict[str, NetworkInput]:
    """What a spectrum can come to."""
    none = torch.zeros((1, 4), dtype=torch.float64)
    return {
        "no counts": whole_inputs([[0, 0, 0, 0]]),
        "no counts on a background": whole_inputs([[0, 0, 0, 0]], background=[[3, 3, 3, 3]]),
        "less than the background": whole_inputs([[1, 0, 2, 0]], background=[[3, 3, 3, 3]]),
        "a billion counts": whole_inputs([[1e9, 1, 5e8, 0]]),
        "unnoticed bins": whole_inputs([[0, 10, 20, 0]], noticed=[[0, 1, 0.5, 0]]),
        "nothing noticed": whole_inputs([[0, 0, 0, 0]], noticed=none),
        "a second": whole_inputs([[1, 1, 1, 1]], exposure=[1.0], area=[1e-3], systematic=[0.5]),
    }


def test_fractions_by_hand() -> None:
    scaling = SqrtFractionScaler(2)
    inputs = whole_inputs([[9, 16]], background=[[4, 1]], exposure=[10.0], area=[0.5], systematic=[0.02])
    features, numbers = scaling(inputs)
    assert features.dtype == numbers.dtype == torch.float32
    assert features[0].flatten().tolist() == pytest.approx([0.6, 0.8, 0.4, 0.2, 1.0, 1.0])
    wanted = [math.log(26), math.log(10), math.log(20 / 5), math.log(0.5), math.log(6), 0.2, 2.0]
    assert numbers[0].tolist() == pytest.approx(wanted)


def test_fitted_fractions_are_z_scores() -> None:
    torch.manual_seed(0)
    counts = torch.poisson(torch.full((500, 4), 30.0))
    inputs = whole_inputs(counts.tolist(), exposure=torch.rand(500) + 1.0)
    scaling = SqrtFractionScaler(4)
    scaling.fit(inputs)
    features, numbers = scaling(inputs)
    assert features[:, 0].mean(0).tolist() == pytest.approx([0.0] * 4, abs=1e-5)
    assert features[:, 0].std(0).tolist() == pytest.approx([1.0] * 4, abs=1e-5)
    assert numbers[:, :3].std(0).tolist() == pytest.approx([1.0] * 3, abs=1e-5)
    # what does not vary over the set is not blown up: background and systematic error, and a bad channel
    assert float(scaling.spread[1].max()) == float(scaling.global_spread[-1]) == LEAST_SPREAD
    assert float(scaling.spread[2].max()) == NOTICED_SPREAD
    assert features[:, 1:].abs().max() == 0.0


@pytest.mark.parametrize("kind", ["fractions", "paper", "paper-centred"])
def test_an_amplitude_is_the_last_of_the_globals_where_there_are_modes(kind: str) -> None:
    def scaling(calibrated: bool) -> Scaling:
        if kind == "fractions":
            return SqrtFractionScaler(4, calibrated)
        return LogRateScaler(WIDTH, 52.0, kind == "paper-centred", calibrated)

    amplitude = [0.0, 1e-3, 0.1, 1.0, 4.0]
    inputs = whole_inputs([[9, 16, 4, 7]] * 5, amplitude=amplitude)
    plain, told = scaling(False), scaling(True)
    assert told.globals == plain.globals + 1
    (features, numbers), (same, fewer) = told(inputs), plain(inputs)
    assert torch.equal(features, same)
    assert torch.equal(numbers[:, :-1], fewer)
    wanted = torch.tensor([-2.0, -2.0, -1.0, 0.0, math.log10(4.0)])
    torch.testing.assert_close(numbers[:, -1], wanted)
    told.fit(inputs)
    torch.testing.assert_close(told(inputs)[1][:, -1], (wanted - wanted.mean()) / wanted.std())


def test_the_papers_values_by_hand() -> None:
    scaling = LogRateScaler(WIDTH[:2], detectors=50.0)
    inputs = whole_inputs([[100, 0]], background=[[36, 0]], exposure=[10.0], area=[0.5])
    value, sigma = scaling.log_value(inputs)
    # 64 net counts / (0.1 keV x 50 detectors x 10 s x 0.5) = 2.56; the empty bin is raised to that
    assert value[0].tolist() == pytest.approx([math.log10(2.56)] * 2)
    assert sigma[0].tolist() == pytest.approx([10 / 64 / math.log(10), 1 / (0.2 * 250) / 2.56 / math.log(10)])


def test_a_bin_noticed_in_part_has_the_rate_of_its_channels() -> None:
    scaling = LogRateScaler(WIDTH[:1], detectors=1.0)
    whole, _ = scaling.log_value(whole_inputs([[100]]))
    part, _ = scaling.log_value(whole_inputs([[25]], noticed=[[0.25]]))
    assert float(part) == pytest.approx(float(whole))


def test_where_nothing_is_above_the_background_a_count_stands_in() -> None:
    scaling = LogRateScaler(WIDTH[:2], detectors=50.0)
    value, _ = scaling.log_value(whole_inputs([[1, 0]], background=[[2, 2]]))
    assert value[0].tolist() == pytest.approx([-math.log10(0.1 * 50 * 100), -math.log10(0.2 * 50 * 100)])


def test_fitted_targets_lie_between_zero_and_one() -> None:
    torch.manual_seed(0)
    inputs = whole_inputs((1.0 + torch.poisson(torch.full((50, 4), 30.0))).tolist())
    scaling = LogRateScaler(WIDTH, detectors=52.0)
    scaling.fit(inputs)
    target, sigma = scaling.target(inputs)
    assert (float(target.min()), float(target.max())) == (0.0, 1.0)
    assert bool((sigma > 0).all())
    features, numbers = scaling(inputs)
    assert torch.equal(features[:, 0], target)
    assert numbers.shape == (50, 0)


def test_centred_values_are_z_scores_of_the_shape_alone() -> None:
    torch.manual_seed(0)
    shape = torch.poisson(torch.full((50, 4), 300.0)).double()
    scaling = LogRateScaler(WIDTH, detectors=52.0, centred=True)
    scaling.fit(whole_inputs(shape.tolist()))
    features, level = scaling(whole_inputs(shape.tolist()))
    brighter, higher = scaling(whole_inputs((100.0 * shape).tolist()))
    assert features.std(0).flatten().tolist() == pytest.approx([1.0] * 8, abs=1e-4)
    torch.testing.assert_close(features[:, 0], brighter[:, 0], rtol=1e-4, atol=1e-4)
    assert float((features[:, 1] - brighter[:, 1]).min()) > 1.0
    assert level.shape == (50, 1)
    assert level.std().item() == pytest.approx(1.0, abs=1e-4)
    assert float((higher - level).min()) > 10.0


def test_centred_values_tell_rates_from_counts() -> None:
    shape = [[300.0, 200.0, 100.0, 50.0], [200.0, 300.0, 100.0, 60.0]]
    scaling = LogRateScaler(WIDTH, detectors=52.0, centred=True)
    scaling.fit(whole_inputs(shape))
    short, long = (scaling(whole_inputs(shape, exposure=[t, t])) for t in (100.0, 1000.0))
    torch.testing.assert_close(short[0], long[0])
    assert bool((short[1] > long[1] + 1.0).all())


@pytest.mark.parametrize("name", list(extremes()))
@pytest.mark.parametrize("kind", ["fractions", "paper", "paper-centred"])
def test_features_are_finite_at_the_ends_of_what_a_spectrum_can_be(kind: str, name: str) -> None:
    scaling = (
        SqrtFractionScaler(4) if kind == "fractions" else LogRateScaler(WIDTH, 52.0, centred=kind == "paper-centred")
    )
    for part in scaling(extremes()[name]):
        assert part.dtype == torch.float32
        assert bool(torch.isfinite(part).all())


@pytest.mark.parametrize("counts", [1.0, 37.5, 1e9])
def test_targets_stand_for_the_counts_that_they_came_from(counts: float) -> None:
    scaling = LogRateScaler(WIDTH, detectors=52.0)
    scaling.fit(whole_inputs([[1, 2, 3, 4], [1e9, 1e8, 1e7, 1e9]]))
    table = torch.tensor([[counts, 2 * counts, 3 * counts, 4 * counts]], dtype=torch.float64)
    background = torch.tensor([[2.0, 0.0, 1.0, 5.0]])
    inputs = whole_inputs((table + background).tolist(), background=background, noticed=[[1, 0.5, 1, 0.25]], area=[0.7])
    target, _ = scaling.target(inputs)
    torch.testing.assert_close(scaling.to_counts(target, inputs), table, rtol=1e-5, atol=0.0)
    torch.testing.assert_close(scaling.expected_target(table, inputs), target, rtol=1e-5, atol=1e-6)


def fitted_centred(bins: int = 6) -> LogRateScaler:
    """A centred scaling of smooth spectra of six bins."""
    scaling = LogRateScaler(torch.full((bins,), 0.2, dtype=torch.float64), detectors=52.0, centred=True)
    generator = torch.Generator().manual_seed(1)
    slope = torch.rand((400, 1), generator=generator, dtype=torch.float64)
    scaling.fit(whole_inputs((1e6 * torch.exp(-slope * torch.arange(bins))).round().tolist()))
    return scaling


def masked(counts: list[float], unseen: list[int]) -> NetworkInput:
    noticed = [0.0 if i in unseen else 1.0 for i in range(len(counts))]
    return whole_inputs([[c * n for c, n in zip(counts, noticed, strict=True)]], noticed=[noticed])


@pytest.mark.parametrize("end", [0, 5])
def test_a_bin_that_the_band_cuts_follows_its_neighbours(end: int) -> None:
    """On the parabola where counts are many, beside the neighbour where they are few."""
    scaling = fitted_centred()
    first, second, third = (1, 2, 3) if end == 0 else (4, 3, 2)
    bright, faint = (scaling(masked([c * s for c in (9, 8, 6, 5, 3, 2)], [end]))[0][0, 0] for s in (1e9, 1.0))
    assert float(bright[end]) == pytest.approx(
        3 * float(bright[first]) - 3 * float(bright[second]) + float(bright[third]), abs=1e-3
    )
    bend = 2 * float(faint[first]) - 3 * float(faint[second]) + float(faint[third])
    assert abs(float(faint[end]) - float(faint[first])) < 0.05 * abs(bend)


def test_a_bin_without_channels_is_as_far_from_the_mean_spectrum_as_its_nearest() -> None:
    scaling = fitted_centred()
    features, level = scaling(masked([9e6, 8e6, 6e6, 5e6, 3e6, 2e6], [2]))
    off = features[0].double() * scaling.spread
    torch.testing.assert_close(off[:, 2], off[:, 1])
    whole, level_of_all = scaling(masked([9e6, 8e6, 6e6, 5e6, 3e6, 2e6], []))
    assert float((features - whole).abs()[0, 0, [0, 1, 3, 4, 5]].max()) < 0.5
    assert float(level) == pytest.approx(float(level_of_all), abs=0.5)


def test_a_bin_without_channels_takes_the_papers_value_of_its_nearest() -> None:
    scaling = LogRateScaler(WIDTH, detectors=52.0)
    features, _ = scaling(masked([10, 20, 40, 100], [0, 2]))
    assert features[0, :, 0].tolist() == features[0, :, 1].tolist()
    assert features[0, :, 2].tolist() == features[0, :, 1].tolist()


def test_inputs_are_selected_stacked_and_sized() -> None:
    inputs = whole_inputs([[1, 2], [3, 4], [5, 6]])
    assert inputs.size == 3
    assert inputs.select(torch.tensor([2, 0])).counts.tolist() == [[5, 6], [1, 2]]
    both = NetworkInput.stack([inputs, replace(inputs, exposure=7.0 * inputs.exposure)])
    assert both.size == 6
    assert both.exposure.tolist() == [100.0] * 3 + [700.0] * 3
    assert inputs.to(torch.device("cpu")).counts.tolist() == inputs.counts.tolist()
