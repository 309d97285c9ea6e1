"""What people ask of an answer beside its parameters: fluxes, luminosities, hardness, equivalent widths, disc radii.

All are values at the draws, so that their intervals know how the parameters go together. A distance or an inclination
with an error, `8(1) kpc`, is drawn beside them from a normal that is cut to what can be.

A disc's norm gives the radius of its inner edge, with D in units of 10 kpc and f the hardening of its colour:

    diskbb     norm = (R / km)^2 cos i / D^2,         R_in = f^2 R
    ezdiskbb   norm = (R_in / km)^2 cos i / (f^4 D^2)
    bbodyrad   norm = (R / km)^2 / D^2,               R_source = f^2 R

Source: XSPEC manual, "diskbb", "ezdiskbb", "bbodyrad", "lumin"; Kubota et al. 1998, PASJ 50, 667; Zimmerman et al.
2005, ApJ 618, 832.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xrayflow.errors import DataError, XrayflowWarning, misused
from xrayflow.inference import BandFlux, Derived, ModelDraws, Posterior, check_band, is_beyond
from xrayflow.models import Model

Band = tuple[float, float]

CENTIMETRES = {"pc": 3.0856775814913673e18, "kpc": 3.0856775814913673e21, "Mpc": 3.0856775814913673e24}
"""In one of each."""

HUBBLE, MATTER = 70.0, 0.27
"""Of a flat universe, XSPEC's `cosmo 70 0 0.73`."""

CUT = 0.01
"""Share of a measured number's normal below 0 from which that is said."""

FARTHEST = 20.0
"""Largest redshift."""

DISCS = {"diskbb": True, "ezdiskbb": True, "bbodyrad": False}
"""Components whose norm is a radius, and whether its projection matters."""

_NUMBER = r"(\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?)"
_MEASURED = re.compile(rf"^\s*{_NUMBER}\s*(?:\(\s*{_NUMBER}\s*\)|(?:\+-|\+/-)\s*{_NUMBER})?\s*([A-Za-z]*)\s*$")
_BAND = re.compile(rf"^\s*{_NUMBER}\s*-\s*{_NUMBER}\s*$")


@dataclass(frozen=True)
class Measured:
    """A number from elsewhere, with its error.

    >>> [str(Measured.parse(text, ("kpc", "pc"), "--distance")) for text in ("8", "8(1) kpc", "8.2(3)", "800+-50 pc")]
    ['8 kpc', '8 +- 1 kpc', '8.2 +- 0.3 kpc', '800 +- 50 pc']

    Attributes:
        value: The number.
        error: One standard deviation; 0 where it is exact.
        unit: As it was written.
    """

    value: float
    error: float
    unit: str

    @classmethod
    def parse(cls, text: str, units: Sequence[str], option: str) -> Measured:
        """A number as `8 kpc`, `8(1) kpc` or `8+-1 kpc`.

        Args:
            text: As typed.
            units: Those that may be; the first is taken where none is written.
            option: For error lines.

        Raises:
            DataError: The words cannot be read, or the number is not above 0.
        """
        match = _MEASURED.match(text)
        unit = "" if match is None else next((one for one in units if one.lower() == match[4].lower()), "")
        if match is not None and not match[4]:
            unit = units[0]
        if match is None or not unit:
            example = f"8(1) {units[0]}" if units[0] != "deg" else "60(5)"
            raise misused(
                DataError(f"{option} '{text}': write a number with its error, as {example}; units: {', '.join(units)}")
            )
        error = float(match[2] or match[3] or 0.0)
        if match[2] and "." not in match[2]:
            # 8.2(3) is 8.2 +- 0.3: the error counts in the last digit
            error *= 10.0 ** -len(match[1].partition(".")[2].lower().partition("e")[0])
        found = cls(float(match[1]), error, unit)
        if not (0.0 < found.value < np.inf and found.error < np.inf):
            raise misused(DataError(f"{option} '{text}': give a number above 0"))
        below = 0.5 * math.erfc(found.value / (found.error * math.sqrt(2.0))) if found.error > 0 else 0.0
        if below > CUT:
            warnings.warn(
                f"{option} '{text}': {100 * below:.0f} % of a normal with that error is not above 0, and is cut off",
                XrayflowWarning,
                stacklevel=2,
            )
        return found

    def drawn(self, size: int, generator: np.random.Generator, most: float = np.inf) -> NDArray[np.float64]:
        """(size,) values of the normal between 0 and a limit.

        Args:
            size: How many.
            generator: Source of randomness.
            most: The limit.
        """
        values = np.full(size, self.value)
        if self.error > 0.0:
            left = np.ones(size, dtype=np.bool_)
            while left.any():
                values[left] = generator.normal(self.value, self.error, int(left.sum()))
                left = (values <= 0.0) | (values >= most)
        return values

    def __str__(self) -> str:
        return f"{self.value:g} {self.unit}" if self.error == 0.0 else f"{self.value:g} +- {self.error:g} {self.unit}"


