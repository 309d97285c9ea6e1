r"""Sets of calibration modes: what is believed of a detector's errors before a spectrum is seen.

The counts of a source in PI channel c are those of the response times exp(A sum_k z_k psi_ck), z_k ~ N(0, 1): a set
holds phi_k(E), which a response turns into psi_ck (`channels.py`), and how far the energy scale may be off.

A set is a safetensors file: `energy` (energy,) keV and `phi` (mode, energy), and a JSON header with the names of the
modes, the gain's standard deviations, nominal amplitudes and where the numbers come from. Two are shipped:

* `nicer-v1`: smooth errors of 1 % over 0.3 in ln E and of 0.5 % over 0.05 (twice that at the edges of the mirror's and
  the filters' atoms, three times below 0.6 keV), steps at those edges, the energy scale.
* `generic-v1`: the same smooth errors for any instrument; no edges, no energy scale.

Source: the calibration team's notes on residuals of NICER and of its energy scale; amplitudes of single modes are a
choice that the evidence of bright spectra supports (docs/guides/bright-spectra.md).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load

from xrayflow.errors import DataError, FileError, nearest

HEADER = "xrayflow_calibration"
"""The key of our header among a file's metadata."""

FORMAT_VERSION = 1
LARGEST_FILE = 64 * 1024 * 1024
MOST_MODES, MOST_ENERGIES = 1000, 20_000
MOST_NOMINAL = 10.0
MOST_AMPLITUDE = 0.5
"""Of phi: a mode that is off by half is no small error any more."""

SUFFIX = ".safetensors"


@dataclass(frozen=True, eq=False)
class ModeSet:
    """What is believed of one detector's errors.

    Attributes:
        name: As `--systematic modes:NAME` has it.
        energy: (energy,) increasing, keV.
        phi: (mode, energy) relative errors of the source's counts, one standard deviation each.
        names: (mode,)
        gain_offset: Standard deviation of the energy scale's offset [keV]; 0 where the set has none.
        gain_slope: Of its slope, a fraction.
        nominal: Amplitude A that the set is believed at, by year of the response from which it holds.
        source: Where the numbers come from.
        sha256: Of the file.
    """

    name: str
    energy: NDArray[np.float64] = field(repr=False)
    phi: NDArray[np.float64] = field(repr=False)
    names: tuple[str, ...] = field(repr=False)
    gain_offset: float
    gain_slope: float
    nominal: Mapping[int, float]
    source: str = field(repr=False)
    sha256: str = field(repr=False)

    @property
    def has_gain(self) -> bool:
        """Whether the energy scale is in doubt."""
        return self.gain_offset > 0.0 or self.gain_slope > 0.0

    def nominal_of(self, year: int | None) -> float:
        """Amplitude of a response made in a year.

        Args:
            year: None where nobody knows: the oldest.
        """
        known = sorted(self.nominal)
        held = [one for one in known if year is not None and one <= year] or known[:1]
        return self.nominal[held[-1]]

    def drawn_scale(self, amplitude: float, generator: torch.Generator) -> tuple[float, float]:
        """Offset [keV] and slope by which the channels of another detector of the same kind read too high.

        Args:
            amplitude: A.
            generator: Source of randomness.
        """
        offset, slope = torch.randn(2, generator=generator, dtype=torch.float64).tolist()
        return amplitude * self.gain_offset * offset, amplitude * self.gain_slope * slope

    def at(self, energy: NDArray[np.float64]) -> NDArray[np.float64]:
        """(mode, energy) phi at other energies; beyond the ends of the set, as at its ends.

        Args:
            energy: keV.
        """
        at = np.clip(np.searchsorted(self.energy, energy) - 1, 0, self.energy.size - 2)
        lo, hi = self.energy[at], self.energy[at + 1]
        part = np.clip((energy - lo) / (hi - lo), 0.0, 1.0)
        return np.asarray(self.phi[:, at] * (1.0 - part) + self.phi[:, at + 1] * part)


