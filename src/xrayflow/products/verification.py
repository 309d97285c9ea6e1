"""A published answer checked from its files: is it what its data, its draws and its settings make of it?

    files        the data have the hashes that the answer notes
    likelihood   ln L of draws, computed anew from the data
    weights      ln weight = ln L + ln prior - ln proposal, at every draw
    numbers      ess, Pareto k and evidence, from the weights; statistic and deviance at the best point, from the data
    verdict      what these numbers mean, judged anew
    tables       summary.json and chain.fits say what the draws say

It costs one reading of the data and a few hundred likelihoods, where the fit took thousands. What it cannot check is
that the draws came from the density that they note: that takes the fit again, with its seed.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from xrayflow.errors import FileError, FormatError
from xrayflow.files import package_versions, to_json
from xrayflow.inference import (
    FOLLOWS,
    Doubt,
    Posterior,
    effective_sample_size,
    far_nuisances,
    judge_computation,
    judge_fit,
    log_evidence_error,
    log_mean_weight,
    pareto_k,
)
from xrayflow.prior import log_standard_normal
from xrayflow.problem import Problem
from xrayflow.products.store import load_result
from xrayflow.products.xspec import CHAIN, chain_file
from xrayflow.shown import shown_at
from xrayflow.statistics import AMPLITUDE

SUMMARY = "summary.json"

DRAWS = 200
"""Whose likelihood is computed anew: half of them those of most weight, the others anywhere."""

MATTERS = 15.0
"""Below the likeliest draw in ln of the posterior: draws further down have no weight, and coarse numbers."""

MODES = 0.5
"""What the mean of ln L may change by with calibration modes, which are expanded about a point that is found anew."""

CLOSE, AT_BEST = 1e-6, 0.05
"""Relative error of numbers that follow from the weights; of statistic and deviance, absolute."""

CHANGING = {"products", "truth"}
"""Of a summary: places of files, and what does not come of the fit."""


@dataclass(frozen=True)
class Check:
    """One thing that was checked.

    Attributes:
        name: Of the thing.
        right: Whether it is what it should be.
        words: What was found.
    """

    name: str
    right: bool
    words: str


@dataclass(frozen=True)
class Verification:
    """What came of checking an answer.

    Attributes:
        posterior: The answer.
        checks: In their order.
        notes: What is to be known beside.
    """

    posterior: Posterior
    checks: tuple[Check, ...]
    notes: tuple[str, ...]

    @property
    def right(self) -> bool:
        """Whether all of it is."""
        return all(check.right for check in self.checks)

    @property
    def wrong(self) -> tuple[str, ...]:
        """The names of what is not."""
        return tuple(check.name for check in self.checks if not check.right)

    def report(self) -> dict[str, Any]:
        """As plain numbers and words."""
        return {
            "verified": self.right,
            "verdict": self.posterior.verdict,
            "checks": [{"name": one.name, "right": one.right, "words": one.words} for one in self.checks],
            "notes": list(self.notes),
        }


def verify(folder: str | Path, data: str | Path | None = None) -> Verification:
    """Check the answer that a folder holds.

    Args:
        folder: Of `xrayflow fit --out`.
        data: Where the files of the data are, if not where they were: those that are there are taken.

    Raises:
        FileError: The folder holds no answer, a file of the data is not there, or `data` is no folder or holds none.
        DataError: The answer was computed on an energy grid of its own.
    """
    folder = Path(folder)
    folder = folder.parent if folder.is_file() else folder
    answer = load_result(folder)
    posterior = located(answer, [folder, folder.parent], None if data is None else Path(data))
    problem, files = _read(posterior)
    checks = [files]
    if problem is not None:
        checks += [_likelihood(posterior, problem), _best(posterior, problem)]
    if posterior.mode == "exact":
        checks += [_weights(posterior), *_numbers(posterior)]
    checks += [*_verdict(posterior), _summary(answer, folder), _chain(posterior, folder)]
    return Verification(posterior, tuple(checks), tuple(_notes(posterior)))


def located(posterior: Posterior, folders: Sequence[Path], first: Path | None = None) -> Posterior:
    """The answer with its files where they are: where it notes them, else under their names in some folders.

    Args:
        posterior: The answer.
        folders: Where to look.
        first: A folder that goes before what the answer notes.

    Raises:
        FileError: A file is nowhere, or `first` is no folder or holds no file of the data.
    """
    if first is not None:
        if not first.is_dir():
            raise FileError(f"{first}: is no folder; give the one that holds the data as --data DIR")
        names = [one.pha.name for one in posterior.data]
        if not any(_is_there(first / name) for name in names):
            raise FileError(f"{first}: holds no {names[0]}; give the folder of the data as --data DIR")
    sets = tuple(
        replace(
            one,
            pha=_found(one.pha, folders, first),
            rmf=_found(one.rmf, folders, first),
            arf=None if one.arf is None else _found(one.arf, folders, first),
            background=None if one.background is None else _found(one.background, folders, first),
        )
        for one in posterior.data
    )
    return replace(posterior, data=sets)


def _found(path: Path, folders: Sequence[Path], first: Path | None) -> Path:
    before = [] if first is None else [first / path.name]
    for place in (*before, path, *(folder / path.name for folder in folders)):
        if _is_there(place):
            return place
    folders = [*([] if first is None else [first]), *folders]
    raise FileError(f"{path}: is not there, nor in {', '.join(map(str, folders))}; say where with --data DIR")


def _is_there(place: Path) -> bool:
    """Whether there is such a file, or one of several spectra that has it."""
    return place.is_file() or Path(re.sub(r"\{\d+\}$", "", str(place))).is_file()


def _read(posterior: Posterior) -> tuple[Problem | None, Check]:
    """The problem again, if its files are what they were."""
    try:
        problem = posterior.problem()
    except FormatError:
        raise
    except FileError as error:
        return None, Check("files", False, str(error))
    count = sum(len(data.sha256) for data in posterior.data)
    return problem, Check("files", True, f"{count} files of the data have their hashes")


def _likelihood(posterior: Posterior, problem: Problem) -> Check:
    """ln L of some draws."""
    sample = posterior.sample
    place = np.where(np.isfinite(sample.log_likelihood), posterior.log_likelihood, -np.inf)
    # a network's own draws have one weight, wherever they are
    rows = np.flatnonzero(place > (place.max() - MATTERS if posterior.mode == "exact" else -np.inf))
    if rows.size > DRAWS:
        heaviest = rows[np.argsort(-posterior.weights[rows], kind="stable")[: DRAWS // 2]]
        anywhere = np.random.default_rng(posterior.seed).choice(np.setdiff1d(rows, heaviest), DRAWS // 2, replace=False)
        rows = np.sort(np.concatenate([heaviest, anywhere]))
    found = problem.log_likelihood(torch.from_numpy(posterior.draws[None, rows]))[0].numpy()
    change = found - posterior.log_likelihood[rows]
    mean, spread, worst = float(change.mean()), float(change.std()), int(rows[np.abs(change).argmax()])
    allowed = MODES if posterior.likelihood.calibration is not None else FOLLOWS
    # weights follow a corrected grid, which is exact where they are large: one draw may be off by more than the mean
    right = abs(mean) <= allowed and spread <= FOLLOWS and float(np.abs(change - mean).max()) <= 10.0 * FOLLOWS
    words = f"of {rows.size} draws, computed anew, is off by {mean:+.1g} +- {spread:.1g}"
    return Check(
        "likelihood", right, words if right else f"{words}; most at draw {worst}, {found[rows == worst][0]:.4f}"
    )


def _best(posterior: Posterior, problem: Problem) -> Check:
    """Statistic and deviance at the best point."""
    allowed = MODES if posterior.likelihood.calibration is not None else AT_BEST
    words, right = [], True
    values = shown_at(problem, torch.from_numpy(posterior.best))
    for name, own, found in zip(
        ("statistic", "deviance"), (posterior.statistic, posterior.deviance), values, strict=True
    ):
        same = abs(own.value - found.value) <= max(allowed, CLOSE * abs(own.value)) and own.dof == found.dof
        right &= same
        words.append(
            f"{name} {own.value:.2f} / {own.dof}" + ("" if same else f", found {found.value:.2f} / {found.dof}")
        )
    return Check("best point", right, "; ".join(words))


def _weights(posterior: Posterior) -> Check:
    """ln weight = ln L + ln prior - ln proposal."""
    sample = posterior.sample
    if sample.log_proposal.size == 0:
        return Check("weights", False, "the density that draws were taken from is not there")
    v = posterior.prior.to_probit(torch.from_numpy(posterior.draws))
    expected = sample.log_likelihood + log_standard_normal(v).numpy() - sample.log_proposal
    inside = posterior.log_weight > posterior.log_weight.max() - 2.0 * MATTERS
    off = np.abs(expected[inside] - posterior.log_weight[inside])
    worst = int(np.flatnonzero(inside)[off.argmax()])
    right = bool(off.max() <= 1e-4)
    told = f"of {posterior.draws.shape[0]} draws are likelihood x prior / proposal"
    return Check("weights", right, told if right else f"at draw {worst}, ln weight is off by {off.max():.3g}")


def _numbers(posterior: Posterior) -> Iterator[Check]:
    """What follows from the weights."""
    log_weight, draws = torch.from_numpy(posterior.log_weight), posterior.draws.shape[0]
    ess = float(effective_sample_size(log_weight))
    found = {
        "ess": (posterior.ess, ess),
        "pareto_k": (posterior.pareto_k, pareto_k(posterior.log_weight)),
        "log_evidence": (posterior.log_evidence, float(log_mean_weight(log_weight))),
        "log_evidence_error": (posterior.log_evidence_error, log_evidence_error(ess, draws)),
    }
    for name, (own, again) in found.items():
        right = _same(own, again)
        yield Check(name, right, f"{own:.6g}" if right else f"{own:.6g}, found {again:.6g}")


def _verdict(posterior: Posterior) -> Iterator[Check]:
    """What the numbers mean."""
    if posterior.evidence is not None:
        again = judge_computation(
            replace(
                posterior.evidence,
                ess=posterior.ess,
                draws=posterior.draws.shape[0],
                pareto_k=posterior.pareto_k,
                likelihood_kind=posterior.likelihood.kind,
            )
        )
        right = again == posterior.computation
        own = posterior.computation.status
        yield Check("computation", right, own if right else f"{own}, found {again.status}: {'; '.join(again.reasons)}")
        free = len(posterior.model.names)
        far = far_nuisances(posterior.prior, free, torch.from_numpy(posterior.draws), posterior.weights)
        doubts: list[Doubt] = [
            *(() if posterior.misfit is None else posterior.misfit.suspected),
            *(one for one in far if one.name == AMPLITUDE),
        ]
        fit = judge_fit(posterior.predictive, posterior.deviance.value, posterior.deviance.dof, doubts)
        right = fit == posterior.fit
        own = f"{posterior.fit.status} (p = {posterior.fit.p_value:.2g})"
        yield Check("fit", right, own if right else f"{own}, found {fit.status} (p = {fit.p_value:.2g})")


def _summary(posterior: Posterior, folder: Path) -> Check:
    """summary.json, number by number."""
    path = folder / SUMMARY
    try:
        if path.stat().st_size > 10_000_000:
            raise ValueError("too large")
        said = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        return Check(SUMMARY, False, f"cannot be read ({error})"[:200])
    own = json.loads(to_json(posterior.summary()))
    wrong = list(differences(said, own))
    if wrong:
        more = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        return Check(SUMMARY, False, f"{wrong[0]}{more}")
    return Check(SUMMARY, True, "says what the draws say")


def differences(said: Any, own: Any, place: str = "") -> Iterator[str]:
    """Where two documents differ, in words.

    Args:
        said: As published.
        own: As it follows from the draws.
        place: Of both.
    """
    if isinstance(said, dict) and isinstance(own, dict):
        for name in dict.fromkeys([*own, *said]):
            inner = f"{place}.{name}" if place else name
            if inner in CHANGING:
                continue
            if name not in said or name not in own:
                yield f"{inner} is {'missing' if name not in said else 'not of this answer'}"
            else:
                yield from differences(said[name], own[name], inner)
    elif isinstance(said, list) and isinstance(own, list) and len(said) == len(own):
        for number, pair in enumerate(zip(said, own, strict=True)):
            yield from differences(*pair, f"{place}[{number}]")
    elif not _same(said, own):
        yield f"{place} is {_shown(said)}, found {_shown(own)}"


def _chain(posterior: Posterior, folder: Path) -> Check:
    """chain.fits, row by row."""
    try:
        content = (folder / CHAIN).read_bytes()
        held, own = _rows(content), _rows(chain_file(posterior))
    except (OSError, ValueError, TypeError, KeyError, IndexError) as error:
        return Check(CHAIN, False, f"cannot be read ({error})"[:200])
    right = held.dtype == own.dtype and held.shape == own.shape and held.tobytes() == own.tobytes()
    return Check(CHAIN, right, "holds these draws" if right else "holds other draws than draws.npz")


def _rows(content: bytes) -> NDArray[Any]:
    from astropy.io import fits

    with fits.open(BytesIO(content)) as file:
        return np.array(file["CHAIN"].data)


def _notes(posterior: Posterior) -> Iterator[str]:
    """Versions that are others now."""
    noted: Mapping[str, str] = posterior.provenance.versions
    now = package_versions(*(name for name in noted if name != "xrayflow"))
    for name, version in noted.items():
        if now.get(name) != version:
            yield f"made with {name} {version}, checked with {now.get(name, 'none')}"


def verification_lines(found: Verification) -> list[str]:
    """What a terminal shows.

    Args:
        found: Of `verify`.
    """
    posterior = found.posterior
    lines = [f"{posterior.data[0].pha.name}: {posterior.model.text}, {posterior.verdict}", ""]
    lines += [f"{'ok' if one.right else 'DIFFERS':<8} {one.name:<19} {one.words}" for one in found.checks]
    lines += ["", *(f"note: {note}" for note in found.notes)]
    lines.append("verified: the answer is what its files give" if found.right else "not verified")
    return lines


def _same(said: Any, own: Any) -> bool:
    """Whether two values are one, numbers to their last digits."""
    if isinstance(said, bool) or isinstance(own, bool) or not isinstance(said, int | float):
        return bool(said == own) and type(said) is type(own)
    if not isinstance(own, int | float):
        return False
    if math.isnan(said) or math.isnan(own) or math.isinf(said) or math.isinf(own):
        return str(float(said)) == str(float(own))
    return abs(said - own) <= CLOSE * max(abs(said), abs(own))


def _shown(value: Any) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
