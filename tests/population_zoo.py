"""Catalogues as they lie on disk, made without a fit: exact posteriors of planted sources."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from xrayflow.models import parse_model
from xrayflow.prior import Marginal, Prior
from xrayflow.studies.catalogue import manifest_path
from xrayflow.studies.catalogue.draws_file import draws_bytes
from xrayflow.studies.catalogue.fitting import DrawsOf
from xrayflow.studies.population import Axis, SourceDraws
from xrayflow.studies.population.draws import MOST_DRAWS

Numbers = NDArray[np.float64]

MODEL = "TBabs*powerlaw"
INDEX, NORM = "powerlaw.PhoIndex", "powerlaw.norm"
WORDS = {INDEX: "powerlaw.PhoIndex=lin:-1:5", NORM: "powerlaw.norm=log:1e-5:1e1"}
UNITS = {INDEX: "", NORM: "ph cm-2 s-1 keV-1"}


def priors() -> dict[str, Marginal]:
    """Of the two parameters."""
    prior = Prior.of(parse_model(MODEL), list(WORDS.values()))
    return {marginal.name: marginal for marginal in prior.marginals if marginal.name in WORDS}


@dataclass(frozen=True, eq=False)
class Planted:
    """Sources with known values, and their exact posteriors under a prior that is uniform in x.

    Attributes:
        truth: (source, axis) in x.
        middle, error: (source, axis) mean and sd of each posterior.
        draws: (source, draw, axis) in x.
    """

    truth: Numbers
    middle: Numbers
    error: Numbers
    draws: Numbers

    def gathered(self, names: Sequence[str], most: int = MOST_DRAWS) -> SourceDraws:
        """As a population takes them.

        Args:
            names: Of the axes.
            most: Draws of a source.
        """
        axes = [Axis(priors()[name]) for name in names]
        sources = []
        for number, x in enumerate(self.draws):
            theta = np.stack([10.0 ** x[:, i] if one.is_log else x[:, i] for i, one in enumerate(axes)], axis=-1)
            sources.append((f"s{number}.pha", theta, np.zeros(len(x))))
        return SourceDraws.of(axes, sources, most=most)


def planted(truth: Numbers, error: Numbers, draws: int, generator: np.random.Generator) -> Planted:
    """Sources that were measured with normal errors: the posterior of x under a flat prior is normal too.

    Args:
        truth: (source, axis).
        error: (source, axis).
        draws: Of each.
        generator: Source of randomness.
    """
    middle = truth + error * generator.standard_normal(truth.shape)
    places = middle[:, None] + error[:, None] * generator.standard_normal((truth.shape[0], draws, truth.shape[1]))
    return Planted(truth, middle, error, places)


def write_catalogue(
    folder: Path,
    found: Planted,
    names: Sequence[str] = (INDEX, NORM),
    ending: str = ".ecsv",
    verdicts: Sequence[str] = ("certified",),
    batch: int = 50,
) -> Path:
    """A catalogue's table, its draws and its manifest.

    Args:
        folder: Made where it is missing.
        found: Its sources.
        names: The parameters of their axes.
        ending: Of the table.
        verdicts: In turn, over the rows; a failed one has no draws.
        batch: Sources whose draws lie in one file.
    """
    axes = [Axis(priors()[name]) for name in names]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "draws").mkdir(exist_ok=True)
    number = found.truth.shape[0]
    paths = [f"spectra/s{i}.pha" for i in range(number)]
    verdict = [verdicts[i % len(verdicts)] for i in range(number)]
    theta = np.stack(
        [10.0 ** found.draws[..., i] if one.is_log else found.draws[..., i] for i, one in enumerate(axes)], axis=-1
    )
    table = Table({"source": [f"source {i}" for i in range(number)], "path": paths, "verdict": verdict})
    table["computation"] = ["failed" if one == "failed" else "certified" for one in verdict]
    table["mjd"] = 58000.0 + np.arange(number)
    table["exposure"], table["counts"] = np.full(number, 1000.0), np.linspace(100, 1e5, number)
    table["efficiency"], table["ess"] = np.linspace(0.1, 0.9, number), np.full(number, 800.0)
    table["draws_file"], table["draws_sha256"] = np.full(number, " " * 40), np.full(number, " " * 64)
    for i, name in enumerate(names):
        columns = dict(zip(("lower90", "lower68", "median", "upper68", "upper90"), (5, 16, 50, 84, 95), strict=True))
        for word, level in columns.items():
            table[f"{name}_{word}"] = np.percentile(theta[:, :, i], level, axis=1)
        table[f"{name}_best"] = table[f"{name}_median"]
        table[f"{name}_median"].unit = UNITS[name]
    for first in range(0, number, batch):
        rows = [i for i in range(first, min(first + batch, number)) if verdict[i] != "failed"]
        if not rows:
            continue
        place = folder / "draws" / f"batch-{first}.fits"
        model = parse_model(MODEL)
        order = [names.index(one.name) if one.name in names else None for one in model.free]
        columns = [np.ones_like(theta[:, :, 0]) if at is None else theta[:, :, at] for at in order]
        draws = [
            DrawsOf(np.stack([one[i] for one in columns], axis=-1), np.zeros(theta.shape[1]), np.zeros(theta.shape[1]))
            for i in rows
        ]
        prior = {one.name: [WORDS.get(one.name, f"{one.name}=lin:0.1:2")] for one in model.free}
        place.write_bytes(draws_bytes([paths[i] for i in rows], draws, model, prior))
        digest = hashlib.sha256(place.read_bytes()).hexdigest()
        for i in rows:
            table["draws_file"][i], table["draws_sha256"][i] = place.name, digest
    for i, one in enumerate(verdict):
        if one == "failed":
            table["draws_file"][i] = table["draws_sha256"][i] = ""
    out = folder / f"table{ending}"
    table.write(out, format={".ecsv": "ascii.ecsv", ".fits": "fits", ".parquet": "parquet"}[ending], overwrite=True)
    manifest = {
        "schema_version": 1,
        "model": {"expression": MODEL, "held": {"TBabs.nH": 0.2}},
        "prior": {name: [WORDS[name]] for name in names},
        "draws_folder": "draws",
    }
    manifest_path(out).write_text(json.dumps(manifest), encoding="utf-8")
    return out
