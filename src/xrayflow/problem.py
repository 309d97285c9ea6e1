"""The problem: prior, model and data of a batch of sources as one object. Everything below sees only this.

theta carries the free parameters in the prior's order, with the axes (source, draw, parameter): each source has draws
of its own. The work is cut into pieces that stay in the processor's cache.

Photons are computed and folded in float64 unless a problem is made with `dtype=torch.float32`; theta, expected counts
and everything after them are float64 in either case. float32 serves where many spectra are wanted (training, first
searches). Expected counts are within 1e-5 then. Its Jacobian follows the same precision, with steps that float32
can resolve, and is good to 1e-3 of the largest slope: enough to search by. What is certified takes float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from xrayflow.errors import ModelError
from xrayflow.folding import Fold, Grid
from xrayflow.models import Model, PhotonFlux, flux_and_jacobian
from xrayflow.ogip import Spectrum
from xrayflow.prior import Prior
from xrayflow.statistics import Choice, Noise, noise_of

Theta = Float[Tensor, "source draw parameter"]

PIECE = 400_000
"""Elements (rows x energies) of one piece of work: 3 MB in float64."""


@dataclass(frozen=True)
class Problem:
    """Expected counts and likelihood of a batch of sources under one model.

    Attributes:
        model: The spectral model.
        prior: Of its free parameters.
        spectra: One per source.
        noise: What the counts scatter by.
        fold: Photons -> expected counts.
        photon_flux: The model on the fold's grid.
    """

    model: Model
    prior: Prior
    spectra: tuple[Spectrum, ...]
    noise: Noise
    fold: Fold
    photon_flux: PhotonFlux

    @classmethod
    def of(
        cls,
        model: Model,
        prior: Prior,
        spectra: Sequence[Spectrum],
        noise: Noise,
        grid: Grid | None = None,
        dtype: torch.dtype = torch.float64,
    ) -> Problem:
        """Bring model and data together.

        Args:
            model: The spectral model.
            prior: Of its free parameters.
            spectra: Noticed bins, all with one RMF.
            noise: `statistics.noise_of` the same spectra.
            grid: Photon energies; default `Grid.of_response`, wide where the model convolves.
            dtype: Precision of photons and folding.

        Raises:
            ModelError: Nothing is free.
        """
        if not model.free:
            raise ModelError(f"{model.text}: every parameter is frozen; leave at least one free")
        if grid is None:
            grid = Grid.of_response(spectra[0].observation.rmf.energy_edges, wide=model.has_convolution)
        fold = Fold.of(spectra, grid, dtype=dtype)
        return cls(model, prior, tuple(spectra), noise, fold, model.on(torch.from_numpy(grid.energy_edges), dtype))

    @property
    def sources(self) -> int:
        """How many sources the batch holds."""
        return len(self.spectra)

    def expected(self, theta: Theta) -> Float[Tensor, "source draw bin"]:
        """Expected source counts (without background) per bin."""
        return torch.cat([self._expected(part) for part in self._pieces(theta)], dim=1)

    def log_likelihood(self, theta: Theta) -> Float[Tensor, "source draw"]:
        """ln p(counts | theta), normalised."""
        return torch.cat([self.noise.log_likelihood(self._expected(part)) for part in self._pieces(theta)], dim=1)

    def jacobian(
        self, theta: Theta
    ) -> tuple[Float[Tensor, "source draw bin"], Float[Tensor, "source draw bin parameter"]]:
        """Expected counts and d expected / d theta, the latter to 1e-3 of its largest where the fold is float32."""
        values, jacobians = [], []
        for part in self._pieces(theta, copies=theta.shape[-1] + 1):
            photons, slopes = flux_and_jacobian(self.photon_flux, self.fold.cast(part))
            # one product for all: (source, (1 + parameter) draw, energy)
            together = torch.cat([photons, *slopes], dim=1)
            folded = self.fold(together)
            folded = folded.reshape(folded.shape[0], slopes.shape[0] + 1, -1, folded.shape[-1])
            values.append(folded[:, 0])
            jacobians.append(folded[:, 1:].movedim(1, -1))
        return torch.cat(values, dim=1), torch.cat(jacobians, dim=1)

    def linearised(
        self, v: Theta
    ) -> tuple[Float[Tensor, "source draw bin"], Float[Tensor, "source draw bin parameter"]]:
        """Expected counts and their Jacobian in the prior's probit coordinates."""
        expected, jacobian = self.jacobian(self.prior.to_theta(v))
        return expected, jacobian * self.prior.slope(v)[:, :, None, :]

    def with_grid(self, grid: Grid) -> Problem:
        """The same problem on another photon-energy grid, in the same precision."""
        dtype = self.fold.dtype
        fold = Fold.of(self.spectra, grid, bins=self.fold.bins, dtype=dtype)
        return replace(self, fold=fold, photon_flux=self.model.on(torch.from_numpy(grid.energy_edges), dtype))

    def select(self, sources: Int[Tensor, " chosen"]) -> Problem:
        """The problem of some of the sources."""
        if sources.numel() == self.sources and bool((sources == torch.arange(self.sources)).all()):
            return self
        spectra = tuple(self.spectra[i] for i in sources.tolist())
        return replace(self, spectra=spectra, noise=self.noise.select(sources), fold=self.fold.select(sources))

    def as_shown(self, choice: Choice) -> Problem:
        """The problem of one source in the bins that were asked for: XSPEC's statistic and figures are of those.

        Args:
            choice: Its statistic.
        """
        shown = self.spectra[0].shown
        if shown is None:
            return self
        noise = noise_of([shown], [choice], float(self.noise.systematic[0, 0]))
        fold = Fold.of([shown], self.fold.grid, dtype=self.fold.dtype)
        return replace(self, spectra=(shown,), noise=noise, fold=fold)

    def _expected(self, theta: Theta) -> Float[Tensor, "source draw bin"]:
        return self.fold(self.photon_flux(self.fold.cast(theta)))

    def _pieces(self, theta: Theta, copies: int = 1) -> Sequence[Theta]:
        """Cut along the draws; at least one draw in a piece."""
        energies = self.fold.grid.energy_edges.size
        draws = max(PIECE // (energies * theta.shape[0] * copies), 1)
        return torch.split(theta, draws, dim=1)
