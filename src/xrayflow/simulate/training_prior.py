"""What a network is trained on: the box of the model cut by count rate, and how observations differ.

Much of a model's box gives no counts, or more than a detector can take. So the training prior is

    p(theta) ~ box(theta) x [lo <= rate(theta) <= hi],        rate in the layout's bins with the reference response,

and exposure, detector number, background, systematic error and noticed band are drawn beside it. It is stored with the
network and shapes the proposal only; the answer's prior is the whole box.

Source: the modelled background is that of 160 NICER background files of MAXI J1535-571.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from itertools import pairwise
from typing import Annotated, Any, Self

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    GetPydanticSchema,
    ModelWrapValidatorHandler,
    PlainSerializer,
    TypeAdapter,
    model_validator,
)
from pydantic.dataclasses import dataclass
from torch import Tensor

from xrayflow.errors import DataError, Place, in_words
from xrayflow.prior import Marginal, Prior
from xrayflow.statistics import MOST_AMPLITUDE, MOST_SYSTEMATIC, sample_modelled

TABLE = "training_prior"
LARGEST = 1e30
"""The largest rate, exposure, area or energy, in its unit."""
NEWER = "background_error", "background_level"
"""Names that headers of older networks and libraries do not have; 0 in all of them."""
CALIBRATED = "calibration", "amplitude", "without_calibration"
"""Likewise: they mean nothing without a set of modes."""
COUNTED = "background_counted", "background_region"
"""Likewise: they mean nothing where no background is counted."""
MOST_VALUES = 1000
"""The longest list."""


def _above_zero(most: float) -> AfterValidator:
    """A check that a range has 0 < lo <= hi <= most."""

    def check(value: tuple[float, float]) -> tuple[float, float]:
        lo, hi = value
        if not 0.0 < lo <= hi <= most:
            raise ValueError(f"{lo:g} .. {hi:g}; give lo <= hi, above 0, up to {most:g}")
        return value

    return AfterValidator(check)


def _possible(marginal: Marginal) -> Marginal:
    """Refuses a marginal that is no distribution."""
    if marginal.scale not in ("log", "linear"):
        raise ValueError(f"{marginal.name} has scale '{marginal.scale}'; give log or linear")
    if not marginal.lo < marginal.hi or (marginal.scale == "log" and marginal.lo <= 0):
        raise ValueError(f"{marginal.name} is {marginal}; give lo < hi, and lo above 0 where the scale is log")
    if (marginal.mean is None) != (marginal.sd is None) or (marginal.sd is not None and not marginal.sd > 0):
        raise ValueError(f"{marginal.name} has mean {marginal.mean}, sd {marginal.sd}; give both, sd > 0, or neither")
    return marginal


Number = Annotated[float, Field(strict=True)]
Pair = tuple[Number, Number]
Range = Annotated[Pair, _above_zero(LARGEST)]
Fractions = Annotated[Pair, _above_zero(MOST_SYSTEMATIC * (1.0 - 1e-12))]
Amplitudes = Annotated[Pair, _above_zero(MOST_AMPLITUDE)]
Name = Annotated[str, Field(strict=True, max_length=MOST_VALUES)]
Share = Annotated[Number, Field(ge=0, le=1)]
Energy = Annotated[Number, Field(gt=0, le=LARGEST)]
Energies = Annotated[tuple[Energy, ...], Field(max_length=MOST_VALUES)]
Shares = Annotated[tuple[Annotated[Number, Field(gt=0, le=LARGEST)], ...], Field(min_length=1, max_length=MOST_VALUES)]
Reach = Annotated[Number, Field(ge=0, le=LARGEST)]
Marginals = Annotated[
    tuple[Annotated[Marginal, AfterValidator(_possible)], ...],
    Field(max_length=MOST_VALUES),
    BeforeValidator(lambda value: value.marginals if isinstance(value, Prior) else value),
    AfterValidator(Prior),
    PlainSerializer(lambda prior: prior.marginals),
]
Box = Annotated[Prior, GetPydanticSchema(lambda _, handler: handler.generate_schema(Marginals))]
"""A prior that a header holds as the list of its marginals."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid", allow_inf_nan=False))
class TrainingPrior:
    """Distribution of the sources and observations that a network learns from.

    Attributes:
        prior: The box; its probit cube has the network's coordinates.
        rate: Counts/s of the source in the layout's bins, reference response: theta outside is not drawn.
        exposure: s, log-uniform.
        systematic: Fraction of the source model, uniform, of the spectra that have one.
        without_systematic: Share of spectra whose systematic error is 0.
        calibration: Set of calibration modes, by name or file, by which the response of every spectrum is off; "": it
            is right.
        amplitude: A0 that the modes are believed at, log-uniform, of the spectra that have any. The A of a spectrum
            scatters about it as the likelihood believes.
        without_calibration: Share of spectra whose response is right.
        background_rate: Counts/s in the band of `background_edges`, log-uniform.
        background_edges: keV, of the bands whose shares are known.
        background_shares: Share of the background in each; inside a band it falls as 1 / E.
        background_slope: Standard deviation of the exponent of a factor E^x, the scatter from file to file.
        without_background: Share of spectra without a background.
        background_error: Of a bin's background, what its file says of its own error: the truth scatters about the file
            as the likelihood believes it. 0: the file is the truth.
        background_level: Standard deviation of the logarithm of the factor by which the file's level is off.
        background_counted: Share of the spectra with a background whose file holds counts of a region beside the
            source. It scatters as counts do, and has no error of the two kinds above.
        background_region: Exposure times area of that region over the source's, log-uniform.
        area: Effective area / reference, uniform: the number of detectors that are on.
        partial: Share of spectra that are noticed in part: cut below, above, or on both sides, a third each.
        highest_start: keV; a cut below is uniform from the lowest energy up to here.
        lowest_stop: keV; a cut above is uniform from here up to the highest energy.
        grouped: Share of spectra that lose a little at either end of the band, where a group of the user's channels
            holds the limit and is ignored whole.
        group_reach: keV; how far such a loss reaches at the lower and the upper end, uniform from 0.
    """

    prior: Box
    rate: Range = (0.1, 1e5)
    exposure: Range = (50.0, 50_000.0)
    systematic: Fractions = (0.005, 0.03)
    without_systematic: Share = 0.5
    calibration: Name = ""
    amplitude: Amplitudes = (0.1, 4.0)
    without_calibration: Share = 0.1
    background_rate: Range = (0.3, 10.0)
    background_edges: Energies = (0.3, 0.5, 1.0, 2.0, 4.0, 7.0, 10.0)
    background_shares: Shares = (0.15, 0.20, 0.20, 0.17, 0.16, 0.12)
    background_slope: Annotated[Number, Field(ge=0, le=5)] = 0.15
    without_background: Share = 1.0 / 3.0
    background_error: Share = 0.0
    background_level: Share = 0.0
    background_counted: Share = 0.0
    background_region: Range = (1.0, 10.0)
    area: Range = (0.3, 1.0)
    partial: Share = 0.3
    highest_start: Energy = 1.0
    lowest_stop: Energy = 5.0
    grouped: Share = 0.5
    group_reach: tuple[Reach, Reach] = (0.03, 0.4)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.highest_start > self.lowest_stop:
            raise ValueError(
                f"highest_start .. lowest_stop {self.highest_start:g} .. {self.lowest_stop:g}; give lo <= hi"
            )
        edges = self.background_edges
        if len(edges) != len(self.background_shares) + 1 or any(a >= b for a, b in pairwise(edges)):
            raise ValueError(f"background_edges {edges}; give one more than background_shares, ascending")
        return self

    @model_validator(mode="wrap")
    @classmethod
    def _in_words(cls, values: Any, read: ModelWrapValidatorHandler[Self]) -> Self:
        with in_words(DataError, _known, TABLE):
            return read(values)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a header in JSON; errors of background and response are named only where there are any."""
        found: dict[str, Any] = TypeAdapter(TrainingPrior).dump_python(self, mode="json")
        unsaid = {key for key in NEWER if not found[key]} | (set() if self.calibration else set(CALIBRATED))
        unsaid |= set() if self.background_counted else set(COUNTED)
        return {key: value for key, value in found.items() if key not in unsaid}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainingPrior:
        """The inverse of `to_dict`; names that are left out have their defaults, `prior` excepted.

        Raises:
            DataError: Unknown names, or values that cannot be.
        """
        return TypeAdapter(TrainingPrior).validate_python(values)

    def draw_exposure(self, rows: int, generator: torch.Generator) -> Float[Tensor, " source"]:
        """s."""
        return _log_uniform(self.exposure, rows, generator)

    def draw_area(self, rows: int, generator: torch.Generator) -> Float[Tensor, " source"]:
        """Effective area / reference."""
        return _uniform(self.area, rows, generator)

    def draw_systematic(self, rows: int, generator: torch.Generator) -> Float[Tensor, " source"]:
        """Fraction of the source model; 0 where there is none."""
        size = _uniform(self.systematic, rows, generator)
        return torch.where(_chance(rows, generator) < self.without_systematic, 0.0, size)

    def draw_amplitude(self, rows: int, generator: torch.Generator) -> Float[Tensor, " source"]:
        """A0 of the calibration modes; 0 where there are none."""
        size = _log_uniform(self.amplitude, rows, generator)
        return torch.where(_chance(rows, generator) < self.without_calibration, 0.0, size)

    def draw_background(
        self, energy_lo: NDArray[np.float64], energy_hi: NDArray[np.float64], rows: int, generator: torch.Generator
    ) -> Float[Tensor, "source bin"]:
        """Counts/s in bins; zeros for spectra without a background.

        Args:
            energy_lo: (bin,) keV.
            energy_hi: (bin,) keV.
            rows: How many spectra.
            generator: Source of randomness.
        """
        rate = _log_uniform(self.background_rate, rows, generator)
        rate = torch.where(_chance(rows, generator) < self.without_background, 0.0, rate)
        slope = self.background_slope * torch.randn(rows, generator=generator, dtype=torch.float64)
        edges, shares = np.array(self.background_edges), np.array(self.background_shares) / sum(self.background_shares)
        # the share below each energy: linear in ln E inside a band, and beyond the bands as in the outermost ones
        below = np.concatenate([[0.0], np.cumsum(shares)])
        steep = np.diff(below) / np.diff(np.log(edges))

        def cumulative(energy: NDArray[np.float64]) -> NDArray[np.float64]:
            inside = np.interp(np.log(energy), np.log(edges), below)
            lower = np.minimum(np.log(energy / edges[0]), 0.0) * steep[0]
            return np.asarray(inside + lower + np.maximum(np.log(energy / edges[-1]), 0.0) * steep[-1])

        lo, hi = np.maximum(energy_lo, 1e-3 * edges[0]), np.maximum(energy_hi, 1e-3 * edges[0])
        share = torch.from_numpy(cumulative(hi) - cumulative(lo))
        middle = torch.from_numpy(0.5 * np.log(lo * hi / (edges[0] * edges[-1])))
        shape = share * torch.exp(slope[:, None] * middle)
        return rate[:, None] * shape * (share.sum() / shape.sum(-1, keepdim=True))

    def draw_truth(
        self, background: Float[Tensor, "source bin"], generator: torch.Generator
    ) -> Float[Tensor, "source bin"]:
        """Backgrounds that spectra have whose files come from a model and say another: theirs if they have no error.

        Args:
            background: Counts that the files say.
            generator: Source of randomness.
        """
        if self.background_error > 0:
            background = sample_modelled(background, self.background_error * background, generator)
        if self.background_level > 0:
            level = torch.randn((background.shape[0], 1), generator=generator, dtype=torch.float64)
            background = background * torch.exp(self.background_level * level)
        return background

    def draw_files(
        self, smooth: Float[Tensor, "source bin"], generator: torch.Generator
    ) -> tuple[Float[Tensor, "source bin"], Float[Tensor, "source bin"], Float[Tensor, " source"]]:
        """What files of backgrounds say, the backgrounds that spectra have, and the sizes of counted regions.

        Args:
            smooth: Counts in the source's exposure that a model says, or that are expected where they are counted.
            generator: Source of randomness.

        Returns:
            The first two in the source's exposure; the last is exposure times area of a region over the source's, 0
            where the background is a model's.
        """
        truth = self.draw_truth(smooth, generator)
        if self.background_counted == 0:  # no draw, so that older seeds give what they gave
            return smooth, truth, torch.zeros_like(smooth[:, 0])
        region = _log_uniform(self.background_region, smooth.shape[0], generator)
        is_counted = (_chance(smooth.shape[0], generator) < self.background_counted) & (smooth.sum(-1) > 0)
        size = region[:, None]
        counted = torch.poisson(size * smooth, generator=generator) / size
        chosen = is_counted[:, None]
        return torch.where(chosen, counted, smooth), torch.where(chosen, smooth, truth), region * is_counted

    def draw_band(
        self, lowest: float, highest: float, rows: int, generator: torch.Generator
    ) -> tuple[Float[Tensor, " source"], Float[Tensor, " source"]]:
        """Lower and upper limit of the noticed energies [keV].

        Args:
            lowest: The lower limit where nothing is cut.
            highest: The upper limit likewise.
            rows: How many spectra.
            generator: Source of randomness.
        """
        kind = _chance(rows, generator) / max(self.partial, 1e-300) * 3.0  # 0-1 below, 1-2 both, 2-3 above
        start = _uniform((lowest, max(self.highest_start, lowest)), rows, generator)
        stop = _uniform((min(self.lowest_stop, highest), highest), rows, generator)
        low_reach, high_reach = (
            torch.where(_chance(rows, generator) < self.grouped, _uniform((0.0, reach), rows, generator), 0.0)
            for reach in self.group_reach
        )
        start = torch.where(kind < 2.0, start, lowest + low_reach)
        return start, torch.where((kind >= 1.0) & (kind < 3.0), stop, highest - high_reach)


def _chance(rows: int, generator: torch.Generator) -> Tensor:
    return torch.rand(rows, generator=generator, dtype=torch.float64)


def _uniform(limits: tuple[float, float], rows: int, generator: torch.Generator) -> Tensor:
    return limits[0] + (limits[1] - limits[0]) * _chance(rows, generator)


def _log_uniform(limits: tuple[float, float], rows: int, generator: torch.Generator) -> Tensor:
    lo, hi = limits
    return torch.clamp(lo * (hi / lo) ** _chance(rows, generator), lo, hi)


def _known(place: Place) -> list[str]:
    """The keys of the table that a place lies in."""
    return [one.name for one in fields(Marginal if len(place) > 1 else TrainingPrior)]
