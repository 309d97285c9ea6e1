"""The words of --systematic, and what they come to for a spectrum."""

from __future__ import annotations

from dataclasses import replace

import pytest

from calibration_zoo import bright
from xrayflow.errors import DataError
from xrayflow.statistics import Systematic


@pytest.mark.parametrize(
    ("said", "fraction", "modes", "amplitude"),
    [
        (0.015, 0.015, "", None),
        ("0.015", 0.015, "", None),
        (0, 0.0, "", None),
        ("modes", 0.0, "modes", None),
        ("modes:2", 0.0, "modes", 2.0),
        ("modes:nicer-v1", 0.0, "nicer-v1", None),
        ("modes:nicer-v1:0.5", 0.0, "nicer-v1", 0.5),
        (" modes:generic-v1:1e-1 ", 0.0, "generic-v1", 0.1),
    ],
)
def test_words(said: float | str, fraction: float, modes: str, amplitude: float | None) -> None:
    found = Systematic.of(said)
    assert (found.fraction, found.modes, found.amplitude, found.said) == (fraction, modes, amplitude, True)
    assert Systematic.of(found) is found


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("mode", "it is a fraction of the model"),
        ("0.7", "it is a fraction of the model"),
        (-0.1, "it is a fraction of the model"),
        (float("nan"), "it is a fraction of the model"),
        ("modes:0", "the amplitude is 0.01 or more"),
        ("modes:nicer-v1:-1", "the amplitude is 0.01 or more"),
        ("modes:99", "the amplitude is 0.01 or more"),
        ("modes:nan", "the amplitude is 0.01 or more"),
        ("modes:nicer-v1:x", "write modes"),
        ("modes:", "write modes"),
        ("modes::", "write modes"),
        ("modes:nicer-v1:", "write modes"),
        ("modes:nicer-v1:1:2", "write modes"),
        ("", "it is a fraction of the model"),
        ("modes:nicer", "no such set of modes"),
        ("modes:nowhere/own.safetensors", "cannot be read"),
    ],
)
def test_what_cannot_be_is_said(said: float | str, words: str) -> None:
    with pytest.raises(DataError if "read" not in words else Exception, match=words):
        Systematic.of(said)


def test_the_default_depends_on_instrument_and_counts() -> None:
    many, few = bright(1e6).spectrum, bright(3e4).spectrum
    default = Systematic.of(None)
    assert default.for_spectrum(many).modes == "nicer-v1"
    assert default.for_spectrum(few).modes == ""
    other = replace(many.observation, pha=replace(many.observation.pha, telescope="SWIFT"))
    assert default.for_spectrum(replace(many, observation=other)).modes == ""
    assert Systematic.of("modes").for_spectrum(replace(many, observation=other)).modes == "generic-v1"
    assert Systematic.of("modes").for_spectrum(few).modes == "nicer-v1"
    assert Systematic.of(0.0).for_spectrum(many).modes == ""
