"""Simulated spectra: theta -> expected counts -> noisy counts, XSPEC's `fakeit`.

The noise is the one that the likelihood has, so a simulated spectrum is a draw from exactly the distribution that its
posterior assumes.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from xrayflow.errors import DataError, ModelError, nearest
from xrayflow.folding import Fold, Grid
from xrayflow.models import Model
from xrayflow.ogip import Observation
from xrayflow.statistics import Choice, noise_of


def simulate(
    template: Observation,
    model: Model,
    values: Mapping[str, float],
    exposure: float,
    seed: int,
    name: str = "simulated.pha",
) -> Observation:
    """A Poisson spectrum of every channel of an instrument, without background.

    Args:
        template: Gives the response, the channels, their grouping and quality, AREASCAL and BACKSCAL; its counts and
            background are not used.
        model: The spectral model.
        values: A value for every free parameter, by XSPEC's name in any case, in its unit.
        exposure: s.
        seed: The same seed gives the same counts.
        name: File name that the spectrum goes by.

    Returns:
        The observation, in memory: `ogip.write_pha` makes a file of it.

    Raises:
        ModelError: A value is missing, outside its parameter's hard limits, or belongs to no free parameter.
        DataError: The exposure is not a positive number.
    """
    if not (exposure > 0 and math.isfinite(exposure)):
        raise DataError(f"exposure {exposure:g} s: simulating takes a time above 0; give one with --exposure")
    theta = _theta(model, values)
    blank = replace(
        template.pha,
        path=Path(name),
        counts=np.zeros(template.pha.channel.size),
        stat_err=None,
        sys_err=None,
        quality=np.zeros(template.pha.channel.size, dtype=np.int64),
        exposure=float(exposure),
        poisserr=True,
        is_rate=False,
        background_file=None,
        object="simulated",
    )
    whole = (int(template.pha.channel.min()), int(template.pha.channel.max()))
    spectrum = replace(template, pha=blank, background=None).bin(channels=whole, grouping="none")
    grid = Grid.of_response(template.rmf.energy_edges, wide=model.has_convolution)
    expected = Fold.of([spectrum], grid)(model.on(torch.from_numpy(grid.energy_edges))(theta))
    noise = noise_of([spectrum], [Choice("cstat", "simulated", gaussian=False)])
    counts = noise.sample(expected, torch.Generator().manual_seed(seed))[0, 0].numpy()
    used = spectrum.bin_of_channel >= 0
    filled = np.zeros(used.size)
    filled[used] = counts[spectrum.bin_of_channel[used]]
    sha256 = hashlib.sha256(filled.tobytes()).hexdigest()
    pha = replace(blank, counts=filled, quality=template.pha.quality, sha256=sha256)
    return replace(template, pha=pha, background=None)


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
