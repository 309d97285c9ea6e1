"""The paper's Figures 2 and 3 of any set of answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from xrayflow.files import OTHER_OUT, make_folder, to_json, write_folder
from xrayflow.prior import Prior
from xrayflow.products.figures import Recovered, coverage_figure, passport_figure, png, recovery_figure
from xrayflow.studies.validation.calibration import LEVELS, binomial_band, coverage, ranks
from xrayflow.studies.validation.evaluation import Evaluation
from xrayflow.studies.validation.passport import Passport
from xrayflow.studies.validation.recovery import draw_sets, linear_fits, pearson
from xrayflow.studies.validation.truths import Numbers, TruthAndDraws

SHOWN = 250
"""Spectra in the paper's Figure 2."""
SEED = 2

BEST_FIT = "best-fit"
"""What targets are."""

TABLE = "evaluation.json"
"""Written last."""


def recovery_picture(prior: Prior, answers: TruthAndDraws, rate: Numbers, title: str, known: str = "true") -> bytes:
    """Draws against truths of the first spectra, as a PNG.

    Args:
        prior: The parameters'.
        answers: Truths and draws.
        rate: (source,) counts/s, above 0.
        title: Above all.
        known: What the truths are, in a word.
    """
    few = answers.select(np.arange(min(SHOWN, answers.sources)))
    sets = draw_sets(few, SEED)
    fits, r = linear_fits(few.truth, sets), pearson(few)
    panels = [
        Recovered(
            marginal,
            few.truth[:, i],
            sets[:, :, i],
            float(r[i]),
            (float(fits.slope[i]), float(fits.slope_sd[i])),
            float(fits.intercept[i]),
        )
        for i, marginal in enumerate(prior.marginals)
    ]
    return png(recovery_figure(panels, rate[: few.sources], title, known))


def coverage_picture(answers: TruthAndDraws, title: str, seed: int = SEED) -> bytes:
    """Share of truths inside central intervals, against their level, as a PNG.

    Args:
        answers: Truths and draws.
        title: Above all.
        seed: Breaks ties between ranks.
    """
    share = coverage(ranks(answers, np.random.default_rng(seed)))
    band = binomial_band(LEVELS, answers.sources)
    return png(coverage_figure(LEVELS, share, answers.names, band, answers.sources, title))


def write_evaluation(evaluation: Evaluation, folder: Path) -> dict[str, Any]:
    """The table as JSON, and two figures of each network and of the exact posteriors.

    Args:
        evaluation: What is written.
        folder: Made where it is missing.

    Returns:
        The table as it stands in the folder's `TABLE`.

    Raises:
        FileError: The folder or a file in it cannot be written.
    """
    contents, named = dict[str, bytes](), dict[str, dict[str, str]]()
    for row in evaluation.rows:
        if row.answers is None:
            continue
        files = {kind: f"{row.name}-{kind}.png" for kind in ("recovery", "coverage")}
        title = f"{row.name}, {evaluation.library}"
        contents[files["recovery"]] = recovery_picture(evaluation.prior, row.answers, evaluation.rate, title, BEST_FIT)
        contents[files["coverage"]] = coverage_picture(row.answers, title)
        named[row.name] = files
    summary = evaluation.summary() | {"figures": named}
    contents[TABLE] = to_json(summary).encode() + b"\n"
    write_folder(make_folder(folder), contents, OTHER_OUT)
    return summary


def write_passport(passport: Passport, folder: Path) -> dict[str, Any]:
    """A passport as JSON, and a figure.

    Args:
        passport: What is written.
        folder: Made where it is missing.

    Returns:
        What the JSON says.

    Raises:
        FileError: The folder or a file in it cannot be written.
    """
    summary = passport.summary()
    kinds = {"the network alone": passport.own} | ({} if passport.exact is None else {"exact": passport.exact})
    curves = {name: coverage(found.rank) for name, found in kinds.items()}
    band = binomial_band(LEVELS, passport.own.sources)
    title = f"{passport.network}, {len(passport.rows)} fresh spectra"
    figure = png(passport_figure(LEVELS, curves, band, summary["cells"], title))
    contents = {f"{passport.network}.passport.png": figure}
    contents[f"{passport.network}.passport.json"] = to_json(summary).encode() + b"\n"
    write_folder(make_folder(folder), contents, OTHER_OUT)
    return summary
