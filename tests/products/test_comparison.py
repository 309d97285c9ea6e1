"""Models of the same data by their evidence."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from answer_zoo import altered, carried_by_few, toy_posterior
from ogip_zoo import toy_observation
from xrayflow import infer
from xrayflow.dataset import Calibration
from xrayflow.errors import DataError
from xrayflow.inference import Posterior
from xrayflow.models import parse_model
from xrayflow.prior import Prior
from xrayflow.products import compare
from xrayflow.products.comparison import Compared, comparison_lines

SAID = {"energies": [(1.0, 6.0)], "grouping": "min:20"}


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> list[Posterior]:
    """A power law as a black body, and as itself."""
    observation = toy_observation(tmp_path_factory.mktemp("toy"), exposure=200.0)
    models = ("TBabs*bbody", "TBabs*powerlaw")
    return [infer(observation, model, **SAID) for model in models]  # type: ignore[arg-type]


def test_the_model_that_made_the_data_is_best(answers: list[Posterior]) -> None:
    found = compare(answers)
    assert found[0].posterior.model.text == "TBabs*powerlaw"
    assert found[0].words == "best"
    assert found[-1].posterior.model.text == "TBabs*bbody"
    assert found[-1].words == "very strongly disfavoured"
    assert sum(one.probability for one in found) == pytest.approx(1.0)
    for one in found[1:]:
        expected = one.posterior.log_evidence - found[0].posterior.log_evidence
        assert one.log_ratio == pytest.approx(expected)
        assert one.error == pytest.approx(
            math.hypot(one.posterior.log_evidence_error, found[0].posterior.log_evidence_error)
        )


def test_parameters_that_are_not_shared_move_the_ratio_with_their_priors(answers: list[Posterior]) -> None:
    assert [one.width for one in compare(answers)] == [0.0, 0.0]  # two of each are measured
    more = with_edge(answers[1])
    assert compare([answers[1], more])[1].width == pytest.approx(-2.0 * math.log(2.0))
    # an edge that is not there has any energy and hardly a depth: wider priors cost nothing
    absent = replace(more, flags=("prior_dominated:edge.edgeE", "upper_limit:edge.MaxTau"))
    assert compare([answers[1], absent])[1].width == 0.0


def with_edge(posterior: Posterior) -> Posterior:
    """The answer as if it had two parameters more, both measured, and a little less evidence."""
    model = parse_model("TBabs*edge*powerlaw")
    bent = altered(posterior, model=model, prior=Prior.of(model), log_evidence=posterior.log_evidence - 1.0)
    return replace(bent, flags=())


def test_twice_as_wide_a_prior_costs_what_is_said(tmp_path: Path) -> None:
    observation = toy_observation(tmp_path, exposure=200.0)
    narrow, wide = (
        infer(observation, "powerlaw", [f"powerlaw.PhoIndex={lo}:{hi}"], **SAID)  # type: ignore[arg-type]
        for lo, hi in ((1.0, 2.5), (0.5, 3.5))
    )
    change = wide.log_evidence - narrow.log_evidence
    error = math.hypot(wide.log_evidence_error, narrow.log_evidence_error)
    assert abs(change + math.log(2.0)) < 5.0 * error
    second = compare([narrow, wide])[1]
    assert second.words == "not decided"


def numbers(log_ratio: float, error: float, width: float) -> Compared:
    return Compared(toy_posterior(), log_ratio, error, 0.1, width)


@pytest.mark.parametrize(
    ("log_ratio", "error", "width", "words"),
    [
        (0.0, 0.0, 0.0, "best"),
        (-0.5, 0.02, 0.0, "not decided"),
        (-2.0, 0.02, 0.0, "disfavoured"),
        (-4.0, 0.02, 0.0, "strongly disfavoured"),
        (-9.0, 0.02, 0.0, "very strongly disfavoured"),
        (-2.0, 0.02, -1.4, "not decided"),
        (-4.0, 2.0, 0.0, "not decided"),
        (-9.0, 0.02, 7.0, "disfavoured"),
    ],
)
def test_a_difference_counts_beyond_its_error_and_its_priors(
    log_ratio: float, error: float, width: float, words: str
) -> None:
    assert numbers(log_ratio, error, width).words == words


@pytest.mark.parametrize(
    ("other", "what"),
    [
        (lambda p: replace(p, data=(replace(p.data[0], sha256={"pha": "0"}),)), "data"),
        (lambda p: replace(p, data=(replace(p.data[0], energy_lo=p.data[0].energy_lo + 0.1),)), "bins"),
        (lambda p: altered(p, systematic=0.02), "likelihoods"),
        (lambda p: altered(p, name="Poisson, background known"), "likelihoods"),
        (lambda p: altered(p, calibration=Calibration("nicer-v1", "0", 1.0)), "likelihoods"),
    ],
)
def test_what_cannot_be_compared_is_refused(other: object, what: str) -> None:
    toy = toy_posterior()
    with pytest.raises(DataError, match=f"were fitted with different {what}; evidences of those cannot be compared"):
        compare([toy, other(toy)])  # type: ignore[operator]


def test_an_answer_without_an_evidence_is_refused() -> None:
    toy = toy_posterior()
    with pytest.raises(DataError, match="a comparison is one of two models at least"):
        compare([toy])
    with pytest.raises(DataError, match="has no evidence that can be compared"):
        compare([toy, altered(toy, log_evidence=math.nan)])
    failed = replace(toy, computation=replace(toy.computation, status="failed"))
    with pytest.raises(DataError, match=r"has no evidence that can be compared \(failed\)"):
        compare([toy, failed])
    assert carried_by_few(toy).ess == 3.0


def test_lines_say_what_was_found_and_whether_any_is_good(answers: list[Posterior]) -> None:
    lines = comparison_lines(compare(answers))
    text = "\n".join(lines)
    assert max(map(len, lines)) <= 100
    assert lines[0].endswith("the best first")
    assert text.index("TBabs*powerlaw\n") < text.index("TBabs*bbody\n")
    assert "do not share: -1.4" in "\n".join(comparison_lines(compare([answers[1], with_edge(answers[1])])))
    assert "none of them describes" not in text
    poor = [replace(one, fit=replace(one.fit, status="poor")) for one in answers]
    assert comparison_lines(compare(poor))[-1].startswith("none of them describes the data well")


def test_the_same_parameter_with_another_prior_is_not_shared() -> None:
    toy = toy_posterior()
    other = replace(toy, prior=Prior.of(toy.model, ["powerlaw.PhoIndex~N(1.7,0.1)"]))
    found = compare([toy, altered(other, log_evidence=toy.log_evidence - 1.0)])
    # the best has a range that the other has not
    assert found[1].width == pytest.approx(math.log(2.0))


def test_answers_of_one_model_are_told_apart_by_their_names() -> None:
    toy = toy_posterior()
    other = altered(toy, log_evidence=toy.log_evidence - 4.0)
    found = compare([other, toy], ["wide", "narrow"])
    lines = comparison_lines(found)
    assert [line for line in lines if line.startswith("TBabs")] == [
        "TBabs*powerlaw  (narrow)",
        "TBabs*powerlaw  (wide)",
    ]
    assert [one.row()["result"] for one in found] == ["narrow", "wide"]
    with pytest.raises(DataError, match=r"b: TBabs\*powerlaw and a: TBabs\*powerlaw were .*the same --systematic"):
        compare([toy, altered(toy, systematic=0.02)], ["a", "b"])
