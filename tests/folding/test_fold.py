"""Folding: linear, conserving photons, and equal to the plain sum over energies, channels and bins."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from calibration_zoo import bright, detector
from ogip_zoo import ENERGY_EDGES, effective_area, redistribution, toy_files, toy_observation, write_arf, write_rmf
from xrayflow.errors import DataError, MismatchError, ModelError
from xrayflow.folding import Fold, Forward, Grid, fold
from xrayflow.ogip import Observation, Spectrum, read_observation, read_rmf

Array = NDArray[np.float64]


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Observation:
    return toy_observation(tmp_path_factory.mktemp("toy"))


def photons_on(grid: Grid, draws: int = 3, seed: int = 0) -> Array:
    random = np.random.default_rng(seed)
    middle = 0.5 * (grid.energy_edges[1:] + grid.energy_edges[:-1])
    shape = middle ** -random.uniform(0.5, 3.0, (draws, 1)) * random.uniform(0.5, 1.5, (draws, middle.size))
    return np.asarray(shape * np.diff(grid.energy_edges))


def folded(spectra: list[Spectrum], grid: Grid, photons: Array) -> Array:
    """(source, draw, bin) with the same photons for every source."""
    everyone = torch.from_numpy(photons).expand(len(spectra), -1, -1)
    return np.asarray(Fold.of(spectra, grid)(everyone).numpy())


def by_hand(spectrum: Spectrum, grid: Grid, photons: Array) -> Array:
    """The sum of the module's docstring, in plain numpy and with dense matrices."""
    rmf, pha = spectrum.observation.rmf, spectrum.observation.pha
    lo = np.maximum(grid.energy_edges[:-1, None], rmf.energy_edges[None, :-1])
    hi = np.minimum(grid.energy_edges[1:, None], rmf.energy_edges[None, 1:])
    share = np.clip(hi - lo, 0.0, None) / np.diff(grid.energy_edges)[:, None]
    area = 1.0 if spectrum.observation.arf is None else spectrum.observation.arf.area
    channels = ((photons @ share) * area) @ rmf.matrix.toarray()[:, spectrum.observation.channel_row]
    bins = np.zeros((photons.shape[0], spectrum.counts.size))
    for channel, number in enumerate(spectrum.bin_of_channel):
        if number >= 0:
            bins[:, number] += pha.exposure * pha.areascal[channel] * channels[:, channel]
    return bins


def with_area(observation: Observation, factor: Array | float) -> Observation:
    assert observation.arf is not None
    return replace(observation, arf=replace(observation.arf, area=observation.arf.area * factor))


def with_areascal(observation: Observation, areascal: Array | float) -> Observation:
    scale = np.broadcast_to(np.asarray(areascal, dtype=np.float64), observation.pha.channel.shape)
    return replace(observation, pha=replace(observation.pha, areascal=scale))


GRIDS = [
    Grid.of_response(ENERGY_EDGES),
    Grid.of_response(ENERGY_EDGES, wide=False),
    Grid.log(0.01, 200.0, 700),
    Grid.log(0.3, 11.0, 97),
    Grid(ENERGY_EDGES, "the response's"),
]


@pytest.mark.parametrize("grid", GRIDS, ids=lambda grid: grid.description)
@pytest.mark.parametrize("grouping", ["none", "min:20", "optimal"])
def test_folding_is_the_plain_sum_on_any_grid(toy: Observation, grid: Grid, grouping: str) -> None:
    spectrum = toy.bin(energies=((1.0, 6.0),), grouping=grouping)
    photons = photons_on(grid)
    np.testing.assert_allclose(folded([spectrum], grid, photons)[0], by_hand(spectrum, grid, photons), rtol=1e-12)


def test_on_the_responses_own_grid_it_is_one_product_of_dense_matrices(toy: Observation) -> None:
    grid = Grid.of_response(ENERGY_EDGES, wide=False)
    photons = photons_on(grid)
    of_response = np.searchsorted(ENERGY_EDGES, grid.energy_edges[:-1], side="right") - 1
    sums = np.zeros((3, ENERGY_EDGES.size - 1))
    for energy, number in enumerate(of_response):
        sums[:, number] += photons[:, energy]
    dense = 1000.0 * (sums * effective_area()) @ redistribution()
    spectrum = toy.bin(channels=(0, 119), grouping="none")
    np.testing.assert_allclose(folded([spectrum], grid, photons)[0], dense, rtol=1e-12)


