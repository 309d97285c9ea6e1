"""The spectra of one instrument with how they are folded and scattered, and what an answer keeps of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor

from xrayflow.calibration import BinModes
from xrayflow.folding import SEARCH, Fidelity, Forward
from xrayflow.linear_set import LinearSet
from xrayflow.ogip import ARF, PHA, RMF, Observation, Spectrum
from xrayflow.statistics import (
    KNOWN,
    BackgroundTreatment,
    CalibratedLikelihood,
    Likelihood,
    StatisticChoice,
    Systematic,
    background_in_source,
    likelihood_of,
)

LINEAR = 0.003
"""keV by which an energy scale may be off before the edges of the bins are moved: a third of NICER's channels."""

FOLLOWED = 0.8 * LINEAR
"""keV beyond which the fold follows a fit: the last steps of a fit move its energy scale too."""

FARTHEST = 6.0
"""Standard deviations of what is believed of an energy scale: one that is off by more is the sign of a fit that fails,
and the fold is left alone."""


@dataclass(frozen=True)
class DataSet:
    """The spectra of one instrument, one per source: how they are folded and how their counts scatter.

    Attributes:
        spectra: Noticed bins.
        choices: XSPEC's statistic of each, for people.
        forward: Parameters -> expected counts.
        likelihood: Expected counts -> ln p of the observed ones.
        treatment: What the likelihood makes of a background.
        systematic: Errors that no count tells of.
    """

    spectra: tuple[Spectrum, ...]
    choices: tuple[StatisticChoice, ...]
    forward: Forward
    likelihood: Likelihood
    treatment: BackgroundTreatment = KNOWN
    systematic: Systematic = field(default_factory=Systematic)

    @property
    def calibration(self) -> Calibration | None:
        """What is believed of the response of the first source; None where it is taken at its word."""
        likelihood = self.likelihood
        if not isinstance(likelihood, CalibratedLikelihood):
            return None
        return Calibration(likelihood.modes.name, likelihood.modes.sha256, float(likelihood.nominal[0]))

    @property
    def amplitude(self) -> Float[Tensor, " source"]:
        """A0, at which errors of each source's response are believed; 0 where it is taken at its word."""
        likelihood = self.likelihood
        if isinstance(likelihood, CalibratedLikelihood):
            return likelihood.nominal
        return torch.zeros(len(self.spectra), dtype=torch.float64)

    @property
    def remarks(self) -> tuple[str, ...]:
        """What there is to say of the first source."""
        spectrum, found = self.spectra[0], []
        if spectrum.shown is not None:
            found.append(
                f"the counts decided where groups end, so the likelihood and p take {spectrum.counts.size} bins that "
                f"they did not decide; {spectrum.shown.counts.size} groups are shown"
            )
        if self.calibration is not None and not self.systematic.said:
            found.append(
                f"so many counts show the errors of the response, so calibration modes ({self.calibration.name}) are "
                "integrated out; --systematic 0 takes the response at its word"
            )
        if self.calibration is not None and spectrum.sys_err is not None:
            found.append("the calibration modes are together as large as the file's SYS_ERR says, at an amplitude of 1")
        return tuple(found)

    def at(self, fidelity: Fidelity) -> DataSet:
        """The same at another fidelity, for a search with a likelihood that is cheap far from the data.

        Args:
            fidelity: How exactly expected counts are computed; itself where that is no other.
        """
        forward = self.forward.at(fidelity)
        if forward.fidelity == self.forward.fidelity:
            return self
        return replace(self, forward=forward, likelihood=self.likelihood.roughly(forward.fidelity == SEARCH))

    def corrected(self, theta: Float[Tensor, "source place parameter"], known: Bool[Tensor, "source place"]) -> DataSet:
        """The same, made exact at some places, with the likelihood of the answer.

        Args:
            theta: Of the model.
            known: Which of the places are any.
        """
        return replace(self, forward=self.forward.corrected(theta, known), likelihood=self.likelihood.roughly(False))

    def centred(
        self, theta: Float[Tensor, "source one parameter"], nuisance: Tensor | None, sources: Sequence[int]
    ) -> DataSet:
        """The data whose likelihood is exact where a model fits, the energy scale that it finds in the fold.

        Args:
            theta: Of the model, for each source.
            nuisance: Of the likelihood.
            sources: Those that are asked for.
        """
        if not isinstance(self.likelihood, CalibratedLikelihood):
            return self
        each = []
        for i in range(len(self.spectra)):  # each source alone: the same digits in any company
            own = self.select(torch.tensor([i]))
            at = slice(i, i + 1)
            each.append(own._centred(theta[at], None if nuisance is None else nuisance[at]) if i in sources else own)
        likelihood = CalibratedLikelihood.joined(self.likelihood.inner, [one.likelihood for one in each])
        spectra = tuple(one.spectra[0] for one in each)
        if all(new is old for new, old in zip(spectra, self.spectra, strict=True)):
            return replace(self, likelihood=likelihood)
        forward = Forward.of(self.forward.family.model, spectra, self.forward.family.grid)
        return replace(self, spectra=spectra, forward=forward, likelihood=likelihood)

    def off_centre(
        self, theta: Float[Tensor, "source one parameter"], nuisance: Tensor | None, away: Sequence[bool], beyond: float
    ) -> list[int]:
        """Sources whose likelihood is exact about another fit than this, or folded with another energy scale.

        Args:
            theta: Of the model, for each source.
            nuisance: Of the likelihood.
            away: Whether that is far from where the likelihood was made exact.
            beyond: keV by which an energy scale may be off.
        """
        if not isinstance(self.likelihood, CalibratedLikelihood):
            return []
        found = []
        for i, is_away in enumerate(away):
            own, at = self.select(torch.tensor([i])), slice(i, i + 1)
            told = None if nuisance is None else nuisance[at]
            if is_away or own._energy_scale(theta[at], told, beyond) is not None:
                found.append(i)
        return found

    def _energy_scale(self, theta: Tensor, nuisance: Tensor | None, beyond: float) -> tuple[float, float] | None:
        """That of one source where the fold has to follow it; None where the fold is right, or the fit hopeless."""
        likelihood = self.likelihood
        assert isinstance(likelihood, CalibratedLikelihood)
        scale, sd = likelihood.energy_scale(self.forward.expected(theta), nuisance)
        return scale if _off(scale, self.spectra[0]) > beyond and sd <= FARTHEST else None

    def _centred(self, theta: Tensor, nuisance: Tensor | None) -> DataSet:
        """Of one source."""
        likelihood = self.likelihood
        assert isinstance(likelihood, CalibratedLikelihood)
        forward, (spectrum,) = self.forward, self.spectra
        scale = self._energy_scale(theta, nuisance, FOLLOWED)
        if scale is not None:
            # what is off by much is not linear: the spectrum is folded with its own edges
            spectrum = replace(spectrum, gain=scale)
            forward = Forward.of(forward.family.model, [spectrum], forward.family.grid)
        expected, channels = forward.expected(theta), forward.native_counts(theta)
        nominal = float(likelihood.nominal[0])
        modes = BinModes.of_fit(spectrum, likelihood.modes, channels, expected[0, 0].numpy(), nominal)
        own = likelihood.told(modes, spectrum.gain).centred(expected, nuisance)
        return replace(self, spectra=(spectrum,), forward=forward, likelihood=own)

    def linear(
        self, theta: Float[Tensor, "one one parameter"], slope: Tensor, v: Tensor, nuisance: Tensor | None
    ) -> LinearSet:
        """A fit of one source as linear.

        Args:
            theta: (1, 1, parameter) of the model.
            slope: d theta / d coordinate there.
            v: The coordinates there, which have a normal prior.
            nuisance: Of the likelihood.
        """
        expected, jacobian = self.forward.linearised(theta)
        fit = self.likelihood.linear(expected, jacobian * slope[..., None, :], v, nuisance)
        return LinearSet(fit, self.spectra[0], self.forward, theta)

    def as_asked(self) -> DataSet:
        """The data of one source in the bins that were asked for: XSPEC's statistic and figures are of those."""
        one = self.spectra[0]
        shown = replace(one, gain=(0.0, 0.0)) if one.shown is None else one.shown
        if one.shown is None and one.gain == shown.gain:
            return self
        forward = Forward.of(self.forward.family.model, [shown], self.forward.grid)
        likelihood = likelihood_of([shown], self.choices, self.systematic, self.treatment)
        return DataSet((shown,), self.choices, forward, likelihood, self.treatment, self.systematic)

    def select(self, sources: Int[Tensor, " chosen"]) -> DataSet:
        """The data of some of the sources."""
        rows = sources.tolist()
        return DataSet(
            tuple(self.spectra[i] for i in rows),
            tuple(self.choices[i] for i in rows),
            self.forward.select(sources),
            self.likelihood.select(sources),
            self.treatment,
            self.systematic,
        )


