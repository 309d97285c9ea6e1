"""A network's posteriors of a batch of spectra, in the coordinates that inference works in.

The answer's prior may differ from the one that the network was trained on (a narrower range, a normal). Draws go from
the network's coordinates to theta and from there to the answer's probit; their density takes the slopes of both maps.
Draws beyond the answer's box come to lie at its far end (|v| = 12), where the target is zero.

What encoders make of a spectrum depends, in float32, on the shape of a batch: every source is read by itself, so that
an answer does not depend on its company (`densities` does the same for the flows).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from xrayflow.errors import MismatchError
from xrayflow.models import Model
from xrayflow.networks.densities import AmortisedPosterior, LocalPosterior, draws_of, log_densities_of
from xrayflow.networks.inputs import ModeFeatures, NetworkInput
from xrayflow.networks.level import Level, Remembered
from xrayflow.networks.network import Network
from xrayflow.networks.nn.scaling import LogRateScaler
from xrayflow.ogip import Spectrum
from xrayflow.prior import Prior

BAND = 0.05, 0.5, 0.95


@dataclass(frozen=True)
class Reconstruction:
    """What a network's decoder makes of the draws of one source, in the network's bins.

    Attributes:
        energy_lo, energy_hi: (bin,) keV; bins without a noticed channel are left out.
        density: (3, bin) 5, 50 and 95 % of the expected counts/s/keV, the background that the file gives included.
    """

    energy_lo: NDArray[np.float64]
    energy_hi: NDArray[np.float64]
    density: NDArray[np.float64]


@dataclass(frozen=True)
class NeuralPosterior:
    """q(theta | spectrum) of a batch of sources.

    Attributes:
        network: What was trained.
        prior: The answer's; gives the coordinates v.
        inputs: (source,) what the network sees; None where it is another instrument's.
        context: (source, context) what the encoder made of each spectrum; zeros where there is none.
        present: (source,) whether a source has one.
        mismatch: (source,) why a source cannot have one: another instrument, other channels; "" where it can.
        outside: (source,) in what a source lies outside the training; empty where it does not.
    """

    network: Network
    prior: Prior
    inputs: tuple[NetworkInput | None, ...]
    context: Float[Tensor, "source context"]
    present: Bool[Tensor, " source"]
    mismatch: tuple[str, ...]
    outside: tuple[tuple[str, ...], ...]

    @classmethod
    def of(
        cls,
        network: Network,
        model: Model,
        prior: Prior,
        spectra: Sequence[Spectrum],
        systematic: Sequence[float],
        amplitude: Sequence[float] | None = None,
    ) -> NeuralPosterior:
        """Look at every spectrum.

        Args:
            network: What was trained, for the answer's model.
            model: The answer's.
            prior: The answer's.
            spectra: The noticed bins.
            systematic: Fractional error of each.
            amplitude: A0 of each, at which calibration modes are believed, 0 without; None: all without.

        Raises:
            MismatchError: The network was made for another model, or gives values without a density.
        """
        network.refuse_model(model)
        if not network.core.flow.has_density:
            raise MismatchError("it gives one value and no density (latent 'point'), which neither starts nor answers")
        context = torch.zeros((len(spectra), network.recipe.network.context))
        mismatch = [""] * len(spectra)
        outside: list[tuple[str, ...]] = [()] * len(spectra)
        seen: list[NetworkInput | None] = [None] * len(spectra)
        amplitude = [0.0] * len(spectra) if amplitude is None else amplitude
        for source, (spectrum, *believed) in enumerate(zip(spectra, systematic, amplitude, strict=True)):
            try:
                inputs = network.inputs(spectrum, *believed)
            except MismatchError as other:
                mismatch[source] = str(other)
                continue
            seen[source] = inputs
            outside[source] = tuple(network.outside(inputs))
            if not outside[source]:
                context[source] = _context(network, inputs)
        present = torch.tensor([not (m or o) for m, o in zip(mismatch, outside, strict=True)])
        return cls(network, prior, tuple(seen), context, present, tuple(mismatch), tuple(outside))

    @property
    def name(self) -> str:
        """The network's."""
        return self.network.name

    def absence(self, source: int) -> str:
        """Why a source has none, in words; "" where it has one.

        Args:
            source: Its number.
        """
        return self.mismatch[source] or "; ".join(self.outside[source])

    def select(self, sources: Tensor) -> NeuralPosterior:
        """Some of the sources.

        Args:
            sources: Their numbers.
        """
        rows = sources.tolist()
        return replace(
            self,
            inputs=tuple(self.inputs[i] for i in rows),
            context=self.context[sources],
            present=self.present[sources],
            mismatch=tuple(self.mismatch[i] for i in rows),
            outside=tuple(self.outside[i] for i in rows),
        )

    def sample(self, draws: int, generators: Sequence[torch.Generator]) -> Float[Tensor, "source draw parameter"]:
        """Draws in the answer's probit coordinates; zeros for a source without a network.

        Args:
            draws: Per source.
            generators: One per source.
        """
        shape = draws, len(self.prior.marginals)
        numbers = [torch.randn(shape, generator=one, dtype=torch.float64) for one in generators]
        sources = self.present.nonzero()[:, 0].tolist()
        drawn = draws_of([self.seen(source) for source in sources], [numbers[source] for source in sources])
        found = torch.zeros((len(generators), *shape), dtype=torch.float64)
        for source, v in zip(sources, drawn, strict=True):
            found[source] = v
        return found

    def log_density(self, v: Float[Tensor, "source draw parameter"]) -> Float[Tensor, "source draw"]:
        """ln q(v); -inf for a source without a network, and where it cannot draw.

        Args:
            v: The answer's probit coordinates.
        """
        density = torch.full(v.shape[:2], -torch.inf, dtype=torch.float64)
        sources = self.present.nonzero()[:, 0].tolist()
        found = log_densities_of([self.seen(source) for source in sources], [v[source] for source in sources])
        for source, one in zip(sources, found, strict=True):
            density[source] = one
        return density

    def seen(self, source: int) -> AmortisedPosterior:
        """The posterior of one source, before its modes are known.

        Args:
            source: Its number in the batch; one that is present.
        """
        core, prior = self.network.core, self.prior
        with torch.no_grad():
            told = core.flow.told(self.context[source : source + 1])
        return AmortisedPosterior(
            core.flow, told, len(prior.marginals), core.coordinates, None if self._same else prior
        )

    def seen_from_modes(self, source: int, modes: ModeFeatures, level: Level) -> tuple[LocalPosterior, ...]:
        """The posterior of one source seen from each of its modes; nothing where there is no local flow for it.

        Args:
            source: Its number in the batch.
            modes: Its distinct modes, in the answer's probit coordinates.
            level: Of this source.
        """
        local = self.network.core.local
        if local is None or not self._same or not bool(self.present[source]):
            return ()
        seen = level if self.network.recipe.network.local_coordinates == "counts" else replace(level, norms=())
        with torch.no_grad():
            frames, remembered = seen.frames(modes), Remembered(seen)
            each = [frames.select(torch.tensor([number])) for number in range(modes.size)]
            parameters = len(self.prior.marginals)
            return tuple(LocalPosterior(local, local.told(mode), parameters, remembered) for mode in each)

    def reconstruction(self, source: int, theta: Float[Tensor, "draw parameter"]) -> Reconstruction | None:
        """What the decoder makes of draws; None where the network has none.

        Args:
            source: Its number in the batch.
            theta: Draws, in the parameters' units.
        """
        core, inputs = self.network.core, self.inputs[source]
        if core.decoder is None or inputs is None or not isinstance(core.scaling, LogRateScaler):
            return None
        every = inputs.select(torch.zeros(theta.shape[0], dtype=torch.int64))
        with torch.no_grad():
            counts = core.scaling.to_counts(core.decoder(core.coordinates.from_theta(theta), every), every)
        lo, hi = np.array(self.network.response.energies, dtype=np.float64).T
        kept = inputs.noticed[0].numpy() > 0
        whole = float(inputs.exposure) * (hi - lo) * inputs.noticed[0].numpy()
        total = np.quantile(counts.numpy(), BAND, axis=0) + inputs.background[0].numpy()
        return Reconstruction(lo[kept], hi[kept], total[:, kept] / whole[kept])

    @property
    def _same(self) -> bool:
        """Whether the answer's coordinates are the flow's."""
        probit = self.network.recipe.network.coordinates == "probit"
        return probit and self.network.training_prior.prior == self.prior


def _context(network: Network, inputs: NetworkInput) -> Float[Tensor, " context"]:
    with torch.no_grad():
        return network.core.context(inputs)[0]