@settings(deadline=None, max_examples=20)
@given(a=st.floats(0.0, 1e6), b=st.floats(0.0, 1e6), seed=st.integers(0, 1000))
def test_folding_is_linear(toy: Observation, a: float, b: float, seed: int) -> None:
    grid = GRIDS[3]
    spectrum = toy.bin(grouping="none")
    one, two = photons_on(grid, 1, seed), photons_on(grid, 1, seed + 1)
    together = folded([spectrum], grid, a * one + b * two)
    apart = a * folded([spectrum], grid, one) + b * folded([spectrum], grid, two)
    np.testing.assert_allclose(together, apart, rtol=1e-10, atol=1e-12)


def test_photons_are_conserved_but_for_what_the_response_loses(toy: Observation) -> None:
    assert toy.arf is not None
    observation = with_area(toy, 1.0 / toy.arf.area)
    spectrum = observation.bin(channels=(0, 119), grouping="none")
    lost = redistribution().sum(axis=1)
    for grid in (GRIDS[0], GRIDS[2]):
        for number in (10, 15, 20):
            inside = (grid.energy_edges[:-1] >= ENERGY_EDGES[number]) & (
                grid.energy_edges[1:] <= ENERGY_EDGES[number + 1]
            )
            photons = inside[None] * photons_on(grid, 1)
            assert photons.sum() > 0
            counts = folded([spectrum], grid, photons).sum()
            assert counts == pytest.approx(1000.0 * photons.sum() * lost[number], rel=1e-12)


def test_splitting_a_bin_of_the_grid_changes_nothing(toy: Observation) -> None:
    spectrum = toy.bin(grouping="none")
    grid = GRIDS[0]
    photons = photons_on(grid)
    share = np.diff(grid.finer(3).energy_edges).reshape(-1, 3)
    split = (photons[:, :, None] * share / share.sum(axis=1, keepdims=True)).reshape(3, -1)
    np.testing.assert_allclose(folded([spectrum], grid.finer(3), split), folded([spectrum], grid, photons), rtol=1e-11)


BATCHES = ("exposures", "grey areas", "areas", "an area with a hole", "groupings", "all", "AREASCAL", "one AREASCAL")


def batches(toy: Observation) -> dict[str, list[Spectrum]]:
    """Batches that differ by everything that may differ."""
    wave = 1.0 + 0.3 * np.sin(np.arange(ENERGY_EDGES.size - 1) / 9.0)
    hole = np.where(np.arange(ENERGY_EDGES.size - 1) < 40, 0.0, 1.0)
    band = ((1.0, 6.0),)
    longer = replace(toy, pha=replace(toy.pha, exposure=321.0))
    odd = with_areascal(toy, np.linspace(0.5, 2.0, 120))
    return {
        "exposures": [toy.bin(band), longer.bin(band)],
        "grey areas": [toy.bin(band), with_area(longer, 0.4).bin(band)],
        "areas": [toy.bin(band), with_area(toy, wave).bin(band), with_area(toy, 2.0 - wave).bin(band)],
        "an area with a hole": [with_area(toy, hole).bin(band), toy.bin(band)],
        "groupings": [toy.bin(band, grouping="none"), longer.bin(band, grouping="min:50"), toy.bin(((2.0, 3.0),))],
        "all": [odd.bin(band), with_area(toy, wave).bin(band, grouping="min:50"), longer.bin(((2.0, 3.0),))],
        "AREASCAL": [toy.bin(band), with_areascal(toy, 1.7).bin(band), odd.bin(band)],
        "one AREASCAL": [odd.bin(band), with_area(odd, wave).bin(band)],
    }


@pytest.mark.parametrize("grid", [GRIDS[0], GRIDS[2], GRIDS[3]], ids=lambda grid: grid.description)
@pytest.mark.parametrize("name", BATCHES)
def test_a_batch_is_folded_like_each_of_its_spectra(toy: Observation, grid: Grid, name: str) -> None:
    spectra = batches(toy)[name]
    photons = photons_on(grid)
    together = folded(spectra, grid, photons)
    for i, spectrum in enumerate(spectra):
        size = spectrum.counts.size
        np.testing.assert_allclose(together[i, :, :size], by_hand(spectrum, grid, photons), rtol=1e-11)
        assert not together[i, :, size:].any()
    chosen = Fold.of(spectra, grid).select(torch.tensor([1, 1, 0]))
    picked = chosen(torch.from_numpy(photons).expand(3, -1, -1)).numpy()
    np.testing.assert_allclose(picked, together[[1, 1, 0]], rtol=1e-12)


