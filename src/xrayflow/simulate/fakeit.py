"""Simulated spectra: theta -> expected counts -> noisy counts, XSPEC's `fakeit`.

The noise is the one that the likelihood has, so a simulated spectrum is a draw from exactly the distribution that its
posterior assumes.
"""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from xrayflow.errors import DataError, ModelError, XrayflowWarning, nearest
from xrayflow.folding import Forward
from xrayflow.models import Model
from xrayflow.ogip import PHA, Observation
from xrayflow.simulate.detector import drawn_detector
from xrayflow.statistics import (
    MODELLED_SCALE,
    BackgroundTreatment,
    StatisticChoice,
    Systematic,
    background_kind,
    likelihood_of,
)


def simulate(
    template: Observation,
    model: Model,
    values: Mapping[str, float],
    exposure: float,
    seed: int,
    name: str = "simulated.pha",
    *,
    background: PHA | None = None,
    systematic: float | str = 0.0,
    noisy: bool = True,
    background_scale: float = MODELLED_SCALE,
) -> Observation:
    """A spectrum of every channel of an instrument.

    Args:
        template: Gives the response, the channels, their grouping and quality, AREASCAL and BACKSCAL; its counts and
            background are not used.
        model: The spectral model.
        values: A value for every free parameter, by XSPEC's name in any case, in its unit.
        exposure: s.
        seed: The same seed gives the same counts.
        name: File name that the spectrum goes by.
        background: What stands behind the source, on the channels of the template. Of counts: scaled to the source's
            exposure and region they are added to the mean, and the region beside is observed anew, as XSPEC's `fakeit`
            does. With errors of its own: the truth scatters about it, in level and in each channel, as the likelihood
            has it, and the model stays. Without either: it is added as it is. Where it is negative (modelled ones are,
            at the lowest channels) nothing can scatter: such channels stay empty and are marked bad, with a warning.
        systematic: Fractional systematic error of the source model, independent in every channel; or calibration modes
            ("modes[:SET][:AMPLITUDE]"), which are drawn, and their amplitude too, as the likelihood believes of them.
        noisy: Whether counts scatter; else they are their mean.
        background_scale: Standard deviation of the logarithm of a modelled background's level.

    Returns:
        The observation with its background, in memory: `ogip.write_pha` makes files of them.

    Raises:
        ModelError: A value is missing, outside its parameter's hard limits, or belongs to no free parameter.
        DataError: The exposure is not a positive number, the systematic error is out of range, or the background is
            negative everywhere.
    """
    if not (exposure > 0 and math.isfinite(exposure)):
        raise DataError(f"exposure {exposure:g} s: simulating takes a time above 0; give one with --exposure")
    theta = _theta(model, values)
    unusable = _negative(background, template.pha.channel.size)
    blank = replace(
        template.pha,
        path=Path(name),
        counts=np.zeros(template.pha.channel.size),
        stat_err=None,
        sys_err=None,
        quality=unusable,
        exposure=float(exposure),
        poisserr=True,
        is_rate=False,
        background_file=None,
        object="simulated",
    )
    whole = (int(template.pha.channel.min()), int(template.pha.channel.max()))
    spectrum = replace(template, pha=blank, background=background).bin(channels=whole, grouping="none")
    believed = Systematic.of(systematic).for_spectrum(spectrum)
    if believed.modes and not noisy:
        raise DataError("--no-noise gives the mean counts, and modes are drawn; leave one of the two out")
    other = drawn_detector(believed, template.rmf, seed)
    seen = spectrum if other is None else replace(spectrum, gain=other.gain)
    expected = Forward.of(model, [seen]).expected(theta)
    if other is not None:
        expected = expected * other.bends(seen)
    choice = StatisticChoice("cstat" if background is None else "pstat", "simulated", gaussian=False)
    generator = torch.Generator().manual_seed(seed)
    likelihood = likelihood_of([spectrum], [choice], believed.fraction)
    kind = background_kind(spectrum, choice, BackgroundTreatment(scale=background_scale))
    if not noisy:
        drawn = likelihood.total(expected)
    elif kind == "modelled":
        likelihood = likelihood_of([spectrum], [choice], believed.fraction, BackgroundTreatment(scale=background_scale))
        level = background_scale * torch.randn((1, 1, 1), generator=generator, dtype=torch.float64)
        drawn = likelihood.replicate(expected, generator, level).counts
    else:
        drawn = likelihood.replicate(expected, generator).counts
    if noisy and kind == "counted" and background is not None:
        background = _observed_anew(background, Path(name), generator)
    counts = drawn[0, 0].numpy()
    used = spectrum.bin_of_channel >= 0
    filled = np.zeros(used.size)
    filled[used] = counts[spectrum.bin_of_channel[used]]
    sha256 = hashlib.sha256(filled.tobytes()).hexdigest()
    pha = replace(blank, counts=filled, quality=np.where(unusable > 0, unusable, template.pha.quality), sha256=sha256)
    return replace(template, pha=pha, background=background)


def _observed_anew(background: PHA, name: Path, generator: torch.Generator) -> PHA:
    """The background's region as another observation of the same length would have it."""
    mean = torch.from_numpy(np.maximum(background.counts, 0.0))
    counts = torch.poisson(mean, generator=generator).numpy()
    sha256 = hashlib.sha256(counts.tobytes()).hexdigest()
    path = background_name(name)
    return replace(background, counts=counts, stat_err=None, poisserr=True, path=path, where=str(path), sha256=sha256)


def background_name(spectrum: Path) -> Path:
    """The file of a simulated background: `source_bkg.pha` beside `source.pha`.

    Args:
        spectrum: The simulated spectrum's.
    """
    packed = ".gz" if spectrum.name.endswith(".gz") else ""
    stem = spectrum.name.removesuffix(".gz").removesuffix(".pha")
    return spectrum.with_name(f"{stem}_bkg.pha{packed}")


def _negative(background: PHA | None, channels: int) -> NDArray[np.int64]:
    """(channel,) quality 1 where the background is negative, else 0."""
    if background is None:
        return np.zeros(channels, dtype=np.int64)
    negative = background.counts < 0
    if negative.any():
        number = background.channel[negative]
        warnings.warn(
            f"{background.where}: negative in {number.size} channels of {number[0]}-{number[-1]}; they stay empty and "
            "are marked bad (QUALITY 1)",
            XrayflowWarning,
            stacklevel=3,
        )
    return negative.astype(np.int64)


def _theta(model: Model, values: Mapping[str, float]) -> torch.Tensor:
    """(1, 1, parameter) the values in the model's order."""
    by_lower = {free.lower(): free for free in model.names}
    named: dict[str, float] = {}
    for given, value in values.items():
        if given.strip().lower() not in by_lower:
            raise ModelError(f"{model.text} has no free parameter '{given}'{nearest(given, model.names)}")
        named[by_lower[given.strip().lower()]] = float(value)
    missing = [parameter for parameter in model.names if parameter not in named]
    if missing:
        raise ModelError(f"no value for {', '.join(missing)}; give one for every free parameter of {model.text}")
    model.freeze(named)  # which refuses what lies outside the hard limits
    return torch.tensor([[[named[parameter] for parameter in model.names]]], dtype=torch.float64)