def shipped_mode_sets() -> dict[str, Path]:
    """Name -> file of the sets that come with xrayflow."""
    folder = Path(str(resources.files("xrayflow.data"))) / "calibration"
    return {path.name.removesuffix(SUFFIX): path for path in sorted(folder.glob(f"*{SUFFIX}"))}


def find_mode_set(name: str) -> ModeSet:
    """A set by the name of a shipped one, or from a file.

    Args:
        name: `nicer-v1`, or a path; with a `/` or the suffix `.safetensors` it is a path.

    Raises:
        DataError: There is no such set.
        FileError: Its file is missing or broken.
    """
    if "/" in name or name.endswith(SUFFIX):
        return read_mode_set(Path(name))
    shipped = shipped_mode_sets()
    if name not in shipped:
        raise DataError(f"--systematic modes:{name}: no such set of modes{nearest(name, tuple(shipped))}")
    return _shipped(name)


@cache
def _shipped(name: str) -> ModeSet:
    return read_mode_set(shipped_mode_sets()[name])


def read_mode_set(path: Path) -> ModeSet:
    """Read a set.

    Args:
        path: A safetensors file of `write_mode_set`.

    Raises:
        FileError: It is missing, no such file, or holds what no set can be.
    """
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise FileError(f"{path}: {path.stat().st_size} bytes; a set of modes has at most {LARGEST_FILE}")
        content = path.read_bytes()
    except OSError as error:
        raise FileError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        header = _header(content)
        arrays = {name: _checked(one) for name, one in load(content).items()}
        found = ModeSet(
            name=path.name.removesuffix(SUFFIX),
            energy=arrays["energy"],
            phi=arrays["phi"],
            names=tuple(str(one) for one in header["names"]),
            gain_offset=float(header["gain_offset_keV"]),
            gain_slope=float(header["gain_slope"]),
            nominal={int(year): float(value) for year, value in header["nominal"].items()},
            source=str(header["source"]),
            sha256=hashlib.sha256(content).hexdigest(),
        )
    except (SafetensorError, KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise FileError(f"{path}: not a set of calibration modes ({error})") from None
    if problem := _wrong(found):
        raise FileError(f"{path}: not a set of calibration modes: {problem}")
    return found


def _header(content: bytes) -> dict[str, Any]:
    """Our JSON in the metadata of a safetensors file, which begins with the length of its own."""
    length = int.from_bytes(content[:8], "little")
    try:
        found = json.loads(json.loads(content[8 : 8 + length])["__metadata__"][HEADER])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ValueError("its header holds none") from None
    if not isinstance(found, dict) or found.get("format_version") != FORMAT_VERSION:
        raise ValueError(f"its header is not of version {FORMAT_VERSION}")
    return found


def _checked(array: NDArray[np.generic]) -> NDArray[np.float64]:
    if array.dtype != np.float32:
        raise ValueError(f"numbers of kind {array.dtype}, float32 is needed")
    return array.astype(np.float64)


def _wrong(found: ModeSet) -> str:
    """What no set can be; "" where all is well."""
    energy, phi = found.energy, found.phi
    if energy.ndim != 1 or not 2 <= energy.size <= MOST_ENERGIES or not (np.diff(energy) > 0).all() or energy[0] <= 0:
        return "its energies do not increase from above 0"
    if phi.ndim != 2 or phi.shape != (len(found.names), energy.size) or not 1 <= phi.shape[0] <= MOST_MODES:
        return f"modes of shape {phi.shape} with {len(found.names)} names and {energy.size} energies"
    if not np.isfinite(phi).all() or np.abs(phi).max() > MOST_AMPLITUDE:
        return f"modes that are not finite or above {MOST_AMPLITUDE:g}"
    spread = (found.gain_offset, found.gain_slope)
    if not all(math.isfinite(one) and 0.0 <= one <= 1.0 for one in spread):
        return "a gain below 0 or above 1"
    if not found.nominal or not all(0.0 < one <= MOST_NOMINAL for one in found.nominal.values()):
        return f"no amplitude above 0, up to {MOST_NOMINAL:g}"
    return ""
