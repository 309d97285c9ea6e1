"""A cheap forward made exact at a few places: exact there, nearly so around them, and harmless far away."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from ogip_zoo import toy_observation
from xrayflow.folding import EXACT, MANY_DRAWS, SEARCH, Forward
from xrayflow.folding.correction import MOST, REACH, Correction, Lengths
from xrayflow.models import Parameter, parse_model
from xrayflow.ogip import Spectrum

MODEL = parse_model("TBabs*powerlaw")
PLACES = torch.tensor([[0.3, 1.7, 0.05], [0.5, 2.1, 0.06], [0.1, 1.2, 0.02]], dtype=torch.float64)
"""nH, PhoIndex and norm."""


@pytest.fixture(scope="module")
def spectra(tmp_path_factory: pytest.TempPathFactory) -> list[Spectrum]:
    """Of other exposures and numbers of bins; the second in the soft band, where absorption bends most."""
    first = toy_observation(tmp_path_factory.mktemp("toy"))
    longer = replace(first, pha=replace(first.pha, exposure=300.0))
    return [first.bin(((0.4, 6.0),)), longer.bin(((0.3, 2.0),)), longer.bin(((1.0, 6.0),), grouping="min:50")]


@pytest.fixture(scope="module")
def exact(spectra: list[Spectrum]) -> Forward:
    return Forward.of(MODEL, spectra)


def everywhere(places: Tensor, sources: int = 3) -> tuple[Tensor, Tensor]:
    """The same places for every source, all known."""
    return places.expand(sources, -1, -1), torch.ones((sources, places.shape[0]), dtype=torch.bool)


@pytest.fixture(scope="module")
def cheap(exact: Forward) -> Forward:
    found = exact.at(SEARCH)
    assert found.energies * 5 < exact.energies
    return found


@pytest.fixture(scope="module")
def corrected(cheap: Forward) -> Forward:
    """At one place."""
    return cheap.corrected(*everywhere(PLACES[:1]))


def error(one: Forward, exact: Forward, theta: Tensor) -> Tensor:
    """(draw,) of ln expected, the largest of any bin of any source."""
    theta = theta.expand(exact.rows.numel(), -1, -1)
    known = exact.expected(theta)
    off = torch.where(known > 1e-6 * known.amax(-1, keepdim=True), one.expected(theta) / known - 1.0, 0.0)
    return off.abs().amax((0, 2))


def test_at_its_places_a_corrected_forward_and_its_jacobian_are_exact(exact: Forward, cheap: Forward) -> None:
    theta, known = everywhere(PLACES)
    corrected = cheap.corrected(theta, known)
    assert corrected.fidelity == SEARCH
    assert corrected.energies == cheap.energies
    (wanted, slope), (found, found_slope) = exact.linearised(theta), corrected.linearised(theta)
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=0)
    torch.testing.assert_close(corrected.expected(theta), wanted, rtol=1e-12, atol=0)
    largest = slope.abs().amax((1, 2), keepdim=True)
    assert float(((found_slope - slope).abs() / largest).max()) < 1e-12
    assert float(error(cheap, exact, PLACES).min()) > 1e-3, "or there was nothing to correct"


def test_around_a_place_the_error_grows_with_the_square_of_the_way(
    exact: Forward, cheap: Forward, corrected: Forward
) -> None:
    """Half the way, a quarter of the error; and far below that of the cheap one."""
    away = torch.tensor([0.1, 0.1, 0.02], dtype=torch.float64) * torch.tensor([[0.25], [0.5], [1.0]]).double()
    theta = PLACES[:1] + away
    off, uncorrected = error(corrected, exact, theta), error(cheap, exact, theta)
    assert (off[1:] / off[:-1]).tolist() == pytest.approx([4.0, 4.0], rel=0.3)
    assert float(off[2]) < uncorrected[2] / 20.0
    assert float(off[0]) < uncorrected[0] / 300.0


def test_norms_need_no_correction_and_get_none(exact: Forward, corrected: Forward) -> None:
    """Expected counts are linear in the norm: the ratio of the grids knows nothing of it."""
    theta = PLACES[:1] * torch.tensor([[1.0, 1.0, 1.02], [1.0, 1.0, 0.9]], dtype=torch.float64)
    assert float(error(corrected, exact, theta).max()) < 1e-11


def test_several_places_are_weighed_by_the_fourth_power_of_nearness(cheap: Forward, exact: Forward) -> None:
    theta, known = everywhere(PLACES)
    correction = cheap.corrected(theta, known).correction
    assert correction is not None
    at = torch.tensor([[0.39, 1.9, 0.055]], dtype=torch.float64)
    lengths = Lengths.of(MODEL.free)
    away = lengths.x(at) - lengths.x(PLACES)
    weight = away.norm(dim=-1) ** -4
    weight = weight / weight.sum()
    assert float(weight.sort().values[1]) > 0.1, "or one place alone would count"
    (wanted, slope), (own, own_slope) = (one.linearised(theta) for one in (exact, cheap))
    ratio = wanted / own
    bend = (slope - ratio[..., None] * own_slope) / own[..., None] / lengths.slope(PLACES)[None, :, None, :]
    part = (REACH / away.norm(dim=-1)).clamp(max=1.0)
    line = ratio - 1.0 + torch.einsum("sabp,ap,a->sab", bend, away, part)
    by_hand = 1.0 + torch.einsum("a,sab->sb", weight, line)
    found = correction.factor(at.expand(3, -1, -1))[:, 0]
    for source in range(3):
        bins = exact.family.spectra[source].counts.size
        torch.testing.assert_close(found[source, :bins], by_hand[source, :bins], rtol=1e-9, atol=1e-12)


def test_between_two_places_two_are_better_than_one(exact: Forward, cheap: Forward) -> None:
    ends = torch.tensor([[0.3, 1.7, 0.05], [0.5, 2.0, 0.05]], dtype=torch.float64)
    middle = torch.tensor([[0.42, 1.88, 0.05]], dtype=torch.float64)
    one, both = (cheap.corrected(*everywhere(ends[:count])) for count in (1, 2))
    assert float(error(both, exact, middle)) < 0.5 * float(error(one, exact, middle))


def test_places_that_are_not_known_change_nothing(cheap: Forward) -> None:
    """Two places of the first source, one of the second, none of the third; what pads may be anything."""
    theta = torch.full((3, 2, 3), torch.nan, dtype=torch.float64)
    theta[0], theta[1, 0] = PLACES[:2], PLACES[2]
    known = torch.tensor([[True, True], [True, False], [False, False]])
    padded = cheap.corrected(torch.where(torch.isnan(theta), 1.0, theta), known)
    at = torch.tensor([[0.32, 1.75, 0.05], [0.2, 1.4, 0.03]], dtype=torch.float64).expand(3, -1, -1)
    found = padded.expected(at)
    assert torch.equal(found[2], cheap.expected(at)[2])
    for source, places in ((0, PLACES[:2]), (1, PLACES[2:])):
        alone = cheap.select(torch.tensor([source])).corrected(*everywhere(places, 1))
        bins = alone.fold.bins
        torch.testing.assert_close(found[source, :, :bins], alone.expected(at[:1])[0], rtol=1e-12, atol=0)
        assert float((found[source] / cheap.expected(at)[source])[:, :bins].sub(1.0).abs().max()) > 1e-4


def parameters() -> tuple[Parameter, ...]:
    return MODEL.free


def made_by_hand(exact: list[float], cheap: list[float]) -> Correction:
    """Of one place of one source, with no slope of the exact counts."""
    sides = [torch.tensor([[values]], dtype=torch.float64) for values in (exact, cheap)]
    slopes = [torch.zeros((*side.shape, 3), dtype=torch.float64) for side in sides]
    known = torch.ones((1, 1), dtype=torch.bool)
    return Correction.of(parameters(), PLACES[None, :1], known, (sides[0], slopes[0]), (sides[1], slopes[1]))


def test_bins_that_hardly_any_photon_reaches_stay_as_they_are() -> None:
    """0 / 0, something from nothing, nothing from something, and factors beyond what a grid can do."""
    found = made_by_hand(
        [1.1, 0.0, 1.0, 0.0, 1.01 * MOST, 0.99 / MOST, 0.99 * MOST], [1.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0]
    ).factor(PLACES[None])
    assert found[0, 0].tolist() == pytest.approx([1.1, 1.0, 1.0, 1.0, 1.0, 1.0, 0.99 * MOST])
    assert bool(torch.isfinite(found).all())


def test_a_slope_that_is_no_number_leaves_its_bin_alone() -> None:
    counts = torch.full((1, 1, 3), 2.0, dtype=torch.float64)
    slope = torch.zeros((1, 1, 3, 3), dtype=torch.float64)
    broken = slope.clone()
    broken[0, 0, 1, 2] = torch.nan
    known = torch.ones((1, 1), dtype=torch.bool)
    found = Correction.of(parameters(), PLACES[None, :1], known, (counts, broken), (0.5 * counts, slope))
    assert found.factor(PLACES[None, :1])[0, 0].tolist() == [2.0, 1.0, 2.0]
    bend = found.factor_and_slope(PLACES[None, :1])[1]
    assert bool(torch.isfinite(bend).all())


def test_beyond_its_reach_a_line_is_not_followed(corrected: Forward) -> None:
    """Along one parameter: linear up to REACH box lengths, level from there on."""
    correction = corrected.correction
    assert correction is not None
    length = float(Lengths.of(MODEL.free).box[1])
    steps = REACH * torch.tensor([0.0, 0.5, 0.999, 1.001, 2.0, 4.0], dtype=torch.float64)
    theta = PLACES[:1].repeat(6, 1)
    theta[:, 1] += steps * length
    factor, slope = correction.factor_and_slope(theta.expand(3, -1, -1))
    factor, by_index = factor[0], slope[0, :, :, 1]
    whole = factor[2] - factor[0]
    assert float(whole.abs().max()) > 1e-4
    torch.testing.assert_close(factor[1] - factor[0], whole * 0.5 / 0.999, rtol=1e-6, atol=1e-12)
    torch.testing.assert_close(factor[3:], factor[3].expand(3, -1), rtol=1e-12, atol=0)
    torch.testing.assert_close(factor[3], factor[0] + whole / 0.999, rtol=1e-6, atol=1e-12)
    assert bool((by_index[:3].abs().amax(-1) > 0).all())
    assert not bool(by_index[3:].any())


def test_a_line_that_falls_below_zero_is_held_above_it() -> None:
    """Expected counts of a few counts' posterior, far from the place where the grid is exact, were below 0."""
    counts, slope = torch.ones((1, 1, 2), dtype=torch.float64), torch.zeros((1, 1, 2, 3), dtype=torch.float64)
    steep = slope.clone()
    steep[0, 0, 1, 1] = -20.0  # of the second bin, by the photon index
    correction = Correction.of(
        parameters(), PLACES[None, :1], torch.ones((1, 1), dtype=torch.bool), (counts, steep), (counts, slope)
    )
    theta = PLACES[:1].repeat(3, 1)
    theta[:, 1] += torch.tensor([0.0, 0.02, 0.2], dtype=torch.float64)
    factor, bend = correction.factor_and_slope(theta[None])
    assert factor[0, :, 0].tolist() == [1.0, 1.0, 1.0]
    assert factor[0, :, 1].tolist() == pytest.approx([1.0, 0.6, 1.0 / MOST])
    assert bend[0, :, 1, 1].tolist() == pytest.approx([-20.0, -20.0, 0.0])
    assert torch.equal(correction.factor(theta[None]), factor)


