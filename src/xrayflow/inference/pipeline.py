"""From spectra to certified posteriors: build the problem, ask the network, climb the ladder, judge.

A batch of sources goes through every step together; one spectrum is a batch of one. A source's answer does not depend
on its company (docs/decisions/0013). A spectrum that cannot be answered need not end the batch (`on_error="row"`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, overload

import torch

from xrayflow.errors import DataError, XrayflowError
from xrayflow.folding import EXACT, Grid
from xrayflow.inference.amortised import answer_amortised
from xrayflow.inference.answer import judge
from xrayflow.inference.clock import Clock
from xrayflow.inference.exactness import weighed_exactly
from xrayflow.inference.ladder import SamplingBudget, State, climb
from xrayflow.inference.posterior import Posterior
from xrayflow.inference.proposals.mixture import log_density_of_each
from xrayflow.inference.proposals.network import Guide, NetworkProposal, find_network, require_network, training_of
from xrayflow.inference.rungs import LADDER, find_modes, first_proposal
from xrayflow.memory import keep_freed_memory
from xrayflow.models import Model
from xrayflow.networks import Network
from xrayflow.ogip import Observation, Spectrum
from xrayflow.prior import Prior
from xrayflow.problem import Problem
from xrayflow.setup import TOGETHER, FitSetup, problem_of
from xrayflow.statistics import KNOWN, MODELLED_SCALE, choose, likelihood_kind

Progress = Callable[[str, float], None]
"""Called with the name of the step and the done fraction of the whole, 0..1."""

FRACTIONS = {
    "proposing": 0.5,
    "following ridges": 0.75,
    "proposing again": 0.78,
    "exploring": 0.8,
    "looking for tails": 0.83,
}
"""How far an answer is, roughly, when a rung is done."""

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
            done = _answered(chosen, setup, network, amortised, seed, budget, progress or _silent)
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
                chosen, setup, network, amortised, seed, budget, progress or _silent
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
            choice = choose(spectrum, setup.statistic)
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
    if len(spectra) > TOGETHER:
        number = math.ceil(len(spectra) / TOGETHER)
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
        answers = _amortised(problem, said, seed, budget.draws)
    else:
        answers = infer_problem(problem, said, seed, budget, progress, own_grid=setup.grid is None)
    return [_timed(answer, {"read": read, **answer.provenance.seconds}) for answer in answers]


def infer_problem(
    problem: Problem,
    network: NetworkProposal | None = None,
    seed: int = 0,
    budget: SamplingBudget | None = None,
    progress: Progress | None = None,
    own_grid: bool = True,
) -> list[Posterior]:
    """The certified posteriors of a problem that is built already.

    Args:
        problem: The batch.
        network: What a network says of it.
        seed: The same seed and file give the same answer, in any company.
        budget: How hard to try.
        progress: Called with (step, fraction).
        own_grid: Whether a grid that is too coarse may be made finer; one that a user gave is the answer's.
    """
    keep_freed_memory()
    budget, told = budget or SamplingBudget(), progress or _silent
    guide = None if network is None else network.posterior
    generators = problem.generators(seed)
    state = _climbed(problem, guide, budget, generators, told)
    told("energy grid", 0.85)

    def climb_again(source: int, problem: Problem, exactly: bool) -> State:
        own = None if guide is None else guide.select(torch.tensor([source]))
        return _climbed(problem, own, budget, [generators[source]], told, exactly)

    candidates = weighed_exactly(state, state.problem.at(EXACT), own_grid, climb_again)
    told("checking", 0.9)
    with state.clock.charged("certify", range(problem.sources)):
        proposals = [one.drawn.proposal for one in candidates]
        at_modes = log_density_of_each(proposals, [one.distinct_modes for one in candidates])
    answers = []
    for source, (one, log_at_modes) in enumerate(zip(candidates, at_modes, strict=True)):
        with state.clock.charged("certify", [source]):
            answer = judge(one, budget, seed, log_at_modes)
        answers.append(_told(_timed(answer, state.clock.taken(source)), network, source))
    told("done", 1.0)
    return answers


def _climbed(
    problem: Problem,
    guide: Guide | None,
    budget: SamplingBudget,
    generators: list[torch.Generator],
    told: Progress,
    exactly: bool = False,
) -> State:
    """The state at the top of the ladder."""
    clock = Clock(problem.sources, budget.seconds)
    told("searching", 0.05)
    with clock.charged("optimise", range(problem.sources)):
        modes, corrected = find_modes(problem, budget.starts, generators, guide, exactly, clock.is_late)
        first, guided = first_proposal(corrected, modes, guide)
    state = State(corrected, budget, generators, modes, first, guided, clock=clock)
    told("proposing", 0.35)
    for now in climb(state, LADDER):
        told(now.rung, FRACTIONS.get(now.rung, 0.8))
    return state


def _as_trained(setup: FitSetup, network: str | Path | Network | None) -> FitSetup:
    """What is asked of a network alone: errors of background and response as far as it has learned of them."""
    model, _ = setup.model_and_prior()
    training = training_of(network, model)
    if setup.likelihood == "marginalised" and (training is None or training.background_error == 0.0):
        setup = replace(setup, likelihood=KNOWN.kind)
    if not setup.believed.said and (training is None or not training.calibration):
        setup = replace(setup, systematic=0.0)
    return setup


def _amortised(problem: Problem, said: NetworkProposal, seed: int, draws: int) -> list[Posterior]:
    """The network's own posteriors."""
    posterior = require_network(said, problem)
    answers = []
    for source, generator in enumerate(problem.generators(seed)):
        started = time.perf_counter()
        at = torch.tensor([source])
        one = answer_amortised(problem.select(at), posterior.select(at), draws, generator, seed)
        answers.append(_told(_timed(one, {"propose": time.perf_counter() - started}), said, source))
    return answers


def _told(answer: Posterior, said: NetworkProposal | None, source: int) -> Posterior:
    """The answer with what there is to say about the network."""
    if said is None:
        return answer
    note = said.notes[source]
    flags = (*answer.flags, "outside_training") if said.outside[source] else answer.flags
    notes = (*answer.provenance.notes, note) if note else answer.provenance.notes
    provenance = replace(answer.provenance, network=said.name(source), notes=notes)
    return replace(answer, provenance=provenance, flags=flags)


def _timed(answer: Posterior, seconds: Mapping[str, float]) -> Posterior:
    """The answer with the wall time of its steps."""
    steps = {step: value for step, value in seconds.items() if step != "total"}
    return replace(answer, provenance=replace(answer.provenance, seconds={**steps, "total": sum(steps.values())}))


def _part_of(progress: Progress, number: int, parts: int) -> Progress:
    """Tells of one part of the whole."""

    def told(step: str, fraction: float) -> None:
        progress(step, (number + fraction) / parts)

    return told


def _silent(step: str, fraction: float) -> None:
    """Tells nobody."""
