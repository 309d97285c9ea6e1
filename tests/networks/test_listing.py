"""What is said of the shipped networks, to people and to machines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import xrayflow.networks.listing as room
from network_zoo import CALIBRATED, toy_network, toy_recipe
from xrayflow.networks import save_network


def test_a_shipped_network_is_listed_with_what_it_was_made_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network, _ = toy_network(tmp_path)
    path = save_network(network, tmp_path / "toy.safetensors")
    monkeypatch.setattr(room, "shipped_networks", lambda: {"toy": path})
    (one,) = json.loads(json.dumps(room.describe_networks()))["networks"]
    assert (one["name"], one["model"], one["bins"]) == ("toy", "powerlaw", 14)
    assert one["exposure"] == [100.0, 1000.0]
    assert one["weights"] == network.weights
    assert list(one["parameters"]) == ["powerlaw.PhoIndex", "powerlaw.norm"]
    text = "\n".join(room.list_network_lines())
    assert "toy  powerlaw" in text
    assert "100-1000 s, 1-1000 counts/s, systematic up to 0.03\n" in text
    assert one["calibration"] is None


def test_a_network_that_knows_an_amplitude_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network, _ = toy_network(tmp_path, toy_recipe(training_prior=CALIBRATED))
    path = save_network(network, tmp_path / "toy.safetensors")
    monkeypatch.setattr(room, "shipped_networks", lambda: {"toy": path})
    (one,) = json.loads(json.dumps(room.describe_networks()))["networks"]
    assert (one["calibration"], one["amplitude"]) == ("nicer-v1", [0.5, 2.0])
    assert "systematic up to 0.03, calibration modes nicer-v1 up to 2" in "\n".join(room.list_network_lines())


def test_a_passport_beside_the_weights_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network, _ = toy_network(tmp_path)
    path = save_network(network, tmp_path / "toy.safetensors")
    monkeypatch.setattr(room, "shipped_networks", lambda: {"toy": path})
    assert room.describe_networks()["networks"][0]["passport"] is None
    whole = {"certified": 0.997, "final_efficiency_10_50_90": [0.3, 0.81, 0.9], "width_ratio_median": 1.62}
    passport = {"spectra": 160, "all": whole, "rows": [{"counts": 3.0}]}
    (tmp_path / "toy.passport.json").write_text(json.dumps(passport))
    (one,) = room.describe_networks()["networks"]
    assert one["passport"] == {"spectra": 160, "all": whole}
    told = (
        "checked on 160 fresh spectra: 99.7 % certified, 81 % of the draws count (median); alone, its intervals are 1.6"
    )
    assert told in "\n".join(room.list_network_lines())