def test_the_derivative_is_that_of_the_corrected_counts(corrected: Forward) -> None:
    theta = (PLACES[:1] * torch.tensor([[1.0, 1.0, 1.0], [1.2, 1.05, 0.9], [0.8, 0.95, 1.1]]).double()).expand(
        3, -1, -1
    )
    expected, jacobian = corrected.linearised(theta)
    torch.testing.assert_close(expected, corrected.expected(theta), rtol=1e-10, atol=0)
    for i in range(3):
        step = torch.zeros_like(theta)
        step[..., i] = 1e-5 * theta[..., i]
        ends = [corrected.expected(theta + side * step) for side in (1.0, -1.0)]
        difference = (ends[0] - ends[1]) / (2e-5 * theta[..., i, None])
        off = (jacobian[..., i] - difference).abs() * theta[..., i, None] / expected.amax(-1, keepdim=True)
        assert float(off.max()) < 1e-7


@pytest.mark.parametrize("rows", [[1], [2, 0], [0, 0, 1], [2]])
def test_some_sources_have_the_numbers_that_they_have_among_all(cheap: Forward, rows: list[int]) -> None:
    """Bins and places are trimmed to what they need."""
    known = torch.tensor([[True, True, False], [True, False, False], [True, True, True]])
    corrected = cheap.corrected(PLACES.expand(3, -1, -1), known)
    theta = PLACES[:2] * 1.05
    whole = corrected.linearised(theta.expand(3, -1, -1))
    chosen = corrected.select(torch.tensor(rows))
    assert chosen.correction is not None
    assert chosen.correction.table.shape[:2] == (len(set(rows)), int(known[rows].sum(-1).max()))
    assert chosen.correction.table.shape[-1] == chosen.fold.bins
    found = chosen.linearised(theta.expand(len(rows), -1, -1))
    for place, row in enumerate(rows):
        for one, other in zip(found, whole, strict=True):
            torch.testing.assert_close(one[place], other[row, :, : chosen.fold.bins], rtol=1e-12, atol=1e-12)
    twice = chosen.select(torch.tensor([len(rows) - 1]))
    torch.testing.assert_close(
        twice.expected(theta[None])[0], whole[0][rows[-1], :, : twice.fold.bins], rtol=1e-12, atol=1e-12
    )


