"""Calibration modes integrated out: how exact, at what price, and whether the binning matters.

    OMP_NUM_THREADS=1 python benchmarks/calibration_likelihood.py [--draws 200] [--spectra 8]

*Exactness.* Draws about the truth of a spectrum whose response is off by 2 %: ln L against Newton with whole matrices
(what the frozen basis and its determinant cost), and that against importance sampling in z
with 20 000 draws (what Laplace costs). *Price.* Of ln L with modes beside ln L without, photons and fold included, in
turns: the median of the rounds, in CPU time, freed memory kept as the program does. *Binning.* Widths of posteriors of
the same counts in 60, 240 and 969 bins.

Writes benchmarks/results/calibration-likelihood.json.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from calibration import BUDGET, Detector
from provenance import provenance
from xrayflow.calibration import BinModes
from xrayflow.errors import XrayflowWarning
from xrayflow.folding import Forward
from xrayflow.inference import infer_batch
from xrayflow.memory import keep_freed_memory
from xrayflow.models import parse_model
from xrayflow.ogip import Observation
from xrayflow.setup import FitSetup
from xrayflow.statistics import CalibratedLikelihood, CountLikelihood
from xrayflow.statistics.mode_peak import find_peak
from xrayflow.statistics.seen import Seen

HERE = Path(__file__).resolve().parent
MODEL = "TBabs*(powerlaw+bbodyrad)"
TRUTH = (0.3, 1.8, 1.0, 0.5, 100.0)
SPREAD = (0.02, 0.02, 0.03, 0.01, 0.03)
NEAR = 8.0
"""Draws within so much of the best ln L are compared."""

ROUNDS = 15
"""In which prices are taken."""

WIDTHS = 16, 4, 1
"""Channels of a bin."""


def exact(
    basis: Any, inner: CountLikelihood, expected: torch.Tensor, amplitude: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """ln L, z, the modes and H by Newton's method in full."""
    peak = find_peak(basis, expected[None], amplitude[None], Seen.of(inner))
    psi, z = amplitude[..., None] * basis.psi_at(peak)[0], peak.z[0].clone()
    unit = torch.eye(z.shape[1], dtype=torch.float64)
    for _ in range(30):
        mean = expected * torch.exp((psi @ z[..., None])[..., 0])
        gradient = (psi.mT @ (inner.counts[0, 0] - mean)[..., None])[..., 0] - z
        curved = psi.mT @ (mean[..., None] * psi) + unit
        step = torch.linalg.solve(curved, gradient[..., None])[..., 0]
        z = z + step
        if float((gradient * step).sum(-1).max()) < 1e-12:
            break
    mean = expected * torch.exp((psi @ z[..., None])[..., 0])
    value = inner.log_density(mean[None])[0] - 0.5 * (z**2).sum(-1) - 0.5 * torch.linalg.slogdet(curved)[1]
    return value, z, psi, curved


