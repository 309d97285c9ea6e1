"""From spectra to certified posteriors: build the problem, search, judge.

A batch of sources goes through every step together; one spectrum is a batch of one. A source's answer does not depend
on its company.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from xrayflow.folding import Grid
from xrayflow.inference.build import Question, build_problem
from xrayflow.inference.judge import candidates, judge
from xrayflow.inference.posterior import Posterior
from xrayflow.inference.search import Effort, Progress, Search
from xrayflow.models import Model
from xrayflow.ogip import Observation
from xrayflow.prior import Prior


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
        seed: The same seed and file give the same answer.
        draws: Fresh draws per block.
        ess: Effective sample size to reach.
        progress: Called with (step, fraction).

    Raises:
        XrayflowError: Anything that a user can mend: files, names, ranges, data without counts.
    """
    question = Question(model, prior, freeze, link, systematic, energies, channels, grouping, statistic, grid)
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
    problem, choices = build_problem(observations, question or Question())
    search = Search(problem, seed, effort or Effort(), progress or (lambda step, fraction: None))
    search.seconds["read"] = time.perf_counter() - started
    fresh = search.run()
    with search.timed("certify"):
        found = candidates(search, fresh, choices)
        search.progress("checking", 0.9)
        answers = [judge(one, search.effort.ess, seed) for one in found]
    seconds = {step: value / problem.sources for step, value in search.seconds.items()}
    search.progress("done", 1.0)
    return [replace(answer, seconds={**seconds, "total": sum(seconds.values())}) for answer in answers]
