"""Draws of networks for the spectra of a library, each folded through its own response, batch by batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xrayflow.errors import DataError, XrayflowError
from xrayflow.files import package_versions, sha256_of
from xrayflow.networks import Network, NetworkInput, load_network, open_tensors, read_json
from xrayflow.networks.training import LARGEST_LIBRARY, VALIDATION_SHARE, held_apart, read_library
from xrayflow.ogip import Observation
from xrayflow.setup import FitSetup
from xrayflow.studies.catalogue import COMPUTE
from xrayflow.studies.running import Looked, Outcome, read_looked
from xrayflow.studies.validation.network_draws import base_noise, counting, draws_from, held_in
from xrayflow.studies.validation.refold import with_statistics


@dataclass(frozen=True)
class Chosen:
    """Which spectra of a library are evaluated, how, and by which networks.

    Attributes:
        library: What `xrayflow targets` wrote.
        networks: Their files.
        spectra: How many at most, chosen by the seed.
        every: Take spectra too that networks have learned from.
        draws: Of each spectrum.
        energies: (lo, hi) keV of each band.
        grouping: What `infer` takes.
        seed: Decides everything that is random.
    """

    library: Path
    networks: tuple[str, ...]
    spectra: int | None
    every: bool
    draws: int
    energies: tuple[tuple[float, float], ...]
    grouping: str
    seed: int


@dataclass(frozen=True, eq=False)
class Workroom:
    """What every batch needs, made once in a process.

    Attributes:
        networks: Those of the files.
        setup: How a spectrum is folded.
        inputs: The chosen spectra in the networks' bins.
        targets: (source, parameter) theirs, in the parameters' units.
        group: (source,) what each belongs to.
        files: [name, sha256] of each: of the file that its target was fitted to.
        base: (source, draw, parameter) normal numbers that become draws.
    """

    networks: list[Network]
    setup: FitSetup
    inputs: NetworkInput
    targets: Tensor
    group: Tensor
    files: list[list[str]]
    base: Tensor


@dataclass(frozen=True)
class Drawing:
    """Draws from networks, and folds the target and one draw of each.

    Attributes:
        chosen: What of.
        rmf: Of all spectra, instead of what their headers name.
    """

    chosen: Chosen
    rmf: str | None

    @property
    def room(self) -> Workroom:
        """What every batch needs."""
        return _workroom(self.chosen, sha256_of(self.chosen.library))

    def words(self) -> dict[str, Any]:
        """All that decides the numbers."""
        names = [network.name for network in self.room.networks]
        hashes = {name: sha256_of(file) for name, file in zip(names, self.chosen.networks, strict=True)}
        chosen = {name: getattr(self.chosen, name) for name in ("spectra", "every", "draws", "grouping", "seed")}
        return {
            **chosen,
            "energies": [list(pair) for pair in self.chosen.energies],
            "sha256 of library": sha256_of(self.chosen.library),
            "sha256 of network": hashes,
            "rmf": self.rmf,
            "version of": package_versions(*COMPUTE),
        }

    def read(self, sources: Sequence[Looked]) -> tuple[list[str], list[Observation | XrayflowError]]:
        """Names and spectra; in the place of one that is gone, or another one now, the error."""
        return [one.source.pha.name for one in sources], read_looked(self.rmf, sources)

    def work(self, read: tuple[list[str], list[Observation | XrayflowError]]) -> list[Outcome]:
        """Draws of each network, as bytes, and the statistic of the target and of one draw of each."""
        room, (names, spectra) = self.room, read
        row_of = {tuple(file): row for row, file in enumerate(room.files)}
        found: list[Outcome] = [Outcome(error=str(one)) for one in spectra]
        rows: dict[int, int] = {}
        for place, (name, one) in enumerate(zip(names, spectra, strict=True)):
            if isinstance(one, Observation):
                row = row_of.get((name, one.pha.sha256))
                if row is None:
                    what = f"{one.pha.path}: is not the file that the target was fitted to; run xrayflow targets again"
                    found[place] = Outcome(error=what)
                else:
                    rows[place] = row
        if not rows:
            return found
        chosen = torch.tensor(list(rows.values()))
        inputs, base, prior = room.inputs.select(chosen), room.base[chosen], room.networks[0].training_prior.prior
        drawn = torch.stack([draws_from(network, inputs, base) for network in room.networks], dim=1)
        singles = torch.stack([held_in(prior, counting(prior, drawn[:, i])[1]) for i in range(drawn.shape[1])], dim=1)
        theta = torch.cat([room.targets[chosen][:, None], singles], dim=1)
        for place, own in zip(rows, drawn, strict=True):
            found[place] = Outcome(extra=np.ascontiguousarray(own.numpy(), dtype=np.float64).tobytes())
        return with_statistics(found, spectra, dict(zip(rows, theta, strict=True)), room.setup)


@lru_cache(maxsize=1)
def _workroom(chosen: Chosen, sha256: str) -> Workroom:
    """Made anew where the library has other bytes."""
    networks = [load_network(file) for file in chosen.networks]
    first = networks[0]
    inputs, targets, group = read_library(chosen.library, first, first.core.coordinates)
    rows = _rows_of(chosen, group)
    with open_tensors(chosen.library, LARGEST_LIBRARY) as file:
        listed = read_json(chosen.library, file.metadata()).get("spectra")
    if not isinstance(listed, list):
        raise DataError(
            f"{chosen.library}: does not say of which files it was made; give a library of xrayflow targets"
        )
    setup = FitSetup(
        model=first.model,
        prior=first.training_prior.prior,
        energies=chosen.energies,
        grouping=chosen.grouping,
        systematic=0.0,
    )
    files = [listed[row] for row in rows.tolist()]
    base = base_noise(len(rows), chosen.draws, len(first.model.names), chosen.seed)
    return Workroom(networks, setup, inputs.select(rows), targets[rows], group[rows], files, base)


def _rows_of(chosen: Chosen, group: Tensor) -> Tensor:
    """Rows of the library: what networks hold apart, in an order of the seed."""
    rows = torch.arange(group.numel())
    if not chosen.every:
        if torch.unique(group).numel() < 2:
            raise DataError(f"{chosen.library}: all spectra belong to one group, so none is held apart; take --every")
        rows = held_apart(group, int(VALIDATION_SHARE * group.numel()))[0]
    order = torch.randperm(rows.numel(), generator=torch.Generator().manual_seed(chosen.seed))
    return rows[order][: chosen.spectra]
