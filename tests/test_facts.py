"""What is known of data sets without a model, and what a posterior of them rests on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from calibration_zoo import bright
from ogip_zoo import toy_observation
from xrayflow.facts import LikelihoodFacts
from xrayflow.setup import FitSetup, build_problem, joint_problem
from xrayflow.statistics import BackgroundTreatment


def test_the_facts_are_those_of_the_files(tmp_path: Path) -> None:
    observation = toy_observation(tmp_path, background=True)
    spectrum = observation.bin(((1.0, 6.0),))
    problem = build_problem([observation], FitSetup(model="powerlaw", energies=[(1.0, 6.0)], systematic=0.02))
    facts = problem.data.facts
    assert spectrum.background is not None
    assert facts.names == ("toy.pha",)
    assert facts.counts.tolist() == [spectrum.counts.sum()]
    assert facts.background.tolist() == pytest.approx([spectrum.background.sum() / 4.0])
    assert facts.net.tolist() == pytest.approx([spectrum.counts.sum() - spectrum.background.sum() / 4.0])
    assert (facts.systematic.tolist(), facts.bins.tolist()) == ([0.02], [spectrum.counts.size])
    assert facts.are_counts.tolist() == [True]
    assert facts.amplitude.tolist() == [0.0]


def test_the_amplitude_of_every_source_is_among_the_facts() -> None:
    """Each by the year of its own response."""
    setup = FitSetup(model="TBabs*powerlaw", grouping="optimal", prior=("powerlaw.norm=1:1e9",))
    one = bright(1e5).spectrum.observation
    made = [replace(one, rmf=replace(one.rmf, year=year)) for year in (2018, 2024)]
    assert build_problem(made, replace(setup, systematic="modes:nicer-v1")).data.facts.amplitude.tolist() == [2.0, 1.0]
    assert build_problem(made, replace(setup, systematic="modes:3")).data.facts.amplitude.tolist() == [3.0, 3.0]
    assert build_problem(made, replace(setup, systematic=0.0)).data.facts.amplitude.tolist() == [0.0, 0.0]


def likelihood_of(folder: Path, *, background: bool = False, **words: object) -> LikelihoodFacts:
    """Of a toy power law."""
    observation = toy_observation(folder, exposure=100.0, background=background)
    setup = FitSetup(model="powerlaw", energies=[(1.0, 6.0)], grouping="min:20", **words)  # type: ignore[arg-type]
    return build_problem([observation], setup).data.rests_on


def test_counts_without_a_background_rest_on_an_exact_likelihood(tmp_path: Path) -> None:
    assert likelihood_of(tmp_path) == LikelihoodFacts("Poisson", "exact", "", 0.0)


def test_a_systematic_error_is_part_of_the_name_and_of_the_facts(tmp_path: Path) -> None:
    found = likelihood_of(tmp_path, systematic=0.03)
    assert (found.name, found.kind, found.systematic) == ("negative binomial", "exact", 0.03)


def test_a_background_that_is_taken_as_known_says_why_that_is_not_exact(tmp_path: Path) -> None:
    found = likelihood_of(tmp_path, background=True, likelihood="known")
    assert (found.name, found.kind) == ("Poisson, known background", "approximate")
    assert "background" in found.why
    assert "\n" not in found.why


def test_a_background_is_integrated_over_and_profiled_where_that_is_asked(tmp_path: Path) -> None:
    found = likelihood_of(tmp_path, background=True)
    assert (found.name, found.kind, found.why) == ("Poisson, background marginalised", "exact", "")
    assert found.background == BackgroundTreatment("marginalised", 0.1)
    assert likelihood_of(tmp_path, background=True, likelihood="profile").kind == "profile"


def test_of_two_instruments_the_least_exact_counts_and_the_larger_error(tmp_path: Path) -> None:
    for name in ("clean", "behind"):
        (tmp_path / name).mkdir()
    observations = [toy_observation(tmp_path / name, background=name == "behind") for name in ("clean", "behind")]
    setups = [
        FitSetup(model="powerlaw", energies=[(1.0, 6.0)], systematic=error, likelihood=likelihood)
        for error, likelihood in ((0.01, "marginalised"), (0.03, "known"))
    ]
    alone = [build_problem([one], setup).data.rests_on for one, setup in zip(observations, setups, strict=True)]
    found = joint_problem(observations, setups).data.rests_on
    assert [one.kind for one in alone] == ["exact", "approximate"]
    assert (found.kind, found.why, found.systematic) == ("approximate", alone[1].why, 0.03)
    assert found.name == f"{alone[0].name}; {alone[1].name}"
    assert found.background == alone[0].background
