"""From observations and what a user says of them to a problem: shared by `infer` and `optimise`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from xrayflow.dataset import DataSet
from xrayflow.errors import DataError, ModelError
from xrayflow.folding import Forward, Grid, binning_of
from xrayflow.models import Model, parse_model
from xrayflow.ogip import DEFAULT_BAND, Observation, Spectrum
from xrayflow.prior import Prior, name_of
from xrayflow.problem import Problem
from xrayflow.statistics import (
    AMPLITUDE,
    KNOWN,
    MODELLED_SCALE,
    NUISANCES,
    BackgroundTreatment,
    StatisticChoice,
    Systematic,
    background_kind,
    choose,
    likelihood_of,
)

DEFAULT_MODEL = "TBabs*simpl*ezdiskbb"

INSTEAD = {
    **dict.fromkeys(
        (name.lower() for name in NUISANCES),
        "--background-scale says how far a modelled level may be off (0: not at all), and --background known takes the "
        "whole background at its word",
    ),
    AMPLITUDE.lower(): "--systematic modes:A says about which amplitude it lies, and --systematic 0 takes the response "
    "at its word",
}
"""What can be said of each nuisance of the likelihood."""

TOGETHER, APART = 64, 24
"""Spectra that are computed together, and where each has a binning of its own: then each has a folding matrix of its
own, 9 to 40 MB for a CCD. 24 for 64 cost 5 to 13 % more time."""


@dataclass(frozen=True, kw_only=True)
class FitSetup:
    """What a user asks of spectra, in the words of the command line; None takes the default.

    Attributes:
        model: XSPEC expression or a `Model`; default `TBabs*simpl*ezdiskbb`.
        abund: Abundances of the absorbers where the model is an expression; default wilm.
        prior: Changes to the model's box, `["TBabs.nH=0.1:2", "simpl.Gamma~N(1.8,0.2)"]`, or a `Prior`.
        freeze: Parameters held at a value, `{"TBabs.nH": 0.24}`.
        link: Parameters that follow others, `{"gaussian_3.Sigma": "2*gaussian.Sigma"}`.
        systematic: Fractional systematic error of the source model in every bin, or calibration modes
            ("modes[:SET][:AMPLITUDE]"); default: modes for bright spectra of NICER, else 0.
        energies: [(lo, hi)] keV; default 0.3-10.
        channels: (first, last) channel numbers of the file, both kept, instead of energies.
        grouping: "file" (default), "none", "optimal" or "min:N".
        statistic: XSPEC's; "auto" takes what suits the data.
        grid: Photon-energy grid; default made from the response.
        likelihood: What it makes of a background: "marginalised" (integrated over), "known" or "profile".
        background_scale: Standard deviation of ln A, A the factor by which the level of a modelled background is off.
    """

    model: str | Model | None = None
    abund: str | None = None
    prior: Iterable[str] | Prior | None = None
    freeze: Mapping[str, float] | None = None
    link: Mapping[str, str] | None = None
    systematic: float | str | None = None
    energies: Sequence[tuple[float, float]] | None = None
    channels: tuple[int, int] | None = None
    grouping: str | None = None
    statistic: str = "auto"
    grid: Grid | None = None
    likelihood: str = "marginalised"
    background_scale: float = MODELLED_SCALE

    def __post_init__(self) -> None:
        # changes may come from an iterator, and every batch of a catalogue reads them
        if self.prior is not None and not isinstance(self.prior, Prior):
            object.__setattr__(self, "prior", tuple(self.prior))

    @property
    def treatment(self) -> BackgroundTreatment:
        """What is made of a background.

        Raises:
            DataError: There is no such likelihood, or the scale is out of range.
        """
        return BackgroundTreatment(self.likelihood, self.background_scale)

    @property
    def believed(self) -> Systematic:
        """What is believed of errors that no count tells of.

        Raises:
            DataError: No such error, or a number out of range.
        """
        return Systematic.of(self.systematic)

    def choose(self, spectrum: Spectrum) -> StatisticChoice:
        """XSPEC's statistic of one spectrum.

        Args:
            spectrum: Of `bin`.

        Raises:
            DataError: An unknown name, or one that these data do not allow.
        """
        return choose(spectrum, self.statistic, bool(self.believed.for_spectrum(spectrum).modes))

    def model_and_prior(self) -> tuple[Model, Prior]:
        """The model with its frozen and linked parameters, and the prior of the free ones.

        Raises:
            ModelError: An expression, a name, a value or a link that cannot be.
            PriorError: A change of the prior that cannot be.
        """
        self._refuse_nuisances()
        model = self.model or DEFAULT_MODEL
        if isinstance(model, str):
            model = parse_model(model, self.abund or "wilm")
        model = model.freeze(self.freeze or {}).link(self.link or {})
        prior = self.prior
        if not isinstance(prior, Prior):
            changes = tuple(prior or ())
            model = model.thaw(*_thawed(model, changes, self.freeze or {}))
            prior = Prior.of(model, changes)
        model.check_links({marginal.name: (marginal.lo, marginal.hi) for marginal in prior.marginals})
        return model, prior

    def _refuse_nuisances(self) -> None:
        """Nuisances look like parameters in every table, and are none of the model's."""
        changes = () if isinstance(self.prior, Prior) else self.prior or ()
        for name in (*(self.freeze or {}), *(self.link or {}), *(name_of(change) for change in changes)):
            if instead := INSTEAD.get(name.strip().lower()):
                raise ModelError(
                    f"{name.strip()} is a nuisance of the likelihood and no parameter of the model: it cannot be "
                    f"frozen, linked or given a prior; {instead}"
                )

    def bin(self, observation: Observation) -> Spectrum:
        """The noticed bins of one observation.

        Args:
            observation: From `read_observation`.

        Raises:
            DataError: Nothing is noticed, or no counts are in the band.
        """
        asked = DEFAULT_BAND if self.energies is None else self.energies
        band = tuple((float(lo), float(hi)) for lo, hi in asked)
        spectrum = observation.bin(energies=band, channels=self.channels, grouping=self.grouping or "file")
        if not np.any(spectrum.counts != 0):
            raise DataError(
                f"{observation.pha.path.name}: no counts in {spectrum.energy_lo.min():.3g}-"
                f"{spectrum.energy_hi.max():.3g} keV; choose another band with --energies"
            )
        return spectrum