@pytest.mark.parametrize("grid", [GRIDS[0], GRIDS[2]], ids=lambda grid: grid.description)
@pytest.mark.parametrize("name", BATCHES)
def test_float32_folds_to_a_millionth_and_answers_in_float64(toy: Observation, grid: Grid, name: str) -> None:
    spectra = batches(toy)[name]
    photons = torch.from_numpy(photons_on(grid)).expand(len(spectra), -1, -1)
    exact, single = Fold.of(spectra, grid), Fold.of(spectra, grid, dtype=torch.float32)
    assert (exact.dtype, single.dtype) == (torch.float64, torch.float32)
    every = torch.arange(len(spectra))
    for fold_in_float32 in (single, single.select(every.flip(0)).select(every.flip(0))):
        expected = fold_in_float32(fold_in_float32.cast(photons))
        assert expected.dtype == torch.float64
        assert not torch.equal(expected, exact(photons))
        torch.testing.assert_close(expected, exact(photons), rtol=2e-6, atol=0)


def test_channels_that_nobody_uses_need_no_photons(toy: Observation) -> None:
    # the grid ends at 7 keV; channels at 11 keV are in no bin of either spectrum
    spectra = [toy.bin(((1.0, 4.0),)), toy.bin(((1.0, 4.0),), grouping="min:50")]
    fold_ = Fold.of(spectra, Grid.log(0.2, 7.0, 300))
    bins = [fold_.matrices[number].shape[1] for number in fold_.matrix_of_source.tolist()]
    assert bins == [spectrum.counts.size for spectrum in spectra]


def test_spectra_of_one_binning_share_one_matrix_and_each_source_has_the_bins_that_it_needs(toy: Observation) -> None:
    longer = replace(toy, pha=replace(toy.pha, exposure=321.0))
    band = ((1.0, 6.0),)
    fold_ = Fold.of([toy.bin(band), longer.bin(band), toy.bin(((2.0, 3.0),))], GRIDS[0])
    assert len(fold_.matrices) == 2
    assert fold_.matrix_of_source.tolist() == [0, 0, 1]
    short = fold_.select(torch.tensor([2]))
    assert (len(short.matrices), short.bins) == (1, toy.bin(((2.0, 3.0),)).counts.size)


def test_a_response_that_comes_again_is_not_multiplied_out_again(toy: Observation) -> None:
    spectrum = toy.bin(((1.0, 6.0),))
    first, again, other = (Fold.of([spectrum], grid) for grid in (GRIDS[0], GRIDS[0], GRIDS[3]))
    assert again.matrices[0] is first.matrices[0]
    assert other.matrices[0] is not first.matrices[0]
    longer = replace(toy, pha=replace(toy.pha, exposure=321.0)).bin(((1.0, 6.0),))
    assert Fold.of([longer], GRIDS[0]).matrices[0] is first.matrices[0]
    wave = 1.0 + 0.3 * np.sin(np.arange(ENERGY_EDGES.size - 1) / 9.0)
    assert Fold.of([with_area(toy, wave).bin(((1.0, 6.0),))], GRIDS[0]).matrices[0] is not first.matrices[0]


def test_spectra_of_other_channel_rows_share_a_batch(tmp_path: Path) -> None:
    short = toy_observation(tmp_path)
    keep = slice(4, 120)
    pha = short.pha
    columns = ("channel", "counts", "quality", "grouping", "areascal", "backscal")
    shorter = replace(pha, stat_err=None, sys_err=None, **{name: getattr(pha, name)[keep] for name in columns})
    cut = replace(short, pha=shorter, channel_row=short.channel_row[keep])
    spectra = [short.bin(((1.0, 6.0),)), cut.bin(((1.0, 6.0),))]
    photons = photons_on(GRIDS[0])
    together = folded(spectra, GRIDS[0], photons)
    np.testing.assert_allclose(together[0], together[1], rtol=1e-12)


