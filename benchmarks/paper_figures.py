"""The figures of docs/discussion/network.md: the paper's 2 and 3, SBC ranks, TARP, learning curves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from simulated_set import SimulatedSet
from xrayflow.networks import Network
from xrayflow.products.figures import png
from xrayflow.products.figures.calibration_plots import rank_figure, tarp_figure
from xrayflow.products.figures.learning_plot import learning_figure
from xrayflow.products.learning import read_curves
from xrayflow.studies.validation import Calibration, TruthAndDraws, binomial_band
from xrayflow.studies.validation.calibration import LEVELS, expected_coverage, rank_bins
from xrayflow.studies.validation.pictures import coverage_picture, recovery_picture


def draw_figures(
    folder: Path,
    network: Network,
    spectra: SimulatedSet,
    keep: dict[str, tuple[TruthAndDraws, Calibration]],
    log: Path,
) -> None:
    """All figures of one network.

    Args:
        folder: Where they go.
        network: Whose.
        spectra: The noisy set; gives count rates.
        keep: Truths, draws and calibration by test set.
        log: Of the training; none is drawn where it is missing.
    """
    for label, (answers, calibration) in keep.items():
        title = f"{network.name}, {label} spectra"
        prior = network.training_prior.prior
        write(folder, f"{network.name}-{label}-recovery", recovery_picture(prior, answers, spectra.rate.numpy(), title))
        write(folder, f"{network.name}-{label}-coverage", coverage_picture(answers, title))
        names, sources = calibration.names, calibration.sources
        bins = rank_bins(sources)
        low, high = (float(end[0]) for end in binomial_band(np.array([1.0 / bins]), sources))
        ranks = rank_figure(calibration.rank, names, calibration.rank_p, (low, high), bins, title)
        save(folder, f"{network.name}-{label}-ranks", ranks)
    if log.exists():
        save(folder, f"{network.name}-learning", learning_figure(read_curves(log), network.name))


def draw_tarp(folder: Path, found: dict[str, Calibration]) -> None:
    """The networks' expected coverage in one figure.

    Args:
        folder: Where it goes.
        found: By network, on noisy spectra.
    """
    sources = next(iter(found.values())).sources
    curves = [(name, expected_coverage(one.tarp), one.tarp_p) for name, one in found.items()]
    band = binomial_band(LEVELS, sources)
    save(folder, "paper-network-tarp", tarp_figure(LEVELS, curves, band, sources, "noisy spectra"))


def save(folder: Path, name: str, figure: Figure) -> None:
    """As a PNG."""
    write(folder, name, png(figure))


def write(folder: Path, name: str, picture: bytes) -> None:
    """A PNG."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.png").write_bytes(picture)