def test_a_place_is_evaluated_alone_so_that_company_does_not_change_its_digits(cheap: Forward) -> None:
    together = cheap.corrected(*everywhere(PLACES)).correction
    for source in range(3):
        alone = cheap.select(torch.tensor([source])).corrected(*everywhere(PLACES, 1)).correction
        assert together is not None
        assert alone is not None
        assert torch.equal(alone.table[0], together.table[source, ..., : alone.table.shape[-1]])


def test_many_draws_are_taken_in_float32_and_keep_six_digits(corrected: Forward) -> None:
    generator = torch.Generator().manual_seed(2)
    spread = 0.05 * torch.randn((MANY_DRAWS, 3), generator=generator, dtype=torch.float64)
    theta = (PLACES[:1] * (1.0 + spread)).expand(3, -1, -1)
    many = corrected.expected(theta)
    few = torch.cat([corrected.expected(part) for part in theta.split(MANY_DRAWS - 1, dim=1)], dim=1)
    assert many.dtype == torch.float64
    assert not torch.equal(many, few), "or many draws were not taken in float32"
    largest = few.amax(-1, keepdim=True)
    assert float(((many - few).abs() / torch.where(few > 1e-3 * largest, few, largest)).max()) < 3e-6


def test_an_exact_forward_has_nothing_to_correct_and_another_fidelity_no_correction(
    exact: Forward, corrected: Forward
) -> None:
    same = exact.corrected(*everywhere(PLACES))
    assert same.correction is None
    assert same.single is None
    assert torch.equal(same.expected(PLACES.expand(3, -1, -1)), exact.expected(PLACES.expand(3, -1, -1)))
    assert corrected.at(EXACT).correction is None
    assert corrected.at(SEARCH) is corrected


