"""The modes of simulated spectra, and how the likelihood curves there: what a local flow is trained on.

A local flow (`nn.local`) describes what a posterior looks like seen from its mode. It learns that from many pairs of a
true theta and the mode that its spectrum has; the modes are found here, from the truth, by the optimiser of answers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from xrayflow.fitting import Objective, descend
from xrayflow.folding import Fidelity
from xrayflow.networks.inputs import ModeFeatures, mode_numbers
from xrayflow.prior import Prior
from xrayflow.simulate import SimulatedSpectra, Simulator
from xrayflow.statistics import CountLikelihood, Curvature

ITERATIONS = 40
TOLERANCE = 0.01
"""In -2 log posterior density: what the last step promises."""


def find_modes(simulator: Simulator, simulated: SimulatedSpectra) -> tuple[ModeFeatures, Bool[Tensor, " source"]]:
    """The modes of simulated spectra, from their truths.

    Args:
        simulator: Of the spectra; in float64, since narrow posteriors ask for exact slopes.
        simulated: The spectra.

    Returns:
        The modes, and (source,) whether each search came to rest.
    """
    scale = (simulated.exposure * simulated.area)[:, None] * simulated.noticed
    objective = Objective(SimulatedTarget(simulator, simulated.likelihood(), scale), "probit", pulled=True)
    start = objective.from_theta(simulated.theta)[:, None]
    found = descend(objective, start, torch.zeros_like(start, dtype=torch.bool), ITERATIONS, TOLERANCE)
    x = found.x[:, 0]
    slope = 1.0 / objective.probit_slope(x).clamp(min=1e-300)
    information = slope[:, :, None] * found.information[:, 0] * slope[:, None, :]
    counts, background = simulated.counts.sum(-1), simulated.background.sum(-1)
    numbers = mode_numbers(counts, background, simulated.systematic)
    at_rest = found.converged[:, 0] & torch.isfinite(found.value[:, 0])
    return ModeFeatures(objective.to_probit(x), information, numbers), at_rest


@dataclass(frozen=True)
class SimulatedTarget:
    """Simulated spectra as the optimiser sees a problem: one source per row.

    Attributes:
        simulator: Gives counts/s.
        likelihood: What the counts were drawn from.
        scale: (source, bin) what makes counts of them: exposure, area, noticed part of each bin.
    """

    simulator: Simulator
    likelihood: CountLikelihood
    scale: Float[Tensor, "source bin"]

    @property
    def prior(self) -> Prior:
        """The training's."""
        return self.simulator.training_prior.prior

    @property
    def energies(self) -> int:
        """What a row costs."""
        return self.simulator.forward.energies

    def log_likelihood(self, theta: Float[Tensor, "source draw parameter"]) -> Float[Tensor, "source draw"]:
        """ln p(counts | theta)."""
        rates = self.simulator.rates(theta[:, 0])
        return self.likelihood.log_density((rates * self.scale)[:, None])

    def curvature(
        self, theta: Float[Tensor, "source draw parameter"], slope: Float[Tensor, "source draw parameter"]
    ) -> Curvature:
        """Gradient and Fisher's information in the caller's coordinates."""
        rates, jacobian = self.simulator.forward.linearised(theta[:, 0][None])
        expected = (rates[0] * self.scale)[:, None]
        return self.likelihood.curvature(expected, (jacobian[0] * self.scale[..., None] * slope)[:, None])

    def at(self, fidelity: Fidelity) -> SimulatedTarget:
        """Itself: a simulator has one fidelity."""
        return self

    def softened(self, error: float) -> SimulatedTarget:
        """As if the model were off by a part of itself in every bin."""
        return replace(self, likelihood=self.likelihood.softened(error))

    def is_sharp(self, error: float) -> Bool[Tensor, " source"]:
        """Whether starts of a spectrum are led better there."""
        return self.likelihood.is_sharp(error)

    def select(self, sources: Int[Tensor, " chosen"]) -> SimulatedTarget:
        """Some of the spectra, in all bins: what is ignored stands on both sides of what is noticed."""
        own = self.likelihood
        likelihood = CountLikelihood(
            own.counts[sources],
            own.background[sources],
            own.systematic[sources],
            own.used[sources],
            own.saturated[sources],
        )
        return SimulatedTarget(self.simulator, likelihood, self.scale[sources])
