"""The statistic at a session's own values, which its owner knows: whether data, bins and model are what they were.

On our grid, and on the response's own energies, which XSPEC has. Where the two differ, those are too coarse: a bin that
holds an absorption edge is absorbed by the mean of both sides, wherever in it the edge is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch

from xrayflow.errors import ModelError
from xrayflow.folding import Grid
from xrayflow.models import Model
from xrayflow.ogip import Observation
from xrayflow.setup import FitSetup, build_problem


@dataclass(frozen=True)
class KnownStatistic:
    """XSPEC's statistic of a model at given values.

    Attributes:
        name: Of the statistic.
        here: On our grid.
        there: On the response's own energies; None where the model convolves, as XSPEC's grid is then another.
    """

    name: str
    here: float
    there: float | None

    def __str__(self) -> str:
        """One line for people."""
        own = "" if self.there is None else f", {self.there:.2f} on the response's energies (XSPEC's)"
        return f"{self.name} {self.here:.2f} at its values{own}"


def known_statistic(
    observation: Observation, model: Model, values: Mapping[str, float], setup: FitSetup
) -> KnownStatistic | None:
    """The statistic at a session's values; None where these are none that we compute, as a `gabs` of no width.

    Args:
        observation: The spectrum.
        model: Of the session.
        values: Of its free parameters, by name.
        setup: What else is asked of the spectrum: bins, statistic, systematic error.

    Raises:
        XrayflowError: A statistic that these data do not allow.
    """
    try:
        model.freeze({name: values[name] for name in model.names})
    except ModelError:
        return None
    theta = torch.tensor([[[values[name] for name in model.names]]], dtype=torch.float64)
    grids: list[Grid | None] = [None]
    if not model.has_convolution:
        edges = np.array(observation.rmf.energy_edges, dtype=np.float64)
        lowest = Grid.of_response(edges, wide=False).energy_edges[0]
        grids.append(Grid(np.maximum(edges, lowest), "the response's energies"))
    problems = [
        build_problem([observation], replace(setup, model=model, grid=grid), objective="statistic") for grid in grids
    ]
    found = [float(problem.statistic(theta)[0, 0]) for problem in problems]
    return KnownStatistic(problems[0].data.statistic_names[0], found[0], found[1] if len(found) > 1 else None)