def build_problem(observations: Sequence[Observation], setup: FitSetup, objective: str = "posterior") -> Problem:
    """The problem of spectra that share one RMF.

    Args:
        observations: From `read_observation`, at least one.
        setup: What is asked of them.
        objective: As for `problem_of`.

    Raises:
        XrayflowError: Anything that a user can mend: files, names, ranges, data without counts.
    """
    model, prior = setup.model_and_prior()
    return problem_of([setup.bin(one) for one in observations], model, prior, setup, objective=objective)


def problem_of(
    spectra: Sequence[Spectrum],
    model: Model,
    prior: Prior,
    setup: FitSetup,
    choices: Sequence[StatisticChoice] | None = None,
    objective: str = "posterior",
) -> Problem:
    """The problem of binned spectra.

    Args:
        spectra: Noticed bins, at least one spectrum, all with one RMF.
        model: The spectral model.
        prior: Prior of its free parameters.
        setup: Gives statistic, systematic error and grid.
        choices: Statistic of each instead of the setup's.
        objective: "posterior": in bins that the counts did not decide; "statistic": in those that were asked for, as
            XSPEC has them.

    Raises:
        XrayflowError: A statistic or a systematic error that these data do not allow, or a grid that misses the band.
    """
    choices = tuple(setup.choose(one) for one in spectra) if choices is None else tuple(choices)
    treatment = setup.treatment if objective == "posterior" else KNOWN
    if objective == "posterior":
        pairs = zip(spectra, choices, strict=True)
        spectra = [one.undecided() if _can_be_split(one, choice, treatment) else one for one, choice in pairs]
    systematic = setup.believed if objective == "posterior" else Systematic(setup.believed.fraction)
    likelihood = likelihood_of(spectra, choices, systematic, treatment)
    forward = Forward.of(model, spectra, setup.grid)
    return Problem.of(model, prior, [DataSet(tuple(spectra), choices, forward, likelihood, treatment, systematic)])


def joint_problem(observations: Sequence[Observation], setups: Sequence[FitSetup]) -> Problem:
    """The problem of one source that several instruments saw.

    Args:
        observations: One of each instrument.
        setups: What is asked of each; model and prior are those of the first.

    Raises:
        XrayflowError: As `build_problem`.
    """
    model, prior = setups[0].model_and_prior()
    each = [problem_of([setup.bin(one)], model, prior, setup) for one, setup in zip(observations, setups, strict=True)]
    return Problem.of(model, prior, [data for one in each for data in one.data.sets])


def number_together(spectra: Sequence[Spectrum]) -> int:
    """How many of some spectra are computed together.

    Args:
        spectra: Noticed bins of each.
    """
    return TOGETHER if len({binning_of(one) for one in spectra}) <= APART else APART


def _can_be_split(spectrum: Spectrum, choice: StatisticChoice, treatment: BackgroundTreatment) -> bool:
    """Whether the likelihood stands bins of few counts.

    chi^2 does not, nor does a background that was counted and is taken as known: in small bins its own scatter is all.
    A statistic is of the bins that were asked for.
    """
    kind = background_kind(spectrum, choice, treatment)
    counted = spectrum.background is not None and choice.name == "wstat"
    return not (kind in ("gaussian", "profile") or (counted and kind == "known"))


def _thawed(model: Model, changes: Iterable[str], freeze: Mapping[str, float]) -> list[str]:
    """Parameters that are frozen by default (simplcutx.kT_e) and are given a prior: that frees them."""
    held = {name.strip().lower() for name in freeze}
    asked = {name_of(text).lower() for text in changes} - held
    return [p.name for p in model.parameters if p.frozen and not p.is_switch and p.name.lower() in asked]
