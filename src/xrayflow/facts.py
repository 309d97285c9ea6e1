"""What is known of data sets without a model, and what a posterior of them rests on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from xrayflow.dataset import Calibration, DataSet
from xrayflow.ogip import resolved_energies
from xrayflow.statistics import BackgroundTreatment, background_in_source

PLACE_STEP, MOST_PLACES = 0.5, 400
"""Between places where a feature could stand, in full widths at half maximum; and how many of a spectrum, at most."""


@dataclass(frozen=True)
class Facts:
    """What is known of each source without its model.

    Attributes:
        names: (source,) file name of the first data set's spectrum.
        counts: (source,) all noticed counts.
        background: (source,) those that the background gives.
        systematic: (source,) fractional error of the source model, the largest of the data sets.
        amplitude: (source,) A0, at which calibration modes are believed, of the first data set; 0 without.
        bins: (source,) noticed bins of all data sets.
        are_counts: (source,) whether all data are counts, not numbers with Gaussian errors.
    """

    names: tuple[str, ...]
    counts: Float[Tensor, " source"]
    background: Float[Tensor, " source"]
    systematic: Float[Tensor, " source"]
    amplitude: Float[Tensor, " source"]
    bins: Int[Tensor, " source"]
    are_counts: Bool[Tensor, " source"]

    @classmethod
    def of(cls, sets: Sequence[DataSet]) -> Facts:
        """Those of a batch.

        Args:
            sets: At least one, all of the same sources.
        """
        first, sources = sets[0], range(len(sets[0].spectra))
        counts, background = [], []
        for data in sets:
            likelihood = data.likelihood
            counts.append((likelihood.counts[:, 0] * likelihood.used).sum(-1))
            behind = [
                0.0 if choice.gaussian else float(background_in_source(spectrum).sum())
                for spectrum, choice in zip(data.spectra, data.choices, strict=True)
            ]
            background.append(torch.tensor(behind, dtype=torch.float64))
        return cls(
            names=tuple(spectrum.observation.pha.path.name for spectrum in first.spectra),
            counts=torch.stack(counts).sum(0),
            background=torch.stack(background).sum(0),
            systematic=torch.stack([data.likelihood.systematic[:, 0] for data in sets]).amax(0),
            amplitude=first.amplitude,
            bins=torch.tensor([sum(data.spectra[source].counts.size for data in sets) for source in sources]),
            are_counts=torch.tensor([not any(data.choices[source].gaussian for data in sets) for source in sources]),
        )

    @property
    def net(self) -> Float[Tensor, " source"]:
        """Counts above the background."""
        return self.counts - self.background


@dataclass(frozen=True)
class LikelihoodFacts:
    """What the posterior rests on.

    Attributes:
        name: For products.
        kind: The least exact of the data sets: "exact", "approximate" or "profile".
        why: Why it is not exact, in words; "" where it is.
        systematic: Fractional error of the source model in every bin.
        background: What was made of a background.
        calibration: What was believed of the response; None where it was taken at its word.
    """

    name: str
    kind: str
    why: str
    systematic: float
    background: BackgroundTreatment = field(default_factory=BackgroundTreatment)
    calibration: Calibration | None = None

    @classmethod
    def of(cls, sets: Sequence[DataSet]) -> LikelihoodFacts:
        """Those of a batch of one; background and calibration of the first data set.

        Args:
            sets: At least one.
        """
        kinds = {data.likelihood.kind for data in sets}
        return cls(
            name="; ".join(dict.fromkeys(data.likelihood.name for data in sets)),
            kind=next(kind for kind in ("profile", "approximate", "exact") if kind in kinds),
            why="; ".join(dict.fromkeys(why for data in sets if (why := data.likelihood.why))),
            systematic=max(float(data.likelihood.systematic[0, 0]) for data in sets),
            background=sets[0].treatment,
            calibration=sets[0].calibration,
        )

    @property
    def asked(self) -> float | str:
        """The systematic error in the words of `--systematic`."""
        modes = self.calibration
        return self.systematic if modes is None else f"modes:{modes.name}:{modes.amplitude:g}"


def feature_places(sets: Sequence[DataSet]) -> Float[Tensor, " place"]:
    """Where in the band of one source a narrow feature could stand, half a resolution element apart [keV].

    Args:
        sets: Of a batch of one.
    """
    bands = [
        (one.observation.rmf, float(one.energy_lo.min()), float(one.energy_hi.max()))
        for data in sets
        for one in data.spectra
    ]
    return torch.from_numpy(resolved_energies(bands, PLACE_STEP, MOST_PLACES))
