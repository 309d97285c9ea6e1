"""From spectra to certified posteriors: which of them go together, their problem, what a network says of it.

A batch of sources goes through every step together; one spectrum is a batch of one. A source's answer does not depend
on its company (docs/decisions/0013). A spectrum that cannot be answered need not end the batch (`on_error="row"`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, overload

from xrayflow.errors import DataError, XrayflowError
from xrayflow.folding import Grid
from xrayflow.inference.driver import Progress, infer_problem, network_alone, silent, timed
from xrayflow.inference.ladder import SamplingBudget
from xrayflow.inference.posterior import Posterior
from xrayflow.inference.proposals.network import find_network, training_of
from xrayflow.models import Model
from xrayflow.networks import Network
from xrayflow.ogip import Observation, Spectrum
from xrayflow.prior import Prior
from xrayflow.setup import FitSetup, number_together, problem_of
from xrayflow.statistics import KNOWN, MODELLED_SCALE, likelihood_kind

ON_ERROR = ("raise", "row")


@dataclass(frozen=True)
class NoAnswer:
    """A spectrum of a batch that could not be answered.

    Attributes:
        path: Its file.
        error: Why.
    """

    path: Path
    error: XrayflowError

    @property
    def reason(self) -> str:
        """Why, in one line."""
        return str(self.error)


def infer(
    observation: Observation,
    model: str | Model | None = None,
    prior: Iterable[str] | Prior | None = None,
    freeze: Mapping[str, float] | None = None,
    link: Mapping[str, str] | None = None,
    systematic: float | str | None = None,
    energies: Sequence[tuple[float, float]] | None = None,
    channels: tuple[int, int] | None = None,
    grouping: str | None = None,
    statistic: str = "auto",
    grid: Grid | None = None,
    network: str | Path | Network | None = None,
    amortised: bool = False,
    seed: int = 0,
    draws: int = 1000,
    ess: float = 400.0,
    progress: Progress | None = None,
    abund: str | None = None,
    time_limit: float | None = None,
    likelihood: str = "marginalised",
    background_scale: float = MODELLED_SCALE,
) -> Posterior:
    """The certified posterior of one spectrum.

    Args:
        observation: From `read_observation`.
        model: XSPEC expression or a `Model`; default `TBabs*simpl*ezdiskbb`.
        prior: Changes to the model's box, `["TBabs.nH=0.1:2", "simpl.Gamma~N(1.8,0.2)"]`, or a `Prior`.
        freeze: Parameters held at a value, `{"TBabs.nH": 0.24}`.
        link: Parameters that follow others, `{"gaussian_3.Sigma": "2*gaussian.Sigma"}`.
        systematic: Fractional systematic error of the source model in every bin, or calibration modes
            ("modes[:SET][:AMPLITUDE]"); default: modes for bright spectra of NICER, else 0.
        energies: [(lo, hi)] keV; default 0.3-10.
        channels: (first, last) channel numbers of the file, both kept, instead of energies.
        grouping: "file" (default), "none", "optimal" or "min:N".
        statistic: What is shown for comparison with XSPEC; "auto" takes what suits the data.
        grid: Photon-energy grid, taken as it is; default made from the response, and finer where that is too coarse.
        network: What starts the answer: a shipped network's name, a file, a `Network`, or "none"; default the shipped
            one that was made for the instrument and the model.
        amortised: Answer from the network alone: quick, without weights, never certified.
        seed: The same seed and file give the same answer.
        draws: Fresh draws per block.
        ess: Effective sample size to reach.
        progress: Called with (step, fraction).
        abund: Abundances of the absorbers where the model is an expression, as `--abund`; default wilm.
        time_limit: Seconds after which nothing optional is begun: the answer is what stands then, and says so.
        likelihood: What is made of a background: "marginalised" (integrated over), "known", or "profile" (XSPEC's
            statistic in the place of the likelihood).
        background_scale: Standard deviation of ln A, A the factor by which the level of a modelled background is off;
            0 takes its level at its word.

    Raises:
        XrayflowError: Anything that a user can mend: files, names, ranges, data without counts.
    """
    if not isinstance(observation, Observation):
        what = "a list" if isinstance(observation, list | tuple) else type(observation).__name__
        raise DataError(
            f"infer: takes one observation of read_observation, not {what}; "
            "xrayflow.inference.infer_batch answers several together"
        )
    if isinstance(model, FitSetup):
        raise DataError("infer: takes a model and options by name; xrayflow.inference.infer_batch takes a FitSetup")
    setup = FitSetup(
        model=model,
        abund=abund,
        prior=prior,
        freeze=freeze,
        link=link,
        systematic=systematic,
        energies=energies,
        channels=channels,
        grouping=grouping,
        statistic=statistic,
        grid=grid,
        likelihood=likelihood,
        background_scale=background_scale,
    )
    if time_limit is not None and not time_limit > 0:
        raise DataError(f"time_limit={time_limit:g}: give seconds above 0")
    budget = SamplingBudget(draws, ess, seconds=time_limit)
    return infer_batch([observation], setup, network, amortised, seed, budget, progress)[0]


@overload
def infer_batch(
    observations: Sequence[Observation],
    setup: FitSetup | None = None,
    network: str | Path | Network | None = None,
    amortised: bool = False,
    seed: int = 0,
    budget: SamplingBudget | None = None,
    progress: Progress | None = None,
    *,
    on_error: Literal["raise"] = "raise",
) -> list[Posterior]: ...


@overload
def infer_batch(
    observations: Sequence[Observation],
    setup: FitSetup | None = None,
    network: str | Path | Network | None = None,
    amortised: bool = False,
    seed: int = 0,
    budget: SamplingBudget | None = None,
    progress: Progress | None = None,
    *,
    on_error: Literal["row"],
) -> list[Posterior | NoAnswer]: ...


def infer_batch(
    observations: Sequence[Observation],
    setup: FitSetup | None = None,
    network: str | Path | Network | None = None,
    amortised: bool = False,
    seed: int = 0,
    budget: SamplingBudget | None = None,
    progress: Progress | None = None,
    *,
    on_error: Literal["raise", "row"] = "raise",
) -> Sequence[Posterior | NoAnswer]:
    """The certified posteriors of spectra that share one RMF.

    Args:
        observations: From `read_observation`, at least one.
        setup: What is asked of them.
        network: As `infer`.
        amortised: As `infer`.
        seed: The same seed and file give the same answer, in any company.
        budget: How hard to try.
        progress: Called with (step, fraction).
        on_error: "raise", or "row": a spectrum that cannot be answered is a `NoAnswer` with its reason, in its place.

    Returns:
        An answer for each, in order.

    Raises:
        XrayflowError: Anything that a user can mend: files, names, ranges; with "raise" also what is wrong with one
            spectrum (no counts in the band, a negative background, another RMF).
    """
    if on_error not in ON_ERROR:
        raise DataError(f"on_error='{on_error}': give one of {', '.join(ON_ERROR)}")
    if not observations:
        raise DataError("a batch without spectra; give at least one")
    setup, budget = setup or FitSetup(), budget or SamplingBudget()
    if amortised:
        setup = _as_trained(setup, network)
    if on_error == "raise":
        answers: list[Posterior | None] = [None] * len(observations)
        binned = [setup.bin(one) for one in observations]
        for group in _alike(binned, setup, by_response=False):
            chosen = [binned[i] for i in group]
            done = _answered(chosen, setup, network, amortised, seed, budget, progress or silent)
            for place, answer in zip(group, done, strict=True):
                answers[place] = answer
        return [answer for answer in answers if answer is not None]
    setup.model_and_prior()  # what is wrong with all of them is no row
    rows: list[Posterior | NoAnswer | None] = [None] * len(observations)
    spectra = _binned(observations, setup, rows)
    for group in _alike(spectra, setup):
        chosen = [spectrum for i in group if (spectrum := spectra[i]) is not None]
        try:
            found: Sequence[Posterior | NoAnswer] = _answered(
                chosen, setup, network, amortised, seed, budget, progress or silent
            )
        except XrayflowError as error:
            found = [NoAnswer(chosen[0].observation.pha.path, error)]
            if len(group) > 1:
                found = [
                    one
                    for spectrum in chosen
                    for one in infer_batch(
                        [spectrum.observation], setup, network, amortised, seed, budget, progress, on_error="row"
                    )
                ]
        for place, one in zip(group, found, strict=True):
            rows[place] = one
    return [row for row in rows if row is not None]


def _binned(
    observations: Sequence[Observation], setup: FitSetup, rows: list[Posterior | NoAnswer | None]
) -> list[Spectrum | None]:
    """The bins of each spectrum; one that cannot be answered gets its row."""
    found: list[Spectrum | None] = []
    for place, observation in enumerate(observations):
        try:
            model, prior = setup.model_and_prior()
            spectrum = setup.bin(observation)
            problem_of([spectrum], model, prior, setup)
        except XrayflowError as error:
            rows[place] = NoAnswer(observation.pha.path, error)
            found.append(None)
        else:
            found.append(spectrum)
    return found


def _alike(spectra: Sequence[Spectrum | None], setup: FitSetup, by_response: bool = True) -> list[list[int]]:
    """Groups of spectra that can be answered together: with likelihoods of one kind, and of one response."""
    if len(spectra) == 1:
        return [[0]] if spectra[0] is not None else []
    groups: dict[tuple[str, str], list[int]] = {}
    for place, spectrum in enumerate(spectra):
        if spectrum is not None:
            choice = setup.choose(spectrum)
            kind = likelihood_kind(spectrum, choice, setup.treatment, setup.believed)
            response = spectrum.observation.rmf.key if by_response else ""
            groups.setdefault((response, kind), []).append(place)
    return list(groups.values())


def _answered(
    spectra: Sequence[Spectrum],
    setup: FitSetup,
    network: str | Path | Network | None,
    amortised: bool,
    seed: int,
    budget: SamplingBudget,
    progress: Progress,
) -> list[Posterior]:
    """The answers of spectra that belong together, some at a time: an answer does not depend on its company."""
    together = number_together(spectra)
    if len(spectra) > together:
        number = math.ceil(len(spectra) / together)
        size = math.ceil(len(spectra) / number)  # a small rest would gain little from being together
        parts = [spectra[i : i + size] for i in range(0, len(spectra), size)]
        found: list[Posterior] = []
        for number, part in enumerate(parts):
            own = _part_of(progress, number, len(parts))
            found += _answered(part, setup, network, amortised, seed, budget, own)
        return found
    started = time.perf_counter()
    model, prior = setup.model_and_prior()
    problem = problem_of(spectra, model, prior, setup)
    said = find_network(network, problem, spectra)
    read = (time.perf_counter() - started) / problem.sources
    if amortised:
        answers = network_alone(problem, said, seed, budget.draws)
    else:
        answers = infer_problem(problem, said, seed, budget, progress, own_grid=setup.grid is None)
    return [timed(answer, {"read": read, **answer.provenance.seconds}) for answer in answers]


def _as_trained(setup: FitSetup, network: str | Path | Network | None) -> FitSetup:
    """What is asked of a network alone: errors of background and response as far as it has learned of them."""
    model, _ = setup.model_and_prior()
    training = training_of(network, model)
    if setup.likelihood == "marginalised" and (training is None or training.background_error == 0.0):
        setup = replace(setup, likelihood=KNOWN.kind)
    if not setup.believed.said and (training is None or not training.calibration):
        setup = replace(setup, systematic=0.0)
    return setup


def _part_of(progress: Progress, number: int, parts: int) -> Progress:
    """Tells of one part of the whole."""

    def told(step: str, fraction: float) -> None:
        progress(step, (number + fraction) / parts)

    return told
