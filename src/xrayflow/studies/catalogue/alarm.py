"""Has a source changed? A parameter of a new spectrum against what the previous ones foretell.

The last `WINDOW` spectra before it gave medians m_j with errors s_j (half of the 68 % interval, of log10 of a parameter
whose prior is logarithmic). Their true values scatter by an unknown tau about an unknown mean. The prior of the mean is
flat, that of tau 1 / (tau + s0) with the median error s0; so for a new spectrum with error s

    p(m | before) = integral over tau of  p(tau | before)  N(m; mean(tau), tau^2 + s^2 + 1 / sum w_j),
    w_j = 1 / (tau^2 + s_j^2),        mean(tau) = sum w_j m_j / sum w_j.

Where no scatter of their own is seen this compares errors with errors; where it is, with the scatter: far above the
errors it is Student's t of the values themselves, whose rate of false alarms is exact. The alarm is raised where the
chance of a value so far out, on either side, is below the rate that was asked for, by the number of parameters: so many
of all spectra of a source that does not change raise a false one, and fewer where errors dominate. After an alarm the
window begins anew: what follows is compared with the new state.

Source: Gelman et al. 2013, Bayesian Data Analysis, section 5.4 (normal hierarchical model).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from xrayflow.prior import Marginal
from xrayflow.studies.catalogue.reading import CatalogueTable

Numbers = NDArray[np.float64]

WINDOW, LEAST = 20, 5
"""Spectra that a new one is compared with, and how many it takes."""

RATE = 1e-3
"""Of false alarms, by spectrum."""

NODES = 400
"""Of the integral over tau."""

SMALLEST, LARGEST = 1e-3, 1e3
"""Of tau, in units of the smallest error and of the spread of the medians."""

ANSWERED = ("certified", "approximate")
"""Of `computation`: numbers that were computed right, however the model fits."""


@dataclass(frozen=True)
class Alarm:
    """A parameter that left what was foretold.

    Attributes:
        path: The spectrum.
        time: Of it; NaN where it has none.
        parameter: Which.
        median: Of the new spectrum, in the parameter's unit.
        low, high: Of what was foretold for it: 90 %, in the parameter's unit.
        chance: Of a value so far out.
        before: Spectra that it was compared with.
    """

    path: str
    time: float
    parameter: str
    median: float
    low: float
    high: float
    chance: float
    before: int

    def __str__(self) -> str:
        return (
            f"{self.parameter} = {self.median:.4g}, where {self.low:.4g} .. {self.high:.4g} (90 %) was foretold from "
            f"{self.before} spectra; chance {self.chance:.1g}"
        )


def alarms_of(table: CatalogueTable, priors: Mapping[str, Marginal], rate: float = RATE) -> list[Alarm]:
    """All alarms of a catalogue of one source, in the order of time.

    Args:
        table: The catalogue's; rows without a time stand in their order, behind the others.
        priors: Of the parameters, which say the scale.
        rate: Of false alarms, by spectrum.
    """
    names = [name for name in table.parameters if name in priors]
    when, paths = table.number("mjd"), table.text("path")
    good = np.array([word in ANSWERED for word in table.text("computation")], dtype=bool)
    values = {name: _places(table, name, priors[name]) for name in names}
    order = [int(i) for i in np.argsort(when, kind="stable") if good[i]]
    found, begun = list[Alarm](), 0
    for at, row in enumerate(order):
        before = order[max(begun, at - WINDOW) : at]
        if len(before) < LEAST:
            continue
        own = []
        for name in names:
            middle, error = values[name]
            forecast = Forecast.of(middle[before], error[before], error[row])
            if forecast is None or not np.isfinite(middle[row]):
                continue
            chance = forecast.chance(middle[row])
            if chance < rate / len(names):
                places = (middle[row], forecast.quantile(0.05), forecast.quantile(0.95))
                value, lo, hi = (float(10.0**x if priors[name].scale == "log" else x) for x in places)
                own.append(Alarm(paths[row], float(when[row]), name, value, lo, hi, chance, len(before)))
        if own:
            found += sorted(own, key=lambda one: one.chance)
            begun = at
    return found


@dataclass(frozen=True, eq=False)
class Forecast:
    """What is foretold for a new spectrum: a mixture of normals, one for each tau.

    Attributes:
        part: (tau,) of the whole.
        mean, width: (tau,) of each.
    """

    part: Numbers
    mean: Numbers
    width: Numbers

    @classmethod
    def of(cls, middle: Numbers, error: Numbers, new_error: float) -> Forecast | None:
        """From those before it.

        Args:
            middle, error: (spectrum,) of those; what is not finite is left out.
            new_error: Of the new one.

        Returns:
            None where there are too few finite numbers, or the new one has no error.
        """
        good = np.isfinite(middle) & np.isfinite(error) & (error > 0)
        if good.sum() < LEAST or not new_error > 0:
            return None
        m, s = middle[good], error[good]
        spread = max(float(np.ptp(m)), float(s.min()))
        tau = np.geomspace(SMALLEST * float(s.min()), LARGEST * spread, NODES)
        weight = 1.0 / (tau[:, None] ** 2 + s**2)
        total = weight.sum(1)
        mean = (weight * m).sum(1) / total
        log = 0.5 * np.log(weight).sum(1) - 0.5 * np.log(total) - 0.5 * (weight * (m - mean[:, None]) ** 2).sum(1)
        part = np.exp(log - log.max()) * np.gradient(tau) / (tau + float(np.median(s)))
        return cls(part / part.sum(), mean, np.sqrt(tau**2 + new_error**2 + 1.0 / total))

    def chance(self, value: float) -> float:
        """Of a value so far out, on either side."""
        z = (value - self.mean) / self.width
        return min(1.0, 2.0 * min(float(self.part @ ndtr(z)), float(self.part @ ndtr(-z))))

    def quantile(self, level: float) -> float:
        """By halving."""
        lo, hi = float((self.mean - 40.0 * self.width).min()), float((self.mean + 40.0 * self.width).max())
        for _ in range(80):
            middle = 0.5 * (lo + hi)
            below = float(self.part @ ndtr((middle - self.mean) / self.width))
            lo, hi = (middle, hi) if below < level else (lo, middle)
        return 0.5 * (lo + hi)


def _places(table: CatalogueTable, name: str, marginal: Marginal) -> tuple[Numbers, Numbers]:
    """Medians and errors of a parameter, in log10 where its prior is logarithmic."""
    low, middle, high = (table.number(f"{name}_{end}") for end in ("lower68", "median", "upper68"))
    if marginal.scale == "log":
        with np.errstate(divide="ignore", invalid="ignore"):
            low, middle, high = np.log10(low), np.log10(middle), np.log10(high)
    return middle, 0.5 * (high - low)