def test_a_response_that_holds_its_area_needs_no_arf(toy: Observation, tmp_path: Path) -> None:
    matrix = redistribution() * effective_area()[:, None]
    pha = toy_files(tmp_path)
    rsp = write_rmf(tmp_path / "toy.rsp", matrix=matrix, name="SPECRESP MATRIX", hduclas3="FULL")
    observation = read_observation(pha, rmf=rsp, arf="none")
    assert observation.arf is None
    photons = photons_on(GRIDS[0])
    ours = folded([observation.bin(grouping="none")], GRIDS[0], photons)
    np.testing.assert_allclose(ours, folded([toy.bin(grouping="none")], GRIDS[0], photons), rtol=1e-6)


def test_a_response_that_starts_at_zero_energy_can_be_folded(tmp_path: Path) -> None:
    edges = np.append(0.0, ENERGY_EDGES[1:])
    pha = toy_files(tmp_path)
    write_rmf(tmp_path / "toy.rmf", energy_edges=edges, matrix=redistribution())
    write_arf(tmp_path / "toy.arf", energy_edges=edges, area=effective_area())
    spectrum = read_observation(pha).bin(grouping="none")
    for wide in (True, False):
        grid = Grid.of_response(spectrum.observation.rmf.energy_edges, wide)
        photons = photons_on(grid)
        np.testing.assert_allclose(folded([spectrum], grid, photons)[0], by_hand(spectrum, grid, photons), rtol=1e-12)


@pytest.mark.parametrize(
    "file",
    [
        "swift_xrt_2M0259+3855_00092220001/*.rmf.gz",
        "rxte_pca_GRS1915+105_10258-01-02-00/*.rsp",
        "xmm_pn_NGC7793-ULX4_0693760101/*.rmf.gz",
    ],
)
def test_real_responses_fold_like_plain_numpy(data_folder: Path, toy: Observation, file: str) -> None:
    rmf = read_rmf(next(iter(sorted(data_folder.glob(file)))))
    channels = rmf.matrix.shape[1]
    blank = {name: np.ones(channels) for name in ("counts", "areascal", "backscal")}
    marks = {name: np.ones(channels, dtype=np.int64) for name in ("grouping",)}
    quality = np.zeros(channels, dtype=np.int64)
    pha = replace(toy.pha, channel=rmf.channel, quality=quality, exposure=7.0, detchans=channels, **blank, **marks)
    observation = Observation(pha, rmf, None, None, np.arange(channels))
    spectrum = observation.bin(channels=(int(rmf.channel[0]), int(rmf.channel[-1])), grouping="none")
    grid = Grid.of_response(rmf.energy_edges)
    photons = photons_on(grid, 2)
    number = np.searchsorted(rmf.energy_edges, grid.energy_edges[:-1], side="right") - 1
    inside = (number >= 0) & (number < rmf.matrix.shape[0])
    sums = np.zeros((2, rmf.matrix.shape[0]))
    for draw in range(2):
        np.add.at(sums[draw], number[inside], photons[draw][inside])
    plain = 7.0 * (rmf.matrix.T @ sums.T).T
    np.testing.assert_allclose(folded([spectrum], grid, photons)[0], plain, rtol=1e-10, atol=1e-300)


def test_a_batch_shares_one_rmf(toy: Observation, tmp_path: Path) -> None:
    other = replace(toy, rmf=read_rmf(write_rmf(tmp_path / "other.rmf", matrix=redistribution() * 0.5)))
    with pytest.raises(MismatchError, match="a batch of spectra must share one RMF; run each instrument on its own"):
        Fold.of([toy.bin(), other.bin()], GRIDS[0])


def test_two_matrices_of_one_file_are_two(toy: Observation) -> None:
    first, second = (replace(toy, rmf=replace(toy.rmf, number=i, matrix=i * toy.rmf.matrix)).bin() for i in (1, 2))
    once, twice = (folded([one], GRIDS[0], photons_on(GRIDS[0])) for one in (first, second))
    np.testing.assert_allclose(twice, 2.0 * once)
    with pytest.raises(MismatchError, match="a batch of spectra must share one RMF"):
        Fold.of([first, second], GRIDS[0])


def test_a_batch_holds_a_spectrum() -> None:
    with pytest.raises(DataError, match="a batch without spectra; give at least one"):
        Fold.of([], GRIDS[0])


