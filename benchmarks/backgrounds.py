"""Spectra on a background, of a known truth: do the intervals cover where it is integrated over, known, or profiled?

    OMP_NUM_THREADS=1 python benchmarks/backgrounds.py [--spectra 1000] [--rivals 100] [--seed 5] [--out FILE]

An absorbed power law (`TRUTH`) seen by the bundled NICER response in 240 native channels (0.5-2.9 keV), on a background
with a slope and a line, in a region as large as the source's or ten times as large. `LEVELS` are the mean source and
background counts of a channel. Every spectrum is answered by the whole pipeline with the background integrated over,
the first `--rivals` of a case also with the same file taken as known, and with W in the place of the likelihood;
`MODELLED` are spectra whose background comes from a model that is off by ten per cent in level and by its own errors in
every channel (PGStat beside).

Of 48 source counts on 480 of background the slope is known no better than its prior, whose middle is near `TRUTH`:
intervals hold it too often there. `--kinds drawn` answers such spectra with slopes that are drawn from the prior at
this many source counts: a flat norm makes each as likely as the norm that it takes.

Of every parameter: the share of the central intervals that hold the truth, and the mean of (median - truth) / sd; of
the p-values the Kolmogorov-Smirnov test against uniform ones.

Writes benchmarks/results/backgrounds.json, and docs/images/backgrounds.png of the same name, after each round of all
cases (every figure says of how many spectra it is); what is done is kept in a file beside it, from which a stopped run
goes on.
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
from scipy import stats

from provenance import provenance
from xrayflow.data import bundled_arf, bundled_rmf
from xrayflow.errors import XrayflowWarning
from xrayflow.folding import Forward
from xrayflow.inference import Posterior, SamplingBudget, infer_batch
from xrayflow.models import parse_model
from xrayflow.ogip import Observation, read_arf, read_observation, read_rmf
from xrayflow.ogip.blank import blank_pha
from xrayflow.setup import FitSetup

HERE = Path(__file__).resolve().parent
MODEL = "TBabs*powerlaw"
TRUTH = {"powerlaw.PhoIndex": 1.8, "powerlaw.norm": 1.0}
FREEZE = {"TBabs.nH": 0.2}
SLOPES = -1.0, 5.0
PRIOR = (f"powerlaw.PhoIndex=lin:{SLOPES[0]:g}:{SLOPES[1]:g}", "powerlaw.norm=lin:0:1e6")
BAND = [(0.5, 2.9)]
COUNTED = ((1.0, 0.05), (1.0, 0.3), (1.0, 1.0), (5.0, 3.0), (20.0, 20.0), (0.2, 2.0))
"""Mean source and background counts of a channel."""

AREAS = (1.0, 10.0)
"""Of the background region, in units of the source's."""

MODELLED = ((1.0, 0.3), (5.0, 3.0), (20.0, 20.0))
DRAWN = ((0.2, 2.0),)
KINDS = ("counted", "modelled", "drawn")
ERROR, LEVEL = 0.3, 0.1
"""Of a modelled background: each channel's own, and the level's."""

TREATMENTS = ("marginalised", "known", "profile")
BUDGET = SamplingBudget(draws=500, ess=200.0, starts=8)
"""One mode; how many answers are certified is among the numbers."""

INTERVALS = {"68": (0.16, 0.84), "90": (0.05, 0.95)}


LINE = 1.2
"""Height of the background's line, where its slope goes from 1.1 to 0.6."""


def shape(energy: np.ndarray, line: float = LINE) -> np.ndarray:
    """A background's counts by energy [keV]: a slope and a line."""
    return 0.6 + np.exp(-energy / 0.8) + line * np.exp(-0.5 * ((energy - 1.5) / 0.06) ** 2)


