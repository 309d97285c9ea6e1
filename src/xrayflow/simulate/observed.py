"""Simulated spectra of a training prior as whole observations, as if read from files: what an answer can be asked for.

A library holds bins; an answer wants channels, a response and a background with errors. All counts of a bin stand in
its first channel, the others of it are empty, and GROUPING makes the bin of them again. Bins of which not every channel
is noticed are marked bad.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xrayflow.errors import MismatchError
from xrayflow.ogip import ARF, PHA, RMF, Observation, blank_pha, read_observation
from xrayflow.simulate.layout import Layout
from xrayflow.simulate.simulator import SimulatedSpectra

BAD = 1
"""QUALITY of what is not noticed."""


def as_observations(
    simulated: SimulatedSpectra,
    layout: Layout,
    rmf: RMF,
    arf: ARF | None,
    background_error: float,
    names: Sequence[str] | None = None,
) -> list[Observation]:
    """Observations with the counts of simulated spectra.

    Args:
        simulated: The spectra.
        layout: Their bins.
        rmf: The matrix that they were simulated with.
        arf: The reference area; each spectrum gets its own, by its `area`. None where the matrix includes it: `area` is
            then the exposure's.
        background_error: What the files of modelled backgrounds say of their own error, a fraction of each bin.
        names: What the files are called; None: by number.

    Raises:
        MismatchError: The spectra have other bins than the layout.
    """
    first, last = layout.groups(rmf.channel, rmf.e_min, rmf.e_max)
    if first.size != simulated.counts.shape[-1]:
        raise MismatchError(f"spectra of {simulated.counts.shape[-1]} bins, and the layout has {first.size}")
    first, last = first - int(rmf.channel[0]), last - int(rmf.channel[0])
    template = read_observation(blank_pha(rmf), rmf, "none" if arf is None else arf, "none")
    called = [f"simulated-{i}.pha" for i in range(simulated.counts.shape[0])] if names is None else names
    return [
        _observed(simulated, row, (first, last), template, name, background_error) for row, name in enumerate(called)
    ]


def _observed(
    simulated: SimulatedSpectra,
    row: int,
    bins: tuple[NDArray[np.int64], NDArray[np.int64]],
    template: Observation,
    name: str,
    background_error: float,
) -> Observation:
    """One of them."""
    first, last = bins
    size = template.rmf.channel.size
    counts, beta = (one[row].numpy() for one in (simulated.counts, simulated.background))
    whole = simulated.noticed[row].numpy() >= 1.0
    grouping, quality = np.ones(size, dtype=np.int64), np.full(size, BAD, dtype=np.int64)
    for low, high, noticed in zip(first, last, whole, strict=True):
        grouping[low + 1 : high + 1] = -1
        quality[low : high + 1] = 0 if noticed else BAD
    area, exposure = float(simulated.area[row]), float(simulated.exposure[row])
    arf = template.arf
    if arf is None:
        exposure = exposure * area
    else:
        arf = replace(arf, area=arf.area * area)
    filled = np.zeros(size)
    filled[first] = np.where(whole, counts, 0.0)
    pha = replace(
        template.pha,
        path=Path(name),
        where=name,
        counts=filled,
        grouping=grouping,
        quality=quality,
        exposure=exposure,
        sha256=hashlib.sha256(name.encode() + filled.tobytes()).hexdigest(),
    )
    region = float(simulated.region[row])
    return replace(template, pha=pha, arf=arf, background=_background(pha, first, beta, background_error, region))


def _background(
    pha: PHA, first: NDArray[np.int64], beta: NDArray[np.float64], error: float, region: float
) -> PHA | None:
    """The file of a background: a modelled one, or counts of a region; None where there is none."""
    if not beta.sum() > 0 and region == 0.0:
        return None
    counts = np.zeros(pha.counts.size)
    counts[first] = beta if region == 0.0 else np.rint(beta * region)
    name = f"{Path(pha.path).stem}_bkg.pha"
    return replace(
        pha,
        path=Path(name),
        where=name,
        counts=counts,
        stat_err=error * counts if region == 0.0 else None,
        poisserr=region > 0.0,
        backscal=pha.backscal * (region if region > 0.0 else 1.0),
        quality=np.zeros_like(pha.quality),
        sha256=hashlib.sha256(name.encode() + counts.tobytes()).hexdigest(),
    )
