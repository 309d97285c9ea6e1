"""The misfit microscope on spectra of a real response: is what was planted found, how often is nothing called
something, and does its linear ln B agree with evidences of fits with the component?

Spectra of the bundled NICER response, `TBabs*powerlaw`, 8e4 counts in 0.3-10 keV, to which one thing is added that the
fitted model lacks: a narrow line, a broad one, an edge, a second absorber over a part of the source, an energy scale
that is off. Each at three sizes; and clean ones.

For one spectrum of each size the component is fitted too, with the microscope's own priors: its even places are a prior
that is uniform in ln E, its half-normal amplitude is that of a norm at the planted energy. One fit over the whole band
may miss a narrow line that stands among bumps of noise, so the band is cut into windows, and their evidences added.

    python benchmarks/microscope.py [--each 6] [--clean 60] [--out benchmarks/results/microscope.json]

A stopped run goes on from what it has written.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import kstest

from provenance import provenance
from xrayflow.data import bundled_pha
from xrayflow.files import to_json, write_file
from xrayflow.fitting import minimise, starting_points
from xrayflow.inference import Microscope, find_missing, infer
from xrayflow.inference.checks.absorbers import COLUMNS
from xrayflow.inference.checks.candidates import BROAD, BROAD_EV, DEPTH, LINE_EV, STEP, energies_of
from xrayflow.models import parse_model
from xrayflow.ogip import Observation, read_observation
from xrayflow.products.microscope import STRIKING
from xrayflow.setup import FitSetup, build_problem
from xrayflow.simulate import simulate

BASE = "TBabs*powerlaw"
TRUTH = {"TBabs.nH": 0.2, "powerlaw.PhoIndex": 1.8, "powerlaw.norm": 0.1}
COUNTS, SIMULATED = 8e4, 400
LO, HI = 0.315, 9.5
"""keV: the first and the last place where the search looks in 0.3-10 keV."""

WINDOWS = 8
"""Of a component's energy, which is fitted in each."""


def continuum(energy: float) -> float:
    """Of the power law at an energy [photons/cm^2/s/keV]."""
    return float(TRUTH["powerlaw.norm"] * energy ** -TRUTH["powerlaw.PhoIndex"])


@dataclass(frozen=True)
class Plant:
    """Something that the fitted model lacks.

    Attributes:
        kind: As the microscope calls it.
        size: In words.
        text: The model of the spectrum.
        values: Of its further parameters.
        gain: Offset of the energy scale [eV].
        fit: Model that has it; "" for none.
        place: Its energy, which has a prior of its own in each window; "" for none.
        prior, freeze, link: Of that.
        penalty: ln of the part of the microscope's prior that the fit's holds.
    """

    kind: str
    size: str
    text: str = BASE
    values: Mapping[str, float] = field(default_factory=dict)
    gain: float = 0.0
    fit: str = ""
    place: str = ""
    prior: tuple[str, ...] = ()
    freeze: Mapping[str, float] = field(default_factory=dict)
    link: Mapping[str, str] = field(default_factory=dict)
    penalty: float = 0.0


def line(kind: str, energy: float, width: float, ev: float, scale_ev: float) -> Plant:
    """A line by its equivalent width."""
    norm, scale = (1e-3 * one * continuum(energy) for one in (ev, scale_ev))
    values = {"gaussian.LineE": energy, "gaussian.Sigma": width, "gaussian.norm": norm}
    prior = ("gaussian.norm=lin:0:1", f"gaussian.norm~N(0,{scale:.6g})")
    places = {one: len(energies_of(LO, HI, STEP, one)) for one in BROAD}
    penalty = math.log(places[width] / sum(places.values())) if width in places else 0.0
    text, frozen = "TBabs*(powerlaw+gaussian)", {"gaussian.Sigma": width}
    size = f"{ev:g} eV at {energy:g} keV"
    return Plant(kind, size, text, values, 0.0, text, "gaussian.LineE", prior, frozen, {}, penalty)


