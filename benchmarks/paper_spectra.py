"""The spectra that the paper's network is measured on, and the exact posteriors of some of them.

1 ks of NICER with all 52 detectors, `TBabs*simplcutx*ezdiskbb`, 10 .. 1e5 counts/s (1e4 .. 1e8 counts), no background,
no systematic error: the box of the model cut by rate, as the training's, with a seed that no training has. "clean" is
the expected counts, at least one in a bin, as the paper trains on; "noisy" is the same spectra with Poisson counts.
Both are made by the answer's own problem (float64, its own energy grid), not by the training's simulator.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from simulated_set import SimulatedSet, simulated_set
from xrayflow.inference import infer_problem
from xrayflow.models import parse_model
from xrayflow.networks import Network
from xrayflow.networks.inputs import NetworkInput
from xrayflow.prior import Prior
from xrayflow.simulate import TrainingPrior

MODEL = "TBabs*simplcutx*ezdiskbb"
EXPOSURE = 1000.0
RATE = (10.0, 1e5)
KEPT = 400
"""Equally weighted draws that are kept of each exact posterior."""
BATCH = 20


def paper_set(count: int, seed: int) -> SimulatedSet:
    """Noisy spectra with their truths.

    Args:
        count: How many.
        seed: Of everything.
    """
    prior = TrainingPrior(Prior.of(parse_model(MODEL)))
    whole = {"area": (1.0, 1.0), "without_systematic": 1.0, "partial": 0.0, "grouped": 0.0}
    prior = replace(prior, rate=RATE, exposure=(EXPOSURE, EXPOSURE), **whole)
    return simulated_set(prior, MODEL, count, seed, background=False)


def inputs_of(spectra: SimulatedSet, network: Network) -> dict[str, NetworkInput]:
    """What a network sees of the two test sets, by name.

    Args:
        spectra: The noisy set.
        network: Whose bins.
    """
    noisy = NetworkInput.stack([network.inputs(spectrum) for spectrum in spectra.problem.data.sets[0].spectra])
    expected = spectra.problem.expected(spectra.theta[:, None])[:, 0]
    counts = torch.zeros_like(noisy.counts)
    seen = noisy.noticed[0] > 0
    counts[:, seen] = expected.clamp(min=1.0)
    return {"clean": replace(noisy, counts=counts), "noisy": noisy}


@dataclass(frozen=True)
class Exact:
    """Exact posteriors of the first spectra of a set.

    Attributes:
        draws: (source, draw, parameter) equally weighted.
        ess: (source,) effective draws that they come from.
        status: (source,) of the computation.
        seconds: CPU time of all.
    """

    draws: NDArray[np.float64]
    ess: NDArray[np.float64]
    status: list[str]
    seconds: float


def exact_posteriors(spectra: SimulatedSet, count: int, cache: Path) -> Exact:
    """Importance-weighted answers without a network; goes on from what a stopped run left in the cache.

    Args:
        spectra: The noisy set.
        count: How many of them.
        cache: A file of draws; it belongs to the set's seed and size.
    """
    draws: list[NDArray[np.float64]] = []
    ess: list[float] = []
    status: list[str] = []
    seconds = 0.0
    if cache.exists():
        with np.load(cache) as saved:
            draws, ess, status = list(saved["draws"]), saved["ess"].tolist(), saved["status"].tolist()
            seconds = float(saved["seconds"])
    while len(draws) < count:
        chosen = torch.arange(len(draws), min(len(draws) + BATCH, count))
        problem = spectra.problem.select(chosen)
        started = time.process_time()
        answers = infer_problem(problem, seed=0)
        seconds += time.process_time() - started
        draws += [answer.resample(KEPT, seed=0) for answer in answers]
        ess += [answer.ess for answer in answers]
        status += [answer.computation.status for answer in answers]
        np.savez_compressed(cache, draws=np.stack(draws), ess=ess, status=status, seconds=seconds)
        print(f"exact posteriors: {len(draws)} of {count}", flush=True)
    return Exact(np.stack(draws)[:count], np.array(ess)[:count], status[:count], seconds)
