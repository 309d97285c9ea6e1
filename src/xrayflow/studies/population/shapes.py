"""What a parameter may be distributed like over sources: a normal, two normals, or two parameters that go together.

Each shape is cut to the box of the catalogue's prior, beyond which no source was looked for, and normalised there. Its
own parameters h have uniform priors, all proper, and are sampled in probit coordinates, where their prior is N(0, I):

    mean    uniform in the box            sd    uniform in 0 .. width of the box (Gelman 2006)
    share   uniform in 0 .. 1             rho   uniform in -1 .. 1

The means of two normals are in order: of two uniform numbers, the smaller and the larger.

Source: Gelman 2006, Bayesian Anal. 1, 515 (uniform priors of standard deviations).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.polynomial.legendre import leggauss
from numpy.typing import NDArray
from scipy.special import log_ndtr, ndtr, ndtri

from xrayflow.studies.population.draws import Axis

Numbers = NDArray[np.float64]

QUADRATURE, REACH = 64, 8.0
"""Gauss-Legendre nodes for the part of a correlated normal in its box, within so many standard deviations."""

NODE, NODE_WEIGHT = leggauss(QUADRATURE)

SPLITS = (0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9)
"""Parts of the sources that may belong to the lower of two normals, where their optimum is looked for."""

EDGE = 1e-6
"""Of a uniform prior, as far as a guess goes."""

SMALLEST = 1e-300
"""A standard deviation of zero is a spike, whose density has no number."""


@dataclass(frozen=True)
class Shape(ABC):
    """A distribution over sources.

    Attributes:
        axes: Of what.
    """

    axes: tuple[Axis, ...]

    @property
    @abstractmethod
    def names(self) -> tuple[str, ...]:
        """Of its own parameters."""

    @property
    @abstractmethod
    def units(self) -> tuple[str, ...]:
        """Of its own parameters."""

    @abstractmethod
    def from_probit(self, v: Numbers) -> Numbers:
        """Probit coordinates (..., parameter) -> its own parameters."""

    @abstractmethod
    def to_probit(self, h: Numbers) -> Numbers:
        """Its own parameters -> probit coordinates (..., parameter); finite for edges of the prior too."""

    @abstractmethod
    def guesses(self, medians: Numbers) -> Numbers:
        """(guess, parameter) its own parameters, about where an optimum may be.

        Args:
            medians: (source, axis) of the sources' posteriors.
        """

    @abstractmethod
    def log_density(self, h: Numbers, x: Numbers) -> Numbers:
        """(hyper, draw) natural log of the density per unit of x.

        Args:
            h: (hyper, parameter) its own parameters.
            x: (draw, axis).
        """

    @abstractmethod
    def inside(self, h: Numbers, edges: Numbers) -> Numbers:
        """(hyper, cell) the part of the distribution in cells of the first axis.

        Args:
            h: (hyper, parameter).
            edges: (edge,) rising, in the box.
        """


@dataclass(frozen=True)
class Normal(Shape):
    """One normal."""

    @property
    def names(self) -> tuple[str, ...]:
        return ("mean", "sd")

    @property
    def units(self) -> tuple[str, ...]:
        return (self.axes[0].unit,) * 2

    def from_probit(self, v: Numbers) -> Numbers:
        lo, hi = self.axes[0].box
        u = ndtr(v)
        return np.stack([lo + (hi - lo) * u[..., 0], (hi - lo) * u[..., 1]], axis=-1)

    def to_probit(self, h: Numbers) -> Numbers:
        lo, hi = self.axes[0].box
        return _probit(np.stack([(h[..., 0] - lo) / (hi - lo), h[..., 1] / (hi - lo)], axis=-1))

    def guesses(self, medians: Numbers) -> Numbers:
        return np.array([[medians.mean(), medians.std()]])

    def log_density(self, h: Numbers, x: Numbers) -> Numbers:
        return _log_normal(x[:, 0], h[:, 0], h[:, 1], self.axes[0].box)

    def inside(self, h: Numbers, edges: Numbers) -> Numbers:
        return _inside(h[:, 0], h[:, 1], edges, self.axes[0].box)


@dataclass(frozen=True)
class TwoNormals(Shape):
    """Two normals; the share is that of the upper one."""

    @property
    def names(self) -> tuple[str, ...]:
        return ("mean_1", "sd_1", "mean_2", "sd_2", "share_2")

    @property
    def units(self) -> tuple[str, ...]:
        return (*(self.axes[0].unit,) * 4, "")

    def from_probit(self, v: Numbers) -> Numbers:
        lo, hi = self.axes[0].box
        width, u = hi - lo, ndtr(v)
        lower = -np.expm1(0.5 * log_ndtr(-v[..., 0]))  # 1 - sqrt(1 - u)
        upper = lower + (1.0 - lower) * u[..., 2]
        columns = (lo + width * lower, width * u[..., 1], lo + width * upper, width * u[..., 3], u[..., 4])
        return np.stack(columns, axis=-1)

    def to_probit(self, h: Numbers) -> Numbers:
        lo, hi = self.axes[0].box
        lower, upper = (h[..., 0] - lo) / (hi - lo), (h[..., 2] - lo) / (hi - lo)
        places = (1.0 - (1.0 - lower) ** 2, h[..., 1] / (hi - lo), (upper - lower) / (1.0 - lower))
        return _probit(np.stack([*places, h[..., 3] / (hi - lo), h[..., 4]], axis=-1))

    def guesses(self, medians: Numbers) -> Numbers:
        """Sources below a split and above it; and a narrow core with wings, on either order of the two."""
        x = np.sort(medians[:, 0])
        parts = [np.split(x, [max(1, min(x.size - 1, round(split * x.size)))]) for split in SPLITS]
        found = [[low.mean(), low.std(), high.mean(), high.std(), high.size / x.size] for low, high in parts]
        mean, sd = x.mean(), x.std()
        wings = [[mean, 0.5 * sd, mean, 2.0 * sd, 0.3], [mean, 2.0 * sd, mean, 0.5 * sd, 0.7]]
        return np.array([*found, *wings])

    def log_density(self, h: Numbers, x: Numbers) -> Numbers:
        box = self.axes[0].box
        with np.errstate(divide="ignore"):
            first = np.log1p(-h[:, 4, None]) + _log_normal(x[:, 0], h[:, 0], h[:, 1], box)
            second = np.log(h[:, 4, None]) + _log_normal(x[:, 0], h[:, 2], h[:, 3], box)
        return np.asarray(np.logaddexp(first, second))

    def inside(self, h: Numbers, edges: Numbers) -> Numbers:
        box, share = self.axes[0].box, h[:, 4, None]
        first, second = (_inside(h[:, i], h[:, i + 1], edges, box) for i in (0, 2))
        return (1.0 - share) * first + share * second


@dataclass(frozen=True)
class Correlated(Shape):
    """Two parameters that are normal together."""

    @property
    def names(self) -> tuple[str, ...]:
        return ("mean_1", "sd_1", "mean_2", "sd_2", "rho")

    @property
    def units(self) -> tuple[str, ...]:
        first, second = (axis.unit for axis in self.axes)
        return (first, first, second, second, "")

    def from_probit(self, v: Numbers) -> Numbers:
        u = ndtr(v)
        columns = []
        for number, axis in enumerate(self.axes):
            lo, hi = axis.box
            columns += [lo + (hi - lo) * u[..., 2 * number], (hi - lo) * u[..., 2 * number + 1]]
        return np.stack([*columns, 2.0 * u[..., 4] - 1.0], axis=-1)

    def to_probit(self, h: Numbers) -> Numbers:
        columns = []
        for number, axis in enumerate(self.axes):
            lo, hi = axis.box
            columns += [(h[..., 2 * number] - lo) / (hi - lo), h[..., 2 * number + 1] / (hi - lo)]
        return _probit(np.stack([*columns, 0.5 * (h[..., 4] + 1.0)], axis=-1))

    def guesses(self, medians: Numbers) -> Numbers:
        first, second = medians.T
        sd = first.std(), second.std()
        rho = np.mean((first - first.mean()) * (second - second.mean())) / (sd[0] * sd[1]) if min(sd) > 0 else 0.0
        return np.array([[first.mean(), sd[0], second.mean(), sd[1], rho]])

    def log_density(self, h: Numbers, x: Numbers) -> Numbers:
        mean, sd, rest = h[:, (0, 2)], np.maximum(h[:, (1, 3)], SMALLEST), _rest(h[:, 4])
        log_volume = np.log(2.0 * math.pi) + np.log(sd).sum(-1) + 0.5 * np.log(rest) + np.log(self._whole(h))
        with np.errstate(over="ignore", invalid="ignore"):
            first, second = ((x[:, i] - mean[:, i, None]) / sd[:, i, None] for i in (0, 1))
            # the first less what the second says of it, then both squared, each in place
            first -= h[:, 4, None] * second
            first *= first
            first *= (-0.5 / rest)[:, None]
            second *= second
            second *= 0.5
            first -= second
            first -= log_volume[:, None]
        return np.asarray(first)

    def inside(self, h: Numbers, edges: Numbers) -> Numbers:
        middle = np.broadcast_to(0.5 * (edges[1:] + edges[:-1]), (h.shape[0], edges.size - 1))
        first = _parts(h[:, 0], h[:, 1], edges)
        return first * self._second(h, middle) / self._whole(h)[:, None]

    def _whole(self, h: Numbers) -> Numbers:
        """(hyper,) the part of the uncut distribution in the box."""
        lo, hi = self.axes[0].box
        mean, sd = h[:, 0, None], np.maximum(h[:, 1, None], SMALLEST)
        left, right = np.maximum(lo, mean - REACH * sd), np.minimum(hi, mean + REACH * sd)
        place = left + 0.5 * (right - left) * (1.0 + NODE)
        z = (place - mean) / sd
        density = np.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)
        whole = (NODE_WEIGHT * 0.5 * (right - left) / sd * density * self._second(h, place)).sum(-1)
        return np.asarray(np.maximum(whole, SMALLEST))

    def _second(self, h: Numbers, place: Numbers) -> Numbers:
        """(hyper, place) the part of the second axis in the box, at places of the first."""
        lo, hi = self.axes[1].box
        z = (place - h[:, 0, None]) / np.maximum(h[:, 1, None], SMALLEST)
        middle = h[:, 2, None] + h[:, 4, None] * h[:, 3, None] * z
        narrow = np.maximum(h[:, 3, None] * np.sqrt(_rest(h[:, 4, None])), SMALLEST)
        with np.errstate(over="ignore"):
            return np.asarray(ndtr((hi - middle) / narrow) - ndtr((lo - middle) / narrow))


def shape_named(name: str, axes: Sequence[Axis]) -> Shape:
    """A shape by its name on the command line; two axes go together."""
    if len(axes) == 2:
        return Correlated(tuple(axes))
    return {"normal": Normal, "two-normals": TwoNormals}[name](tuple(axes))


def _probit(place: Numbers) -> Numbers:
    """Places in 0 .. 1 -> probit coordinates."""
    return np.asarray(ndtri(np.clip(place, EDGE, 1.0 - EDGE)))


def _rest(rho: Numbers) -> Numbers:
    return np.maximum(1.0 - rho * rho, SMALLEST)


def _log_normal(x: Numbers, mean: Numbers, sd: Numbers, box: tuple[float, float]) -> Numbers:
    """(hyper, draw) of a normal cut to a box that holds its mean."""
    sd = np.maximum(sd, SMALLEST)
    with np.errstate(over="ignore"):
        inside = ndtr((box[1] - mean) / sd) - ndtr((box[0] - mean) / sd)
        z: Numbers = (x - mean[:, None]) / sd[:, None]
        z *= z
    z *= -0.5
    z -= (np.log(sd * inside) + 0.5 * math.log(2.0 * math.pi))[:, None]
    return z


def _inside(mean: Numbers, sd: Numbers, edges: Numbers, box: tuple[float, float]) -> Numbers:
    """(hyper, cell) of a normal cut to a box that holds its mean."""
    return np.asarray(_parts(mean, sd, edges) / _parts(mean, sd, np.array(box)))


def _parts(mean: Numbers, sd: Numbers, edges: Numbers) -> Numbers:
    """(hyper, cell) of a normal; each cell from its nearer tail, or the farther one would have no digits."""
    with np.errstate(over="ignore"):
        z = (edges - mean[:, None]) / np.maximum(sd, SMALLEST)[:, None]
    tail = ndtr(-np.abs(z))
    apart = np.abs(tail[:, 1:] - tail[:, :-1])
    return np.asarray(np.where((z[:, :-1] < 0) & (z[:, 1:] > 0), 1.0 - tail[:, 1:] - tail[:, :-1], apart))
