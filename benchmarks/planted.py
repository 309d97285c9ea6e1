"""Simulated NICER spectra whose model allows two readings: what the missed mode is tested on.

* line: the data hold two narrow lines, the model one;
* cold: an absorbed soft spectrum, `TBabs*simpl*ezdiskbb`: a colder disc under more absorption, or a hotter one under
  less; the shipped network guides;
* thermal: a disc and a blackbody, either of which may be the cooler.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from xrayflow.data import bundled_arf, bundled_pha, bundled_rmf
from xrayflow.folding import Grid
from xrayflow.models import parse_model
from xrayflow.ogip import Observation, read_arf, read_observation, read_rmf
from xrayflow.problem import Problem
from xrayflow.setup import FitSetup, build_problem
from xrayflow.simulate import simulate

THINNED = 4
"""Every so many edges of the response's energy grid: quick, and the grid's own check accepts it."""

Draw = Callable[[np.random.Generator], float]


def even(lo: float, hi: float) -> Draw:
    """Uniform."""
    return lambda random: float(random.uniform(lo, hi))


def even_log(lo: float, hi: float) -> Draw:
    """Uniform in the logarithm."""
    return lambda random: float(np.exp(random.uniform(math.log(lo), math.log(hi))))


@dataclass(frozen=True)
class Family:
    """A kind of posterior that may have two modes.

    Attributes:
        setup: The model that is fitted, with its prior.
        source: The model that makes the data.
        truth: How its parameters are drawn.
        counts: Expected in all; they set the exposure.
        share: Of all cases.
    """

    setup: FitSetup
    source: str
    truth: dict[str, Draw]
    counts: Draw
    share: float


FAMILIES = {
    "line": Family(
        FitSetup(
            systematic=0.0,
            model="TBabs*(powerlaw+gaussian)",
            prior=["powerlaw.PhoIndex=0:4", "powerlaw.norm=1e-3:10", "gaussian.LineE=1:7", "gaussian.norm=1e-4:0.1"],
            freeze={"TBabs.nH": 0.2, "gaussian.Sigma": 0.02},
            grouping="optimal",
        ),
        "TBabs*(powerlaw+gaussian+gaussian)",
        {
            "TBabs.nH": even(0.2, 0.2),
            "powerlaw.PhoIndex": even(1.4, 2.2),
            "powerlaw.norm": even(0.1, 0.1),
            "gaussian.LineE": even(1.5, 2.8),
            "gaussian.Sigma": even(0.02, 0.02),
            "gaussian.norm": even_log(1.2e-3, 1.8e-3),
            "gaussian_4.LineE": even(3.2, 4.5),
            "gaussian_4.Sigma": even(0.02, 0.02),
            "gaussian_4.norm": even_log(1.2e-3, 1.8e-3),
        },
        even_log(4000.0, 16000.0),
        0.5,
    ),
    "cold": Family(
        FitSetup(systematic=0.0, model="TBabs*simpl*ezdiskbb", grouping="optimal"),
        "TBabs*simpl*ezdiskbb",
        {
            "TBabs.nH": even_log(2.0, 15.0),
            "simpl.Gamma": even(1.6, 3.0),
            "simpl.FracSctr": even_log(0.005, 0.2),
            "ezdiskbb.T_max": even_log(0.1, 0.4),
            "ezdiskbb.norm": even_log(1e3, 1e5),
        },
        even_log(150.0, 6000.0),
        0.25,
    ),
    "thermal": Family(
        FitSetup(
            systematic=0.0,
            model="TBabs*(ezdiskbb+bbodyrad)",
            prior=[
                "TBabs.nH=0.01:3",
                "ezdiskbb.T_max=0.05:4",
                "bbodyrad.kT=0.05:4",
                "ezdiskbb.norm=0.01:1e7",
                "bbodyrad.norm=0.01:1e7",
            ],
            grouping="optimal",
        ),
        "TBabs*(ezdiskbb+bbodyrad)",
        {
            "TBabs.nH": even_log(0.1, 1.0),
            "ezdiskbb.T_max": even_log(0.25, 0.6),
            "ezdiskbb.norm": even_log(3.0, 30.0),
            "bbodyrad.kT": even_log(0.8, 1.6),
            "bbodyrad.norm": even_log(2.0, 10.0),
        },
        even_log(300.0, 8000.0),
        0.25,
    ),
}


def planted(family: Family, seeds: Sequence[int]) -> tuple[Problem, list[dict[str, float]]]:
    """The problem of simulated spectra, and the truth of each, one per seed."""
    template = read_observation(bundled_pha(), read_rmf(bundled_rmf()), read_arf(bundled_arf()), "none")
    source = parse_model(family.source)
    found: list[Observation] = []
    truths = []
    for seed in seeds:
        random = np.random.default_rng(seed)
        truth = {name: draw(random) for name, draw in family.truth.items()}
        each_second = simulate(template, source, truth, 1.0, seed, noisy=False).pha.counts.sum()
        exposure = family.counts(random) / float(each_second)
        found.append(simulate(template, source, truth, exposure, seed, f"planted-{seed}.pha"))
        truths.append({**truth, "exposure": exposure})
    problem = build_problem(found, family.setup)
    own = problem.data.sets[0].forward.grid
    kept = np.unique(np.append(own.energy_edges[::THINNED], own.energy_edges[-1]))
    return problem.on(Grid(kept, f"every {THINNED}th edge of {own.description}")), truths