def test_a_correction_keeps_the_places_that_it_has(exact: Forward) -> None:
    """One after the other is as good as all at once: a correction is of the cheap counts, not of corrected ones."""
    plain, at = exact.at(SEARCH), PLACES.expand(3, -1, -1)
    together = plain.corrected(*everywhere(PLACES))
    one_by_one = plain.corrected(*everywhere(PLACES[:1])).corrected(*everywhere(PLACES[1:]))
    torch.testing.assert_close(one_by_one.expected(at), together.expected(at), rtol=1e-12, atol=0)
    torch.testing.assert_close(one_by_one.expected(at), exact.expected(at), rtol=1e-9, atol=0)


def test_x_is_in_box_lengths_and_logarithmic_where_the_scale_is() -> None:
    lengths = Lengths.of(MODEL.free)
    (nh, index, norm) = MODEL.free
    assert [one.scale for one in (nh, index, norm)] == ["log", "linear", "log"]
    low, high = (torch.tensor([one.box[i] for one in MODEL.free], dtype=torch.float64) for i in (0, 1))
    torch.testing.assert_close(lengths.x(high) - lengths.x(low), torch.ones(3, dtype=torch.float64))
    middle = torch.tensor([math.sqrt(nh.box[0] * nh.box[1]), sum(index.box) / 2, math.sqrt(norm.box[0] * norm.box[1])])
    torch.testing.assert_close(
        lengths.x(middle.double()) - lengths.x(low), torch.full((3,), 0.5).double(), rtol=0, atol=1e-6
    )
    step = 1e-6 * PLACES
    difference = torch.stack(
        [(lengths.x(PLACES + step) - lengths.x(PLACES - step))[:, i] / (2.0 * step[:, i]) for i in range(3)], dim=-1
    )
    torch.testing.assert_close(lengths.slope(PLACES), difference, rtol=1e-8, atol=0)


