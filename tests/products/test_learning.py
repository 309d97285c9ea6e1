"""The log of a training as curves."""

from __future__ import annotations

from pathlib import Path

import pytest

from network_zoo import PAPER, toy_recipe, trained, write_toy
from xrayflow.errors import FormatError
from xrayflow.products.learning import read_curves


def test_the_log_of_a_training_gives_every_loss_of_every_stage(tmp_path: Path) -> None:
    decoder = {"name": "decoder", "trains": ["decoder"], "flow": 0.0, "decoder": 1.0, "epochs": 2}
    both = {"name": "both", "latent": 1.0, "reconstruction": 1.0, "epochs": 1}
    recipe = toy_recipe(decoder, both, network=PAPER | {"decoder": "recurrent"})
    trained(recipe, write_toy(tmp_path / "toy"), tmp_path / "out")
    curves = {(curve.stage, curve.loss): curve for curve in read_curves(tmp_path / "out" / "log.csv")}
    assert set(curves) == {("decoder", "decoder"), ("both", "flow"), ("both", "latent"), ("both", "reconstruction")}
    assert curves["decoder", "decoder"].epoch == (1, 2)
    assert curves["both", "flow"].epoch == (3,)
    assert len(curves["decoder", "decoder"].validation) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", "no epochs yet"),
        ("flow,validation_flow\n1,2\n", "not the log of a training"),
        ("stage,flow,validation_flow\nx,one,2\n", "not the log of a training"),
        ("stage,flow,validation_flow\nx,1\n", "not the log of a training"),
        ("stage,validation_flow\nx,1\n", "not the log of a training"),
        ("stage,flow,validation_flow\n", "no epochs yet; wait for the first"),
    ],
)
def test_what_is_no_log_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "log.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(FormatError, match=message):
        read_curves(path)


def test_a_missing_log_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"log\.csv: cannot be read .* give the log\.csv of a training's folder"):
        read_curves(tmp_path / "log.csv")
