"""The tables of a run file: their sizes are told before anything is built, and what cannot go together is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from network_zoo import toy_table, write_toy
from xrayflow.networks.network import prepare
from xrayflow.networks.recipe import parse_recipe
from xrayflow.networks.sections import InstrumentSection, NetworkSection, StageSection


@pytest.mark.parametrize("latent", ["coupling", "autoregressive"])
@pytest.mark.parametrize("encoder", ["residual", "convolutional"])
def test_inner_weights_are_some_of_those_of_the_network(tmp_path: Path, latent: str, encoder: str) -> None:
    parts = {"latent": latent, "encoder": encoder, "decoder": "recurrent", "scaling": "paper", "local": True}
    recipe = parse_recipe(toy_table(network=parts | {"convolutions": [[2, 2, 4], [3, 1, 8]]}), "toy.toml")
    network, _ = prepare(recipe, write_toy(tmp_path))
    assert 0.2 * network.weights < recipe.network.inner_weights < network.weights


def test_weights_between_layers_are_products_of_their_widths() -> None:
    """By hand: two matrices of each residual block, the flow's layers for each transform."""
    section = NetworkSection(context=10, blocks=2, transforms=3, hidden=(7,))
    assert section.inner_weights == 2 * 10 * 10 * 2 + 3 * 10 * 7


def test_a_response_of_ones_own_says_what_its_area_is() -> None:
    assert (InstrumentSection().rmf, InstrumentSection().arf) == ("nicer", "nicer")
    assert InstrumentSection(rmf="a.rmf", arf="none").arf == "none"
    with pytest.raises(ValidationError, match=r"say arf for a\.rmf too"):
        InstrumentSection(rmf="a.rmf")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"trains": ["flow"]}, "all weights are 0"),
        ({"trains": ["local"], "local": 1.0, "flow": 1.0}, "local trains on modes, the others on spectra"),
        ({"trains": ["flow", "decoder"], "flow": 1.0}, "no loss with a weight depends on the decoder"),
    ],
)
def test_a_stage_whose_parts_nothing_trains_is_refused(words: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        StageSection.model_validate({"name": "one", "epochs": 1, **words})
