"""The parts of an answer say what their problem and their seed were."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields
from importlib.metadata import version
from pathlib import Path

import pytest

from answer_zoo import toy_posterior
from ogip_zoo import toy_observation
from xrayflow.inference.parts import MAKERS, BestPoint, Draws, LikelihoodFacts, Provenance, Weighing
from xrayflow.setup import FitSetup, build_problem
from xrayflow.statistics import BackgroundTreatment


def facts(folder: Path, *, background: bool = False, **words: object) -> LikelihoodFacts:
    """Of a toy power law."""
    observation = toy_observation(folder, exposure=100.0, background=background)
    setup = FitSetup(model="powerlaw", energies=[(1.0, 6.0)], grouping="min:20", **words)  # type: ignore[arg-type]
    return LikelihoodFacts.of(build_problem([observation], setup))


def test_counts_without_a_background_rest_on_an_exact_likelihood(tmp_path: Path) -> None:
    assert facts(tmp_path) == LikelihoodFacts("Poisson", "exact", "", 0.0)


def test_a_systematic_error_is_part_of_the_name_and_of_the_facts(tmp_path: Path) -> None:
    found = facts(tmp_path, systematic=0.03)
    assert (found.name, found.kind, found.systematic) == ("negative binomial", "exact", 0.03)


def test_a_background_that_is_taken_as_known_says_why_that_is_not_exact(tmp_path: Path) -> None:
    found = facts(tmp_path, background=True, likelihood="known")
    assert (found.name, found.kind) == ("Poisson, known background", "approximate")
    assert "background" in found.why
    assert "\n" not in found.why


def test_a_background_is_integrated_over_and_profiled_where_that_is_asked(tmp_path: Path) -> None:
    found = facts(tmp_path, background=True)
    assert (found.name, found.kind, found.why) == ("Poisson, background marginalised", "exact", "")
    assert found.background == BackgroundTreatment("marginalised", 0.1)
    assert facts(tmp_path, background=True, likelihood="profile").kind == "profile"


def test_an_answer_says_where_it_came_from() -> None:
    provenance = toy_posterior().provenance
    assert provenance.seed == 0
    assert provenance.grid == "the response's energies"
    assert provenance.network is None
    assert dict(provenance.versions) == {name: version(name) for name in ("xrayflow", *MAKERS)}
    assert all(seconds >= 0.0 for seconds in provenance.seconds.values())
    steps = [seconds for step, seconds in provenance.seconds.items() if step != "total"]
    assert provenance.seconds["total"] == pytest.approx(sum(steps))


@pytest.mark.parametrize("part", [Draws, Weighing, BestPoint, LikelihoodFacts, Provenance])
def test_no_number_of_an_answer_can_be_changed(part: type) -> None:
    answer = toy_posterior()
    (held,) = [value for value in vars(answer).values() if type(value) is part]
    for field in fields(part):
        with pytest.raises(FrozenInstanceError):
            setattr(held, field.name, None)
