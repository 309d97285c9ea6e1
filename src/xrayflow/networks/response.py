"""What a network knows of the instrument that it was made for, enough to tell whether a spectrum is of that instrument.

Hashes tell which files a network was trained with. But every real observation has a response file of its own, so a
network recognises its instrument by what the response does: the counts in its bins from a few power laws. Those of an
observation may differ by one factor (the detectors that were on), which the network takes as an input.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from functools import lru_cache
from typing import Annotated, Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, ModelWrapValidatorHandler, TypeAdapter, model_validator
from pydantic.dataclasses import dataclass

from xrayflow.errors import MismatchError, NetworkError, in_words
from xrayflow.ogip import ARF, RMF
from xrayflow.simulate import Layout

INDICES = (0.0, 1.7, 3.0)
"""Photon indices of the power laws."""

ALIKE = 0.08
"""Median relative difference of a bin's counts, after the common factor, at which a response is another instrument's.
NICER's own observations differ by up to 0.02 (`benchmarks/network.py`)."""

MOST_BINS = 100_000

Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Row = Annotated[tuple[Number, ...], Field(max_length=MOST_BINS)]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Response:
    """The instrument of a network.

    Attributes:
        rmf_sha256, arf_sha256: Hashes of the files that it was trained with.
        probe: (power law, bin) counts/s of power laws of 1 photon/keV/cm^2/s at 1 keV.
        energies: (bin,) nominal lower and upper energies, keV.
    """

    rmf_sha256: str
    arf_sha256: str
    probe: Annotated[tuple[Row, ...], Field(min_length=len(INDICES), max_length=len(INDICES))]
    energies: Annotated[tuple[tuple[Number, Number], ...], Field(max_length=MOST_BINS)]

    @model_validator(mode="after")
    def _fits(self) -> Self:
        bins = len(self.energies)
        for row in self.probe:
            if len(row) != bins or not max(row, default=0.0) > 0:
                raise ValueError(f"a probe is not counts in the {bins} bins of its energies")
        return self

    @model_validator(mode="wrap")
    @classmethod
    def _in_words(cls, values: Any, read: ModelWrapValidatorHandler[Self]) -> Self:
        with in_words(NetworkError, lambda _: [one.name for one in fields(Response)], "response"):
            return read(values)

    @classmethod
    def of(cls, rmf: RMF, arf: ARF | None, layout: Layout) -> Response:
        """Of response files.

        Args:
            rmf: Redistribution matrix.
            arf: Effective area; None where the matrix includes it.
            layout: The bins.

        Raises:
            MismatchError: The layout is not that of the matrix.
        """
        probe = probe_response(rmf, arf, layout)
        first, last = layout.groups(rmf.channel, rmf.e_min, rmf.e_max)
        lo, hi = rmf.e_min[first - rmf.channel[0]], rmf.e_max[last - rmf.channel[0]]
        return cls(
            rmf.sha256,
            "" if arf is None else arf.sha256,
            tuple(tuple(row) for row in probe.tolist()),
            tuple(zip(lo.tolist(), hi.tolist(), strict=True)),
        )

    def area(self, rmf: RMF, arf: ARF | None, layout: Layout) -> float:
        """The effective area of an observation over the reference one.

        Args:
            rmf: The observation's.
            arf: The observation's.
            layout: The bins.

        Raises:
            MismatchError: The response is another instrument's.
        """
        own, other = np.array(self.probe), probe_response(rmf, arf, layout)
        seen = own > 1e-3 * own.max(axis=1, keepdims=True)
        ratio = other[seen] / own[seen]
        factor = float(np.median(ratio))
        if not factor > 0:
            raise MismatchError("the response has no area in the network's band")
        off = float(np.median(np.abs(ratio / factor - 1.0)))
        if off > ALIKE:
            raise MismatchError(f"the response differs from the network's by {off:.0%} in a typical bin")
        return factor

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a header in JSON."""
        found: dict[str, Any] = TypeAdapter(Response).dump_python(self, mode="json")
        return found

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], bins: int) -> Response:
        """The inverse of `to_dict`.

        Args:
            values: What `to_dict` gives.
            bins: How many the network has.

        Raises:
            NetworkError: Values that cannot be.
        """
        found = TypeAdapter(Response).validate_python(values)
        if len(found.energies) != bins:
            raise NetworkError(f"response: it has {len(found.energies)} bins, the network {bins}")
        return found


@lru_cache(maxsize=8)  # the spectra of an archive share a few responses
def probe_response(rmf: RMF, arf: ARF | None, layout: Layout) -> NDArray[np.float64]:
    """What a response makes of the power laws.

    Args:
        rmf: Redistribution matrix.
        arf: Effective area; None where the matrix includes it.
        layout: The bins.

    Returns:
        (power law, bin) counts/s.

    Raises:
        MismatchError: The layout is not that of the matrix.
    """
    edges = np.maximum(rmf.energy_edges, 1e-3)
    photons = []
    for index in INDICES:
        power = 1.0 - index
        photons.append(np.diff(edges**power) / power)
    area = 1.0 if arf is None else arf.area
    channels = rmf.seen(np.stack(photons) * area)
    first, last = layout.groups(rmf.channel, rmf.e_min, rmf.e_max)
    below = np.concatenate([np.zeros((len(INDICES), 1)), np.cumsum(channels, axis=1)], axis=1)
    lowest = int(rmf.channel[0])
    return np.asarray(below[:, last - lowest + 1] - below[:, first - lowest])
