"""Small spectra of a catalogue's page: a few bins of each file's counts, and the folded model through them.

The model is that of the row's best values (`NAME_best`), folded through the response of the row's own files in the
channels that are shown, many spectra of one matrix together. The background is added: one that was counted as it was
measured, one that was modelled at the level that suits the counts best, under the prior of a fit that integrates over
levels, as no table tells what that found. Shifts of the response that a fit may have believed in (`--systematic modes`)
are left out: they are a few per cent, which no small picture shows. Files that are not those of the fit any more are
shown without a model.
"""

from __future__ import annotations

import base64
import math
import os
import warnings
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import xlogy

from xrayflow.errors import FileError, XrayflowError, XrayflowWarning
from xrayflow.folding import Forward
from xrayflow.models import Model
from xrayflow.ogip import DEFAULT_BAND, RMF, Observation, Spectrum, read_observation, read_rmf
from xrayflow.statistics import KNOWN, BackgroundTreatment, background_kind, choose
from xrayflow.studies.catalogue.manifest import manifest_path, read_manifest
from xrayflow.studies.catalogue.reading import CatalogueTable, read_model
from xrayflow.studies.running import BATCH, given_files, hash_of

Numbers = NDArray[np.float64]

BINS = 64
"""Of a small spectrum."""

LEVEL = 65535

MATRICES = 8
"""That are kept, of those that were given by name."""


