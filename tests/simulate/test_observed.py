"""Simulated spectra as observations: what was simulated is what an answer and a network see of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from network_zoo import toy_network, toy_recipe
from xrayflow.errors import MismatchError
from xrayflow.networks import Network, read_response
from xrayflow.ogip import ARF, RMF
from xrayflow.seeds import generator_for
from xrayflow.simulate import Layout, SimulatedSpectra, Simulator, as_observations
from xrayflow.statistics import BackgroundTreatment, StatisticChoice, background_kind

Toy = tuple[Network, Simulator, RMF, ARF, SimulatedSpectra]


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    folder = tmp_path_factory.mktemp("observed")
    network, simulator = toy_network(folder, toy_recipe(training_prior={"partial": 0.9}))
    rmf, arf = read_response(network, folder / "toy.rmf", folder / "toy.arf")
    assert arf is not None
    return network, simulator, rmf, arf, simulator.sample(40, generator_for(5, "observed"))


def test_a_network_sees_what_was_simulated(toy: Toy) -> None:
    network, simulator, rmf, arf, drawn = toy
    whole = drawn.noticed >= 1.0
    assert bool((~whole).any())
    for row, one in enumerate(as_observations(drawn, network.layout, rmf, arf, 0.3)):
        spectrum = one.bin(channels=(int(simulator.first[0]), int(simulator.last[-1])), grouping="file")
        seen = network.inputs(spectrum)
        assert torch.equal(seen.counts[0], torch.where(whole[row], drawn.counts[row], 0.0))
        assert torch.allclose(seen.background[0], torch.where(whole[row], drawn.background[row], 0.0))
        assert torch.equal(seen.noticed[0], whole[row].double())
        assert float(seen.exposure) == float(drawn.exposure[row])
        assert float(seen.area) == pytest.approx(float(drawn.area[row]), rel=1e-6)


def test_an_answer_sees_the_bins_of_the_layout(toy: Toy) -> None:
    network, simulator, rmf, arf, drawn = toy
    full = replace(drawn, noticed=torch.ones_like(drawn.noticed))
    for row, one in enumerate(as_observations(full, network.layout, rmf, arf, 0.3)[:5]):
        spectrum = one.bin(channels=(int(simulator.first[0]), int(simulator.last[-1])), grouping="file")
        assert spectrum.counts.tolist() == drawn.counts[row].tolist()
        if one.background is not None:
            assert np.allclose(spectrum.background_err, 0.3 * spectrum.background)


def test_names_and_hashes_tell_spectra_apart(toy: Toy) -> None:
    network, _, rmf, arf, drawn = toy
    found = as_observations(drawn, network.layout, rmf, arf, 0.3, [f"x{i}.pha" for i in range(40)])
    assert len({one.pha.sha256 for one in found}) == 40
    assert found[3].pha.path == Path("x3.pha")


def test_a_spectrum_without_a_background_has_none(toy: Toy) -> None:
    network, _, rmf, arf, drawn = toy
    none = replace(drawn, background=torch.zeros_like(drawn.background))
    assert all(one.background is None for one in as_observations(none, network.layout, rmf, arf, 0.3))


def test_a_counted_background_is_a_file_of_counts_beside_the_source(toy: Toy) -> None:
    """An answer integrates over it, and a network sees its counts in the source's exposure."""
    network, simulator, rmf, arf, _ = toy
    law = replace(simulator.training_prior, background_counted=0.5, without_background=0.3, partial=0.0, grouped=0.0)
    drawn = replace(simulator, training_prior=law).sample(60, generator_for(6, "counted"))
    kinds = set()
    for row, one in enumerate(as_observations(drawn, network.layout, rmf, arf, 0.3)):
        spectrum = one.bin(channels=(int(simulator.first[0]), int(simulator.last[-1])), grouping="file")
        if one.background is None:
            kinds.add("none")
            assert float(drawn.background[row].sum()) == 0.0
            continue
        seen = network.inputs(spectrum)
        behind = torch.where(drawn.noticed[row] >= 1.0, drawn.background[row], 0.0)
        torch.testing.assert_close(seen.background[0], behind, rtol=1e-9, atol=1e-9)
        region = float(drawn.region[row])
        choice = StatisticChoice("wstat" if region > 0 else "pgstat", "simulated", gaussian=False)
        kinds.add(kind := str(background_kind(spectrum, choice, BackgroundTreatment())))
        assert kind == ("counted" if region > 0 else "modelled")
        if region > 0:
            assert np.array_equal(one.background.counts, np.rint(one.background.counts))
            assert spectrum.background_exposure is not None
            np.testing.assert_allclose(spectrum.background_exposure / spectrum.source_exposure, region)
    assert kinds == {"none", "counted", "modelled"}


def test_other_bins_are_refused(toy: Toy) -> None:
    _, _, rmf, arf, drawn = toy
    wider = Layout.of(rmf, (int(rmf.channel[0]),), (8,), (0.5, 8.5))
    with pytest.raises(MismatchError, match="14 bins, and the layout has"):
        as_observations(drawn, wider, rmf, arf, 0.3)