def edge(energy: float, depth: float) -> Plant:
    """An absorption edge."""
    prior = ("edge.MaxTau=lin:0:5", f"edge.MaxTau~N(0,{DEPTH:g})")
    values = {"edge.edgeE": energy, "edge.MaxTau": depth}
    size = f"tau {depth:g} at {energy:g} keV"
    return Plant("edge", size, f"edge*{BASE}", values, 0.0, f"edge*{BASE}", "edge.edgeE", prior)


def covering(column: float, fraction: float) -> Plant:
    """A second absorber over a part of the source."""
    norm, slope = TRUTH["powerlaw.norm"], TRUTH["powerlaw.PhoIndex"]
    values = {
        "powerlaw.norm": norm * (1.0 - fraction), "TBabs_3.nH": column,
        "powerlaw_4.PhoIndex": slope, "powerlaw_4.norm": norm * fraction,
    }  # fmt: skip
    return Plant(
        "partial covering",
        f"nH {column:g} over {fraction:g}",
        "TBabs*(powerlaw+TBabs*powerlaw)",
        values,
        fit="TBabs*(constant*powerlaw+TBabs*constant*powerlaw)",
        prior=(f"TBabs_4.nH=log:{COLUMNS[0]:g}:{COLUMNS[-1]:g}", "constant_5.factor=lin:0.0:1.0"),
        link={
            "constant.factor": "1-constant_5.factor",
            "powerlaw_6.PhoIndex": "powerlaw.PhoIndex",
            "powerlaw_6.norm": "powerlaw.norm",
        },
    )


PLANTS = (
    *(line("narrow line", 6.4, 0.01, ev, LINE_EV) for ev in (60.0, 120.0, 240.0)),
    *(line("broad line", 6.4, 0.3, ev, BROAD_EV) for ev in (100.0, 200.0, 400.0)),
    *(edge(0.87, depth) for depth in (0.05, 0.1, 0.2)),
    *(covering(3.0, fraction) for fraction in (0.1, 0.2, 0.4)),
    *(Plant("energy scale", f"{gain:g} eV", gain=gain) for gain in (5.0, 10.0, 20.0)),
)
CLEAN = Plant("clean", "")


@cache
def template() -> Observation:
    """The bundled response."""
    return read_observation(bundled_pha())


@cache
def exposure() -> float:
    """That makes so many counts [s]."""
    once = simulate(template(), parse_model(BASE), TRUTH, 1000.0, 0, noisy=False)
    return 1000.0 * COUNTS / float(FitSetup(model=BASE, grouping="none").bin(once).counts.sum())


def spectrum_of(plant: Plant, seed: int) -> Observation:
    """A spectrum with it."""
    values = {**TRUTH, **plant.values}
    made = simulate(template(), parse_model(plant.text), values, exposure(), seed, noisy=plant.gain == 0.0)
    if plant.gain == 0.0:
        return made
    # a count of energy E is recorded where E + gain belongs
    edges = np.append(made.rmf.e_min, made.rmf.e_max[-1])
    below = np.interp(edges - 1e-3 * plant.gain, edges, np.append(0.0, np.cumsum(made.pha.counts)))
    counts = np.random.default_rng(seed).poisson(np.diff(below).clip(min=0.0)).astype(np.float64)
    return replace(made, pha=replace(made.pha, counts=counts))


def looked(observation: Observation, seed: int) -> Microscope:
    """What the microscope says of a spectrum: of the best of four fits."""
    problem = build_problem([observation], FitSetup(model=BASE, systematic=0.0, grouping="optimal"))
    modes = minimise(problem, starting_points(problem, 4, problem.generators(0))[0])
    best = modes.v[0, modes.objective[0].argmin()]
    return find_missing(problem, best, torch.Generator().manual_seed(seed), SIMULATED)


