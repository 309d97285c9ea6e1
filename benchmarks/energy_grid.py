"""Measures what the default energy grid costs in accuracy, for the bundled NICER response.

```
OMP_NUM_THREADS=1 python benchmarks/energy_grid.py          (about a minute; writes results/energy-grid.json)
```

Draws of the prior of TBabs*simpl*ezdiskbb whose rate a NICER of 52 detectors would see (0.1 .. 1e5 counts/s) are folded
into the bins of the bundled spectrum, on each grid and on a reference: every RMF bin in at least 8 parts and no wider
than E / 4000, the fine structure of O K, Fe L and Ne K in steps of 0.01 to 0.04 eV, both sides of every absorption
edge, 1500 bins per decade outside. The reference's own error is measured against one twice as fine.

Numbers, for a spectrum of 20 ks: the relative error of bins with more than 10 expected counts (median, 99 %, largest),
and the shift of chi^2, sum (mu - mu_ref)^2 / mu_ref.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from provenance import provenance
from xrayflow.data import bundled_pha
from xrayflow.folding import Fold, Grid, density
from xrayflow.folding.density import ABSORPTION_EDGES, JUMP_WIDTH
from xrayflow.models import parse_model
from xrayflow.ogip import Spectrum, read_observation
from xrayflow.prior import Prior

Array = NDArray[np.float64]
RESULTS = Path(__file__).resolve().parent / "results" / "energy-grid.json"
MODEL = "TBabs*simpl*ezdiskbb"
EXPOSURE, FEWEST_COUNTS, RATES = 20e3, 10.0, (0.1, 1e5)
# lo, hi, step [keV] of the reference where sigma has resonances
FINE = ((0.524, 0.5775, 1e-5), (0.70, 0.75, 4e-5), (0.864, 0.871, 1e-5))


def reference_grid(response: Array, fineness: int) -> Grid:
    """The grid that others are measured against."""
    jumps = np.multiply.outer(np.array(ABSORPTION_EDGES), [1.0 - JUMP_WIDTH, 1.0 + JUMP_WIDTH]).ravel()
    kept = np.union1d(response, jumps)
    width, middle = np.diff(kept), 0.5 * (kept[1:] + kept[:-1])
    of_response = np.diff(response)[np.clip(np.searchsorted(response, middle) - 1, 0, response.size - 2)]
    widest = np.minimum(of_response / 8.0, middle / 4000.0)
    for lo, hi, step in FINE:
        touched = (kept[1:] > lo) & (kept[:-1] < hi)
        widest[touched] = np.minimum(widest[touched], step)
    parts = np.maximum(np.ceil(fineness * width / widest * (1.0 - 1e-6)), 1.0).astype(np.int64)
    inside = [low + wide * np.arange(n) / n for low, wide, n in zip(kept[:-1], width, parts, strict=True)]
    per_decade = 1500 * fineness
    below = np.geomspace(1e-3, kept[0], int(per_decade * np.log10(kept[0] / 1e-3)) + 1)[:-1]
    above = np.geomspace(kept[-1], 1e3, int(per_decade * np.log10(1e3 / kept[-1])) + 1)
    return Grid(np.concatenate([below, *inside, above]), f"reference, fineness {fineness}")


def bare_grid(response: Array) -> Grid:
    """The response's own energies, continued as the default is, without its refinement."""
    below = np.geomspace(1e-3, response[0], 301)[:-1]
    return Grid(np.concatenate([below, response, np.geomspace(response[-1], 1e3, 256)[1:]]), "bare")


@contextmanager
def density_of(bins_per_unit: float) -> Iterator[None]:
    """Another number of bins for the default grid."""
    before = density.BINS_PER_UNIT
    density.BINS_PER_UNIT = bins_per_unit
    density.count_bins.cache_clear()
    yield
    density.BINS_PER_UNIT = before
    density.count_bins.cache_clear()