class Source:
    """What all spectra have in common."""

    def __init__(self, line: float = LINE) -> None:
        rmf, arf = read_rmf(bundled_rmf()), read_arf(bundled_arf())
        self.template = read_observation(blank_pha(rmf), rmf, arf, "none")
        self.model = parse_model(MODEL).freeze(FREEZE)
        one = self.template.bin(energies=BAND, grouping="none")
        self.used = one.bin_of_channel >= 0
        bins = one.bin_of_channel[self.used]
        energy = np.sqrt(one.energy_lo * one.energy_hi)[bins]
        self.background = shape(energy, line) / shape(energy, line).mean()
        self.bins, self.forward = bins, Forward.of(self.model, [one])
        self.norms: np.ndarray | None = None

    def expected(self, truth: dict[str, float], mean: float) -> tuple[np.ndarray, np.ndarray]:
        """Counts of a channel, so many on average, and what makes them: the parameters of a truth, but the norm."""
        theta = torch.tensor([[[truth[name] for name in self.model.names]]], dtype=torch.float64)
        expected = self.forward.expected(theta)[0, 0].numpy()[self.bins]
        values, norm = theta[0, 0].numpy(), self.model.names.index("powerlaw.norm")
        values[norm] *= mean / expected.mean()
        return expected * mean / expected.mean(), values

    def slope(self, random: np.random.Generator) -> float:
        """Drawn from the prior at a given number of counts."""
        slopes = np.linspace(*SLOPES, 601)
        if self.norms is None:
            norm = self.model.names.index("powerlaw.norm")
            self.norms = np.array([self.expected({**TRUTH, "powerlaw.PhoIndex": one}, 1.0)[1][norm] for one in slopes])
        return float(random.choice(slopes, p=self.norms / self.norms.sum()))

    def spectra(
        self, kind: str, level: tuple[float, float], area: float, count: int, seed: int
    ) -> list[tuple[Observation, np.ndarray]]:
        """Spectra with their backgrounds, and their truths."""
        found, (source, background) = [], level
        for i in range(count):
            random = np.random.default_rng([seed, int(1e4 * source), int(1e4 * background), int(area), i])
            slope = {"powerlaw.PhoIndex": self.slope(random)} if kind == "drawn" else {}
            seen, truth = self.expected({**TRUTH, **slope}, source)
            mean = background * self.background
            if kind != "modelled":
                beta, file, error = mean, random.poisson(area * mean).astype(float), None
            else:
                # the truth scatters about the model, cut at nothing
                beta = np.exp(LEVEL * random.normal()) * np.maximum(
                    mean * (1.0 + ERROR * random.normal(size=mean.size)), 0
                )
                file, error = mean, ERROR * mean
            counts = random.poisson(seen + beta).astype(float)
            pha = self._pha(counts, f"{kind}-{seed}-{i}.pha", error=None)
            behind = replace(
                self._pha(file, f"{kind}-{seed}-{i}.bkg", error), backscal=np.full_like(pha.backscal, area)
            )
            found.append((replace(self.template, pha=pha, background=behind), truth))
        return found

    def _pha(self, values: np.ndarray, name: str, error: np.ndarray | None) -> Any:
        blank = self.template.pha

        def whole(part: np.ndarray) -> np.ndarray:
            out = np.zeros(blank.channel.size)
            out[self.used] = part
            return out

        return replace(
            blank,
            path=Path(name),
            counts=whole(values),
            stat_err=None if error is None else whole(error),
            poisserr=error is None,
            exposure=1.0,
            sha256=name,
        )


def row(answer: Posterior, truth: np.ndarray) -> dict[str, Any]:
    """What is kept of one answer."""
    columns = answer.draws[:, : truth.size].T
    median, mean = answer.quantile(0.5)[: truth.size], columns @ answer.weights
    sd = np.sqrt(np.maximum((columns**2) @ answer.weights - mean**2, 0.0))
    return {
        "rank": [float(answer.weights @ (c < t)) for c, t in zip(columns, truth, strict=True)],
        "bias": ((median - truth) / sd).tolist(),
        "p_value": answer.fit.p_value,
        "computation": answer.computation.status,
        "kind": answer.likelihood.kind,
        "seconds": answer.provenance.seconds["total"],
    }


def figures(rows: Sequence[dict[str, Any]], names: Sequence[str]) -> dict[str, Any]:
    """Of all answers of one kind."""
    rank, bias = (np.array([one[key] for one in rows]) for key in ("rank", "bias"))
    p = np.array([one["p_value"] for one in rows])

    def of(values: Sequence[float]) -> dict[str, float]:
        return dict(zip(names, np.round(values, 3).tolist(), strict=True))

    return {
        "spectra": len(rows),
        "coverage": {level: of(((rank > lo) & (rank < hi)).mean(0)) for level, (lo, hi) in INTERVALS.items()},
        "bias_in_sd": of(bias.mean(0)),
        "p_value_ks": float(stats.kstest(p, "uniform").pvalue),
        "p_value_mean": float(p.mean()),
        "computation": dict(Counter(one["computation"] for one in rows)),
        "kind": dict(Counter(one["kind"] for one in rows)),
        "seconds": float(np.mean([one["seconds"] for one in rows])),
    }


def cases(kinds: Sequence[str]) -> list[tuple[str, tuple[float, float], float]]:
    """Kind, level and area."""
    every = [("counted", level, area) for area in AREAS for level in COUNTED]
    every += [("modelled", level, 1.0) for level in MODELLED]
    every += [("drawn", level, area) for area in AREAS for level in DRAWN]
    return [one for one in every if one[0] in kinds]


