"""What the options of `catalogue` and `watch` ask of every spectrum, as one question."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from xrayflow.cli import options

if TYPE_CHECKING:
    from xrayflow.studies.catalogue import Question


def question_of(
    *,
    model: str,
    freeze: Sequence[str] | None,
    link: Sequence[str] | None,
    prior: list[str] | None,
    abund: str,
    energies: str | None,
    grouping: str,
    systematic: str | None,
    draws: int,
    ess: float,
    network: str | None,
    time_limit: float | None,
    seed: int,
    rmf: str | None,
    keeps_draws: bool,
    channels: str | None = None,
    statistic: str | None = None,
    likelihood: str | None = None,
    background_scale: float | None = None,
    amortised: bool = False,
) -> Question:
    """The question.

    Args:
        model, freeze, link, prior, abund, energies, grouping, systematic, draws, ess, network, time_limit, seed, rmf,
            channels, statistic, background_scale, amortised: In the words of the options.
        keeps_draws: Whether there is a folder for the draws.
        likelihood: What it makes of a background.

    A verb that has no such option gives None: `FitSetup` says what that is.

    Raises:
        BadParameter: An option, or two together, that cannot be.
        XrayflowError: A model, a prior, a network or a number that cannot be.
    """
    held, tied = options.assignments(freeze, "--freeze"), options.links(link)
    options.check_fit(held, tied, prior, energies, channels, network, amortised)
    options.check_systematic(systematic)
    bands, kept = options.bands(energies), options.channels(channels)

    from xrayflow.inference import SamplingBudget
    from xrayflow.setup import FitSetup
    from xrayflow.studies.catalogue import Question

    others = {"statistic": statistic, "likelihood": likelihood, "background_scale": background_scale}
    given: dict[str, Any] = {name: value for name, value in others.items() if value is not None}
    setup = FitSetup(
        model=model,
        abund=abund,
        prior=prior,
        freeze=held,
        link=tied,
        systematic=systematic,
        energies=bands,
        channels=kept,
        grouping=grouping,
        **given,
    )
    budget = SamplingBudget(draws, ess, seconds=time_limit)
    return Question.of(setup, network, amortised, seed, budget, rmf, keeps_draws)
