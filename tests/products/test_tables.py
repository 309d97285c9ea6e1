"""What a terminal shows: complete, readable in 80 columns, without colours where nobody sees them."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from scipy import stats

from answer_zoo import TRUTH, altered, first_parameters, squeezed, toy_posterior, with_counts
from xrayflow.inference import Posterior
from xrayflow.inference.checks.verdict import Computation, FitQuality, find_flags
from xrayflow.products.tables import IN_WORDS, advice, report


def shown(
    posterior: Posterior, products: dict[str, Path] | None = None, terminal: bool = False, width: int = 80
) -> str:
    """What the console prints."""
    screen = StringIO()
    Console(file=screen, width=width, force_terminal=terminal, highlight=False).print(report(posterior, products))
    return screen.getvalue()


def row(text: str, name: str) -> str:
    """The line that begins with a name."""
    return next(line for line in text.splitlines() if line.startswith(name))


def test_everything_that_issue_and_reader_ask_for_is_there() -> None:
    posterior = toy_posterior()
    text = shown(replace(posterior, truth=TRUTH))
    for word in ("power law", "toy.pha", "TOY CCD", "exposure 200 s", "counts in", "1-6 keV", "grouping: min:20"):
        assert word in text
    for word in (
        "cstat: Poisson counts, no background",
        "Poisson (exact)",
        "cstat / dof",
        "deviance / dof",
        "ln evidence",
    ):
        assert word in text
    for word in (
        "parameter",
        "unit",
        "best",
        "median",
        "90 % interval",
        "truth",
        "10^22 cm^-2",
        "effective of",
        "next",
    ):
        assert word in text
    assert row(text, "powerlaw.PhoIndex").split()[-1] == "1.7"
    assert posterior.verdict in row(text, "verdict")
    assert all(reason.split(" (")[0][:30] in text for reason in posterior.reasons)


def test_without_a_truth_there_is_no_column_for_it() -> None:
    assert "truth" not in shown(toy_posterior())


@pytest.mark.parametrize("background", [False, True])
def test_no_line_is_wider_than_the_terminal(background: bool) -> None:
    products = {name: Path("x" * 70, f"{name}.png") for name in ("corner", "spectrum")}
    text = shown(replace(toy_posterior(background=background), truth=TRUTH), products)
    assert max(map(len, text.splitlines())) <= 80


def test_colours_are_for_terminals_alone() -> None:
    assert "\x1b[" not in shown(toy_posterior())
    assert "\x1b[" in shown(toy_posterior(), terminal=True)


def test_a_frozen_parameter_is_shown_as_frozen() -> None:
    assert row(shown(first_parameters(toy_posterior(), 2)), "powerlaw.norm").split()[-1] == "frozen"


def test_limits_and_parameters_of_the_prior_are_marked_and_explained() -> None:
    flags = ("upper_limit:TBabs.nH", "lower_limit:powerlaw.norm", "prior_dominated:powerlaw.PhoIndex", "several_modes")
    text = shown(replace(toy_posterior(), flags=flags))
    assert "< " in row(text, "TBabs.nH")
    assert "(95 %)" in row(text, "TBabs.nH")
    assert "> " in row(text, "powerlaw.norm")
    assert row(text, "powerlaw.PhoIndex").startswith("powerlaw.PhoIndex*")
    assert "the data say little" in text
    assert "the posterior reaches the edge of the prior" in text
    assert "several: the optimiser found more than one optimum" in text


def test_a_marginal_that_is_flat_and_then_cut_prints_a_limit_and_a_detection_an_interval() -> None:
    """Flags are the draws': in the logarithmic prior of nH, flat up to a place, and a normal 3 sd from the edge."""
    answer = toy_posterior()
    count = answer.draws.shape[0]
    even = (np.arange(count) + 0.5) / count
    for unit, limit in (0.5 * even, True), (stats.norm.ppf(even, 0.3, 0.1).clip(0.001, 0.999), False):
        draws = answer.draws.copy()
        nh = answer.prior.marginals[0]
        draws[:, 0] = nh.lo * (nh.hi / nh.lo) ** unit
        equal = altered(answer, draws=draws, log_weight=np.zeros(count))
        flags = find_flags(equal.prior, torch.from_numpy(draws), equal.weights, 1)
        cells = row(shown(altered(equal, flags=flags)), "TBabs.nH")
        assert ("< " in cells, "(95 %)" in cells, ".." in cells) == (limit, limit, not limit)


def test_a_narrow_interval_keeps_its_digits() -> None:
    cells = row(shown(squeezed(toy_posterior(), 1e-4)), "powerlaw.PhoIndex").split()
    low, high = float(cells[-3]), float(cells[-1])
    assert low < float(cells[-4]) < high


@pytest.mark.parametrize(("computation", "fit"), list(IN_WORDS))
def test_the_verdict_is_said_in_words(computation: str, fit: str) -> None:
    posterior = replace(
        toy_posterior(),
        computation=Computation(computation, ("reason one",)),
        fit=FitQuality(fit, 0.5, (), ("reason two",)),
    )
    text = " ".join(shown(posterior).split())
    assert IN_WORDS[computation, fit] in text
    assert "reason one" in text
    assert "reason two" in text
    assert f"(computation {computation}, fit {fit})" in text


def test_advice_follows_the_verdict() -> None:
    good = toy_posterior()
    failed = replace(good, computation=Computation("failed", ("none",)))
    bad = replace(good, fit=FitQuality("bad", 0.0005, (), ("no",)))
    bright = with_counts(bad, 1e4)
    fine = altered(good, fit=FitQuality("acceptable", 0.5, (), ("yes",)), ess=500.0)
    assert "--freeze" in advice(failed)
    assert "--model" in advice(bad)
    assert "--systematic" in advice(bright)
    assert "--out DIR" in advice(fine)
    assert "another --seed" in advice(replace(fine, computation=Computation("approximate", ("few",))))
    assert "corner.png" in advice(fine, {"spectrum": Path("a/spectrum.png"), "corner": Path("a/corner.png")})
