"""Bright spectra of a detector that is not what its response says: do the intervals cover, and is a misfit seen?

    OMP_NUM_THREADS=1 python benchmarks/calibration.py [--spectra 1000] [--rivals 100] [--seen 100] [--batch 20]

`TBabs*simpl*ezdiskbb` seen by the bundled NICER response, 1e5 to 3e7 counts, optimal bins. Spectra of two kinds:

* `modes`: what `xrayflow simulate --systematic modes` fakes: amplitude, modes and energy scale all drawn;
* `photons`: built by hand, A = 1: the effective area times exp(phi(E) z) before the fold, and the running sum of the
  counts of channels read by a spline at edges that are off by N(0, 10 eV) and a slope of N(0, 0.5 %).

Truths are drawn from the prior that the answers have (`PRIOR`): intervals cover what they say only of such. Where the
counts tell nothing of Gamma, a wider prior would hold every truth in its middle.

Each is answered with `--systematic modes:1`, the first `--rivals` of a kind also with 0.015 in every bin and with none.
`SEEN` are spectra at 1e6 counts that hold what the model lacks; the clean ones of as many counts tell the false alarms.

Of every parameter: the share of the central intervals that hold the truth. Writes benchmarks/results/calibration.json
and docs/images/calibration.png; what is done is kept in a file beside it, from which a stopped run goes on.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from provenance import provenance
from xrayflow.calibration import find_mode_set
from xrayflow.data import bundled_arf, bundled_rmf
from xrayflow.errors import XrayflowWarning
from xrayflow.folding import Forward
from xrayflow.inference import Posterior, SamplingBudget, infer_batch
from xrayflow.inference.checks.misfit import Misfit
from xrayflow.models import parse_model
from xrayflow.ogip import Observation, read_arf, read_observation, read_rmf
from xrayflow.ogip.blank import blank_pha
from xrayflow.setup import DEFAULT_MODEL, FitSetup
from xrayflow.simulate.detector import OtherDetector

HERE = Path(__file__).resolve().parent
KINDS = ("modes", "photons")
TREATMENTS = {"modes:1": None, "0.015": "rivals", "0": "rivals"}
RANGES = {
    "TBabs.nH": (0.05, 4.0),
    "simpl.Gamma": (1.5, 3.0),
    "simpl.FracSctr": (0.03, 0.6),
    "ezdiskbb.T_max": (0.15, 1.2),
}
PRIOR = tuple(f"{name}={lo:g}:{hi:g}" for name, (lo, hi) in RANGES.items())
COUNTS = 1e5, 3e7
WHOLE = [(0.0, 16.0)]
SEEN = ("clean", "narrow iron line", "gain 10 eV", "continuum", "absorption")
"""At 1e6 counts, the energy scale right but where it is the misfit; a line of 100 eV, a black body of 1.5 keV with a
twentieth of the counts, 10^23 / cm^2 before half of the source."""

SEEN_COUNTS = 1e6
LINE = "line_suspected"
BUDGET = SamplingBudget(draws=500, ess=200.0, starts=16)
INTERVALS = {"68": (0.16, 0.84), "90": (0.05, 0.95)}
LARGER = {
    "narrow iron line": "TBabs*(simpl*ezdiskbb+gaussian)",
    "continuum": "TBabs*(simpl*ezdiskbb+bbodyrad)",
}

Array = NDArray[np.float64]


class Detector:
    """The bundled one, and what it may really be."""

    def __init__(self) -> None:
        rmf, arf = read_rmf(bundled_rmf()), read_arf(bundled_arf())
        self.template = read_observation(blank_pha(rmf), rmf, arf, "none")
        self.modes = find_mode_set("nicer-v1")
        self.model = parse_model(DEFAULT_MODEL)
        self.whole = self.template.bin(energies=WHOLE, grouping="none")
        box = FitSetup().model_and_prior()[1].box
        self.norms = float(box.lo[-1]), float(box.hi[-1])

    def theta(self, random: np.random.Generator) -> Array:
        """Parameters of the model, norm 1."""
        values = {
            name: random.uniform(*limits) if name == "simpl.Gamma" else np.exp(random.uniform(*np.log(limits)))
            for name, limits in RANGES.items()
        }
        return np.array([values.get(name, 1.0) for name in self.model.names])

    def expected(self, theta: Array, model: Any = None, spectrum: Any = None) -> Array:
        """Counts of every channel."""
        forward = Forward.of(model or self.model, [self.whole if spectrum is None else spectrum])
        return forward.expected(torch.from_numpy(theta)[None, None])[0, 0].numpy()

    def spectrum(self, kind: str, number: int, seed: int) -> tuple[Observation, Array]:
        """One spectrum of a kind and its truth."""
        random = np.random.default_rng([seed, KINDS.index(kind), number])
        counts, lo, hi = np.exp(random.uniform(*np.log(COUNTS))), *self.norms
        while True:
            theta = self.theta(random)
            theta[-1] = counts / self.expected(theta)[self._band].sum()
            if lo < theta[-1] < hi:
                break
        if kind == "modes":
            other = OtherDetector.drawn(self.modes, 1.0, self._generator(random))
            seen = replace(self.whole, gain=other.gain)
            expected = self.expected(theta, spectrum=seen) * other.bends(seen).numpy()
        else:
            expected = self.expected(theta, spectrum=self.with_area_off(random))
            expected = self.shifted(expected, 0.010 * random.normal(), 0.005 * random.normal())
        return self.observed(expected, f"{kind}-{seed}-{number}.pha", random), theta

    @property
    def _band(self) -> NDArray[np.bool_]:
        return (self.whole.energy_lo >= 0.3) & (self.whole.energy_hi <= 10.0)

    @staticmethod
    def _generator(random: np.random.Generator) -> torch.Generator:
        return torch.Generator().manual_seed(int(random.integers(2**62)))

    def with_area_off(self, random: np.random.Generator) -> Any:
        """All channels with the area of another detector, A = 1, its energy scale right."""
        z = random.normal(size=len(self.modes.names))
        own = self.template.arf
        middle = np.sqrt(np.maximum(own.energy_edges[1:] * own.energy_edges[:-1], 1e-6))
        arf = replace(own, area=own.area * np.exp(z @ self.modes.at(middle)))
        return replace(self.template, arf=arf).bin(energies=WHOLE, grouping="none")

    def shifted(self, expected: Array, offset: float, slope: float) -> Array:
        """With edges of channels that read too high, exactly."""
        lo, hi = self.whole.energy_lo, self.whole.energy_hi
        total = CubicSpline(np.append(lo, hi[-1]), np.concatenate([[0.0], np.cumsum(expected)]))
        edges = np.append(lo, hi[-1])
        return np.clip(np.diff(total(np.clip(edges - offset - slope * edges, edges[0], edges[-1]))), 0.0, None)

    def observed(self, expected: Array, name: str, random: np.random.Generator) -> Observation:
        """A spectrum of these counts."""
        counts = np.zeros(self.template.pha.channel.size)
        counts[self.whole.bin_of_channel >= 0] = random.poisson(expected)
        pha = replace(
            self.template.pha,
            path=Path(name),
            counts=counts,
            exposure=1.0,
            sha256=name,
            telescope="NICER",
            poisserr=True,
        )
        return replace(self.template, pha=pha)

    def mean_with(self, what: str, random: np.random.Generator) -> tuple[Array, Array]:
        """Counts of a right detector of a spectrum at `SEEN_COUNTS`, and of the same with what the model lacks."""
        theta = self.theta(random)
        theta[0] = np.exp(random.uniform(np.log(0.05), np.log(1.0)))
        expected = self.expected(theta)
        scale = SEEN_COUNTS / expected[self._band].sum()
        theta[-1] *= scale
        expected = expected * scale
        if what in LARGER:
            model = parse_model(LARGER[what])
            more = {"narrow iron line": (6.4, 0.01, 1.0), "continuum": (1.5, 1.0)}[what]
            values = dict(zip(self.model.names, theta, strict=True))
            own = iter(more)
            larger = np.array([values[name] if name in values else next(own) for name in model.names])
            alone = self.expected(larger, model) - expected
            if what == "narrow iron line":
                at = int(np.argmin(np.abs(self.whole.energy_lo - 6.4)))
                per_kev = expected[at] / (self.whole.energy_hi[at] - self.whole.energy_lo[at])
                return expected, expected + alone * (0.1 * per_kev / alone.sum())
            return expected, expected + alone * (0.05 * SEEN_COUNTS / alone[self._band].sum())
        if what == "absorption":
            theta[0] += 10.0
            return expected, 0.5 * (expected + self.expected(theta))
        return expected, expected

    def lacking(self, what: str, number: int, seed: int) -> Observation:
        """A spectrum at `SEEN_COUNTS` that holds what the model lacks; the detector's errors are those of A = 1."""
        random = np.random.default_rng([seed, 100 + SEEN.index(what), number])
        _, expected = self.mean_with(what, random)
        other = replace(OtherDetector.drawn(self.modes, 1.0, self._generator(random)), amplitude=1.0)
        expected = expected * other.bends(self.whole).numpy()
        if what == "gain 10 eV":
            expected = self.shifted(expected, 0.010, 0.0)
        return self.observed(expected, f"{what}-{seed}-{number}.pha", random)

    def ideal(self, what: str, number: int, seed: int) -> float:
        """Standard deviations by which what is lacking stands out where all else is known: nobody can see more."""
        without, whole = self.mean_with(what, np.random.default_rng([seed, 100 + SEEN.index(what), number]))
        return float(np.sqrt(((whole - without) ** 2 / np.maximum(without, 1e-9))[self._band].sum()))


