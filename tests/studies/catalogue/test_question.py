"""What decides the numbers of a catalogue is in its question, in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from xrayflow.data import bundled_rmf
from xrayflow.errors import DataError, ModelError, NetworkError
from xrayflow.inference import SamplingBudget
from xrayflow.networks import shipped_networks
from xrayflow.setup import FitSetup
from xrayflow.studies.catalogue.question import Question


def asked(
    network: str | Path | None = "none", amortised: bool = False, seconds: float | None = None, **words: Any
) -> Question:
    return Question.of(FitSetup(**words), network, amortised, 0, SamplingBudget(seconds=seconds), None, False)


@pytest.mark.parametrize(
    "words",
    [
        {"model": "TBabs*diskbb"},
        {"model": "powerlaw", "abund": "angr"},
        {"model": "powerlaw", "freeze": {"powerlaw.PhoIndex": 2.0}},
        {"model": "powerlaw", "prior": ["powerlaw.norm~N(1,0.1)"]},
        {"model": "powerlaw", "energies": [(0.5, 2.0), (3.0, 10)]},
        {"model": "powerlaw", "channels": (30, 999)},
        {"model": "powerlaw", "grouping": "optimal"},
        {"model": "powerlaw", "statistic": "chi2"},
        {"model": "powerlaw", "systematic": "modes"},
        {"model": "powerlaw", "likelihood": "known"},
        {"model": "powerlaw", "background_scale": 0.2},
        {"model": "powerlaw", "seconds": 5.0},
    ],
)
def test_each_choice_is_in_the_words(words: dict[str, Any]) -> None:
    assert asked(**words).words != asked(model="powerlaw").words


def test_the_default_network_is_known_by_its_hash() -> None:
    found = asked(network=None).words["network"]
    path = asked(network=shipped_networks()["nicer-bhb"]).words["network"]
    assert found == path == asked(network="nicer-bhb").words["network"]
    assert found["name"] == "nicer-bhb"
    assert len(found["sha256"]) == 64
    assert asked(network=None, model="powerlaw").words["network"] == {"name": "none", "sha256": ""}


@pytest.mark.parametrize(
    ("words", "error", "said"),
    [
        ({"network": "nicer-bhb", "model": "powerlaw"}, NetworkError, "it was made for TBabs.*use --network none"),
        ({"network": str(bundled_rmf())}, NetworkError, "nicer.rmf.gz"),
        ({"amortised": True, "model": "powerlaw", "network": None}, NetworkError, "no shipped network was made for"),
        ({"amortised": True, "model": "powerlaw", "network": "none"}, NetworkError, "no shipped network was made for"),
        (
            {
                "amortised": True,
                "network": "nicer-bhb-paper",
                "model": "TBabs*simplcutx*ezdiskbb",
                "systematic": "modes",
            },
            NetworkError,
            "network nicer-bhb-paper knows no calibration modes; leave --amortised out, or give --systematic 0$",
        ),
        (
            {"amortised": True, "network": None, "systematic": "modes:generic-v1:2"},
            NetworkError,
            "network nicer-bhb knows no calibration modes generic-v1; .* or give --systematic 0 or modes:nicer-v1$",
        ),
        ({"model": "powerlaw", "likelihood": "guess"}, DataError, "guess"),
        ({"model": "powerlaw", "systematic": "mods"}, DataError, "mods"),
        ({"model": "powerlaw", "freeze": {"nH": 1.0}}, ModelError, "nH"),
        ({"model": "powerlaw", "seconds": -1.0}, DataError, "give seconds above 0"),
    ],
)
def test_what_is_wrong_for_all_is_refused_at_once(words: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        asked(**words)


@pytest.mark.parametrize("said", [None, "modes", "modes:nicer-v1:1.5", 0.0])
def test_a_network_answers_alone_with_the_modes_that_it_knows(said: str | float | None) -> None:
    assert asked(network=None, amortised=True, systematic=said).amortised
