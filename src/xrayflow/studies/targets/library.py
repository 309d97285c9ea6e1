"""Targets: best fits of spectra, as a library that networks learn from, and as rows of a ledger on the way there."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors.torch import load, save
from torch import Tensor

from xrayflow.files import OTHER_OUT, SCHEMA_VERSION, package_versions, write_file
from xrayflow.fitting import BestFit
from xrayflow.networks import HEADER, NetworkInput
from xrayflow.simulate import MAKERS, Simulator

EDGES = {"": 0.0, "lower": -1.0, "upper": 1.0}
"""How a parameter at an edge of its box is written."""


@dataclass(frozen=True, eq=False)
class Target:
    """The best fit of one spectrum.

    Attributes:
        pha, sha256: Name of the file, and the hash of its bytes.
        group: What it belongs to.
        inputs: The spectrum in the network's bins, a batch of one.
        theta: (parameter,) in the parameters' units.
        error: (parameter,) as in `BestFit.errors`.
        edge: (parameter,) -1 at the lower edge of the box, 1 at the upper one, else 0.
        statistic, dof: XSPEC's value, or that of the posterior; bins less free parameters.
        name: The statistic's.
        converged: Whether the fit did.
    """

    pha: str
    sha256: str
    group: str
    inputs: NetworkInput
    theta: Float[Tensor, " parameter"]
    error: Float[Tensor, " parameter"]
    edge: Float[Tensor, " parameter"]
    statistic: float
    dof: int
    name: str
    converged: bool

    @classmethod
    def of(cls, fit: BestFit, inputs: NetworkInput, group: str) -> Target:
        """From a fit.

        Args:
            fit: That of one spectrum.
            inputs: The spectrum in the network's bins.
            group: What it belongs to.
        """
        data = fit.problem.data.observed()[0]
        return cls(
            data.pha.name,
            data.sha256["pha"],
            group,
            inputs,
            torch.from_numpy(fit.theta),
            torch.from_numpy(fit.errors),
            torch.tensor([EDGES[limit] for limit in fit.limits], dtype=torch.float64),
            float(fit.value),
            fit.dof,
            fit.problem.data.statistic_names[0],
            bool(fit.converged),
        )

    def to_row(self) -> tuple[dict[str, Any], bytes]:
        """The same as a record and tensors of a ledger."""
        tensors = {one.name: getattr(self.inputs, one.name) for one in fields(NetworkInput)}
        tensors |= {name: getattr(self, name) for name in VECTORS}
        kept = {name: tensor.contiguous() for name, tensor in tensors.items()}
        return {name: getattr(self, name) for name in PLAIN}, save(kept)

    @classmethod
    def from_row(cls, record: Mapping[str, Any], tensors: bytes) -> Target:
        """The target that `to_row` kept.

        Args:
            record, tensors: Of the ledger.
        """
        held = load(tensors)
        given: dict[str, Any] = {name: held[name] for name in VECTORS} | {name: record[name] for name in PLAIN}
        return cls(inputs=NetworkInput(**{one.name: held[one.name] for one in fields(NetworkInput)}), **given)


VECTORS = ("theta", "error", "edge")
PLAIN = ("pha", "sha256", "group", "statistic", "dof", "name", "converged")
"""Fields of a target that are tensors, but for the inputs; and those that are plain."""


@dataclass
class Targets:
    """What was fitted, one row per spectrum.

    Attributes:
        simulator: The network's: model, bins, response.
        asked: What was asked, of JSON's kinds: the same question gives the same targets.
        rows: Best fits.
        left_out: (file, reason) of the others.
    """

    simulator: Simulator
    asked: dict[str, Any]
    rows: list[Target] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)

    @property
    def theta(self) -> Float[Tensor, "source parameter"]:
        """Best fits, in the parameters' units."""
        return torch.stack([row.theta for row in self.rows])

    def summary(self) -> dict[str, Any]:
        """What a reader wants to know first."""
        reduced = torch.tensor([row.statistic / row.dof for row in self.rows if row.dof > 0], dtype=torch.float64)
        return {
            "spectra": len(self.rows),
            "groups": len({row.group for row in self.rows}),
            "left_out": [{"pha": path, "reason": reason} for path, reason in self.left_out],
            "at_limit": sum(bool(row.edge.any()) for row in self.rows),
            "not_converged": sum(not row.converged for row in self.rows),
            "reduced_statistic_10_50_90": reduced.quantile(reduced.new_tensor([0.1, 0.5, 0.9])).tolist()
            if reduced.numel()
            else [math.nan] * 3,
        }


def write_targets(out: Path, targets: Targets) -> Path:
    """The targets as a library of spectra.

    Tensors: those of `write_library`, and `theta_error`, `edge` (source, parameter), `statistic`, `dof`, `converged`
    (source,), `group` (source,), a number into the header's `groups`.

    Args:
        out: The file; an existing one is replaced when the new one is complete.
        targets: What was fitted, at least one.

    Raises:
        FileError: The file cannot be written.
    """
    rows = targets.rows
    names = sorted({row.group for row in rows})
    place = {name: number for number, name in enumerate(names)}
    inputs = NetworkInput.stack([row.inputs for row in rows])
    tensors = {
        "theta": targets.theta,
        "theta_error": torch.stack([row.error for row in rows]),
        "edge": torch.stack([row.edge for row in rows]),
        "statistic": torch.tensor([row.statistic for row in rows], dtype=torch.float64),
        "dof": torch.tensor([row.dof for row in rows], dtype=torch.float64),
        "converged": torch.tensor([row.converged for row in rows], dtype=torch.float64),
        "group": torch.tensor([place[row.group] for row in rows]),
        "counts": inputs.counts,
        "background": inputs.background.float(),
        "noticed": inputs.noticed.float(),
        "exposure": inputs.exposure,
        "area": inputs.area,
        "systematic": inputs.systematic,
        "rate": (inputs.counts - inputs.background).sum(-1) / (inputs.exposure * inputs.area),
        "first_channel": torch.from_numpy(targets.simulator.first).double(),
        "last_channel": torch.from_numpy(targets.simulator.last).double(),
    }
    header: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        **targets.simulator.describe(),
        **targets.asked,
        "rows": len(rows),
        "noise": True,
        "statistics": sorted({row.name for row in rows}),
        "statistic_of": [row.name for row in rows],
        "groups": names,
        "spectra": [[row.pha, row.sha256] for row in rows],
        "left_out": [list(one) for one in targets.left_out],
        "versions": package_versions(*MAKERS),
    }
    kept = {name: tensor.contiguous() for name, tensor in tensors.items()}
    write_file(out, save(kept, metadata={HEADER: json.dumps(header)}), OTHER_OUT)
    return out
