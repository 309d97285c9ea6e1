"""Exact posteriors of the first spectra of an evaluation, on the batches and the ledger of a catalogue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from xrayflow.errors import XrayflowError
from xrayflow.inference import Posterior
from xrayflow.ogip import Observation
from xrayflow.studies.catalogue import Fitting, Question
from xrayflow.studies.running import Looked, Outcome
from xrayflow.studies.validation.refold import with_statistics
from xrayflow.studies.validation.truths import Numbers


@dataclass(frozen=True)
class Answering:
    """Answers sources, and folds one draw of each.

    Attributes:
        question: What is asked.
        draws: Of equal weight that are kept of each.
    """

    question: Question
    draws: int

    def words(self) -> dict[str, Any]:
        """All that decides the numbers."""
        return {**self.question.words, "draws of each": self.draws, "folded of each": 1}

    def read(self, sources: Sequence[Looked]) -> list[Observation | XrayflowError]:
        """The spectra; in the place of one that is gone, or another one now, the error."""
        return self._fitting.read(sources)

    def work(self, read: list[Observation | XrayflowError]) -> list[Outcome]:
        """The row of each source, its draws as bytes, and the statistic of the first of them."""
        found = self._fitting.work(read)
        drawn = {place: draws_of(one.extra, self.draws) for place, one in enumerate(found) if not one.error}
        firsts = {place: torch.from_numpy(draws[:1].copy()) for place, draws in drawn.items()}
        return with_statistics(found, read, firsts, self.question.setup)

    @property
    def _fitting(self) -> Fitting:
        return Fitting(self.question, partial(_resampled, self.draws, self.question.seed))


def draws_of(extra: bytes, draws: int) -> Numbers:
    """(draw, parameter) that a ledger keeps of a source.

    Args:
        extra: Of the ledger.
        draws: How many.
    """
    return np.frombuffer(extra).reshape(draws, -1)


def _resampled(draws: int, seed: int, posterior: Posterior) -> bytes:
    """Draws of equal weight of the model's parameters, as bytes of a ledger."""
    theta = posterior.resample(draws, seed=seed)[:, : len(posterior.model.names)]
    return np.ascontiguousarray(theta, dtype=np.float64).tobytes()
