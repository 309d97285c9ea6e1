"""An archive of spectra like the paper's 10 800, simulated, with what its model lacks and its detector gets wrong.

    OMP_NUM_THREADS=1 python benchmarks/archive_like.py FOLDER [--spectra 10800] [--seed 53]

The paper's archive (25 black-hole binaries, NICER) is not public. This stands in for it, and is named for what it is.
Twenty-five sources, each with its own absorption; their spectra are soft, intermediate or hard, of 30 .. 30 000
counts/s and 100 s .. 5 ks. As in an archive, and unlike any training set here:

* 17 .. 52 detectors are on;
* a background of 0.3 .. 10 c/s lies below, and its file is a noisy estimate of it (STAT_ERR 31 % of each channel);
* the effective area is wrong by 1 .. 1.5 % (rms), correlated over a third of a decade in energy;
* the gain is off by up to 10 eV;
* an iron line (EW 20 .. 200 eV at 6.4 .. 6.9 keV) and a hump above 10 keV (5 .. 40 % of the continuum at its peak near
  25 keV, 2 .. 8 % at 8 keV) stand on the continuum, which the fitted model lacks.

Each spectrum is a PHA file in the paper's bins (GROUPING) with its background beside it; FOLDER/list.txt is what
`xrayflow targets --list` takes, and truth.npz holds the parameters. Targets as the paper's, best fits:

    xrayflow targets recipes/paper/reduced.toml --list FOLDER/list.txt --rmf FOLDER/nicer.rmf.gz --group-by object
        --starts 4 --out FOLDER/targets.safetensors
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from astropy.io import fits
from numpy.typing import NDArray

from xrayflow.data import bundled_arf, bundled_pha, bundled_rmf
from xrayflow.folding import Fold, Grid
from xrayflow.models import Model, parse_model
from xrayflow.ogip import RMF, Observation, Origin, read_arf, read_observation, read_rmf, write_pha
from xrayflow.prior import Prior
from xrayflow.simulate import Layout, TrainingPrior

MODEL = "TBabs*simplcutx*ezdiskbb"
SPECTRA, SOURCES, SEED = 10800, 25, 53
DETECTORS, SHARES = (52, 51, 50, 49, 44, 38, 26, 17), (0.35, 0.1, 0.2, 0.15, 0.08, 0.06, 0.04, 0.02)
FULL = 52
RATE, EXPOSURE = (30.0, 3e4), (100.0, 5000.0)
FEWEST_COUNTS = 1000
CALIBRATION, CORRELATION = (0.010, 0.015), 1.0 / 3.0
"""Relative rms of the area's error, and decades over which it is correlated."""
GAIN = 10.0
"""eV."""
LINE_WIDTH, LINE_ENERGY, EQUIVALENT_WIDTH = (0.05, 0.5), (6.4, 6.9), (0.02, 0.2)
"""keV."""
HUMP, HUMP_ENERGY, HUMP_DECADES = (0.05, 0.4), 25.0, 0.25
STATES = {  # Gamma, FracSctr (log), T_max (log)
    "soft": ((2.0, 3.2), (0.005, 0.1), (0.5, 1.4)),
    "intermediate": ((1.9, 2.8), (0.1, 0.4), (0.3, 0.9)),
    "hard": ((1.45, 2.1), (0.3, 0.9), (0.1, 0.4)),
}
MIX = (0.4, 0.3, 0.3)
BACKGROUND_ERROR = 0.31
TOGETHER = 200
"""Spectra that are folded together."""

Numbers = NDArray[np.float64]


def log_uniform(rng: np.random.Generator, limits: tuple[float, float], size: int | None = None) -> Numbers:
    """Between two numbers."""
    return np.exp(rng.uniform(np.log(limits[0]), np.log(limits[1]), size))


def draw_shapes(rng: np.random.Generator, count: int) -> tuple[NDArray[np.int64], list[str], Numbers]:
    """The source and the state of each spectrum, and (spectrum, parameter) theta with norm 1."""
    absorption = log_uniform(rng, (0.08, 6.0), SOURCES)
    source = np.arange(count) * SOURCES // count
    state = [list(STATES)[i] for i in rng.choice(len(STATES), size=count, p=MIX)]
    theta = np.ones((count, 5))
    theta[:, 0] = absorption[source] * np.exp(0.03 * rng.standard_normal(count))
    for row, name in enumerate(state):
        gamma, fraction, temperature = STATES[name]
        theta[row, 1:4] = rng.uniform(*gamma), log_uniform(rng, fraction), log_uniform(rng, temperature)
    return source, state, theta


