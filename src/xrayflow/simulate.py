"""Simulated spectra: theta -> expected counts -> noisy counts, XSPEC's `fakeit`.

The noise is the one that the likelihood has, so a simulated spectrum is a draw from exactly the distribution that its
posterior assumes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from xrayflow.errors import ModelError, nearest
from xrayflow.models import Model
from xrayflow.ogip import Observation
from xrayflow.prior import Prior
from xrayflow.problem import Problem
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
        template: Gives the response and the channels; its counts and background are not used.
        model: The spectral model.
        values: A value for every free parameter, by XSPEC's name.
        exposure: s.
        seed: The same seed gives the same counts.
        name: File name that the spectrum goes by.

    Raises:
        ModelError: A value is missing, or belongs to no free parameter.
    """
    for given in values:
        if given not in model.names:
            raise ModelError(f"{model.text} has no free parameter '{given}'{nearest(given, model.names)}")
    missing = [parameter for parameter in model.names if parameter not in values]
    if missing:
        raise ModelError(f"no value for {', '.join(missing)}; give one for every free parameter of {model.text}")
    channels = template.pha.channel.size
    blank = replace(
        template.pha,
        path=Path(name),
        counts=np.zeros(channels),
        stat_err=None,
        sys_err=None,
        quality=np.zeros(channels, dtype=np.int64),
        exposure=exposure,
        poisserr=True,
        is_rate=False,
        background_file=None,
        object="simulated",
    )
    whole = (int(template.pha.channel.min()), int(template.pha.channel.max()))
    spectrum = replace(template, pha=blank, background=None).bin(channels=whole, grouping="none")
    noise = noise_of([spectrum], [Choice("cstat", "simulated", gaussian=False)])
    problem = Problem.of(model, Prior.of(model), [spectrum], noise)
    theta = torch.tensor([[[values[parameter] for parameter in model.names]]], dtype=torch.float64)
    counts = noise.sample(problem.expected(theta), torch.Generator().manual_seed(seed))[0, 0].numpy()
    filled = np.zeros(channels)
    used = spectrum.bin_of_channel >= 0
    filled[used] = counts[spectrum.bin_of_channel[used]]
    pha = replace(blank, counts=filled, sha256=hashlib.sha256(filled.tobytes()).hexdigest())
    return replace(template, pha=pha, background=None)