def score(p_value: float, misfit: Misfit) -> float:
    """How much speaks against a fit: the smallest p of deviance, lines, continuum, energy scale, as -log10; by size."""
    found = [one for one in (misfit.line, misfit.iron, misfit.continuum) if one is not None]
    evidence = max(misfit.gain_evidence, 0.0) / np.log(10.0)
    largest = max(abs(one.significance) for one in found)
    return max(-np.log10(p_value), *(-np.log10(one.p_value) for one in found), evidence) + 0.01 * largest


def area(clean: Sequence[float], lacking: Sequence[float]) -> float:
    """Share of pairs in which the spectrum that lacks something scores higher: the area under the ROC curve."""
    a, b = np.asarray(clean)[:, None], np.asarray(lacking)
    return float(((b > a) + 0.5 * (b == a)).mean())


def row(answer: Posterior, truth: Array | None) -> dict[str, Any]:
    """What is kept of one answer."""
    found: dict[str, Any] = {
        "counts": float(answer.data[0].counts.sum()),
        "fit": answer.fit.status,
        "p_value": answer.fit.p_value,
        "deviance_per_dof": answer.deviance.value / answer.deviance.dof,
        "computation": answer.computation.status,
        "flags": [flag for flag in answer.flags if ":" not in flag],
        "reasons": list(answer.fit.reasons),
        "seconds": answer.provenance.seconds["total"],
        "efficiency": answer.efficiency,
    }
    misfit = answer.misfit
    if misfit is not None:
        found["misfit"] = score(answer.fit.p_value, misfit)
    if truth is not None:
        columns = answer.draws[:, : truth.size].T
        mean = columns @ answer.weights
        sd = np.sqrt(np.maximum((columns**2) @ answer.weights - mean**2, 0.0))
        found["rank"] = [float(answer.weights @ (c < t)) for c, t in zip(columns, truth, strict=True)]
        found["bias"] = ((answer.quantile(0.5)[: truth.size] - truth) / sd).tolist()
    return found