LINED = parse_model("TBabs*(powerlaw+gaussian)")
LINE = torch.tensor([[0.3, 1.7, 0.05, 3.0, 0.004, 1e-3], [0.3, 1.7, 0.05, 2.1, 0.02, 2e-3]], dtype=torch.float64)
"""A narrow line that is far above the power law, at two places."""


def test_a_line_takes_its_factor_nowhere(spectra: list[Spectrum]) -> None:
    """Made exact where a narrow line stands, counts without a line were wrong all over the band."""
    exact = Forward.of(LINED, spectra)
    corrected = exact.at(SEARCH).corrected(*everywhere(LINE))
    gone = LINE[:1].repeat(5, 1)
    gone[:, 3] = torch.tensor([0.5, 2.0, 2.9, 4.0, 9.0], dtype=torch.float64)
    gone[:, 5] = 1e-9
    assert float(error(corrected, exact, gone).max()) < 1e-5
    moved = LINE[:1].repeat(3, 1)
    moved[:, 3] = torch.tensor([2.0, 4.0, 5.0], dtype=torch.float64)
    as_it_is = error(exact.at(SEARCH), exact, moved)
    assert bool((error(corrected, exact, moved) < 1.2 * as_it_is + 1e-4).all())


def test_a_line_changes_no_factor_and_bends_none(spectra: list[Spectrum]) -> None:
    correction = Forward.of(LINED, spectra).at(SEARCH).corrected(*everywhere(LINE[:1])).correction
    assert correction is not None
    theta = LINE.expand(3, -1, -1)
    factor, slope = correction.factor_and_slope(theta)
    torch.testing.assert_close(factor[:, 0], factor[:, 1], rtol=1e-12, atol=0)
    assert not bool(slope[..., 3:].any())
    assert bool(torch.isfinite(slope).all())