def draw(result: dict[str, Any], path: Path) -> None:
    """Coverage of the 68 % intervals of the norm, and its bias."""
    figure, axes = plt.subplots(2, 1, figsize=(9.0, 5.5), sharex=True, layout="constrained")
    names = list(result["cases"])
    colours = dict(zip(TREATMENTS, ("#1b6ca8", "#c0504d", "#7f9f3f"), strict=True))
    for number, treatment in enumerate(TREATMENTS):
        x = np.arange(len(names)) + 0.22 * (number - 1)
        every = [result["cases"][name][treatment] for name in names]
        covered = [100 * one["coverage"]["68"]["powerlaw.norm"] for one in every]
        error = [np.sqrt(c * (100 - c) / one["spectra"]) for c, one in zip(covered, every, strict=True)]
        axes[0].errorbar(x, covered, error, fmt="o", ms=4, color=colours[treatment], label=treatment)
        axes[1].plot(x, [one["bias_in_sd"]["powerlaw.norm"] for one in every], "o", ms=4, color=colours[treatment])
    axes[0].axhspan(64, 72, color="0.9", zorder=0)
    axes[0].set(ylabel="68 % intervals of the norm\nthat hold the truth [%]", ylim=(0, 100))
    axes[0].legend(frameon=False, ncols=3)
    axes[1].axhspan(-0.2, 0.2, color="0.9", zorder=0)
    axes[1].set(ylabel="bias of the norm [sd]")
    axes[1].set_xticks(
        range(len(names)), [name.replace(" ", "\n", 1).replace(", ", "\n") for name in names], fontsize=7
    )
    figure.savefig(path, dpi=150)
    plt.close(figure)


def answered(
    source: Source, case: tuple[str, tuple[float, float], float], treatment: str, first: int, last: int, seed: int
) -> list[dict[str, Any]]:
    """Rows of some spectra of a case."""
    kind, level, area = case
    setup = FitSetup(model=MODEL, prior=PRIOR, freeze=FREEZE, energies=BAND, grouping="none", likelihood=treatment)
    observations, truths = zip(*source.spectra(kind, level, area, last, seed)[first:], strict=True)
    answers = infer_batch(observations, setup, "none", budget=BUDGET, seed=first)
    return [row(*pair) for pair in zip(answers, truths, strict=True)]


def write(state: dict[str, Any], names: Sequence[str], out: Path) -> None:
    """Figures of what is done."""
    result = {
        **provenance(__file__),
        "model": MODEL,
        "truth": TRUTH,
        "freeze": FREEZE,
        "prior": PRIOR,
        "energies": BAND,
        "seed": state["seed"],
        "cpu_seconds": state["cpu"],
        "cases": {
            key: {treatment: figures(rows[treatment], names) for treatment in TREATMENTS}
            for key, rows in state["rows"].items()
        },
    }
    out.write_text(json.dumps(result, indent=1) + "\n")
    draw(result, HERE.parent / "docs" / "images" / f"{out.stem}.png")


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spectra", type=int, default=1000)
    parser.add_argument("--rivals", type=int, default=100)
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--batch", type=int, default=50)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS[:2])
    parser.add_argument("--out", type=Path, default=HERE / "results" / "backgrounds.json")
    options = parser.parse_args()
    warnings.simplefilter("ignore", XrayflowWarning)
    source = Source()
    names = list(source.model.names)
    saved = options.out.with_suffix(".partial.json")
    state: dict[str, Any] = {"seed": options.seed, "cpu": 0.0, "rows": {}}
    if saved.exists() and (before := json.loads(saved.read_text()))["seed"] == options.seed:
        state = before
    # batches in turn, so that a stopped run has some of every case
    for first in range(0, options.spectra, options.batch):
        for case in cases(options.kinds):
            kind, level, area = case
            key = f"{kind} {level[0]:g}+{level[1]:g}, area {area:g}"
            rows = state["rows"].setdefault(key, {treatment: [] for treatment in TREATMENTS})
            started = time.process_time()
            for treatment in TREATMENTS:
                most = options.spectra if treatment == "marginalised" else min(options.rivals, options.spectra)
                last = min(first + options.batch, most)
                if len(rows[treatment]) < last:
                    rows[treatment] = rows[treatment][:first] + answered(
                        source, case, treatment, first, last, options.seed
                    )
            state["cpu"] += time.process_time() - started
            saved.write_text(json.dumps(state))
            one = figures(rows["marginalised"], names)
            print(
                key, one["spectra"], one["coverage"]["68"], one["bias_in_sd"], f"KS {one['p_value_ks']:.2g}", flush=True
            )
        write(state, names, options.out)
    saved.unlink()


if __name__ == "__main__":
    main()