class Sky:
    """What the detector would count of a source, channel by channel, in one second with all detectors on."""

    def __init__(self, model: Model, template: Observation) -> None:
        """A blank observation of all channels.

        Args:
            model: The continuum.
            template: Its response.
        """
        channels = template.pha.channel
        none = np.zeros(channels.size)
        blank = replace(template.pha, counts=none, exposure=1.0, quality=none.astype(np.int64))
        whole = (int(channels.min()), int(channels.max()))
        spectrum = replace(template, pha=blank).bin(channels=whole, grouping="none")
        grid = Grid.of_response(template.rmf.energy_edges, wide=True)
        self.edges = grid.energy_edges
        self.flux = model.on(torch.from_numpy(self.edges))
        self.fold = Fold.of([spectrum], grid)
        self.channel_of = spectrum.bin_of_channel

    def counts(self, theta: Numbers, factor: Numbers) -> Numbers:
        """(spectrum, channel) expected counts.

        Args:
            theta: (spectrum, parameter).
            factor: (spectrum, energy) on the continuum.
        """
        flux = self.flux(torch.from_numpy(theta)[None]) * torch.from_numpy(factor)[None]
        binned = self.fold(flux)[0].numpy()
        return np.where(self.channel_of >= 0, binned[:, self.channel_of], 0.0)


def unmodelled(rng: np.random.Generator, edges: Numbers, count: int) -> Numbers:
    """(spectrum, energy) what line and hump make of the continuum."""
    middle = np.sqrt(edges[1:] * edges[:-1])[None]
    energy, width, equivalent, hump = (
        draw[:, None]
        for draw in (
            rng.uniform(*LINE_ENERGY, count),
            log_uniform(rng, LINE_WIDTH, count),
            log_uniform(rng, EQUIVALENT_WIDTH, count),
            rng.uniform(*HUMP, count),
        )
    )
    line = equivalent * np.exp(-0.5 * ((middle - energy) / width) ** 2) / (np.sqrt(2.0 * np.pi) * width)
    return 1.0 + line + hump * np.exp(-0.5 * (np.log10(middle / HUMP_ENERGY) / HUMP_DECADES) ** 2)


def miscalibrated(rng: np.random.Generator, counts: Numbers, energy: Numbers) -> tuple[Numbers, Numbers, Numbers]:
    """Expected counts as a detector with another area and gain has them; and rms [fraction] and gain [eV] of each."""
    spectra = counts.shape[0]
    x = np.log10(energy)
    knots = np.arange(x[0], x[-1] + 0.05, 0.05)
    covariance = np.exp(-0.5 * ((knots[:, None] - knots) / CORRELATION) ** 2) + 1e-9 * np.eye(knots.size)
    smooth = rng.standard_normal((spectra, knots.size)) @ np.linalg.cholesky(covariance).T
    rms, gain = rng.uniform(*CALIBRATION, spectra), rng.uniform(-GAIN, GAIN, spectra)
    edges = np.append(energy - 0.005, energy[-1] + 0.005)
    found = np.empty_like(counts)
    for row in range(spectra):
        wrong = counts[row] * (1.0 + rms[row] * np.interp(x, knots, smooth[row]))
        below = np.append(0.0, np.cumsum(wrong))
        found[row] = np.diff(np.interp(edges - 1e-3 * gain[row], edges, below))
    return found, rms, gain


def grouping(layout: Layout, rmf: RMF) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """GROUPING and QUALITY of each channel: the layout's bins, all else bad."""
    first, last = (one - rmf.channel[0] for one in layout.groups(rmf.channel, rmf.e_min, rmf.e_max))
    marks, bad = np.ones(rmf.channel.size, dtype=np.int64), np.ones(rmf.channel.size, dtype=np.int64)
    for low, high in zip(first, last, strict=True):
        marks[low + 1 : high + 1] = -1
    bad[first[0] : last[-1] + 1] = 0
    return marks, bad