@dataclass(frozen=True)
class Asked:
    """What is asked of an answer.

    Attributes:
        bands: keV; in the source's frame where there is a redshift.
        unabsorbed: Fluxes without the model's absorbers too.
        components: Additive components whose own fluxes are wanted.
        distance: For luminosities and radii.
        redshift: For luminosities, instead of a distance.
        hardness: Pairs of bands (hard, soft) whose energy fluxes are divided.
        widths: Lines whose equivalent widths are wanted.
        radii: Components whose norm gives a radius.
        inclination: For those, in degrees.
        hardening: Colour correction f.
    """

    bands: tuple[Band, ...] = ()
    unabsorbed: bool = False
    components: tuple[str, ...] = ()
    distance: Measured | None = None
    redshift: float | None = None
    hardness: tuple[tuple[Band, Band], ...] = ()
    widths: tuple[str, ...] = ()
    radii: tuple[str, ...] = ()
    inclination: Measured | None = None
    hardening: float = 1.0

    def __post_init__(self) -> None:
        if self.distance is not None and self.redshift is not None:
            raise misused(DataError("--distance and --redshift: give one of them"))
        if self.redshift is not None and not 0.0 < self.redshift <= FARTHEST:
            raise misused(DataError(f"--redshift {self.redshift:g}: give a number above 0, at most {FARTHEST:g}"))
        if self.inclination is not None and not self.inclination.value < 90.0:
            raise misused(DataError(f"--inclination {self.inclination.value:g}: give degrees below 90"))
        if not 0.5 <= self.hardening <= 10.0:
            raise misused(DataError(f"--hardening {self.hardening:g}: give a colour correction, as 1.7"))
        if self.radii and self.distance is None:
            raise misused(DataError("--radius needs a --distance, as 8(1) kpc"))


@dataclass(frozen=True)
class Quantity:
    """One answer.

    Attributes:
        kind: flux, photon_flux, luminosity, hardness, equivalent_width or radius.
        derived: Its values.
        extrapolated: Whether it rests on energies beyond the data.
        details: What it is of: band, absorbed, component.
    """

    kind: str
    derived: Derived
    extrapolated: bool = False
    details: dict[str, Any] = field(default_factory=dict)

    def row(self) -> dict[str, Any]:
        """As plain numbers and words."""
        return {
            "name": self.derived.name,
            "kind": self.kind,
            **self.details,
            "extrapolated": self.extrapolated,
            **self.derived.row(),
        }


def quantities(posterior: Posterior, asked: Asked, seed: int = 0) -> list[Quantity]:
    """All that is asked of an answer.

    Args:
        posterior: The answer.
        asked: What is.
        seed: Of the draws of a distance and an inclination.

    Raises:
        DataError: A band, a component or a combination that cannot be.
        ModelError: A component that the model does not have.
    """
    draws = posterior.model_draws()
    generator, size = np.random.default_rng(seed), draws.weights.size
    distance = None if asked.distance is None else _distance(asked.distance, size, generator)
    found: list[Quantity] = []
    bands = [_observed(band, asked.redshift) for band in asked.bands]
    for component in (None, *asked.components):
        for unabsorbed in (False, True) if asked.unabsorbed else (False,):
            for band, flux in zip(
                asked.bands, draws.fluxes(bands, unabsorbed, component) if bands else (), strict=True
            ):
                found += _of_band(flux, band, posterior.data_band, distance, asked.redshift)
    for hard, soft in asked.hardness:
        above, below = draws.fluxes([hard, soft])
        name = f"flux ratio {_words(hard)} / {_words(soft)}"
        ratio = above.energy_flux.over(name, "", below.energy_flux)
        beyond = any(is_beyond(one, posterior.data_band) for one in (hard, soft))
        found.append(Quantity("hardness", ratio, beyond, {"hard": list(hard), "soft": list(soft)}))
    found += [
        Quantity("equivalent_width", draws.equivalent_width(name), details={"component": name}) for name in asked.widths
    ]
    if asked.radii and asked.distance is not None and distance is not None:
        cosine = _cosine(asked.inclination, size, generator)
        for name in asked.radii:
            found.append(_radius(posterior.model, draws, name, asked, distance, cosine))
    return found


def parse_band(text: str, option: str = "--band") -> Band:
    """A band as `2-10`.

    Args:
        text: As typed.
        option: For error lines.

    Raises:
        DataError: It cannot be read, or is no band.
    """
    match = _BAND.match(text)
    if match is None:
        raise misused(DataError(f"{option} '{text}': write a range in keV, as 2-10"))
    band = float(match[1]), float(match[2])
    check_band(band)
    return band


