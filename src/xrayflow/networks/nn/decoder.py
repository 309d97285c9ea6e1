"""theta -> the spectrum that a network reconstructs.

`Recurrent` is the paper's: linear layers with skip connections, then a bidirectional recurrent unit along the energy
axis, on the coordinates x of the flow; it learns the forward model. `Physical` puts the differentiable simulator in its
place: exact, and nothing to train.

Source: Redmen et al. 2025; Schuster & Paliwal 1997 (bidirectional recurrence).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from xrayflow.networks.inputs import NetworkInput
from xrayflow.networks.nn.coordinates import Coordinates
from xrayflow.networks.nn.recurrence import recurred
from xrayflow.networks.nn.scaling import LogRateScaler
from xrayflow.simulate import Simulator


class Decoder(nn.Module):
    """Coordinates of the flow -> the value of each bin in the min-max scale of `LogRateScaler`."""

    def forward(self, x: Float[Tensor, "source parameter"], inputs: NetworkInput) -> Float[Tensor, "source bin"]:
        """The reconstruction.

        Args:
            x: One draw of each source.
            inputs: How the spectra were taken.
        """
        raise NotImplementedError


class Recurrent(Decoder):
    """Linear layers of growing width, three as wide as the spectrum, a GRU over the bins, a last linear layer."""

    def __init__(
        self, parameters: int, bins: int, widths: Sequence[int], recurrent_layers: int, dropout: float
    ) -> None:
        """Sizes.

        Args:
            parameters: Length of x.
            bins: Length of the spectrum.
            widths: Of the layers before those as wide as the spectrum.
            recurrent_layers: Layers of the GRU.
            dropout: Share of the linear layers' outputs that a training step leaves out.
        """
        super().__init__()
        sizes = [parameters, *widths, bins]
        self.grow = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.second = nn.Linear(bins, bins)
        self.third = nn.Linear(bins, bins)
        self.recurrent = nn.GRU(1, 1, recurrent_layers, batch_first=True, bidirectional=True)
        self.last = nn.Linear(bins, bins)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Float[Tensor, "source parameter"], inputs: NetworkInput) -> Float[Tensor, "source bin"]:
        """The reconstruction; `inputs` are not used."""
        h = x.float()
        for layer in self.grow:
            h = self.dropout(functional.gelu(layer(h)))
        first = h
        second = self.dropout(functional.gelu(self.second(first))) + first
        third = self.dropout(functional.gelu(self.third(second))) + second + first
        value: Tensor = self.last(recurred(self.recurrent, third[..., None]).mean(-1))
        return value


class Physical(Decoder):
    """The simulator itself, which computes on the CPU."""

    def __init__(self, simulator: Simulator, coordinates: Coordinates, scaling: LogRateScaler) -> None:
        """What it is made of.

        Args:
            simulator: The forward model, in the network's bins.
            coordinates: theta <-> x.
            scaling: Counts <-> values.
        """
        super().__init__()
        self.simulator = simulator
        marginals = simulator.training_prior.prior.marginals
        self.lo = torch.tensor([one.lo for one in marginals], dtype=torch.float64)
        self.hi = torch.tensor([one.hi for one in marginals], dtype=torch.float64)
        self._coordinates, self._scaling = (coordinates,), (scaling,)  # tuples: they are registered elsewhere

    def forward(self, x: Float[Tensor, "source parameter"], inputs: NetworkInput) -> Float[Tensor, "source bin"]:
        """The value of the expected source counts, where no channel of a bin is noticed too."""
        # a draw far outside the box has no finite slope: it counts as the nearest place inside, and teaches nothing
        theta = torch.minimum(torch.maximum(self._coordinates[0].to_theta(x).cpu(), self.lo), self.hi)
        whole = self.simulator.expected(theta, inputs.exposure.cpu(), inputs.area.cpu()).to(x.device)
        share = torch.where(inputs.noticed > 0, inputs.noticed, 1.0)
        return self._scaling[0].expected_target(whole * share, inputs)
