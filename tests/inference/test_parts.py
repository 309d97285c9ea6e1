"""The parts of an answer say where it came from, and stand as they are."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields
from importlib.metadata import version

import pytest

from answer_zoo import toy_posterior
from xrayflow.inference.parts import MAKERS, BestPoint, Draws, Provenance, Weighing


def test_an_answer_says_where_it_came_from() -> None:
    provenance = toy_posterior().provenance
    assert provenance.seed == 0
    assert provenance.grid == "the response's energies"
    assert provenance.network is None
    assert dict(provenance.versions) == {name: version(name) for name in ("xrayflow", *MAKERS)}
    assert all(seconds >= 0.0 for seconds in provenance.seconds.values())
    steps = [seconds for step, seconds in provenance.seconds.items() if step != "total"]
    assert provenance.seconds["total"] == pytest.approx(sum(steps))


@pytest.mark.parametrize("part", [Draws, Weighing, BestPoint, Provenance])
def test_no_number_of_an_answer_can_be_changed(part: type) -> None:
    answer = toy_posterior()
    (held,) = [value for value in vars(answer).values() if type(value) is part]
    for field in fields(part):
        with pytest.raises(FrozenInstanceError):
            setattr(held, field.name, None)