def figures(rows: Sequence[dict[str, Any]], names: Sequence[str]) -> dict[str, Any]:
    """Of all answers of one kind."""

    def share(of: str) -> float:
        return round(float(np.mean([of in one["flags"] for one in rows])), 4)

    found = {
        "spectra": len(rows),
        "fit": dict(Counter(one["fit"] for one in rows)),
        "computation": dict(Counter(one["computation"] for one in rows)),
        "deviance_per_dof": float(np.mean([one["deviance_per_dof"] for one in rows])),
        "p_below_0.01": float(np.mean([one["p_value"] < 0.01 for one in rows])),
        "line_suspected": share(LINE),
        "continuum_suspected": share("continuum_suspected"),
        "gain": round(share("gain_suspected") + share("misfit_gain_degenerate"), 4),
        "efficiency_median": float(np.median([one["efficiency"] for one in rows])),
        "seconds": float(np.mean([one["seconds"] for one in rows])),
    }
    if rows and "rank" in rows[0]:
        rank, bias = (np.array([one[key] for one in rows]) for key in ("rank", "bias"))
        found["coverage"] = {
            level: dict(zip(names, np.round(((rank > lo) & (rank < hi)).mean(0), 3).tolist(), strict=True))
            for level, (lo, hi) in INTERVALS.items()
        }
        found["bias_in_sd"] = dict(zip(names, np.round(np.median(bias, 0), 3).tolist(), strict=True))
    return found


def by_ideal(detector: Detector, state: dict[str, Any], seed: int) -> dict[str, dict[str, float]]:
    """Of narrow lines, by the standard deviations that a perfect detector and model would see: how many are told of."""
    what = "narrow iron line"
    told = np.array([LINE in one["flags"] for one in state["rows"].get(what, {}).get("modes:1", [])])
    ideal = np.array([detector.ideal(what, number, seed) for number in range(told.size)])
    parts = {"below 4": ideal < 4.0, "4 to 6": (ideal >= 4.0) & (ideal < 6.0), "above 6": ideal >= 6.0}
    return {
        name: {"spectra": int(part.sum()), "line_suspected": float(told[part].mean())}
        for name, part in parts.items()
        if part.any()
    }


def answered(observations: Sequence[Observation], systematic: str, seed: int) -> list[Posterior]:
    """Of one batch."""
    setup = FitSetup(grouping="optimal", systematic=systematic, prior=PRIOR)
    return infer_batch(observations, setup, "none", budget=BUDGET, seed=seed)