def sampled(
    inner: CountLikelihood, expected: torch.Tensor, z: Any, psi: Any, curved: Any, draws: int = 20_000
) -> float:
    """ln of the integral over z by importance sampling."""
    root = torch.linalg.cholesky(curved)
    unit = torch.randn((draws, z.numel()), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    at = z + torch.linalg.solve_triangular(root.T, unit.T, upper=True).T
    log_p = inner.log_density((expected * torch.exp(at @ psi.T))[None])[0] - 0.5 * (at**2).sum(-1)
    weight = log_p + 0.5 * (unit**2).sum(-1) - root.diagonal().log().sum()
    return float(torch.logsumexp(weight, 0)) - float(np.log(draws))


def seconds(of: Any) -> float:
    """CPU time."""
    started = time.process_time()
    of()
    return time.process_time() - started


def likelihood_row(detector: Detector, total: float, grouping: str, draws: int) -> dict[str, Any]:
    """Exactness and price at one number of counts."""
    model, theta = parse_model(MODEL), torch.tensor([[TRUTH]], dtype=torch.float64)
    mean = Forward.of(model, [detector.whole]).expected(theta)[0, 0].numpy()
    scale = total / mean.sum()
    energy = np.sqrt(np.maximum(detector.whole.energy_lo * detector.whole.energy_hi, 1e-6))
    wiggle = 1.0 + 0.02 * np.sin(7.0 * np.log(energy)) + 0.02 * (energy > 1.84) * (1.84 / energy) ** 3
    observation = detector.observed(mean * scale * wiggle, "bright.pha", np.random.default_rng(1))
    spectrum = observation.bin(grouping=grouping)
    counts = torch.from_numpy(spectrum.counts)[None]
    nothing = torch.zeros_like(counts)
    inner = CountLikelihood.of(counts, nothing, torch.zeros(1, dtype=torch.float64), torch.ones_like(counts))
    started = time.process_time()
    likelihood = CalibratedLikelihood.of(inner, [BinModes.of(spectrum, detector.modes, 1.0)])
    setting_up = time.process_time() - started
    forward = Forward.of(model, [spectrum])
    likelihood = likelihood.centred(scale * forward.expected(theta), torch.zeros((1, 1, 1), dtype=torch.float64))
    generator = torch.Generator().manual_seed(0)
    away = torch.randn((1, draws, theta.shape[-1]), generator=generator, dtype=torch.float64)
    places = theta * (1.0 + torch.tensor(SPREAD, dtype=torch.float64) * away)
    nuisance = 0.3 * torch.randn((1, draws, 1), generator=generator, dtype=torch.float64)
    expected = scale * forward.expected(places)
    found = likelihood.log_density(expected, nuisance)[0]
    value, z, psi, curved = exact(likelihood.basis, inner, expected[0], torch.exp(nuisance[0]))
    near = value > value.max() - NEAR
    error = (found - value)[near]
    laplace = [
        sampled(inner, expected[0, i], z[i], psi[i], curved[i]) - float(value[i])
        for i in near.nonzero()[:: max(int(near.sum()) // 4, 1), 0].tolist()[:4]
    ]
    rivals = (
        lambda: forward.expected(places),
        lambda: likelihood.log_density(expected, nuisance),
        lambda: inner.log_density(expected),
    )
    rounds = np.array([[seconds(of) / draws for of in rivals] for _ in range(ROUNDS)])
    photons, modes, plain = np.median(rounds, axis=0).tolist()
    return {
        "counts": total,
        "bins": spectrum.counts.size,
        "modes": likelihood.basis.strength.shape[1],
        "set_up_ms": 1e3 * setting_up,
        "ms_per_draw": {"photons and fold": 1e3 * photons, "modes": 1e3 * modes, "Poisson": 1e3 * plain},
        "price": float(np.median((rounds[:, 0] + rounds[:, 1]) / (rounds[:, 0] + rounds[:, 2]))),
        "error_mean_sd_max": [float(error.mean()), float(error.std()), float(error.abs().max())],
        "draws_near": int(near.sum()),
        "laplace": laplace,
    }


def in_bins(observation: Observation, channels: int) -> Observation:
    """With a GROUPING of so many channels."""
    pha = observation.pha
    group = np.where(np.arange(pha.channel.size) % channels == 0, 1, -1)
    return replace(observation, pha=replace(pha, grouping=group))


def binning(detector: Detector, spectra: int) -> dict[str, Any]:
    """Widths of posteriors of the same counts in other bins, and how far their medians move."""
    made = [detector.spectrum("modes", 5000 + i, 3)[0] for i in range(spectra)]
    widths, medians = {}, {}
    for systematic in ("modes:1", "0.015"):
        for channels in WIDTHS:
            answers = infer_batch(
                [in_bins(one, channels) for one in made], FitSetup(systematic=systematic), "none", budget=BUDGET
            )
            key = f"{systematic}, {channels} channels"
            q = np.array([one.quantile([0.16, 0.5, 0.84])[:, :5] for one in answers])
            widths[key], medians[key] = 0.5 * (q[:, 2] - q[:, 0]), q[:, 1]
            print(key, flush=True)
    found = {}
    for systematic in ("modes:1", "0.015"):
        base = f"{systematic}, 4 channels"
        for channels in (16, 1):
            key = f"{systematic}, {channels} channels"
            ratio = widths[key] / widths[base]
            moved = np.abs(medians[key] - medians[base]) / widths[base]
            found[key] = {
                "sd_over_that_of_4_channels_median": float(np.median(ratio)),
                "by_parameter": np.median(ratio, 0).tolist(),
                "median_moved_in_sd_median": float(np.median(moved)),
            }
    return found


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--spectra", type=int, default=8)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "calibration-likelihood.json")
    options = parser.parse_args()
    warnings.simplefilter("ignore", XrayflowWarning)
    keep_freed_memory()
    detector = Detector()
    rows = []
    for total in (1e5, 1e6, 1e7, 1e8):
        for grouping in ("optimal", "none"):
            rows.append(likelihood_row(detector, total, grouping, options.draws))
            print(json.dumps(rows[-1]), flush=True)
    result = {**provenance(__file__), "model": MODEL, "rows": rows, "binning": binning(detector, options.spectra)}
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result["binning"], indent=1))


if __name__ == "__main__":
    main()
