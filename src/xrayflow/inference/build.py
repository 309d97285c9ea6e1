"""From observations and what a user says of them to a problem: shared by `infer` and `optimise`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xrayflow.errors import DataError
from xrayflow.folding import Grid
from xrayflow.models import Model, parse_model
from xrayflow.networks import Network
from xrayflow.ogip import Observation, Spectrum
from xrayflow.prior import Prior, name_of
from xrayflow.problem import Problem
from xrayflow.statistics import Choice, choose, noise_of

DEFAULT_MODEL = "TBabs*simpl*ezdiskbb"
DEFAULT_ENERGIES = ((0.3, 10.0),)


@dataclass(frozen=True)
class Question:
    """What a user asks of spectra, in the words of the command line; None takes the default.

    Attributes:
        model: XSPEC expression or a `Model`; default `TBabs*simpl*ezdiskbb`.
        prior: Changes to the model's box, `["TBabs.nH=0.1:2", "simpl.Gamma~N(1.8,0.2)"]`, or a `Prior`.
        freeze: Parameters held at a value, `{"TBabs.nH": 0.24}`.
        link: Parameters that follow others, `{"gaussian_3.Sigma": "2*gaussian.Sigma"}`.
        systematic: Fractional systematic error of the source model; default 0.
        energies: [(lo, hi)] keV; default 0.3-10.
        channels: (first, last) channel numbers of the file, both kept, instead of energies.
        grouping: "file" (default), "none", "optimal" or "min:N".
        statistic: XSPEC's; "auto" takes what suits the data.
        grid: Photon-energy grid; default made from the response.
        network: What starts the answer: a shipped network's name, a file, a `Network`, or "none"; default the shipped
            one that was made for the instrument and the model. It changes the way to the answer, not the answer.
        amortised: Answer from the network alone: quick, without weights, never certified.
    """

    model: str | Model | None = None
    prior: Iterable[str] | Prior | None = None
    freeze: Mapping[str, float] | None = None
    link: Mapping[str, str] | None = None
    systematic: float | None = None
    energies: Sequence[tuple[float, float]] | None = None
    channels: tuple[int, int] | None = None
    grouping: str | None = None
    statistic: str = "auto"
    grid: Grid | None = None
    network: str | Path | Network | None = None
    amortised: bool = False


def build_problem(
    observations: Sequence[Observation], question: Question, objective: str = "posterior"
) -> tuple[Problem, list[Choice]]:
    """The problem of spectra that share one RMF, and the statistic of each.

    Args:
        observations: From `read_observation`, at least one.
        question: What is asked of them.
        objective: "posterior": in bins that the counts did not decide; "statistic": in those that were asked for, as
            XSPEC has them.

    Raises:
        XrayflowError: Anything that a user can mend: files, names, ranges, data without counts.
    """
    model, prior = _model_and_prior(question)
    asked = DEFAULT_ENERGIES if question.energies is None else question.energies
    band = tuple((float(lo), float(hi)) for lo, hi in asked)
    grouping = question.grouping or "file"
    spectra = [one.bin(energies=band, channels=question.channels, grouping=grouping) for one in observations]
    for spectrum in spectra:
        if not np.any(spectrum.counts != 0):
            raise DataError(
                f"{spectrum.observation.pha.path.name}: no counts in {spectrum.energy_lo.min():.3g}-"
                f"{spectrum.energy_hi.max():.3g} keV; choose another band with --energies"
            )
    choices = [choose(spectrum, question.statistic) for spectrum in spectra]
    if objective == "posterior":
        pairs = zip(spectra, choices, strict=True)
        spectra = [one.undecided() if _can_be_split(one, choice) else one for one, choice in pairs]
    noise = noise_of(spectra, choices, question.systematic or 0.0)
    return Problem.of(model, prior, spectra, noise, question.grid), choices


def _can_be_split(spectrum: Spectrum, choice: Choice) -> bool:
    """Whether the likelihood stands bins of few counts.

    chi^2 does not, nor does a background that was counted and is taken as known: in small bins its own scatter is all.
    """
    counted = spectrum.background is not None and choice.name == "wstat"
    return not (choice.gaussian or counted)


def _model_and_prior(question: Question) -> tuple[Model, Prior]:
    """The model with its frozen and linked parameters, and the prior of the free ones."""
    model = question.model or DEFAULT_MODEL
    if isinstance(model, str):
        model = parse_model(model)
    model = model.freeze(question.freeze or {}).link(question.link or {})
    prior = question.prior
    if not isinstance(prior, Prior):
        changes = tuple(prior or ())
        model = model.thaw(*_thawed(model, changes, question.freeze or {}))
        prior = Prior.of(model, changes)
    model.check_links({marginal.name: (marginal.lo, marginal.hi) for marginal in prior.marginals})
    return model, prior


def _thawed(model: Model, changes: Iterable[str], freeze: Mapping[str, float]) -> list[str]:
    """Parameters that are frozen by default (simplcutx.kT_e) and are given a prior: that frees them."""
    held = {name.strip().lower() for name in freeze}
    asked = {name_of(text).lower() for text in changes} - held
    return [p.name for p in model.parameters if p.frozen and not p.is_switch and p.name.lower() in asked]