class SpectrumReader:
    """Small spectra from the files of a catalogue."""

    def __init__(self, table: CatalogueTable, rmf: str | None = None) -> None:
        """A reader.

        Args:
            table: The catalogue's; relative paths go from here, or from its folder.
            rmf: Matrix of all spectra; None: what was given for the fit, else what their headers name.

        Raises:
            XrayflowError: The matrix, or the manifest, cannot be read.
        """
        self._folder = table.path.parent
        self._paths, self._hashes = table.text("path"), table.text("hash")
        self._matrix = None if rmf is None else read_rmf(rmf)
        self._matrices: dict[str, RMF] = {}
        self._given = given_files(table.path)
        self._model: Model | None = None
        with suppress(FileError):
            self._model, _ = read_model(table)
        names = () if self._model is None else self._model.names
        self._best = np.array([table.number(f"{name}_best") for name in names]).reshape(-1, table.rows).T
        bands: Any = DEFAULT_BAND
        self._rmf, self._treatment = "", KNOWN
        with suppress(FileError, KeyError):
            manifest = read_manifest(table.path)
            self._rmf = str(manifest.get("rmf") or "")
            settings = manifest["settings"]
            bands = settings["energies"] or DEFAULT_BAND
            self._treatment = BackgroundTreatment(settings["likelihood"], settings["background_scale"])
        try:
            self._band = float(min(lo for lo, _ in bands)), float(max(hi for _, hi in bands))
        except (TypeError, ValueError):
            raise FileError(
                f"{manifest_path(table.path)}: its energies are no bands; run the catalogue again"
            ) from None

    def __call__(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        """A small spectrum of each row, or why there is none.

        Args:
            rows: Of the table.
        """
        found: list[dict[str, Any]] = []
        spectra: dict[int, Spectrum] = {}
        for place, row in enumerate(rows):
            try:
                observation = self._read(self._paths[row])
                spectra[place] = observation.bin((self._band,), grouping="none")
                found.append({})
            except XrayflowError as error:
                folder = str(self._place(self._paths[row]).parent)
                found.append({"why": str(error).replace(folder, "")[:60]})
        models = self._folded(spectra, rows)
        for place, one in spectra.items():
            edges = np.stack([one.energy_lo, one.energy_hi], axis=-1)
            found[place] = small_spectrum(edges, one.counts, one.observation.pha.exposure, models.get(place))
        return found

    def _place(self, path: str) -> Path:
        return Path(path) if Path(path).exists() else self._folder / path

    def _read(self, path: str) -> Observation:
        """With the files that were given for its fit; where these are gone, what a spectrum without a model takes."""
        place = self._place(path)
        rmf, arf, background = self._given.get(os.path.abspath(place), (self._rmf, "", ""))  # noqa: PTH100  as the ledger's key
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", XrayflowWarning)  # the run that made the table has said them
            matrix = self._matrix or (self._matrix_of(rmf) if rmf else None)
            try:
                return read_observation(place, rmf=matrix, arf=arf or None, background=background or None)
            except XrayflowError:
                return read_observation(place, rmf=matrix, background="none")

    def _matrix_of(self, rmf: str) -> RMF:
        if rmf not in self._matrices:
            if len(self._matrices) >= MATRICES:
                self._matrices.clear()
            self._matrices[rmf] = read_rmf(rmf)
        return self._matrices[rmf]

    def _folded(self, spectra: dict[int, Spectrum], rows: Sequence[int]) -> dict[int, Numbers]:
        """(channel,) expected counts of each spectrum whose files are those that its best values were fitted to."""
        shared: dict[str, list[int]] = {}
        for place, one in spectra.items():
            best = self._best[rows[place]]
            if best.size and np.isfinite(best).all() and hash_of(one.observation) == self._hashes[rows[place]]:
                shared.setdefault(one.observation.rmf.key, []).append(place)
        found: dict[int, Numbers] = {}
        for places in shared.values():
            for first in range(0, len(places), BATCH):
                batch = places[first : first + BATCH]
                best = self._best[[rows[place] for place in batch]]
                with suppress(XrayflowError):  # a model that cannot be folded is no line in a picture
                    chosen = [spectra[place] for place in batch]
                    found |= zip(batch, _expected(self._model, best, chosen, self._treatment), strict=True)
        return found


def _expected(
    model: Model | None, theta: Numbers, spectra: Sequence[Spectrum], treatment: BackgroundTreatment
) -> list[Numbers]:
    """(channel,) counts of each spectrum at its parameters, background included; none without a model."""
    if model is None:
        return []
    source = Forward.of(model, spectra).expected(torch.from_numpy(theta)[:, None])[:, 0].numpy()
    return [_with_background(one[: of.counts.size], of, treatment) for one, of in zip(source, spectra, strict=True)]


def _with_background(source: Numbers, spectrum: Spectrum, treatment: BackgroundTreatment) -> Numbers:
    """(channel,) counts of a source and of the background under it, whose level has errors where it was modelled."""
    if spectrum.background is None or spectrum.background_exposure is None:
        return source
    background = spectrum.background * spectrum.source_exposure / spectrum.background_exposure
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", XrayflowWarning)  # as above
        kind = background_kind(spectrum, choose(spectrum), treatment)
    scale = treatment.scale
    if scale <= 0 or kind != "modelled":
        return source + background

    def unlikely(level: float) -> float:
        mean = source + math.exp(level) * background
        seen = mean > 0
        return float((mean[seen] - xlogy(spectrum.counts[seen], mean[seen])).sum()) + 0.5 * (level / scale) ** 2

    return source + math.exp(minimize_scalar(unlikely, bounds=(-1.0, 1.0), method="bounded").x) * background


def small_spectrum(
    channel_edges: Numbers, counts: Numbers, exposure: float, expected: Numbers | None = None
) -> dict[str, Any]:
    """A spectrum in few bins, as the page reads it.

    Args:
        channel_edges: (channel, 2) of each channel [keV].
        counts: (channel,).
        exposure: s.
        expected: (channel,) counts that the model expects, background included; None: no model is shown.
    """
    shown = channel_edges[:, 0] > 0
    (lo, hi), counts = channel_edges[shown].T, counts[shown]
    if not shown.any() or counts.sum() <= 0:
        return {"why": "no counts in the band"}
    ends = math.log10(lo.min()), math.log10(hi.max())
    edges = np.linspace(*ends, BINS + 1)
    place = np.clip(np.searchsorted(edges, np.log10(0.5 * (lo + hi)), side="right") - 1, 0, BINS - 1)
    number, width = _summed(place, counts), _summed(place, hi - lo)
    good = (number > 0) & (width > 0)
    rate, r0, r1 = _levels(number, width * exposure, good)
    error = np.zeros(BINS)
    error[good] = np.minimum(number[good] ** -0.5, 1.0) * LEVEL
    spectrum = {"e0": ends[0], "e1": ends[1], "r0": r0, "r1": r1, "rate": packed(rate), "error": packed(error)}
    spectrum |= {"edges": packed(np.linspace(0, LEVEL, BINS + 1))}
    if expected is not None:
        model = _summed(place, expected[shown])
        level, m0, m1 = _levels(model, width * exposure, (model > 0) & (width > 0))
        spectrum |= {"m0": m0, "m1": m1, "model": packed(level)}
    return {"spectrum": spectrum}


def packed(levels: Numbers) -> str:
    """Numbers 0 .. `LEVEL` as text, two bytes each.

    Args:
        levels: The numbers.
    """
    return base64.b64encode(np.rint(levels).clip(0, LEVEL).astype("<u2").tobytes()).decode("ascii")


def _summed(place: NDArray[np.intp], values: Numbers) -> Numbers:
    """(bin,) of channels by the place of their bin."""
    return np.bincount(place, weights=values, minlength=BINS).astype(np.float64)


def _levels(number: Numbers, over: Numbers, good: NDArray[np.bool_]) -> tuple[Numbers, float, float]:
    """log10 of a ratio as 1 .. `LEVEL` of its range, 0 where it is none; and the range."""
    level = np.zeros(number.size)
    if not good.any():
        return level, 0.0, 0.0
    log = np.log10(number[good] / over[good])
    low, high = float(log.min()), float(log.max())
    level[good] = 1 + (log - low) / (high - low if high > low else 1.0) * (LEVEL - 1)
    return level, low, high