def draw(result: dict[str, Any], path: Path) -> None:
    """Coverage of the 68 % intervals."""
    figure, axis = plt.subplots(figsize=(8.0, 3.6), layout="constrained")
    colours = dict(zip(TREATMENTS, ("#1b6ca8", "#c0504d", "#7f9f3f"), strict=True))
    names = result["parameters"]
    for k, kind in enumerate(KINDS):
        for number, treatment in enumerate(TREATMENTS):
            one = result["coverage"][kind].get(treatment)
            if not one:
                continue
            covered = np.array([100 * one["coverage"]["68"][name] for name in names])
            error = np.sqrt(np.clip(covered * (100 - covered), 1, None) / one["spectra"])
            x = np.arange(len(names)) + k * (len(names) + 1) + 0.2 * (number - 1)
            axis.errorbar(x, covered, error, fmt="o", ms=4, color=colours[treatment], label=None if k else treatment)
    axis.axhspan(64, 72, color="0.9", zorder=0)
    ticks = [k * (len(names) + 1) + i for k in range(len(KINDS)) for i in range(len(names))]
    axis.set_xticks(ticks, [name.split(".")[1] for _ in KINDS for name in names], fontsize=7)
    axis.set(ylabel="68 % intervals that hold the truth [%]", ylim=(0, 100))
    for k, words in enumerate(("errors as modes", "errors of area and channel edges")):
        axis.text(k * (len(names) + 1) + 2, 95, words, ha="center", fontsize=8)
    axis.legend(
        title="--systematic", frameon=False, ncols=3, fontsize=7, loc="upper center", bbox_to_anchor=(0.5, 0.93)
    )
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spectra", type=int, default=1000)
    parser.add_argument("--rivals", type=int, default=100)
    parser.add_argument("--seen", type=int, default=100, help="spectra of each misfit")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--batch", type=int, default=20)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "calibration.json")
    options = parser.parse_args()
    warnings.simplefilter("ignore", XrayflowWarning)
    detector = Detector()
    saved = options.out.with_suffix(".partial.json")
    state: dict[str, Any] = {"seed": options.seed, "cpu": 0.0, "rows": {}}
    if saved.exists() and (before := json.loads(saved.read_text()))["seed"] == options.seed:
        state = before

    def done(key: str, treatment: str, first: int, observations: Any, truths: Any) -> None:
        rows = state["rows"].setdefault(key, {}).setdefault(treatment, [])
        if len(rows) > first:
            return
        started = time.process_time()
        answers = answered(observations(), treatment, options.seed)
        rows += [row(answer, truth) for answer, truth in zip(answers, truths(), strict=True)]
        state["cpu"] += time.process_time() - started
        saved.write_text(json.dumps(state))
        one = figures(rows, detector.model.names)
        print(
            key, treatment, len(rows), one.get("coverage", {}).get("68"), one["fit"], one["line_suspected"], flush=True
        )

    for first in range(0, max(options.spectra, options.seen), options.batch):
        numbers = range(first, first + options.batch)
        for kind in KINDS:
            if first >= options.spectra:
                continue
            made = [detector.spectrum(kind, i, options.seed) for i in numbers]
            for treatment, only in TREATMENTS.items():
                if only is None or first < options.rivals:
                    done(kind, treatment, first, lambda m=made: [o for o, _ in m], lambda m=made: [t for _, t in m])
        for what in SEEN:
            if first < options.seen:
                done(
                    what,
                    "modes:1",
                    first,
                    lambda w=what, n=numbers: [detector.lacking(w, i, options.seed) for i in n],
                    lambda n=numbers: [None for _ in n],
                )
        names = list(detector.model.names)
        result = {
            **provenance(__file__),
            "model": DEFAULT_MODEL,
            "parameters": names,
            "counts": COUNTS,
            "seed": options.seed,
            "cpu_seconds": state["cpu"],
            "coverage": {k: {t: figures(rows, names) for t, rows in state["rows"][k].items()} for k in KINDS},
            "seen": {k: figures(state["rows"][k]["modes:1"], names) for k in SEEN if k in state["rows"]},
            "narrow_line_seen_by_ideal": by_ideal(detector, state, options.seed),
            "area_under_roc": {
                k: area(*([one["misfit"] for one in state["rows"][kind]["modes:1"]] for kind in ("clean", k)))
                for k in SEEN[1:]
                if k in state["rows"]
            },
        }
        options.out.write_text(json.dumps(result, indent=1) + "\n")
        draw(result, HERE.parent / "docs" / "images" / "calibration.png")


if __name__ == "__main__":
    main()