def refitted(observation: Observation, plant: Plant) -> dict[str, Any]:
    """ln B of fits with the component and without it."""
    words: dict[str, Any] = {"systematic": 0.0, "grouping": "optimal", "network": "none", "ess": 1000.0}
    without = infer(observation, BASE, **words)
    edges = np.geomspace(LO, HI, WINDOWS + 1) if plant.place else np.array([LO, HI])
    each = []
    for lo, hi in pairwise(edges.tolist()):
        place = [f"{plant.place}=log:{lo:.9g}:{hi:.9g}"] if plant.place else []
        asked = {"freeze": dict(plant.freeze), "link": dict(plant.link)}
        each.append(infer(observation, plant.fit, prior=[*place, *plant.prior], **asked, **words))
    log_evidence = np.array([answer.log_evidence for answer in each])
    total = float(np.logaddexp.reduce(log_evidence) - math.log(len(each)))
    share = np.exp(log_evidence - np.logaddexp.reduce(log_evidence))
    errors = [without.log_evidence_error, *(share * [answer.log_evidence_error for answer in each])]
    return {
        "log_bayes": total - without.log_evidence + plant.penalty,
        "error": float(np.hypot.reduce(errors)),
        "computation": sorted({answer.computation.status for answer in (without, *each)}),
    }


def one(plant: Plant, repetition: int) -> dict[str, Any]:
    """One spectrum, looked at."""
    seed = 1000 * (PLANTS.index(plant) + 1 if plant in PLANTS else 0) + repetition
    observation = spectrum_of(plant, seed)
    begun = time.process_time()
    found = looked(observation, seed)
    row: dict[str, Any] = {
        "kind": plant.kind,
        "size": plant.size,
        "repetition": repetition,
        "cpu_seconds": time.process_time() - begun,
        "p_value": found.p_value,
        "log_bayes": {item.kind: item.log_bayes for item in found.missing},
        "p_values": {item.kind: item.p_value for item in found.missing},
        "where": {item.kind: f"{item.where} {item.size}".strip() for item in found.missing},
    }
    if repetition == 0 and plant.fit:
        begun = time.process_time()
        row["refit"] = refitted(observation, plant)
        row["refit"]["cpu_seconds"] = time.process_time() - begun
    return row


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """How often what was planted comes first, and alarms of clean spectra."""
    told: dict[str, Any] = {}
    for plant in PLANTS:
        own = [row for row in rows if (row["kind"], row["size"]) == (plant.kind, plant.size)]
        if own:
            first = [max(row["log_bayes"], key=row["log_bayes"].get) for row in own]
            refit = next((row for row in own if "refit" in row), None)
            told[f"{plant.kind}, {plant.size}"] = {
                "spectra": len(own),
                "flagged": sum(row["p_value"] <= STRIKING for row in own),
                "first": sum(kind == plant.kind for kind in first),
                "first_of_all": dict(sorted((kind, first.count(kind)) for kind in set(first))),
                "log_bayes_median": float(np.median([row["log_bayes"][plant.kind] for row in own])),
                **({} if refit is None else {"linear": refit["log_bayes"][plant.kind], "refit": refit["refit"]}),
            }
    p = np.array([row["p_value"] for row in rows if row["kind"] == CLEAN.kind])
    if p.size:
        told["clean"] = {
            "spectra": int(p.size),
            "alarms": {str(level): int((p <= level).sum()) for level in (0.01, 0.05, 0.1, 0.2, 0.5)},
            "kolmogorov_smirnov_p": float(kstest(p, "uniform").pvalue),
        }
    return told


def main() -> None:
    """All spectra, in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--each", type=int, default=6)
    parser.add_argument("--clean", type=int, default=60)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "microscope.json")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    rows = list(json.loads(asked.out.read_text())["rows"]) if asked.out.exists() else []
    known = {(row["kind"], row["size"], row["repetition"]) for row in rows}
    wanted = [(plant, number) for number in range(asked.each) for plant in PLANTS]
    wanted += [(CLEAN, number) for number in range(asked.clean)]
    setup = {"model": BASE, "truth": TRUTH, "counts": COUNTS, "simulated": SIMULATED, "flagged_below": STRIKING}
    for plant, number in wanted:
        if (plant.kind, plant.size, number) in known:
            continue
        rows.append(json.loads(to_json(one(plant, number))))
        document = {**provenance(__file__), **setup, "summary": summary(rows), "rows": rows}
        write_file(asked.out, to_json(document).encode() + b"\n")
    print(json.dumps(summary(rows), indent=1))


if __name__ == "__main__":
    main()
