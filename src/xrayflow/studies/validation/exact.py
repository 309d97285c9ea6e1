"""Exact posteriors of the first spectra of an evaluation, on the batches and the ledger of a catalogue."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from xrayflow.errors import DataError
from xrayflow.inference import Posterior, SamplingBudget
from xrayflow.setup import FitSetup
from xrayflow.studies.catalogue import Fitting, Question
from xrayflow.studies.running import Inline, Ledger, Run, Source, Told, keep_rows, make_listing
from xrayflow.studies.validation.truths import Numbers

TOGETHER = 20
"""Spectra of a batch."""


@dataclass(frozen=True, eq=False)
class ExactAnswers:
    """Draws of exact posteriors.

    Attributes:
        draws: (source, draw, parameter) of equal weight.
        computation: How many computations have which status.
        seconds: That they took.
    """

    draws: Numbers
    computation: dict[str, int]
    seconds: float


def exact_answers(
    files: Sequence[tuple[Source, str]],
    rmf: str | None,
    setup: FitSetup,
    network: str | None,
    draws: int,
    seed: int,
    told: Told,
    out: Path | None = None,
) -> ExactAnswers:
    """Answer spectra exactly; the same call goes on where an earlier one was stopped.

    Args:
        files: Each with the hash that its target was fitted to.
        rmf: Of all of them, instead of what their headers name.
        setup: One with model and prior.
        network: What starts the answers, as in `infer`.
        draws: Of each.
        seed: Decides them.
        told: Called as it goes on.
        out: A ledger stands beside it; None: what is done is lost with the call.

    Raises:
        DataError: A file is another one now, or a spectrum has no answer.
        XrayflowError: A file that cannot be read.
    """
    question = Question.of(setup, network, False, seed, SamplingBudget(), rmf, True)
    listing = make_listing([source for source, _ in files])
    with ExitStack() as stack:
        place = out or Path(stack.enter_context(TemporaryDirectory())) / "exact"
        ledger = stack.enter_context(Ledger(place))
        ledger.settle({**question.words, "draws of each": draws})
        run = Run(listing, ledger, Inline(), rmf, TOGETHER, False, bool, told)
        run.look()
        for kept in ledger.rows():
            if not kept.error and kept.look["files"]["pha"][1] != files[kept.place][1]:
                what = f"{listing.sources[kept.place].pha}: is not the file that the target was fitted to"
                raise DataError(f"{what}; run xrayflow targets again")
        run.work(Fitting(question, partial(_resampled, draws, seed)), keep_rows)
        found, computation = list[Any](), Counter[str]()
        for kept in ledger.rows():
            if kept.error or kept.record is None or kept.extra is None:
                raise DataError(kept.error or f"{listing.sources[kept.place].pha}: has no answer; run it again")
            found.append(np.frombuffer(kept.extra).reshape(draws, -1))
            computation[kept.record["computation"]] += 1
        return ExactAnswers(np.stack(found), dict(computation), ledger.seconds())


def _resampled(draws: int, seed: int, posterior: Posterior) -> bytes:
    """Draws of equal weight, as bytes of a ledger."""
    return np.ascontiguousarray(posterior.resample(draws, seed=seed), dtype=np.float64).tobytes()
