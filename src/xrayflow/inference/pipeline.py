"""From spectra to certified posteriors: build the problem, ask the network, search, judge.

A batch of sources goes through every step together; one spectrum is a batch of one. A source's answer does not depend
on its company.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from xrayflow.folding import Grid
from xrayflow.inference.alone import answer_alone
from xrayflow.inference.build import Question, build_problem
from xrayflow.inference.guidance import Guidance, find_guidance, require_network
from xrayflow.inference.judge import candidates, judge
from xrayflow.inference.posterior import Posterior
from xrayflow.inference.search import Effort, Progress, Search
from xrayflow.models import Model
from xrayflow.networks import Network
from xrayflow.ogip import Observation
from xrayflow.prior import Prior
from xrayflow.problem import Problem
from xrayflow.seeds import generator_for
from xrayflow.statistics import Choice


def infer(
    observation: Observation,
    model: str | Model | None = None,
    prior: Iterable[str] | Prior | None = None,
    freeze: Mapping[str, float] | None = None,
    link: Mapping[str, str] | None = None,
    systematic: float | None = None,
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
) -> Posterior:
    """The certified posterior of one spectrum.

    Args:
        observation: From `read_observation`.
        model: XSPEC expression or a `Model`; default `TBabs*simpl*ezdiskbb`.
        prior: Changes to the model's box, `["TBabs.nH=0.1:2", "simpl.Gamma~N(1.8,0.2)"]`, or a `Prior`.
        freeze: Parameters held at a value, `{"TBabs.nH": 0.24}`.
        link: Parameters that follow others, `{"gaussian_3.Sigma": "2*gaussian.Sigma"}`.
        systematic: Fractional systematic error of the source model; default 0.
        energies: [(lo, hi)] keV; default 0.3-10.
        channels: (first, last) channel numbers of the file, both kept, instead of energies.
        grouping: "file" (default), "none", "optimal" or "min:N".
        statistic: What is shown for comparison with XSPEC; "auto" takes what suits the data.
        grid: Photon-energy grid; default made from the response.
        network: What starts the answer: a shipped network's name, a file, a `Network`, or "none"; default the shipped
            one that was made for the instrument and the model.
        amortised: Answer from the network alone: quick, without weights, never certified.
        seed: The same seed and file give the same answer.
        draws: Fresh draws per block.
        ess: Effective sample size to reach.
        progress: Called with (step, fraction).

    Raises:
        XrayflowError: Anything that a user can mend: files, names, ranges, data without counts.
    """
    question = Question(
        model, prior, freeze, link, systematic, energies, channels, grouping, statistic, grid, network, amortised
    )
    return infer_batch([observation], question, seed, Effort(draws, ess), progress)[0]


def infer_batch(
    observations: Sequence[Observation],
    question: Question | None = None,
    seed: int = 0,
    effort: Effort | None = None,
    progress: Progress | None = None,
) -> list[Posterior]:
    """The certified posteriors of spectra that share one RMF.

    Args:
        observations: From `read_observation`, at least one.
        question: What is asked of them.
        seed: The same seed and file give the same answer, in any company.
        effort: How hard to try.
        progress: Called with (step, fraction).

    Raises:
        XrayflowError: Anything that a user can mend: files, names, ranges, data without counts.
    """
    started = time.perf_counter()
    asked, hard = question or Question(), effort or Effort()
    problem, choices = build_problem(observations, asked)
    guidance = find_guidance(asked.network, problem, choices)
    read = time.perf_counter() - started
    if asked.amortised:
        answers = _alone(problem, choices, guidance, seed, hard.draws)
    else:
        answers = infer_problem(problem, choices, guidance, seed, hard, progress)
    return [_with_read(answer, read / problem.sources) for answer in answers]


def infer_problem(
    problem: Problem,
    choices: list[Choice],
    guidance: Guidance,
    seed: int = 0,
    effort: Effort | None = None,
    progress: Progress | None = None,
) -> list[Posterior]:
    """The certified posteriors of a problem that is built already.

    Args:
        problem: The batch.
        choices: XSPEC's statistic of each source.
        guidance: What a network says of them; `find_guidance("none", ...)` says nothing.
        seed: The same seed and file give the same answer, in any company.
        effort: How hard to try.
        progress: Called with (step, fraction).
    """
    search = Search(
        problem, seed, effort or Effort(), progress or (lambda step, fraction: None), guide=guidance.amortised
    )
    fresh = search.run()
    with search.timed("certify"):
        found = candidates(search, fresh, choices)
        search.progress("checking", 0.9)
        answers = [judge(one, search.effort.ess, seed) for one in found]
    seconds = {step: value / problem.sources for step, value in search.seconds.items()}
    search.progress("done", 1.0)
    return [_told(replace(answer, seconds=seconds), guidance, source) for source, answer in enumerate(answers)]


def _alone(problem: Problem, choices: list[Choice], guidance: Guidance, seed: int, draws: int) -> list[Posterior]:
    """The network's own posteriors."""
    amortised = require_network(guidance, problem)
    answers = []
    for source, choice in enumerate(choices):
        started = time.perf_counter()
        at = torch.tensor([source])
        generator = generator_for(seed, problem.spectra[source].observation.pha.sha256)
        one = answer_alone(problem.select(at), choice, amortised.select(at), draws, generator, seed)
        answers.append(replace(one, seconds={"propose": time.perf_counter() - started}))
    return answers


def _told(answer: Posterior, guidance: Guidance, source: int) -> Posterior:
    """The answer with what there is to say about the network."""
    note = guidance.notes[source]
    flags = (*answer.flags, "outside_training") if guidance.outside[source] else answer.flags
    notes = (*answer.notes, note) if note else answer.notes
    return replace(answer, network=guidance.name(source), notes=notes, flags=flags)


def _with_read(answer: Posterior, read: float) -> Posterior:
    seconds = {"read": read, **answer.seconds}
    return replace(answer, seconds={**seconds, "total": sum(seconds.values())})