def counts_on(grid: Grid, spectrum: Spectrum, theta: torch.Tensor) -> tuple[torch.Tensor, float]:
    """(draw, bin) expected counts in `EXPOSURE`, and seconds per draw."""
    fold, flux = Fold.of([spectrum], grid), parse_model(MODEL).on(torch.from_numpy(grid.energy_edges))
    scale = EXPOSURE / spectrum.observation.pha.exposure
    began = time.perf_counter()
    parts = [fold(flux(part)[None])[0] * scale for part in theta.split(10)]
    return torch.cat(parts), (time.perf_counter() - began) / len(theta)


def seen_draws(spectrum: Spectrum, draws: int, seed: int) -> torch.Tensor:
    """Draws of the prior within `RATES`."""
    prior, generator = Prior.of(parse_model(MODEL)), torch.Generator().manual_seed(seed)
    grid = Grid.of_response(spectrum.observation.rmf.energy_edges)
    found: list[torch.Tensor] = []
    while sum(len(part) for part in found) < draws:
        theta = prior.sample((200,), generator)
        rate = counts_on(grid, spectrum, theta)[0].sum(-1) / EXPOSURE
        found.append(theta[(rate >= RATES[0]) & (rate <= RATES[1])])
    return torch.cat(found)[:draws]


def compare(counts: torch.Tensor, reference: torch.Tensor, energy: Array) -> dict[str, Any]:
    """The numbers of the module's docstring, and where the error is largest."""
    enough = reference > FEWEST_COUNTS
    error = (counts / reference - 1.0).abs()
    chi2 = ((counts - reference) ** 2 / reference).sum(-1).numpy()
    worst = torch.where(enough, error, 0.0).amax(0).numpy()
    peaks = np.argsort(worst)[::-1][:3]
    seen = error[enough].numpy()
    return {
        "relative_error": {str(q): _short(np.quantile(seen, q)) for q in (0.5, 0.9, 0.99, 1.0)},
        "chi2_shift": {str(q): _short(np.quantile(chi2, q)) for q in (0.5, 0.9, 0.99, 1.0)},
        "largest_error_at_keV": [_short(value) for value in energy[peaks]],
    }


def _short(value: float) -> float:
    return float(f"{value:.3g}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    spectrum = read_observation(bundled_pha()).bin()
    response = spectrum.observation.rmf.energy_edges
    energy = 0.5 * (spectrum.energy_lo + spectrum.energy_hi)
    theta = seen_draws(spectrum, arguments.draws, arguments.seed)
    fine = reference_grid(response, 1)
    reference, seconds = counts_on(fine, spectrum, theta)
    some = theta[:: max(1, len(theta) // 50)]
    finer = counts_on(reference_grid(response, 2), spectrum, some)[0]
    grids = {"default": Grid.of_response(response), "bare response": bare_grid(response)}
    for unit in (100.0, 160.0, 300.0):
        with density_of(unit):
            grids[f"default, BINS_PER_UNIT {unit:g}"] = Grid.of_response(response)
    grids |= {
        "0.001-1000 keV, 4000 log": Grid.log(1e-3, 1e3, 4000),
        "0.001-1000 keV, 12000 log": Grid.log(1e-3, 1e3, 12000),
        "0.003-300 keV, 1000 log (the paper's evaluation)": Grid.log(3e-3, 300.0, 1000),
    }
    document: dict[str, Any] = {
        **provenance(__file__),
        "model": MODEL,
        "draws": len(theta),
        "exposure_s": EXPOSURE,
        "reference": {
            "bins": fine.energy_edges.size - 1,
            "ms_per_draw": _short(1e3 * seconds),
            "against_twice_as_fine": compare(reference[:: max(1, len(theta) // 50)], finer, energy),
        },
        "grids": {},
    }
    for name, grid in grids.items():
        counts, seconds = counts_on(grid, spectrum, theta)
        row = {"bins": grid.energy_edges.size - 1, "ms_per_draw": _short(1e3 * seconds)}
        document["grids"][name] = row | compare(counts, reference, energy)
        print(name, json.dumps(document["grids"][name]), flush=True)
    RESULTS.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
