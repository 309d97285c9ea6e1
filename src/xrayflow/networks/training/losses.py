"""What a network is trained to lower, term by term.

* flow: -ln q(x | spectrum), the mean over spectra. Its minimum is the posterior.
* latent: mean square of a draw's distance from the true x.
* reconstruction: Gaussian negative log likelihood of the spectrum about what the decoder makes of a draw, with the
  data's sigma; or the counts' own likelihood.
* decoder: the same about what the decoder makes of the true x.
* local: -ln q(w | the mode of its spectrum), per unit of the local flow's own coordinates.

The draws carry gradient, so latent and reconstruction reach the encoder through them.

Source: Redmen et al. 2025 (the three terms).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from xrayflow.networks.inputs import ModeFrames, NetworkInput
from xrayflow.networks.nn.core import PosteriorEstimator
from xrayflow.networks.nn.scaling import LogRateScaler
from xrayflow.networks.sections import StageSection
from xrayflow.statistics import CountLikelihood

TERMS = ("flow", "latent", "reconstruction", "decoder", "local")

LEAST_VARIANCE = 1e-6
"""Of a bin's variance in the min-max scale: torch's own floor, sigma >= 1e-3. Without it bright bins drown all others.
"""


def loss_terms(
    core: PosteriorEstimator,
    stage: StageSection,
    inputs: NetworkInput | ModeFrames,
    theta: Tensor,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """The terms of a batch that have a weight.

    Args:
        core: The network.
        stage: Its weights and draws.
        inputs: The spectra; their modes, where the stage trains a local flow.
        theta: (source, parameter) what made them, or their best fits; beside modes, in the local flow's coordinates.
        generator: Source of the draws' randomness.

    Returns:
        By name, of `TERMS`.
    """
    if isinstance(inputs, ModeFrames):
        if core.local is None:
            raise ValueError("modes train a local flow: the recipe checks that")
        return {"local": -core.local.log_density_told(theta[:, None, :], core.local.told(inputs)).mean()}
    x = core.coordinates.from_theta(theta)
    found: dict[str, Tensor] = {}
    if stage.flow > 0 or stage.latent > 0 or stage.reconstruction > 0:
        context = core.context(inputs)
        if stage.flow > 0:
            found["flow"] = -core.flow.log_density(x[:, None, :], context).mean()
        if stage.latent > 0 or stage.reconstruction > 0:
            shape = (inputs.size, stage.draws, theta.shape[-1])
            base = torch.randn(shape, generator=generator, dtype=torch.float32).to(theta.device)
            draws = core.flow.draw(base, context)
            if stage.latent > 0:
                found["latent"] = (draws - x[:, None, :]).square().mean().float()
            if stage.reconstruction > 0:
                parts = [reconstruction(core, stage, inputs, draws[:, i]) for i in range(stage.draws)]
                found["reconstruction"] = torch.stack(parts).mean()
    if stage.decoder > 0:
        found["decoder"] = reconstruction(core, stage, inputs, x)
    return found


def total(terms: Mapping[str, Tensor], stage: StageSection) -> Float[Tensor, ""]:
    """The weighted sum.

    Args:
        terms: What `loss_terms` gave.
        stage: Their weights.
    """
    weights = {"flow": stage.flow, "latent": stage.latent, "reconstruction": stage.reconstruction}
    weights |= {"decoder": stage.decoder, "local": stage.local}
    return torch.stack([weights[name] * value for name, value in terms.items()]).sum()


def reconstruction(
    core: PosteriorEstimator, stage: StageSection, inputs: NetworkInput, x: Float[Tensor, "source parameter"]
) -> Float[Tensor, ""]:
    """How badly the decoder's spectrum of x meets the data, the mean over bins: all, or the noticed ones for "counts".

    Args:
        core: The network, with a decoder.
        stage: Says which likelihood.
        inputs: The data.
        x: Coordinates of each source.
    """
    if core.decoder is None or not isinstance(core.scaling, LogRateScaler):
        raise ValueError("a reconstruction needs a decoder: the recipe checks that")
    value = core.decoder(x, inputs)
    if stage.reconstruction_likelihood == "counts":
        used = (inputs.noticed > 0).to(inputs.counts.dtype)
        expected = core.scaling.to_counts(value, inputs) * used
        likelihood = CountLikelihood.of(inputs.counts, inputs.background, inputs.systematic, used)
        return -likelihood.log_density(expected[:, None]).sum().float() / used.sum().float()
    target, sigma = core.scaling.target(inputs)
    return functional.gaussian_nll_loss(value, target, sigma.square(), eps=LEAST_VARIANCE)