def parse_ratio(text: str, option: str = "--hardness") -> tuple[Band, Band]:
    """Two bands as `4-10/2-4`, the hard one first.

    Args:
        text: As typed.
        option: For error lines.

    Raises:
        DataError: They cannot be read.
    """
    hard, slash, soft = text.partition("/")
    if not slash:
        raise misused(DataError(f"{option} '{text}': write two ranges in keV, the hard one first, as 4-10/2-4"))
    return parse_band(hard, option), parse_band(soft, option)


def luminosity_distance(redshift: float) -> float:
    """Of a flat universe [cm].

    Args:
        redshift: Above 0.

    >>> round(luminosity_distance(0.1) / CENTIMETRES["Mpc"])
    461
    """
    from astropy.cosmology import FlatLambdaCDM

    found: float = FlatLambdaCDM(H0=HUBBLE, Om0=MATTER).luminosity_distance(redshift).to_value("cm")
    return float(found)


Values = tuple[NDArray[np.float64], float]
"""At each draw, and at the best point."""


def _observed(band: Band, redshift: float | None) -> Band:
    """Where a band of the source's frame is seen."""
    return band if redshift is None else (band[0] / (1.0 + redshift), band[1] / (1.0 + redshift))


def _of_band(
    flux: BandFlux, asked: Band, seen: Band, distance: Values | None, redshift: float | None
) -> list[Quantity]:
    """Flux, photon flux and luminosity of one band."""
    details: dict[str, Any] = {"band": list(flux.band), "absorbed": flux.absorbed, "component": flux.component}
    beyond = is_beyond(flux.band, seen)
    found = [
        Quantity("flux", flux.energy_flux, beyond, details),
        Quantity("photon_flux", flux.photon_flux, beyond, details),
    ]
    if redshift is not None:
        far = luminosity_distance(redshift)
        distance = np.full(flux.energy_flux.values.size, far), far
        details = details | {"rest_band": list(asked)}
    if distance is not None:
        area, at_best = (4.0 * np.pi * np.square(one) for one in distance)
        kind = "luminosity" if flux.absorbed else "unabsorbed luminosity"
        of = "" if flux.component is None else f" of {flux.component}"
        name = f"{kind}{of}, {_words(asked)}" + (" at rest" if redshift is not None else "")
        derived = flux.energy_flux.scaled(name, "erg/s", area, float(at_best))
        found.append(Quantity("luminosity", derived, beyond, details))
    return found


def _distance(distance: Measured, size: int, generator: np.random.Generator) -> Values:
    """In cm."""
    unit = CENTIMETRES[distance.unit]
    return distance.drawn(size, generator) * unit, distance.value * unit


def _cosine(inclination: Measured | None, size: int, generator: np.random.Generator) -> Values:
    """Of the inclination; 1 without one."""
    if inclination is None:
        return np.ones(size), 1.0
    degrees = inclination.drawn(size, generator, 90.0)
    return np.cos(np.radians(degrees)), float(np.cos(np.radians(inclination.value)))


def _radius(
    model: Model, draws: ModelDraws, asked_name: str, asked: Asked, distance: Values, cosine: Values
) -> Quantity:
    """From the norm of one component [km]."""
    place, kind = _norm(model, asked_name)
    name = model.parameters[place].component
    if DISCS[kind] and asked.inclination is None:
        raise DataError(f"{name}: the radius of a disc needs an --inclination, as 60(5)")
    norm = model.values(draws.theta)[:, place].numpy(), float(model.values(draws.best)[place])
    projected = cosine if DISCS[kind] else (np.ones_like(norm[0]), 1.0)
    unit = 10.0 * CENTIMETRES["kpc"] / asked.hardening**2
    values = np.sqrt(norm[0] / projected[0]) * distance[0] / unit
    best = float(np.sqrt(norm[1] / projected[1])) * distance[1] / unit
    words = "inner radius" if DISCS[kind] else "radius"
    derived = Derived(f"{words} of {name} (f = {asked.hardening:g})", "km", best, values, draws.weights)
    return Quantity("radius", derived, details={"component": name})


def _norm(model: Model, name: str) -> tuple[int, str]:
    """Where the norm of a component stands, and its kind."""
    known = {}
    for place, parameter in enumerate(model.parameters):
        kind = re.sub(r"_\d+$", "", parameter.component)
        if parameter.is_norm and kind in DISCS:
            known[parameter.component] = place, kind
    for component, found in known.items():
        if component.lower() == name.strip().lower():
            return found
    has = f"the model has {', '.join(known)}" if known else f"those are {', '.join(DISCS)}"
    raise DataError(f"{model.text} has no component '{name.strip()}' whose norm is a radius; {has}")


def _words(band: Band) -> str:
    return f"{band[0]:g}-{band[1]:g} keV"
