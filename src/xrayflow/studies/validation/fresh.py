"""Spectra that no network has seen, spread evenly over the decades of counts: what a passport is made of.

They are drawn from a network's training prior, as observations that an answer can be asked for, and folded on the
answer's own grid. How many stand in a decade is decided by their counts, which a reader of a posterior knows, so
posteriors of a decade are as calibrated as those of all; a choice by the truths would not leave them so.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from xrayflow.folding import EXACT
from xrayflow.networks import Network
from xrayflow.ogip import ARF, RMF, Observation
from xrayflow.seeds import generator_for
from xrayflow.setup import FitSetup
from xrayflow.simulate import SimulatedSpectra, Simulator, as_observations
from xrayflow.statistics import MODELLED_SCALE

DECADES = tuple(range(1, 9))
"""log10 of the counts at which the decades begin; the last one has no end."""

NONE, MODELLED = "none", "modelled"
"""Background modes: no background; one from a model with errors, in level and bin by bin, which is integrated over."""

ERROR = 0.3
"""What a modelled background's file says of its own error in a bin: NICER's say about this."""

TOGETHER, IN_VAIN = 256, 8
"""Spectra that are drawn together, and after how many such draws without one that is wanted no more are drawn: a decade
that hardly any falls into stays short."""


@dataclass(frozen=True, eq=False)
class FreshSpectra:
    """Spectra of one background mode and one systematic error.

    Attributes:
        background: `NONE` or `MODELLED`.
        setup: How they are answered.
        observations: The spectra.
        theta: (source, parameter) the truths.
        counts: (source,) all counts.
        decade: (source,) of `DECADES`.
    """

    background: str
    setup: FitSetup
    observations: list[Observation]
    theta: Tensor
    counts: Tensor
    decade: Tensor

    @property
    def sources(self) -> int:
        """Their number."""
        return len(self.observations)


def fresh_spectra(
    network: Network,
    response: tuple[RMF, ARF | None],
    background: str,
    systematic: float,
    each: int,
    seed: int,
) -> FreshSpectra:
    """So many spectra of each decade of counts.

    Args:
        network: Gives the model, the training prior and the bins.
        response: Of `read_response`.
        background: `NONE` or `MODELLED`.
        systematic: Fractional error of the source model, of all.
        each: Spectra of a decade.
        seed: Of everything; not one of a training, whose generators have other names.
    """
    own = network.training_prior
    law = replace(
        own,
        without_background=1.0 if background == NONE else 0.0,
        background_error=ERROR,
        background_level=MODELLED_SCALE,
        background_counted=0.0,
        calibration="",
        systematic=(systematic, systematic) if systematic > 0 else own.systematic,
        without_systematic=0.0 if systematic > 0 else 1.0,
    )
    rmf, arf = response
    simulator = Simulator.of(network.model, rmf, arf, network.layout, law, fidelity=EXACT)
    generator = generator_for(seed, f"passport:{background}:{systematic:g}")
    chosen: list[SimulatedSpectra] = []
    decades: list[Tensor] = []
    left = dict.fromkeys(DECADES, each)
    in_vain = 0
    while any(left.values()) and in_vain < IN_VAIN:
        batch = simulator.sample(TOGETHER, generator)
        decade = decade_of(torch.where(batch.noticed >= 1.0, batch.counts, 0.0).sum(-1))
        rows: list[int] = []
        for row, found in enumerate(decade.tolist()):
            if left.get(found, 0) > 0:
                left[found] -= 1
                rows.append(row)
        in_vain = 0 if rows else in_vain + 1
        picked = torch.tensor(rows, dtype=torch.int64)
        chosen.append(_rows(batch, picked))
        decades.append(decade[picked])
    simulated = SimulatedSpectra(*(torch.cat([getattr(one, each.name) for one in chosen]) for each in _FIELDS))
    names = [f"passport-{seed}-{background}-{systematic:g}-{row}.pha" for row in range(simulated.counts.shape[0])]
    observations = as_observations(simulated, network.layout, rmf, arf, ERROR, names)
    setup = FitSetup(
        model=network.model,
        prior=own.prior,
        systematic=systematic,
        channels=(int(simulator.first[0]), int(simulator.last[-1])),
        grouping="file",
    )
    counts = torch.where(simulated.noticed >= 1.0, simulated.counts, 0.0).sum(-1)
    return FreshSpectra(background, setup, observations, simulated.theta, counts, torch.cat(decades))


def decade_of(counts: Tensor) -> Tensor:
    """(source,) the decade of `DECADES` that counts stand in; 0 below the first.

    Args:
        counts: (source,).
    """
    decade = torch.log10(counts.clamp(min=1.0)).floor().to(torch.int64).clamp(max=DECADES[-1])
    return torch.where(decade < DECADES[0], 0, decade)


_FIELDS = fields(SimulatedSpectra)


def _rows(simulated: SimulatedSpectra, rows: Tensor) -> SimulatedSpectra:
    return SimulatedSpectra(*(getattr(simulated, one.name)[rows] for one in _FIELDS))
