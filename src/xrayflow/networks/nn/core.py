"""The learned parts of a network, put together as its recipe says.

inputs --scaling--> features --encoder--> context --flow--> x --coordinates--> theta --decoder--> spectrum
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from xrayflow.networks.inputs import NetworkInput
from xrayflow.networks.nn.autoregressive import Autoregressive
from xrayflow.networks.nn.coordinates import Coordinates, Probit, Standardised
from xrayflow.networks.nn.decoder import Decoder, Physical, Recurrent
from xrayflow.networks.nn.encoder import Convolutional, Residual
from xrayflow.networks.nn.flow import Coupling, Flow, Gaussian, Point
from xrayflow.networks.nn.local import Local
from xrayflow.networks.nn.scaling import LogRateScaler, Scaling, SqrtFractionScaler
from xrayflow.networks.sections import NetworkSection
from xrayflow.prior import Prior
from xrayflow.simulate import Simulator


class PosteriorEstimator(nn.Module):
    """All weights and buffers of a network.

    Attributes:
        scaling: NetworkInput -> features.
        coordinates: theta <-> x.
        encoder: Features -> context.
        flow: Context -> distribution of x.
        decoder: x -> spectrum; None without one.
        local: What the posterior looks like from its mode; None without.
    """

    scaling: Scaling
    coordinates: Coordinates
    encoder: Residual | Convolutional
    flow: Flow
    decoder: Decoder | None
    local: Local | None

    def __init__(
        self,
        section: NetworkSection,
        prior: Prior,
        bin_width: Float[Tensor, " bin"],
        detectors: float,
        simulator: Simulator | None = None,
        calibrated: bool = False,
    ) -> None:
        """All parts, with random weights.

        Args:
            section: Sizes.
            prior: The box of the training prior.
            bin_width: keV.
            detectors: How many the reference response stands for.
            simulator: For a physical decoder; without it such a network has none, and cannot be trained.
            calibrated: Whether it is told the amplitude of calibration modes.

        Raises:
            RecipeError: The convolutions leave nothing of the bins.
        """
        super().__init__()
        bins, parameters = bin_width.numel(), len(prior.marginals)
        if section.scaling == "fractions":
            self.scaling = SqrtFractionScaler(bins, calibrated)
        else:
            self.scaling = LogRateScaler(bin_width, detectors, section.scaling == "paper-centred", calibrated)
        self.coordinates = Probit(prior) if section.coordinates == "probit" else Standardised(prior)
        channels, numbers = self.scaling.channels, self.scaling.globals
        if section.encoder == "residual":
            self.encoder = Residual(channels, bins, numbers, section.context, section.blocks)
        else:
            self.encoder = Convolutional(channels, bins, numbers, section.convolutions, section.context)
        self.flow = _flow(section, parameters)
        self.decoder = None
        if section.decoder == "recurrent":
            self.decoder = Recurrent(parameters, bins, section.decoder_widths, section.decoder_layers, section.dropout)
        elif section.decoder == "physical" and simulator is not None and isinstance(self.scaling, LogRateScaler):
            self.decoder = Physical(simulator, self.coordinates, self.scaling)
        self.local = None
        if section.local:
            self.local = Local(
                parameters, section.local_width, section.local_transforms, section.splines, section.local_hidden
            )

    def context(self, inputs: NetworkInput) -> Float[Tensor, "source context"]:
        """What the flow is conditioned on.

        Args:
            inputs: The spectra.
        """
        context: Tensor = self.encoder(*self.scaling(inputs))
        return context

    def draw(
        self, inputs: NetworkInput, base: Float[Tensor, "source draw parameter"]
    ) -> Float[Tensor, "source draw parameter"]:
        """Draws of theta in the parameters' units; some may leave the box.

        Args:
            inputs: The spectra.
            base: Standard normal numbers.
        """
        return self.coordinates.to_theta(self.flow.draw(base, self.context(inputs)))

    def log_density(
        self, theta: Float[Tensor, "source draw parameter"], inputs: NetworkInput
    ) -> Float[Tensor, "source draw"]:
        """ln q(theta), per unit of theta.

        Args:
            theta: Parameters in their units.
            inputs: The spectra.
        """
        x = self.coordinates.from_theta(theta)
        return self.flow.log_density(x, self.context(inputs)) + self.coordinates.log_slope(theta)


def _flow(section: NetworkSection, parameters: int) -> Flow:
    context, hidden = section.context, section.hidden
    if section.latent == "coupling":
        return Coupling(parameters, context, section.transforms, section.splines, hidden[0])
    if section.latent == "autoregressive":
        return Autoregressive(parameters, context, section.transforms, section.splines, hidden)
    return Gaussian(parameters, context) if section.latent == "gaussian" else Point(parameters, context)


def count_weights(module: nn.Module | None) -> int:
    """How many numbers are learned.

    Args:
        module: A network or a part; None has none.
    """
    return 0 if module is None else sum(weight.numel() for weight in module.parameters())


def freeze_all_but(core: PosteriorEstimator, parts: tuple[str, ...]) -> list[nn.Parameter]:
    """Let the weights of some parts move and hold the others.

    Args:
        core: The network.
        parts: Names among "encoder", "flow", "decoder", "local".

    Returns:
        The weights that move.
    """
    moving: list[nn.Parameter] = []
    for name, parameter in core.named_parameters():
        parameter.requires_grad_(name.split(".")[0] in parts)
        if parameter.requires_grad:
            moving.append(parameter)
    return moving