def test_a_grid_that_misses_the_band_is_refused(toy: Observation) -> None:
    with pytest.raises(
        ModelError, match=r"energy grid 8-9 keV: no photon of it reaches \d+ of the \d+ bins of 0\.3-9\.9"
    ):
        Fold.of([toy.bin(grouping="none")], Grid.log(8.0, 9.0, 10))


def test_a_grid_outside_the_response_is_refused(toy: Observation) -> None:
    with pytest.raises(ModelError, match=r"energy grid 20-30 keV: no photon of it reaches"):
        Fold.of([toy.bin(grouping="none")], Grid.log(20.0, 30.0, 10))


def test_a_matrix_that_does_not_fit_is_refused(toy: Observation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fold, "MOST_ELEMENTS", 1000)
    # a grid of its own: what fitted once is kept
    with pytest.raises(DataError, match=r"toy\.pha: the response between \d+ energies and 96 bins is too large"):
        Fold.of([toy.bin(grouping="none")], Grid.log(0.05, 15.0, 444))


def test_a_fold_on_some_of_the_edges_or_on_more_is_the_one_that_the_response_makes(toy: Observation) -> None:
    """Coarse bins hold their photons evenly, and fine ones lie where the bin does that they are cut from."""
    spectra = [toy.bin(energies=((1.0, 6.0),), grouping=grouping) for grouping in ("none", "min:20")]
    own = Grid.of_response(toy.rmf.energy_edges)
    made = Fold.of(spectra, own)
    coarse = Grid(own.energy_edges[::7], "one in seven")
    beyond = Grid(own.energy_edges[100:-50:3], "a part")
    for grid, dtype, accuracy in (
        (coarse, torch.float64, 1e-13),
        (beyond, torch.float64, 1e-13),
        (coarse, torch.float32, 3e-6),
        (own.finer(3), torch.float64, 1e-12),
        (own, torch.float32, 3e-6),
    ):
        photons = torch.from_numpy(photons_on(grid)).expand(2, -1, -1)
        derived, wanted = made.on(grid, dtype), Fold.of(spectra, grid)
        assert derived is not None
        assert derived.dtype == dtype
        torch.testing.assert_close(derived(photons.to(dtype)), wanted(photons), rtol=accuracy, atol=0)


def test_a_fold_that_cannot_be_derived_is_left_to_the_response(toy: Observation) -> None:
    spectra = [toy.bin(energies=((1.0, 6.0),), grouping="none")]
    own = Grid.of_response(toy.rmf.energy_edges)
    assert Fold.of(spectra, own).on(Grid.log(0.1, 12.0, 50), torch.float64) is None, "other edges"
    straddling = Grid.log(0.3, 11.0, 40)
    assert Fold.of(spectra, straddling).on(straddling.finer(2), torch.float64) is None, "its bins hold several energies"
    bent = replace(toy, arf=replace(toy.arf, area=toy.arf.area * np.linspace(0.5, 1.5, toy.arf.area.size)))
    other = bent.bin(energies=((1.0, 6.0),), grouping="none")
    assert Fold.of([*spectra, other], own).on(Grid(own.energy_edges[::5], ""), torch.float64) is None, "areas differ"


def test_an_energy_scale_that_is_off_moves_the_edges_of_bins() -> None:
    """Against the counts of single channels, summed and read at the moved edges by a spline."""
    one = bright(1e6)
    whole = detector().bin(energies=[(0.0, 15.0)], grouping="none")
    channels = one.scale * Forward.of(one.model, [whole]).expected(one.theta[None, None])[0, 0].numpy()
    edges = np.append(whole.energy_lo, whole.energy_hi[-1])
    total = CubicSpline(edges, np.concatenate([[0.0], np.cumsum(channels)]))
    offset, slope = 0.013, -0.004
    moved = replace(one.spectrum, gain=(offset, slope))
    found = one.scale * Forward.of(one.model, [moved]).expected(one.theta[None, None])[0, 0].numpy()
    lo, hi = one.spectrum.energy_lo, one.spectrum.energy_hi
    wanted = total(hi - offset - slope * hi) - total(lo - offset - slope * lo)
    plain = one.expected()[0, 0].numpy()
    assert np.abs(wanted / plain - 1).max() > 0.1
    assert found == pytest.approx(wanted, rel=5e-5)
