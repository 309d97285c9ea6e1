"""Posteriors of many sources whose truths are known: what every study of this room starts from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xrayflow.errors import DataError

Numbers = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class TruthAndDraws:
    """Truths and draws, on axes that distances make sense on: log10 of a parameter whose prior is logarithmic.

    Attributes:
        names: The parameters'.
        truth: (source, parameter).
        draws: (source, draw, parameter).
        weights: (source, draw) of the draws; those of a source sum to one.
    """

    names: tuple[str, ...]
    truth: Numbers
    draws: Numbers
    weights: Numbers

    @classmethod
    def of(cls, names: Sequence[str], truth: Numbers, draws: Numbers, weights: Numbers | None = None) -> TruthAndDraws:
        """Check and normalise.

        Args:
            names: The parameters'.
            truth: (source, parameter) what is known.
            draws: (source, draw, parameter).
            weights: (source, draw) at least 0, of any sum; None: all alike.

        Raises:
            DataError: Shapes that do not belong together, numbers that are not finite, or a source without weight.
        """
        truth, draws = np.asarray(truth, dtype=np.float64), np.asarray(draws, dtype=np.float64)
        if truth.ndim != 2 or truth.shape[1] != len(names) or truth.shape[0] < 1:
            raise DataError(f"truths of shape {truth.shape} for {len(names)} parameters; give (source, parameter)")
        if draws.ndim != 3 or (draws.shape[0], draws.shape[2]) != truth.shape or draws.shape[1] < 1:
            raise DataError(
                f"draws of shape {draws.shape} for truths of shape {truth.shape}; give (source, draw, parameter)"
            )
        given = np.ones(draws.shape[:2]) if weights is None else np.asarray(weights, dtype=np.float64)
        if given.shape != draws.shape[:2]:
            raise DataError(f"weights of shape {given.shape} for draws of shape {draws.shape}; give one for each draw")
        for what, values in (("truths", truth), ("draws", draws), ("weights", given)):
            bad = ~np.isfinite(values).reshape(truth.shape[0], -1).all(axis=1)
            if bad.any():
                raise DataError(f"{what} of source {int(bad.argmax())} are not finite; leave that source out")
        total = given.sum(axis=1)
        empty = (given < 0).any(axis=1) | (total <= 0)
        if empty.any():
            raise DataError(
                f"weights of source {int(empty.argmax())} are negative or all 0; give at least one above 0, or leave "
                "that source out"
            )
        return cls(tuple(names), truth, draws, given / total[:, None])

    @property
    def sources(self) -> int:
        """The number of sources."""
        return int(self.truth.shape[0])

    @property
    def ess(self) -> Numbers:
        """(source,) effective number of draws, 1 / sum of squared weights; the number itself where all are alike."""
        effective: Numbers = 1.0 / np.square(self.weights).sum(axis=1)
        return effective

    def select(self, sources: NDArray[np.bool_] | NDArray[np.int64]) -> TruthAndDraws:
        """Some of the sources.

        Args:
            sources: Their numbers, or whether each is one.
        """
        return TruthAndDraws(self.names, self.truth[sources], self.draws[sources], self.weights[sources])
