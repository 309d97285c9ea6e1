"""Has a source changed? A parameter of a new spectrum against what the previous ones foretell.

The last `WINDOW` spectra before it gave medians m_j with errors s_j (of log10 of a parameter whose prior is
logarithmic). Their true values scatter by an unknown tau about an unknown mean. The prior of the mean is flat, that of
tau 1 / (tau + s0) with the median error s0; so for a new spectrum with error s

    p(m | before) = integral over tau of  p(tau | before)  N(m; mean(tau), tau^2 + s^2 + 1 / sum w_j),
    w_j = 1 / (tau^2 + s_j^2),        mean(tau) = sum w_j m_j / sum w_j.

Posteriors are skewed: of few counts, or cut by an edge of the prior. So an error is that towards the place x that a
median is compared with, |x - m_j| / z_j(x), where z is the normal deviate that has the share of the posterior beyond x.
Along the longer tail x = m + B (e^(g z) - 1) / g up to the 95 % quantile, and straight on from there: g is told by the
5, 50 and 95 % quantiles, B by the 68 % interval. (Exact for a lognormal up to there; beyond, between its tail and a
normal's.) Along the shorter tail the error is that of the 90 % interval. As errors depend on mean(tau), both are found
in turns. That of a normal is half of its 68 % interval, everywhere.

Where no scatter of their own is seen this compares errors with errors; where it is, with the scatter: far above the
errors it is Student's t of the values themselves, whose rate of false alarms is exact. The alarm is raised where the
chance of a value so far out, on either side, is below the rate that was asked for, by the number of parameters: so many
of all spectra of a source that does not change raise a false one, and fewer where errors dominate. After an alarm the
window begins anew: what follows is compared with the new state.

Source: Gelman et al. 2013, Bayesian Data Analysis, section 5.4 (normal hierarchical model); Hoaglin 1985, in Exploring
Data Tables, Trends, and Shapes (the g distribution); Barlow 2004, arXiv:physics/0406120 (errors that depend on the
place). Rates and power: benchmarks/change_alarm.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

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

TURNS = 4
"""Of means and the errors towards them."""

ENDS = ("lower90", "lower68", "median", "upper68", "upper90")
"""Quantiles of a posterior that are used."""

Z90 = float(ndtri(0.95))

STRAIGHT = 1e-6
"""Skewness below which a tail is a normal's."""

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
            posteriors = values[name]
            new, forecast = posteriors[row], Forecast.of(posteriors[before])
            if forecast is None or not _is_one(new):
                continue
            chance = forecast.chance(new)
            if chance < rate / len(names):
                places = (new[2], forecast.quantile(0.05, new), forecast.quantile(0.95, new))
                value, lo, hi = (float(10.0**x if priors[name].scale == "log" else x) for x in places)
                own.append(Alarm(paths[row], float(when[row]), name, value, lo, hi, chance, len(before)))
        if own:
            found += sorted(own, key=lambda one: one.chance)
            begun = at
    return found


@dataclass(frozen=True, eq=False)
class Forecast:
    """What is foretold for the true value of a new spectrum: a mixture of normals, one for each tau.

    Attributes:
        part: (tau,) of the whole.
        mean, width: (tau,) of each.
    """

    part: Numbers
    mean: Numbers
    width: Numbers

    @classmethod
    def of(cls, posteriors: Numbers) -> Forecast | None:
        """From those before it.

        Args:
            posteriors: (spectrum, quantile) as in `ENDS`; those that are not finite and in order are left out.

        Returns:
            None where there are too few.
        """
        known = posteriors[_is_one(posteriors)]
        if len(known) < LEAST:
            return None
        m, s = known[:, 2], _half(known)
        spread = max(float(np.ptp(m)), float(s.min()))
        tau = np.geomspace(SMALLEST * float(s.min()), LARGEST * spread, NODES)
        error = np.broadcast_to(s, (NODES, s.size))
        for _ in range(TURNS):
            weight = 1.0 / (tau[:, None] ** 2 + error**2)
            total = weight.sum(1)
            mean = (weight * m).sum(1) / total
            error = errors_towards(mean[:, None], known)
        log = 0.5 * np.log(weight).sum(1) - 0.5 * np.log(total) - 0.5 * (weight * (m - mean[:, None]) ** 2).sum(1)
        part = np.exp(log - log.max()) * np.gradient(tau) / (tau + float(np.median(s)))
        return cls(part / part.sum(), mean, np.sqrt(tau**2 + 1.0 / total))

    def chance(self, new: Numbers) -> float:
        """Of a median so far out, on either side.

        Args:
            new: (quantile,) of the new posterior, as in `ENDS`.
        """
        error = errors_towards(self.mean[:, None], new[None])[:, 0]
        z = (new[2] - self.mean) / np.hypot(self.width, error)
        return min(1.0, 2.0 * min(float(self.part @ ndtr(z)), float(self.part @ ndtr(-z))))

    def quantile(self, level: float, new: Numbers) -> float:
        """Of the median that is foretold for a spectrum with the error of the new one, by halving.

        Args:
            level: Of the quantile.
            new: (quantile,) of the new posterior, as in `ENDS`.
        """
        width = np.hypot(self.width, _half(new[None]))
        lo, hi = float((self.mean - 40.0 * width).min()), float((self.mean + 40.0 * width).max())
        for _ in range(80):
            middle = 0.5 * (lo + hi)
            below = float(self.part @ ndtr((middle - self.mean) / width))
            lo, hi = (middle, hi) if below < level else (lo, middle)
        return 0.5 * (lo + hi)


def errors_towards(place: Numbers, posteriors: Numbers) -> Numbers:
    """(..., spectrum) error of each median towards a place: its distance over the normal deviate of what lies beyond.

    Args:
        place: (..., 1) or (..., spectrum).
        posteriors: (spectrum, quantile) as in `ENDS`, in order.
    """
    m = posteriors[:, 2]
    up, down = (posteriors[:, 4] - m) / Z90, (m - posteriors[:, 0]) / Z90
    skewness = np.log(up / down) / Z90
    g = np.maximum(np.abs(skewness), STRAIGHT)
    scale = _half(posteriors) * g / np.sinh(g)
    last, slope = scale * np.expm1(g * Z90) / g, scale * np.exp(g * Z90)
    distance = np.abs(place - m)
    z = np.log1p(g * np.minimum(distance, last) / scale) / g + np.maximum(distance - last, 0.0) / slope
    longer = np.where(distance > STRAIGHT * scale, distance / np.where(z > 0, z, 1.0), scale)
    return np.where(skewness * (place - m) >= 0, longer, np.minimum(up, down))


def _half(posteriors: Numbers) -> Numbers:
    """(spectrum,) half of the 68 % interval."""
    return 0.5 * (posteriors[:, 3] - posteriors[:, 1])


def _is_one(posteriors: Numbers) -> NDArray[np.bool_]:
    """(...,) whether quantiles are finite and in order."""
    return np.asarray(np.isfinite(posteriors).all(-1) & (np.diff(posteriors, axis=-1) > 0).all(-1))


def _places(table: CatalogueTable, name: str, marginal: Marginal) -> Numbers:
    """(row, quantile) of a parameter's posteriors, in log10 where its prior is logarithmic."""
    found = np.stack([table.number(f"{name}_{end}") for end in ENDS], axis=-1)
    if marginal.scale == "log":
        with np.errstate(divide="ignore", invalid="ignore"):
            found = np.log10(found)
    return found