def write_areas(folder: Path) -> dict[int, Path]:
    """An ARF for each number of detectors."""
    found = {}
    for detectors in DETECTORS:
        found[detectors] = folder / f"nicer_d{detectors}.arf"
        with fits.open(bundled_arf()) as arf:
            arf["SPECRESP"].data["SPECRESP"] *= detectors / FULL
            arf.writeto(found[detectors], overwrite=True)
    return found


def write_archive(folder: Path, count: int, seed: int, only: Collection[int] | None = None) -> Path:
    """Draw all spectra, write them or some of them.

    Args:
        folder: Where to.
        count: How many are drawn.
        seed: Decides everything.
        only: Numbers of those that are written; None: all.

    Returns:
        The list of what was written.
    """
    (folder / "pha").mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    model = parse_model(MODEL)
    rmf, arf = read_rmf(bundled_rmf()), read_arf(bundled_arf())
    shutil.copyfile(bundled_rmf(), folder / "nicer.rmf.gz")
    areas = write_areas(folder)
    sky = Sky(model, read_observation(bundled_pha(), rmf=rmf, arf=arf, background="none"))
    energy = 0.5 * (rmf.e_min + rmf.e_max)
    marks, bad = grouping(Layout.paper(), rmf)
    band = bad == 0
    backgrounds = replace(TrainingPrior(Prior.of(model)), without_background=0.0)
    source, state, theta = draw_shapes(rng, count)
    detectors = rng.choice(DETECTORS, size=count, p=SHARES)
    exposure, rate = log_uniform(rng, EXPOSURE, count), log_uniform(rng, RATE, count)
    rate = np.maximum(rate, FEWEST_COUNTS / exposure * FULL / detectors)
    rms, gain, lines = np.empty(count), np.empty(count), []
    for start in range(0, count, TOGETHER):
        rows = slice(start, min(start + TOGETHER, count))
        size = rows.stop - rows.start
        plain = sky.counts(theta[rows], np.ones((size, sky.edges.size - 1)))
        theta[rows, 4] = rate[rows] / plain[:, band].sum(1)
        seen = sky.counts(theta[rows], unmodelled(rng, sky.edges, size))
        seen, rms[rows], gain[rows] = miscalibrated(rng, seen, energy)
        seen *= (exposure[rows] * detectors[rows] / FULL)[:, None]
        generator = torch.Generator().manual_seed(seed + start)
        below = backgrounds.draw_background(rmf.e_min, rmf.e_max, size, generator).numpy()
        below *= (exposure[rows] * detectors[rows] / FULL)[:, None]
        counts = rng.poisson(seen + below)
        estimate = below * np.maximum(1.0 + BACKGROUND_ERROR * rng.standard_normal(below.shape), 0.05)
        for i, row in enumerate(range(rows.start, rows.stop)):
            if only is not None and row not in only:
                continue
            name, alike = f"pha/{row:05d}", {"quality": bad, "grouping": marks}
            origin = Origin("NICER", "XTI", f"archive-like {source[row] + 1:02d}", background_file=f"{row:05d}.bg")
            where = folder / f"{name}.pha"
            write_pha(where, rmf.channel, counts[i], exposure[row], origin=origin, **alike)
            error = np.maximum(BACKGROUND_ERROR * below[i], 1e-9)
            beside, of_it = folder / f"{name}.bg", replace(origin, kind="BKG")
            write_pha(beside, rmf.channel, estimate[i], exposure[row], stat_err=error, origin=of_it)
            lines.append(f"{name}.pha {areas[int(detectors[row])].name} {name}.bg")
        print(f"{rows.stop} of {count}", flush=True)
    listed = folder / "list.txt"
    listed.write_text("\n".join(lines) + "\n", encoding="utf-8")
    told = {"theta": theta, "source": source, "state": state, "detectors": detectors, "exposure": exposure}
    np.savez_compressed(folder / "truth.npz", **told, calibration=rms, gain=gain, seed=seed)
    return listed


def main() -> None:
    """Write the whole."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--spectra", type=int, default=SPECTRA)
    parser.add_argument("--seed", type=int, default=SEED)
    options = parser.parse_args()
    write_archive(options.folder, options.spectra, options.seed)


if __name__ == "__main__":
    main()
