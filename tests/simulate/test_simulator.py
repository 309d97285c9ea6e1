"""The simulator draws the training prior that it says, and counts from the noise that the likelihood has."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import torch

import ogip_zoo
from calibration_zoo import detector
from network_zoo import WHOLE
from xrayflow.errors import DataError, MismatchError, ModelError, PriorError
from xrayflow.folding import EXACT, TRAINING, Fold, Forward, Grid
from xrayflow.models import Model, parse_model
from xrayflow.ogip import Observation
from xrayflow.prior import Prior
from xrayflow.simulate import Layout, SimulatedSpectra, Simulator, TrainingPrior
from xrayflow.simulate.simulator import sample_counts
from xrayflow.statistics import AMPLITUDE_SPREAD

FALSE_ALARM = 1e-5


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Observation:
    return ogip_zoo.toy_observation(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="module")
def layout(toy: Observation) -> Layout:
    return Layout.of(toy.rmf, (0, 20, 60), (2, 3, 4), (0.3, 10.0))


def simulator_of(toy: Observation, layout: Layout, text: str = "TBabs*powerlaw", **changes: object) -> Simulator:
    model = parse_model(text)
    training = TrainingPrior(Prior.of(model), **changes)  # type: ignore[arg-type]
    return Simulator.of(model, toy.rmf, toy.arf, layout, training)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_same_seed_gives_the_same_batch(toy: Observation, layout: Layout) -> None:
    simulator = simulator_of(toy, layout)
    one, same, other = (simulator.sample(50, generator(seed)) for seed in (1, 1, 2))
    for name in one.__dataclass_fields__:
        assert torch.equal(getattr(one, name), getattr(same, name)), name
    assert not torch.equal(one.counts, other.counts)


def test_a_batch_is_what_it_says(toy: Observation, layout: Layout) -> None:
    simulator = simulator_of(toy, layout)
    batch, training = simulator.sample(400, generator()), simulator.training_prior
    assert batch.theta.shape == batch.v.shape == (400, 3)
    assert batch.counts.shape == batch.background.shape == batch.noticed.shape == (400, simulator.bins)
    assert all(getattr(batch, name).dtype == torch.float64 for name in batch.__dataclass_fields__)
    assert bool(training.prior.contains(batch.theta).all())
    torch.testing.assert_close(training.prior.to_theta(batch.v), batch.theta, rtol=1e-9, atol=0.0)
    assert bool(((batch.rate > 0.0999) & (batch.rate < 1.0001e5)).all())
    assert bool((batch.counts == batch.counts.round()).all())
    assert bool((batch.counts >= 0).all())
    assert bool((batch.counts[batch.noticed == 0] == 0).all())
    whole = simulator.expected(batch.theta, batch.exposure, batch.area)
    torch.testing.assert_close(batch.expected, whole * batch.noticed, rtol=2e-5, atol=1e-9)
    torch.testing.assert_close(batch.rate, simulator.rates(batch.theta).sum(-1), rtol=2e-5, atol=0.0)


def test_shares_and_ranges_are_those_of_the_training_prior(toy: Observation, layout: Layout) -> None:
    simulator = simulator_of(toy, layout, grouped=0.0)
    batch, training = simulator.sample(4000, generator(5)), simulator.training_prior
    whole = simulator.noticed(torch.tensor([0.3]), torch.tensor([10.0]))
    shares = {
        "without systematic": ((batch.systematic == 0), training.without_systematic),
        "without background": ((batch.background.sum(-1) == 0), training.without_background),
        # a cut may fall into the first or last channel of the layout and cut nothing
        "partial": ((batch.noticed < whole).any(-1), training.partial * 0.985),
    }
    for name, (found, share) in shares.items():
        assert scipy.stats.binomtest(int(found.sum()), 4000, share).pvalue > FALSE_ALARM, name
    log_exposure = torch.log(batch.exposure / 50.0) / np.log(1000.0)
    assert scipy.stats.kstest(log_exposure.numpy(), "uniform").pvalue > FALSE_ALARM
    assert scipy.stats.kstest(((batch.area - 0.3) / 0.7).numpy(), "uniform").pvalue > FALSE_ALARM
    some = batch.systematic[batch.systematic > 0]
    assert scipy.stats.kstest(((some - 0.005) / 0.025).numpy(), "uniform").pvalue > FALSE_ALARM
    rate = (batch.background / batch.exposure[:, None]).sum(-1)
    assert bool((rate < 10.5).all())


NICER: dict[str, object] = {"calibration": "nicer-v1", "amplitude": (0.5, 0.5), "without_calibration": 0.0}


def bright_simulator(toy: Observation, layout: Layout, calibration: str) -> Simulator:
    """Every bin of every spectrum has thousands of counts, and nothing but the response is off."""
    model = parse_model("powerlaw")
    quiet = WHOLE | {"without_systematic": 1.0, "without_background": 1.0}
    training = TrainingPrior(
        Prior.of(model, ["powerlaw.PhoIndex=1:2"]),
        rate=(1e4, 1e5),
        exposure=(2e4, 5e4),
        **NICER | quiet | {"calibration": calibration},  # type: ignore[arg-type]
    )
    return Simulator.of(model, toy.rmf, toy.arf, layout, training)


def ln_factor(simulator: Simulator, batch: SimulatedSpectra) -> torch.Tensor:
    """(source, bin) what errors of the response made of the expected counts, 0 where there are hardly any."""
    right = simulator.expected(batch.theta, batch.exposure, batch.area) * batch.noticed
    return torch.log(torch.where(right > 1e-6 * right.sum(-1, keepdim=True), batch.expected / right, 1.0))


# Standard deviations of 4000 draws scatter by 1.5 %, more where the amplitude does: 4.5 of them.
def test_a_response_is_off_as_the_modes_say(toy: Observation, layout: Layout) -> None:
    simulator = bright_simulator(toy, layout, "generic-v1")
    assert simulator.modes is not None
    found = ln_factor(simulator, simulator.sample(4000, generator(2)))
    # A is off by exp(s n): its mean square is exp(2 s^2) times that of A0
    wanted = 0.5 * np.exp(AMPLITUDE_SPREAD**2) * np.sqrt((simulator.modes.psi**2).sum(0))
    assert found.std(0)[1:-1].numpy() == pytest.approx(wanted[1:-1], rel=0.07)
    assert found.mean(0)[1:-1].abs().max() < 5.0 * wanted.max() / 4000**0.5
    # neighbours are off alike
    near, far = (np.corrcoef(found[:, [4, other]].T)[0, 1] for other in (5, simulator.bins - 3))
    assert near > 0.7 > far + 0.3


def test_counts_of_bright_spectra_scatter_as_the_modes_say(toy: Observation, layout: Layout) -> None:
    simulator = bright_simulator(toy, layout, "nicer-v1")
    batch = simulator.sample(2000, generator(4))
    right = simulator.expected(batch.theta, batch.exposure, batch.area) * batch.noticed
    seen = (right > 1e5).all(0)
    assert int(seen.sum()) > 10
    spread = torch.log(batch.counts / right)[:, seen].std(0)
    assert torch.allclose(spread, ln_factor(simulator, batch)[:, seen].std(0), rtol=0.02)
    quiet = simulator.at_its_word().sample(200, generator(4))
    assert float(ln_factor(simulator, quiet).abs().max()) < 1e-4
    assert float(quiet.amplitude.abs().max()) == 0.0


def test_an_energy_scale_that_is_off_moves_counts_as_edges_that_are_moved() -> None:
    model, nicer = parse_model("TBabs*powerlaw"), detector()
    training = TrainingPrior(Prior.of(model), calibration="nicer-v1")
    simulator = Simulator.of(model, nicer.rmf, nicer.arf, Layout.paper(), training)
    assert simulator.modes is not None
    scale_alone = replace(simulator.modes, psi=np.zeros_like(simulator.modes.psi))
    theta, rates = simulator.draw_theta(1, generator())
    z = torch.randn((1, len(scale_alone.psi) + 2), generator=generator(7), dtype=torch.float64)[0, -2:].tolist()
    factor = scale_alone.seen_by_others(rates, torch.full((1,), 0.3, dtype=torch.float64), generator(7))[0]
    (spectrum,) = simulator.forward.family.spectra
    moved = replace(spectrum, gain=(0.003 * z[0], 0.0015 * z[1]))
    forwards = (Forward.of(simulator.model, [one]).expected(theta[None])[0, 0] for one in (moved, spectrum))
    exact = torch.div(*forwards)
    off = factor - exact
    assert float(exact.log().abs().max()) > 0.01
    assert float(off[1:-1].abs().max()) < 3e-3
    assert float(off[1:-1].abs().median()) < 2e-4


def test_without_a_set_of_modes_every_response_is_right(toy: Observation, layout: Layout) -> None:
    plain = simulator_of(toy, layout)
    assert plain.modes is None
    assert "calibration" not in plain.describe()
    assert float(plain.sample(50, generator()).amplitude.sum()) == 0.0
    calibrated = simulator_of(toy, layout, **NICER | {"without_calibration": 0.4, "amplitude": (0.1, 4.0)})
    assert calibrated.describe()["calibration"]["name"] == "nicer-v1"
    batch = calibrated.sample(2000, generator())
    none = batch.amplitude == 0
    assert scipy.stats.binomtest(int(none.sum()), 2000, 0.4).pvalue > FALSE_ALARM
    off = ln_factor(calibrated, batch).abs().amax(-1)
    assert float(off[none].max()) < 1e-4
    assert float(off[~none].median()) > 0.01
    with pytest.raises(DataError, match="modes:nicer-v2: no such set of modes; did you mean 'nicer-v1'"):
        simulator_of(toy, layout, calibration="nicer-v2")


# False-alarm probability 1e-5 for each of the three parameters and the rate.
def test_setting_the_norm_by_rate_is_the_box_cut_by_rate(toy: Observation, layout: Layout) -> None:
    simulator = simulator_of(toy, layout, rate=(3.0, 3e3))
    theta, rates = simulator.draw_theta(4000, generator(1))
    cut = []
    draw = generator(2)
    while sum(len(part) for part in cut) < 4000:
        tried = simulator.training_prior.prior.sample((4000,), draw)
        total = simulator.rates(tried).sum(-1)
        cut.append(tried[(total >= 3.0) & (total <= 3e3)])
    brute = torch.cat(cut)
    total = simulator.rates(brute).sum(-1)
    assert scipy.stats.ks_2samp(rates.sum(-1).numpy(), total.numpy()).pvalue > FALSE_ALARM
    for column, name in enumerate(simulator.model.names):
        assert scipy.stats.ks_2samp(theta[:, column].numpy(), brute[:, column].numpy()).pvalue > FALSE_ALARM, name
    # the norm and nH are tied by the cut: their difference shows it
    tied = [torch.log10(one[:, 2]) - 0.3 * torch.log10(one[:, 0]) for one in (theta, brute)]
    assert scipy.stats.ks_2samp(tied[0].numpy(), tied[1].numpy()).pvalue > FALSE_ALARM


@pytest.mark.parametrize(
    ("text", "links", "prior", "by_rate"),
    [
        ("TBabs*powerlaw", {}, [], True),
        ("TBabs*powerlaw", {}, ["powerlaw.norm~N(1,0.1)"], False),
        ("TBabs*powerlaw", {}, ["powerlaw.norm=lin:0.01:1"], False),
        ("TBabs*powerlaw", {"TBabs.nH": "powerlaw.norm"}, ["powerlaw.norm=0.01:1"], False),
        ("TBabs*(powerlaw+bbodyrad)", {}, [], False),
    ],
)
def test_a_rate_cut_by_rejection_serves_the_other_models(
    toy: Observation, layout: Layout, text: str, links: dict[str, str], prior: list[str], by_rate: bool
) -> None:
    model = parse_model(text).link(links)
    training = TrainingPrior(Prior.of(model, prior), rate=(1.0, 1e4))
    simulator = Simulator.of(model, toy.rmf, toy.arf, layout, training)
    assert (simulator._norm() is not None) == by_rate
    theta, rates = simulator.draw_theta(100, generator())
    total = simulator.rates(theta).sum(-1)
    torch.testing.assert_close(total, rates.sum(-1), rtol=2e-5, atol=0.0)
    assert bool(((total > 0.9999) & (total < 1.0001e4)).all())


def test_a_model_with_a_frozen_norm_is_cut_by_rejection(toy: Observation, layout: Layout) -> None:
    model = parse_model("TBabs*powerlaw").freeze({"powerlaw.norm": 0.1})
    simulator = Simulator.of(model, toy.rmf, toy.arf, layout, TrainingPrior(Prior.of(model), rate=(1.0, 1e4)))
    theta, rates = simulator.draw_theta(50, generator())
    assert theta.shape == (50, 2)
    assert bool((rates.sum(-1) >= 1.0).all())


def test_expected_counts_are_those_of_the_problem_on_the_same_grid(toy: Observation, layout: Layout) -> None:
    model = parse_model("TBabs*powerlaw")
    grid = Grid.of_response(toy.rmf.energy_edges, wide=False)
    training = TrainingPrior(Prior.of(model))
    simulator = Simulator.of(model, toy.rmf, toy.arf, layout, training, grid, EXACT)
    theta = torch.tensor([[0.1, 1.7, 0.05]], dtype=torch.float64)
    found = simulator.expected(theta, torch.tensor([200.0]), torch.tensor([0.5]))[0]
    channels = replace(toy, pha=replace(toy.pha, exposure=100.0)).bin(channels=(0, 119), grouping="none")
    photons = model.photon_flux(theta, torch.from_numpy(grid.energy_edges))
    each = Fold.of([channels], grid)(photons[None])[0, 0]
    wanted = [each[first : last + 1].sum() for first, last in zip(simulator.first, simulator.last, strict=True)]
    torch.testing.assert_close(found, torch.stack(wanted), rtol=1e-12, atol=0.0)


def test_the_grid_of_searches_gives_nearly_the_same_counts(toy: Observation, layout: Layout) -> None:
    simulator = simulator_of(toy, layout)
    coarse = simulator.for_searches()
    assert coarse.forward.fidelity.dtype == torch.float64
    theta, rates = simulator.draw_theta(200, generator(3))
    seen = rates > 1e-3 * rates.amax(-1, keepdim=True)
    assert float((coarse.rates(theta) / rates - 1.0)[seen].abs().median()) < 0.01


def test_expected_counts_have_gradients(toy: Observation, layout: Layout) -> None:
    simulator = simulator_of(toy, layout)
    theta = torch.tensor([[0.1, 1.7, 0.05], [1.0, 2.0, 1.0]], dtype=torch.float64, requires_grad=True)
    exposure, area = torch.tensor([100.0, 200.0]), torch.tensor([1.0, 0.5])
    expected = simulator.expected(theta, exposure, area)
    assert expected.shape == (2, simulator.bins)
    slope = torch.autograd.grad(expected.sum(), theta)[0]
    # linear in the norm: its slope is the counts / norm
    torch.testing.assert_close(slope[:, 2] * theta[:, 2], expected.sum(-1), rtol=1e-4, atol=0.0)
    assert bool((slope[:, :2] < 0).all())


def test_noticing_is_the_one_of_the_observation(toy: Observation, layout: Layout) -> None:
    simulator = simulator_of(toy, layout)
    bands = [(0.3, 10.0), (0.52, 10.0), (0.3, 5.05), (1.0, 5.0), (0.71, 6.666)]
    start, stop = (torch.tensor([band[i] for band in bands], dtype=torch.float64) for i in (0, 1))
    found = simulator.noticed(start, stop)
    for row, band in zip(found, bands, strict=True):
        filled = layout.fill(toy.bin(energies=(band,), grouping="none"))
        np.testing.assert_allclose(row.numpy(), filled.noticed, atol=1e-12)


def test_a_grid_of_training_keeps_edges_of_the_default(toy: Observation) -> None:
    default = Grid.of_response(toy.rmf.energy_edges)
    coarse = TRAINING.grid(default)
    assert np.isin(coarse.energy_edges, default.energy_edges).all()
    assert coarse.energy_edges[[0, -1]].tolist() == default.energy_edges[[0, -1]].tolist()
    assert coarse.energy_edges.size < 0.4 * default.energy_edges.size
    assert "one in 6 of its" in coarse.description


def test_a_header_can_hold_all_that_decides(toy: Observation, layout: Layout) -> None:
    described = simulator_of(toy, layout).describe()
    assert json.loads(json.dumps(described)) == described
    assert described["model"] == "TBabs*powerlaw"
    assert described["response"] == {"rmf": toy.rmf.sha256, "arf": toy.arf.sha256 if toy.arf else "none"}
    assert TrainingPrior.from_dict(described["training_prior"]) == simulator_of(toy, layout).training_prior
    assert Layout.from_dict(described["layout"]) == layout


# False-alarm probability of each case 1e-6, fixed seed.
@pytest.mark.parametrize("systematic", [0.0, 0.03])
@pytest.mark.parametrize("mean", [0.1, 1.0, 9.0, 11.0, 30.0, 1e3, 1e6])
def test_counts_have_the_distribution_of_scipy(mean: float, systematic: float) -> None:
    rows, bins = 200, 200
    shape = (rows, bins)
    expected = torch.full(shape, mean, dtype=torch.float64)
    errors = torch.full((rows,), systematic, dtype=torch.float64)
    counts = sample_counts(expected, torch.zeros(shape, dtype=torch.float64), errors, generator(7)).numpy().ravel()
    if systematic:
        k = systematic**-2
        wanted = scipy.stats.nbinom(k, k / (k + mean))
    else:
        wanted = scipy.stats.poisson(mean)
    # equal-probability classes, as near as whole numbers allow
    edges = np.unique(wanted.ppf(np.linspace(0.0, 1.0, 41)[1:-1]))
    chance = np.diff(np.concatenate([[0.0], wanted.cdf(edges), [1.0]]))
    seen = np.bincount(np.searchsorted(edges, counts, side="left"), minlength=edges.size + 1)
    kept = chance * counts.size > 5
    chi2 = ((seen - chance * counts.size)[kept] ** 2 / (chance * counts.size)[kept]).sum()
    assert scipy.stats.chi2(kept.sum() - 1).sf(chi2) > 1e-6


def test_a_systematic_error_stays_with_its_own_spectrum() -> None:
    expected = torch.full((400, 100), 1e6, dtype=torch.float64)
    errors = torch.tensor([0.0, 0.03] * 200, dtype=torch.float64)
    background = torch.full((400, 100), 1e5, dtype=torch.float64)
    spread = sample_counts(expected, background, errors, generator()).std(-1)
    torch.testing.assert_close(spread[0::2].mean(), torch.tensor(1.1e6**0.5, dtype=torch.float64), rtol=0.02, atol=0.0)
    torch.testing.assert_close(spread[1::2].mean(), torch.tensor(3e4, dtype=torch.float64), rtol=0.02, atol=0.0)


def test_a_batch_knows_its_likelihood(toy: Observation, layout: Layout) -> None:
    batch = simulator_of(toy, layout).sample(20, generator())
    likelihood = batch.likelihood()
    value = likelihood.log_density(batch.expected[:, None, :])
    assert value.shape == (20, 1)
    assert bool(torch.isfinite(value).all())
    assert bool((likelihood.log_saturated() >= value - 1.0).all())


def test_counts_scatter_about_a_background_that_its_file_does_not_know(toy: Observation, layout: Layout) -> None:
    """The file is what the network sees; false-alarm probability 1e-6."""
    changes = {"without_background": 0.0, "without_systematic": 1.0, "rate": (0.1, 0.11), "exposure": (1e4, 1.01e4)}
    plain, off = (
        simulator_of(toy, layout, **changes, background_level=level).sample(300, generator(2)) for level in (0.0, 0.3)
    )
    assert torch.equal(plain.background, off.background)
    believed = simulator_of(toy, layout, **changes, background_level=0.3).at_its_word().sample(300, generator(2))
    for batch, sd in ((plain, 0.0), (off, 0.3), (believed, 0.0)):
        behind = batch.background.sum(-1)
        level = torch.log((batch.counts - batch.expected).sum(-1) / behind)[behind > 3000.0]
        assert abs(float(level.std()) - sd) < 0.05


def test_a_batch_of_counted_backgrounds_is_taken_at_its_word_where_a_mode_is_sought(
    toy: Observation, layout: Layout
) -> None:
    changes = {"without_background": 0.0, "background_counted": 1.0, "background_region": (1.0, 1.0)}
    simulator = simulator_of(toy, layout, **changes)
    assert simulator.sample(50, generator()).region.unique().tolist() == [1.0]
    quiet = simulator.at_its_word().sample(50, generator())
    assert quiet.region.unique().tolist() == [0.0]
    # nothing else of the same seed is drawn otherwise
    plain = simulator_of(toy, layout, without_background=0.0).sample(50, generator())
    assert torch.equal(plain.counts, quiet.counts)


def test_a_prior_of_other_parameters_is_refused(toy: Observation, layout: Layout) -> None:
    other = TrainingPrior(Prior.of(parse_model("powerlaw")))
    with pytest.raises(PriorError, match=r"training prior of powerlaw.PhoIndex, powerlaw.norm; TBabs\*powerlaw has"):
        Simulator.of(parse_model("TBabs*powerlaw"), toy.rmf, toy.arf, layout, other)


def test_a_model_without_a_free_parameter_is_refused(toy: Observation, layout: Layout) -> None:
    model: Model = parse_model("powerlaw").freeze({"powerlaw.PhoIndex": 2.0, "powerlaw.norm": 1.0})
    with pytest.raises(ModelError, match="every parameter is frozen"):
        Simulator.of(model, toy.rmf, toy.arf, layout, TrainingPrior(Prior.of(model)))


def test_a_layout_of_another_detector_is_refused(toy: Observation) -> None:
    model = parse_model("powerlaw")
    with pytest.raises(MismatchError, match="120 channels, the network's detector has 1501"):
        Simulator.of(model, toy.rmf, toy.arf, Layout.paper(), TrainingPrior(Prior.of(model)))


def test_a_rate_that_no_draw_has_is_refused(toy: Observation, layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xrayflow.simulate.simulator.MOST_TRIED", 2000)
    simulator = simulator_of(toy, layout, rate=(1e20, 1e21))
    with pytest.raises(ModelError, match=r"draws of the training prior 0 have 1e\+20-1e\+21 counts/s; widen its rate"):
        simulator.draw_theta(10, generator())


def test_counts_that_are_no_numbers_stop_the_simulation(toy: Observation, layout: Layout) -> None:
    simulator = simulator_of(toy, layout)
    forward = simulator.forward
    fold = replace(forward.fold, area=forward.fold.area * float("nan"))
    broken = replace(simulator, forward=replace(forward, fold=fold))
    with pytest.raises(ModelError, match=r"no finite counts at TBabs.nH=.*; narrow the training prior"):
        broken.draw_theta(10, generator())


def test_the_papers_bins_are_made_of_the_bundled_response() -> None:
    from xrayflow.data import bundled_rmf
    from xrayflow.ogip import read_rmf

    rmf = read_rmf(Path(bundled_rmf()))
    first, last = Layout.paper().groups(rmf.channel, rmf.e_min, rmf.e_max)
    assert (first.size, int(first[0]), int(last[-1])) == (240, 29, 994)
    assert sorted(set((last - first + 1).tolist())) == [3, 4, 5]
    built = Layout.of(rmf, (0, 20, 248, 600, 1200, 1494), (2, 3, 4, 5, 6, 2), (0.3, 10.0), 240)
    assert [one.tolist() for one in built.groups(rmf.channel, rmf.e_min, rmf.e_max)] == [first.tolist(), last.tolist()]
