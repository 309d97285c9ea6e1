"""The likelihood of a distribution over sources: exact, draw by draw, and a quick one on which it is explored.

The quick one counts each source's draws in many narrow cells, once; for any h it then needs the mean of p(x | h) over
these cells alone, and a product with a matrix: as much work for ten thousand draws of a source as for ten. Of two
parameters it takes some of the draws.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from xrayflow.studies.population.draws import Numbers, SourceDraws
from xrayflow.studies.population.selection import Selection
from xrayflow.studies.population.shapes import Shape

AT_ONCE = 1 << 18
"""Values of p(x | h) that are computed together: 2 MB, which stay in a cache."""

CELLS, MOST_CELLS = 800, 1 << 25
"""Of the quick likelihood, and together with the number of sources: 256 MB."""

SELECTED = 1000
"""Cells of the box in which a selection is averaged."""

SOME = 100
"""Draws of a source that the quick likelihood of two parameters takes."""


@dataclass(frozen=True, eq=False)
class PopulationLikelihood:
    """ln L(h), up to a constant.

    Attributes:
        draws: Of the sources.
        shape: Of the distribution.
        selection: None: ignored.
    """

    draws: SourceDraws
    shape: Shape
    selection: Selection | None = None

    def exact(self, h: Numbers) -> Numbers:
        """From every draw.

        Args:
            h: (hyper, parameter) the shape's own parameters.

        Returns:
            (hyper,); -inf where a source is impossible.
        """
        step = max(1, AT_ONCE // self.draws.x.shape[0])
        parts = np.split(h, range(step, h.shape[0], step))
        found = [self.draws.sums(self.shape.log_density(part, self.draws.x) + self.draws.log_ratio) for part in parts]
        return np.concatenate([one.sum(-1) for one in found]) - self._selected(h)

    def quick(self, h: Numbers) -> Numbers:
        """From the draws as they lie in cells of one parameter; of two parameters, from some of them.

        Args:
            h: (hyper, parameter).
        """
        if len(self.draws.axes) > 1:
            return self._some.exact(h)
        edges, matrix = self._matrix
        found = []
        for part in np.split(h, range(512, h.shape[0], 512)):
            with np.errstate(divide="ignore"):
                found.append(np.log((self.shape.inside(part, edges) / np.diff(edges)) @ matrix).sum(-1))
        return np.concatenate(found) - self._selected(h)

    @cached_property
    def _some(self) -> PopulationLikelihood:
        """The likelihood of some of the draws."""
        return PopulationLikelihood(self.draws.thinned(SOME), self.shape, self.selection)

    @cached_property
    def _matrix(self) -> tuple[Numbers, Numbers]:
        """(edge,) of cells, and (cell, source): the sum of weight / prior of each source's draws in each cell."""
        x, sources = self.draws.x[:, 0], self.draws.sources
        cells = min(CELLS, max(2, MOST_CELLS // sources))
        lo, hi = float(x.min()), float(x.max())
        edges = np.linspace(lo, hi, cells + 1) if hi > lo else np.array([lo, lo + 1.0])
        cell = np.clip(np.searchsorted(edges, x, side="right") - 1, 0, edges.size - 2)
        source = np.repeat(np.arange(sources), self.draws.lengths)
        matrix = np.bincount(
            cell * sources + source, weights=np.exp(self.draws.log_ratio), minlength=(edges.size - 1) * sources
        )
        return edges, np.asarray(matrix.reshape(-1, sources), dtype=np.float64)

    def _selected(self, h: Numbers) -> Numbers:
        """(hyper,) n ln alpha."""
        if self.selection is None:
            return np.zeros(h.shape[0])
        edges = np.linspace(*self.shape.axes[0].box, SELECTED + 1)
        found = self.selection(0.5 * (edges[1:] + edges[:-1]))
        parts = [self.shape.inside(part, edges) @ found for part in np.split(h, range(512, h.shape[0], 512))]
        with np.errstate(divide="ignore"):
            return np.asarray(self.draws.sources * np.log(np.concatenate(parts)))
