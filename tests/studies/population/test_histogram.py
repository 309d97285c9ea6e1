"""The histogram over sources, against brute force."""

from __future__ import annotations

import numpy as np
import pytest

from population_zoo import INDEX, NORM, planted
from xrayflow.errors import DataError
from xrayflow.studies.population import PopulationConfig, Selection, find_population
from xrayflow.studies.population.histogram import bin_edges, bin_means, found_in_bins, sample_histogram, settled

EDGES = np.array([0.0, 1.0, 3.0])


@pytest.mark.parametrize("found", [(1.0, 1.0), (0.3, 0.9)])
def test_two_bins_are_the_integral_over_one_number(found: tuple[float, float]) -> None:
    generator = np.random.default_rng(1)
    mean = generator.random((25, 2)) + np.array([0.0, 0.5])
    drawn = sample_histogram(mean, EDGES, np.array(found), np.random.default_rng(2))
    p = (np.arange(4000) + 0.5) / 4000
    log = np.log(np.outer(p, mean[:, 0]) + np.outer(1 - p, mean[:, 1])).sum(1)
    log -= 25 * np.log(p * found[0] + (1 - p) * found[1])
    log -= 0.5 * np.log(p * (1 - p))  # Jeffreys' prior
    weight = np.exp(log - log.max())
    weight /= weight.sum()
    centre = (p * weight).sum()
    spread = np.sqrt(((p - centre) ** 2 * weight).sum())
    assert drawn.rhat.max() < 1.01
    error = 4.0 * spread / np.sqrt(drawn.ess.min())  # once in ten thousand
    assert abs(drawn.share[..., 0].mean() - centre) < error
    assert drawn.share[..., 0].std() == pytest.approx(spread, rel=4.0 / np.sqrt(2.0 * drawn.ess.min()) + 0.01)


def test_bins_are_three_times_the_cube_root_of_the_sources_where_their_errors_allow() -> None:
    """10 of 40 sources; and at most as many as median errors fit into the range."""
    generator = np.random.default_rng(5)
    middle = -2 + 0.3 * generator.standard_normal((40, 1))
    sharp, blunt = (
        np.diff(bin_edges(planted(middle, np.full((40, 1), error), 200, generator).gathered([NORM]), None)[1:-1])
        for error in (0.01, 0.3)
    )
    assert sharp.size == 10
    assert blunt.size < 10
    assert blunt[0] > 0.97 * 0.3  # from 200 draws of each


def test_every_draw_falls_into_a_bin_of_the_whole_box() -> None:
    generator = np.random.default_rng(3)
    draws = planted(-2 + 0.3 * generator.standard_normal((40, 1)), np.full((40, 1), 0.1), 200, generator).gathered(
        [NORM]
    )
    edges = bin_edges(draws, None)
    assert (edges[0], edges[-1], edges.size) == (-5.0, 1.0, 10 + 3)
    assert np.ptp(np.diff(edges)[1:-1]) < 1e-9
    mean = bin_means(draws, edges)
    # the prior is flat in x: weight / prior x density of the bin, summed over bins with their widths, is the box
    np.testing.assert_allclose(mean @ np.diff(edges), 6.0)


def test_bins_at_the_edge_of_the_box_leave_no_sliver() -> None:
    generator = np.random.default_rng(4)
    draws = planted(np.full((40, 1), -0.97), np.full((40, 1), 0.002), 100, generator).gathered([INDEX])
    edges = bin_edges(draws, 5)
    assert edges[0] == -1.0
    assert edges[-1] == 5.0
    assert (np.diff(edges) > 0).all()


def test_a_selection_is_averaged_over_bins() -> None:
    assert found_in_bins(None, EDGES).tolist() == [1.0, 1.0]
    np.testing.assert_allclose(
        found_in_bins(Selection(np.array([0.0, 4.0]), np.array([0.0, 1.0])), EDGES), [0.125, 0.5]
    )


def test_a_histogram_finds_two_heaps() -> None:
    generator = np.random.default_rng(5)
    truth = np.where(np.arange(200) < 140, 1.0, 2.0)[:, None] + 0.1 * generator.standard_normal((200, 1))
    draws = planted(truth, np.full((200, 1), 0.05), 400, generator).gathered([INDEX])
    found = find_population(draws, PopulationConfig("histogram", bins=12))
    place, density = found.density()
    assert found.computation.status == "certified"
    assert found.edges is not None
    share = np.array([row["median"] for row in found.quantiles().values()])
    middle = 0.5 * (found.edges[1:] + found.edges[:-1])
    assert share[(middle > 1.5)].sum() == pytest.approx(0.3, abs=0.05)
    widths = np.diff(place)
    assert (0.5 * (density[2, 1:] + density[2, :-1]) * widths).sum() == pytest.approx(1.0, abs=0.05)


def test_draws_that_are_all_the_same_have_no_histogram() -> None:
    draws = planted(np.full((5, 1), 1.0), np.zeros((5, 1)), 10, np.random.default_rng(0)).gathered([INDEX])
    with pytest.raises(DataError, match=r"powerlaw\.PhoIndex: all draws have one value"):
        bin_edges(draws, None)


def test_the_effective_size_of_a_chain_is_that_of_its_correlation() -> None:
    generator = np.random.default_rng(6)
    chains = np.empty((4, 20_000))
    chains[:, 0] = generator.standard_normal(4)
    for step in range(1, chains.shape[1]):
        chains[:, step] = 0.8 * chains[:, step - 1] + 0.6 * generator.standard_normal(4)
    rhat, ess = settled(chains)
    assert ess == pytest.approx(chains.size * 0.2 / 1.8, rel=0.1)
    assert rhat < 1.005
    assert settled(chains + np.arange(4)[:, None])[0] > 1.2
    assert settled(np.ones((4, 100))) == (1.0, 400.0)