@dataclass(frozen=True)
class Calibration:
    """What is believed of the errors of a response.

    Attributes:
        name: Of the set of modes.
        sha256: Of its file.
        amplitude: A0, the amplitude that the fit is judged at.
    """

    name: str
    sha256: str
    amplitude: float


@dataclass(frozen=True)
class ObservedData:
    """What an answer keeps of one spectrum: no response, so that it travels.

    Attributes:
        source: OBJECT of the header.
        telescope, instrument: TELESCOP and INSTRUME.
        pha, rmf, arf, background: Paths, `file{3}` for the third spectrum of a file; None for what there is not.
        sha256: Hashes of the files: of pha and rmf, of arf and background where there is one.
        exposure: s.
        energies: Ranges that were noticed [keV]; `channels` where the choice was by channels.
        grouping: How the bins were made.
        energy_lo, energy_hi: (bin,) keV.
        counts: (bin,) observed.
        background_counts: (bin,) in the background file; None without one.
        background_in_source: (bin,) the same scaled to the source's exposure and region; zeros without one.
        number: (bin,) XSPEC's numbers of the noticed bins, from 1.
        all_bins: How many bins there are, those that were ignored included.
    """

    source: str
    telescope: str
    instrument: str
    pha: Path
    rmf: Path
    arf: Path | None
    background: Path | None
    sha256: Mapping[str, str]
    exposure: float
    energies: tuple[tuple[float, float], ...]
    channels: tuple[int, int] | None
    grouping: str
    energy_lo: NDArray[np.float64]
    energy_hi: NDArray[np.float64]
    counts: NDArray[np.float64]
    background_counts: NDArray[np.float64] | None
    background_in_source: NDArray[np.float64]
    number: NDArray[np.int64]
    all_bins: int

    @classmethod
    def of(cls, spectrum: Spectrum) -> ObservedData:
        """What is kept of a spectrum: the bins that were asked for."""
        spectrum = spectrum.shown or spectrum
        observation = spectrum.observation
        pha, rmf, arf, background = observation.pha, observation.rmf, observation.arf, observation.background
        return cls(
            source=pha.object,
            telescope=pha.telescope,
            instrument=pha.instrument,
            pha=_place(pha),
            rmf=rmf.path,
            arf=None if arf is None else arf.path,
            background=None if background is None else _place(background),
            sha256=hashes_of(observation),
            exposure=pha.exposure,
            energies=spectrum.energies,
            channels=spectrum.channels,
            grouping=spectrum.grouping,
            energy_lo=spectrum.energy_lo,
            energy_hi=spectrum.energy_hi,
            counts=spectrum.counts,
            background_counts=spectrum.background,
            background_in_source=background_in_source(spectrum),
            number=spectrum.number,
            all_bins=observation.bins(spectrum.grouping).e_min.size,
        )


def _place(file: PHA) -> Path:
    """Where a spectrum is, in XSPEC's words."""
    return file.path if file.row is None else Path(f"{file.path}{{{file.row}}}")


def hashes_of(observation: Observation) -> dict[str, str]:
    """SHA-256 of the files of an observation by name."""
    arf, background = observation.arf, observation.background
    files: dict[str, PHA | RMF | ARF | None] = {
        "pha": observation.pha,
        "rmf": observation.rmf,
        "arf": arf,
        "background": background,
    }
    return {name: file.sha256 for name, file in files.items() if file is not None}


def _off(scale: tuple[float, float], spectrum: Spectrum) -> float:
    """keV by which an energy scale is off that of the fold, the most in any bin."""
    ends = (float(spectrum.energy_lo.min()), float(spectrum.energy_hi.max()))
    return max(abs(scale[0] - spectrum.gain[0] + (scale[1] - spectrum.gain[1]) * energy) for energy in ends)
