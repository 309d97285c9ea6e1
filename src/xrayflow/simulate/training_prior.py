"""What a network is trained on: the box of the model cut by count rate, and how observations differ.

Much of a model's box gives no counts, or more than a detector can take. So the training prior is

    p(theta) ~ box(theta) x [lo <= rate(theta) <= hi],        rate in the layout's bins with the reference response,

and exposure, detector number, background, systematic error and noticed band are drawn beside it. It is stored with the
network and shapes the proposal only; the answer's prior is the whole box.

Source: the modelled background is that of 160 NICER background files of MAXI J1535-571.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from xrayflow.errors import DataError
from xrayflow.prior import Marginal, Prior
from xrayflow.simulate.fields import known_fields, number, pair
from xrayflow.statistics.likelihood import MOST_SYSTEMATIC

TITLE = "training prior"


@dataclass(frozen=True)
class TrainingPrior:
    """Distribution of the sources and observations that a network learns from.

    Attributes:
        prior: The box; its probit cube has the network's coordinates.
        rate: Counts/s of the source in the layout's bins, reference response: theta outside is not drawn.
        exposure: s, log-uniform.
        systematic: Fraction of the source model, uniform, of the spectra that have one.
        without_systematic: Share of spectra whose systematic error is 0.
        background_rate: Counts/s in the band of `background_edges`, log-uniform.
        background_edges: keV, of the bands whose shares are known.
        background_shares: Share of the background in each; inside a band it falls as 1 / E.
        background_slope: Standard deviation of the exponent of a factor E^x, the scatter from file to file.
        without_background: Share of spectra without a background.
        area: Effective area / reference, uniform: the number of detectors that are on.
        partial: Share of spectra that are noticed in part: cut below, above, or on both sides, a third each.
        highest_start: keV; a cut below is uniform from the lowest energy up to here.
        lowest_stop: keV; a cut above is uniform from here up to the highest energy.
        grouped: Share of spectra that lose a little at either end of the band, where a group of the user's channels
            holds the limit and is ignored whole.
        group_reach: keV; how far such a loss reaches at the lower and the upper end, uniform from 0.
    """

    prior: Prior
    rate: tuple[float, float] = (0.1, 1e5)
    exposure: tuple[float, float] = (50.0, 50_000.0)
    systematic: tuple[float, float] = (0.005, 0.03)
    without_systematic: float = 0.5
    background_rate: tuple[float, float] = (0.3, 10.0)
    background_edges: tuple[float, ...] = (0.3, 0.5, 1.0, 2.0, 4.0, 7.0, 10.0)
    background_shares: tuple[float, ...] = (0.15, 0.20, 0.20, 0.17, 0.16, 0.12)
    background_slope: float = 0.15
    without_background: float = 1.0 / 3.0
    area: tuple[float, float] = (0.3, 1.0)
    partial: float = 0.3
    highest_start: float = 1.0
    lowest_stop: float = 5.0
    grouped: float = 0.5
    group_reach: tuple[float, float] = (0.03, 0.4)

    def __post_init__(self) -> None:
        for name in ("rate", "exposure", "background_rate", "area"):
            pair(TITLE, name, getattr(self, name), 0.0)
        pair(TITLE, "systematic", self.systematic, 0.0, MOST_SYSTEMATIC * (1.0 - 1e-12))
        for name in ("without_systematic", "without_background", "partial", "grouped"):
            number(TITLE, name, getattr(self, name), 0.0, 1.0)
        number(TITLE, "background_slope", self.background_slope, 0.0, 5.0)
        if len(self.group_reach) != 2 or not all(0.0 <= reach < math.inf for reach in self.group_reach):
            raise DataError(f"{TITLE}: group_reach {self.group_reach}; give two numbers, 0 or more")
        pair(TITLE, "highest_start .. lowest_stop", (self.highest_start, self.lowest_stop), 0.0)
        edges, shares = np.array(self.background_edges), np.array(self.background_shares)
        if edges.size != shares.size + 1 or shares.size < 1 or edges[0] <= 0 or not (np.diff(edges) > 0).all():
            raise DataError(f"{TITLE}: background_edges {self.background_edges}; give one more than shares, ascending")
        if not (np.isfinite(edges).all() and (shares > 0).all() and np.isfinite(shares).all()):
            raise DataError(f"{TITLE}: background_shares {self.background_shares}; give positive ones")

    def to_dict(self) -> dict[str, Any]:
        """For a header in JSON."""
        found = {one.name: getattr(self, one.name) for one in fields(self)}
        found["prior"] = [asdict(marginal) for marginal in self.prior.marginals]
        return {name: list(value) if isinstance(value, tuple) else value for name, value in found.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainingPrior:
        """The inverse of `to_dict`; names that are left out have their defaults, `prior` excepted.

        Raises:
            DataError: Unknown names, or values that cannot be.
        """
        given = dict(known_fields(TITLE, cls, values))
        prior = _read_prior(given.pop("prior"))
        read: dict[str, Any] = {}
        for name, value in given.items():
            is_tuple = isinstance(getattr(cls, name), tuple)
            try:
                read[name] = tuple(float(one) for one in value) if is_tuple else float(value)
            except (TypeError, ValueError):
                raise DataError(f"{TITLE}: {name} {value!r}; give {'numbers' if is_tuple else 'a number'}") from None
        return cls(prior, **read)

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


def _read_prior(values: Any) -> Prior:
    if not isinstance(values, list | tuple) or not values:
        raise DataError(f"{TITLE}: prior {values!r}; give one table for each parameter")
    marginals = []
    for one in values:
        given = known_fields(f"{TITLE}, prior", Marginal, one)
        try:
            mean, sd = (None if given.get(name) is None else float(given[name]) for name in ("mean", "sd"))
            marginal = Marginal(
                str(given["name"]),
                str(given["unit"]),
                float(given["lo"]),
                float(given["hi"]),
                str(given["scale"]),
                mean,
                sd,
            )
        except (TypeError, ValueError) as error:
            raise DataError(f"{TITLE}, prior: {error}; give name, unit, lo, hi, scale") from None
        log = marginal.scale == "log"
        if marginal.scale not in ("log", "linear") or not marginal.lo < marginal.hi or (log and marginal.lo <= 0):
            raise DataError(f"{TITLE}, prior: {marginal.name} {marginal}; give lo < hi, scale log (above 0) or linear")
        if (mean is None) != (sd is None) or (sd is not None and not sd > 0):
            raise DataError(f"{TITLE}, prior: {marginal.name} mean {mean}, sd {sd}; give both, sd > 0, or neither")
        marginals.append(marginal)
    return Prior(tuple(marginals))
