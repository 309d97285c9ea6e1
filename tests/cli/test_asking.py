"""What options ask for where they are not given: the same as Python does."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from xrayflow.cli.asking import question_of
from xrayflow.cli.catalogue import catalogue
from xrayflow.cli.watch import watch
from xrayflow.inference import SamplingBudget
from xrayflow.setup import DEFAULT_MODEL, FitSetup
from xrayflow.studies.catalogue import Question


@pytest.mark.parametrize("verb", [catalogue, watch])
def test_a_verb_without_options_asks_what_a_setup_without_words_does(verb: Any) -> None:
    defaults = {name: one.default for name, one in inspect.signature(verb).parameters.items()}
    asked = set(inspect.signature(question_of).parameters) & set(defaults)
    given = {name: getattr(defaults[name], "value", defaults[name]) for name in asked}
    question = question_of(**given, keeps_draws=False)
    wanted = Question.of(FitSetup(model=DEFAULT_MODEL), None, False, 0, SamplingBudget(), None, False)
    assert question.words == wanted.words
