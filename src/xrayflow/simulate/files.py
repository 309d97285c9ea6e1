"""Simulations on disk: one spectrum as a PHA file with its truth beside it, or a library of many.

The truth of `source.pha` is `source.truth.json`: all that was simulated, so that a fit can be judged. FITS headers do
not hold it: other programs would not know it, and a blind test could not leave it out.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from xrayflow.data import bundled_arf, bundled_rmf
from xrayflow.errors import DataError, FileError, XrayflowWarning
from xrayflow.files import OTHER_OUT, SCHEMA_VERSION, package_versions, refuse_to_replace, write_file
from xrayflow.models import Model
from xrayflow.ogip import ARF, PHA, RMF, Observation, Origin, blank_pha, read_arf, read_observation, read_rmf, write_pha
from xrayflow.simulate.describe import MAKERS, describe_model
from xrayflow.simulate.detector import drawn_detector
from xrayflow.simulate.fakeit import background_name, simulate
from xrayflow.statistics import Systematic

NONE = "none"


@dataclass(frozen=True)
class Faked:
    """A simulated spectrum on disk.

    Attributes:
        pha: The spectrum.
        truth: JSON beside it: model, values, exposure, background, systematic error, seed, versions.
        counts: All counts of the file.
    """

    pha: Path
    truth: Path
    counts: float


@dataclass(frozen=True)
class Instrument:
    """Files that say what the simulated detector is; what is not given comes from the bundled NICER response.

    Attributes:
        rmf: Redistribution matrix.
        arf: Effective area, or "none" where the RMF includes it.
        background: Spectrum that is added, scaled to the source's exposure and region.
        template: A spectrum whose channels, grouping, quality, AREASCAL, BACKSCAL and, unless given, response and
            exposure are taken.
    """

    rmf: str | None = None
    arf: str | None = None
    background: str | None = None
    template: str | None = None

    def response(self) -> tuple[RMF, ARF | None]:
        """Redistribution matrix and effective area.

        Raises:
            FileError: One cannot be read, or the area is missing.
            MismatchError: They do not belong together.
        """
        observation = self.read()
        return observation.rmf, observation.arf

    def read(self) -> Observation:
        """The detector as an observation: of the template, or empty and one second long.

        Raises:
            FileError: A file cannot be read.
            MismatchError: Files do not belong together.
        """
        background = self.background or NONE
        if self.template is not None:
            return read_observation(self.template, self.rmf, self.arf, background)
        if self.rmf is None:
            arf = bundled_arf() if self.arf is None else self.arf
            rmf = read_rmf(bundled_rmf())
        else:
            rmf = read_rmf(self.rmf)
            if self.arf is None and not rmf.includes_area:
                raise FileError(f"{rmf.path}: holds no effective area; give --arf FILE")
            arf = NONE if self.arf is None else self.arf
        pha = blank_pha(rmf)
        nicer = self.rmf is None
        pha = replace(pha, telescope="NICER", instrument="XTI") if nicer else pha
        observation = read_observation(pha, rmf, arf if _is_none(arf) else read_arf(arf), background)
        known = observation.background
        if known is not None and not np.all(known.backscal == 1.0):
            warnings.warn(
                f"{known.where}: BACKSCAL is {known.backscal.mean():g}, the simulated spectrum's is taken as 1; "
                "--template PHA gives another",
                XrayflowWarning,
                stacklevel=2,
            )
        return observation


def write_fake(
    out: str | Path,
    model: Model,
    values: Mapping[str, float],
    instrument: Instrument,
    exposure: float | None = None,
    *,
    systematic: float | str = 0.0,
    noisy: bool = True,
    seed: int = 0,
) -> Faked:
    """Simulate one spectrum and write it with its truth; its header names response and background.

    Args:
        out: The PHA file; an existing one is replaced.
        model: The spectral model.
        values: A value for every free parameter.
        instrument: The detector.
        exposure: s; None: the template's.
        systematic: As `simulate`.
        noisy: Whether counts scatter.
        seed: The same seed gives the same counts.

    Raises:
        ModelError: What `simulate` raises.
        DataError: What `simulate` raises, and no exposure anywhere.
        FileError: A file cannot be read or written, or `out` is one of the files read.
        MismatchError: Files do not belong together.
    """
    out = Path(out)
    given = (instrument.template, instrument.background, instrument.rmf, instrument.arf)
    for written in (out, background_name(out)):
        refuse_to_replace(written, (Path(one) for one in given if one is not None), "the simulation")
    detector = instrument.read()
    if exposure is None:
        if instrument.template is None:
            raise DataError("no exposure; give --exposure SECONDS, or --template PHA whose exposure is taken")
        exposure = detector.pha.exposure
    faked = simulate(
        detector,
        model,
        values,
        exposure,
        seed,
        out.name,
        background=detector.background,
        systematic=systematic,
        noisy=noisy,
    )
    pha = faked.pha
    arf, background = detector.arf, faked.background
    if background is not None and background is not detector.background:
        _write_background(background, background_name(out), pha.detchans)
    write_pha(
        out,
        pha.channel,
        pha.counts,
        exposure,
        quality=pha.quality,
        grouping=pha.grouping,
        areascal=_scalar(pha.areascal),
        backscal=_scalar(pha.backscal),
        poisserr=True,
        detchans=pha.detchans,
        first_channel=pha.first_channel,
        origin=Origin(
            telescope=pha.telescope,
            instrument=pha.instrument,
            object="simulated",
            response_file=_named(detector.rmf.path, out),
            arf_file=None if arf is None else _named(arf.path, out),
            background_file=_background_file(background, detector.background, out),
        ),
    )
    other = drawn_detector(Systematic.of(systematic).for_telescope(pha.telescope), detector.rmf, seed)
    truth = out.with_name(f"{out.name.removesuffix('.gz').removesuffix('.pha')}.truth.json")
    by_lower = {name.lower(): name for name in model.names}
    document = {
        "schema_version": SCHEMA_VERSION,
        "spectrum": out.name,
        **describe_model(model),
        "truth": {by_lower[name.strip().lower()]: float(value) for name, value in values.items()},
        "exposure": float(exposure),
        "systematic": systematic,
        "detector": None if other is None else other.described(),
        "noise": noisy,
        "counts": float(pha.counts.sum()),
        "response": {"rmf": str(detector.rmf.path), "arf": NONE if arf is None else str(arf.path)},
        "background": None if detector.background is None else str(detector.background.path),
        "seed": seed,
        "versions": package_versions(*MAKERS),
    }
    write_file(truth, (json.dumps(document, indent=1) + "\n").encode(), OTHER_OUT)
    return Faked(out, truth, float(pha.counts.sum()))


def _write_background(background: PHA, path: Path, detchans: int) -> None:
    """The background's region as it was observed anew."""
    write_pha(
        path,
        background.channel,
        background.counts,
        background.exposure,
        quality=background.quality,
        areascal=_scalar(background.areascal),
        backscal=_scalar(background.backscal),
        poisserr=True,
        detchans=detchans,
        first_channel=background.first_channel,
        origin=Origin(
            telescope=background.telescope, instrument=background.instrument, object="simulated background", kind="BKG"
        ),
    )


def _background_file(background: PHA | None, given: PHA | None, out: Path) -> str | None:
    """What the header calls the background: a file beside it, or the one that was given."""
    if background is None:
        return None
    return _named(background.path, out) if background is given else background_name(out).name


def _is_none(given: str | Path) -> bool:
    return str(given).strip().lower() == NONE


def _named(path: Path, beside: Path) -> str:
    """How a header names a file: without its folder where it lies beside the spectrum, else whole."""
    whole = path.resolve()
    return whole.name if whole.parent == beside.resolve().parent else str(whole)


def _scalar(values: Any) -> Any:
    """One number where all channels have the same."""
    return float(values[0]) if np.all(values == values[0]) else values
