"""Numbers that a network can learn from: inputs -> features of order one.

This is where float64 ends: features leave in float32. The means and spreads are buffers, filled once from spectra of
the training distribution (`fit`) and saved with the weights.

`SqrtFractionScaler` (ours): sqrt(counts / total) in every bin, so that shape and brightness come apart, and the
brightness, the exposure and the rest as a few numbers beside. `LogRateScaler` is the paper's: log10 of the rate per keV
and detector, and its sigma, both on one min-max scale; `centred` takes each spectrum's mean away and z-scores each bin.
There a bin of which no channel is noticed is filled from its neighbours: nothing is no spectrum's value.

A network whose training had calibration modes is told their amplitude too, the last of the globals: log10 A0, and
`LEAST_AMPLITUDE` where the response is right.

Source: Redmen et al. 2025 (the paper's preprocessing).
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from xrayflow.networks.inputs import NetworkInput

LEAST_SPREAD = 1e-3
"""Least spread of a feature: what hardly varies over the training set must not be blown up."""

NOTICED_SPREAD = 0.3
"""Spread of the noticed fraction where that does not vary at all."""


LEAST_AMPLITUDE = -2.0
"""log10 of an amplitude that no spectrum could tell from none."""


class Scaling(nn.Module):
    """NetworkInput -> features (source, channel, bin) and globals (source, number), float32.

    Attributes:
        channels, globals: How many there are.
        calibrated: Whether the amplitude of calibration modes is among the globals.
    """

    channels: int
    globals: int
    calibrated: bool

    def fit(self, inputs: NetworkInput) -> None:
        """Fill the buffers from spectra of the training distribution.

        Args:
            inputs: Thousands of them.
        """
        raise NotImplementedError

    def forward(self, inputs: NetworkInput) -> tuple[Tensor, Tensor]:
        """Features and globals.

        Args:
            inputs: The spectra.
        """
        raise NotImplementedError


class SqrtFractionScaler(Scaling):
    """sqrt(counts / total), sqrt(background / total), the noticed fraction; globals in logarithms."""

    channels = 3
    mean: Tensor
    spread: Tensor
    global_mean: Tensor
    global_spread: Tensor

    def __init__(self, bins: int, calibrated: bool = False) -> None:
        """A scaling that is not fitted yet.

        Args:
            bins: How many.
            calibrated: See `Scaling`.
        """
        super().__init__()
        self.calibrated = calibrated
        self.globals = 8 if calibrated else 7
        for name, shape in (("mean", (3, bins)), ("global_mean", (self.globals,))):
            self.register_buffer(name, torch.zeros(shape, dtype=torch.float64))
        for name, shape in (("spread", (3, bins)), ("global_spread", (self.globals,))):
            self.register_buffer(name, torch.ones(shape, dtype=torch.float64))

    def fit(self, inputs: NetworkInput) -> None:
        """z-scores."""
        features, numbers = self._raw(inputs)
        self.mean, self.spread = features.mean(0), features.std(0).clamp(min=LEAST_SPREAD)
        # bins that the training always notices: a bad channel in one must not look like a thousand sigma
        self.spread[2] = torch.where(self.spread[2] > LEAST_SPREAD, self.spread[2], NOTICED_SPREAD)
        self.global_mean, self.global_spread = numbers.mean(0), numbers.std(0).clamp(min=LEAST_SPREAD)

    def forward(self, inputs: NetworkInput) -> tuple[Tensor, Tensor]:
        """Features (source, 3, bin) and globals (source, 7 or 8)."""
        features, numbers = self._raw(inputs)
        return (
            ((features - self.mean) / self.spread).float(),
            ((numbers - self.global_mean) / self.global_spread).float(),
        )

    def _raw(self, inputs: NetworkInput) -> tuple[Tensor, Tensor]:
        total = inputs.counts.sum(-1)
        background = inputs.background.sum(-1)
        safe = total.clamp(min=1.0)[:, None]
        features = torch.stack(
            [torch.sqrt(inputs.counts / safe), torch.sqrt(inputs.background / safe), inputs.noticed], dim=1
        )
        net = (total - background).clamp(min=1.0)
        numbers = torch.stack(
            [
                torch.log(total + 1.0),
                torch.log(inputs.exposure),
                torch.log(net / (inputs.exposure * inputs.area)),
                torch.log(inputs.area),
                torch.log1p(background),
                (background / total.clamp(min=1.0)).clamp(max=2.0),
                100.0 * inputs.systematic,
            ],
            dim=1,
        )
        return features, torch.cat([numbers, _amplitude(inputs)], dim=1) if self.calibrated else numbers


class LogRateScaler(Scaling):
    """log10 of the background-subtracted counts/s/keV/detector and of its sigma, in the paper's min-max scale.

    Attributes:
        centred: Subtract each spectrum's mean log value, which becomes a number of its own beside the channels, then
            z-score each bin: not the paper's, but worth nats. Without that number nothing would tell the rate, since
            sigma tells counts.
    """

    channels = 2
    per_count: Tensor
    lowest: Tensor
    range: Tensor
    mean: Tensor
    spread: Tensor
    level_mean: Tensor
    level_spread: Tensor
    amplitude_mean: Tensor
    amplitude_spread: Tensor

    def __init__(
        self, bin_width: Float[Tensor, " bin"], detectors: float, centred: bool = False, calibrated: bool = False
    ) -> None:
        """A scaling that is not fitted yet.

        Args:
            bin_width: keV.
            detectors: How many the reference response stands for.
            centred: See the class.
            calibrated: See `Scaling`.
        """
        super().__init__()
        self.centred, self.calibrated = centred, calibrated
        self.globals = int(centred) + int(calibrated)
        self.register_buffer("per_count", 1.0 / (bin_width.double() * detectors))
        self.register_buffer("lowest", torch.zeros((), dtype=torch.float64))
        self.register_buffer("range", torch.ones((), dtype=torch.float64))
        self.register_buffer("mean", torch.zeros((2, bin_width.numel()), dtype=torch.float64))
        self.register_buffer("spread", torch.ones((2, bin_width.numel()), dtype=torch.float64))
        self.register_buffer("level_mean", torch.zeros((), dtype=torch.float64))
        self.register_buffer("level_spread", torch.ones((), dtype=torch.float64))
        if calibrated:
            self.register_buffer("amplitude_mean", torch.zeros((), dtype=torch.float64))
            self.register_buffer("amplitude_spread", torch.ones((), dtype=torch.float64))

    def fit(self, inputs: NetworkInput) -> None:
        """The one minimum and maximum of the set; means and spreads of the centred channels and of the globals."""
        value, _ = self.log_value(inputs)
        self.lowest = value.min()
        self.range = (value.max() - self.lowest).clamp(min=LEAST_SPREAD)
        features, level = self._centred(inputs)
        self.mean, self.spread = features.mean(0), features.std(0).clamp(min=LEAST_SPREAD)
        self.level_mean, self.level_spread = level.mean(), level.std().clamp(min=LEAST_SPREAD)
        if self.calibrated:
            amplitude = _amplitude(inputs)
            self.amplitude_mean, self.amplitude_spread = amplitude.mean(), amplitude.std().clamp(min=LEAST_SPREAD)

    def forward(self, inputs: NetworkInput) -> tuple[Tensor, Tensor]:
        """Features (source, 2, bin); as a global the mean log value of a centred spectrum."""
        numbers = [inputs.counts.new_zeros((inputs.size, 0))]
        if self.calibrated:
            numbers = [(_amplitude(inputs) - self.amplitude_mean) / self.amplitude_spread]
        if self.centred:
            features, level = self._centred(inputs)
            scaled = _extrapolated(
                (features - self.mean) / self.spread, 10.0 ** features[:, 1] / self.spread[0], inputs
            )
            return scaled.float(), torch.cat([(level - self.level_mean) / self.level_spread, *numbers], dim=1).float()
        value, sigma = (part.gather(-1, _nearest_seen(inputs)) for part in self.target(inputs))
        return torch.stack([value, sigma], dim=1), numbers[0].float()

    def target(self, inputs: NetworkInput) -> tuple[Tensor, Tensor]:
        """What a decoder reconstructs.

        Args:
            inputs: The spectra.

        Returns:
            (source, bin) the value in the set's min-max scale, and its sigma there.
        """
        value, sigma = self.log_value(inputs)
        return ((value - self.lowest) / self.range).float(), (sigma / self.range).float()

    def log_value(self, inputs: NetworkInput) -> tuple[Tensor, Tensor]:
        """log10 counts/s/keV/detector and its sigma, non-positive bins raised to the spectrum's smallest positive.

        Args:
            inputs: The spectra.

        Returns:
            (source, bin) both, in dex.
        """
        per_second = self._per_second(inputs)
        net = (inputs.counts - inputs.background) * per_second
        sigma = torch.sqrt(inputs.counts).clamp(min=1.0) * per_second
        positive = torch.where(net > 0, net, torch.inf)
        least = positive.amin(-1, keepdim=True)
        # nothing above its background: one count
        least = torch.where(torch.isfinite(least), least, per_second)
        value = torch.where(net > 0, net, least)
        return torch.log10(value), sigma / (value * math.log(10.0))

    def expected_target(self, expected: Tensor, inputs: NetworkInput) -> Tensor:
        """The value that expected counts would have: differentiable.

        Args:
            expected: (source, bin) source counts in the noticed channels; in all channels where none is noticed.
            inputs: How the spectra were taken.

        Returns:
            (source, bin) in the min-max scale of `target`.
        """
        per_second = self._per_second(inputs)
        value = torch.log10(expected.clamp(min=1e-30) * per_second)
        return ((value - self.lowest) / self.range).float()

    def to_counts(self, target: Tensor, inputs: NetworkInput) -> Tensor:
        """The inverse of `expected_target`.

        Args:
            target: (source, bin) in the min-max scale.
            inputs: How the spectra were taken.

        Returns:
            (source, bin) source counts in the noticed channels; in all channels where none is noticed.
        """
        per_second = self._per_second(inputs)
        counts: Tensor = 10.0 ** (target.double() * self.range + self.lowest) / per_second
        return counts

    def _per_second(self, inputs: NetworkInput) -> Tensor:
        """(source, bin) counts/s/keV/detector that one count in the noticed channels stands for."""
        # a bin without a channel has no counts either
        noticed = torch.where(inputs.noticed > 0, inputs.noticed, 1.0)
        per_second: Tensor = self.per_count / (noticed * (inputs.exposure * inputs.area)[:, None])
        return per_second

    def _centred(self, inputs: NetworkInput) -> tuple[Tensor, Tensor]:
        """The two channels, and (source, 1) the level that was taken from the first."""
        value, sigma = self.log_value(inputs)
        nearest = _nearest_seen(inputs)
        # as far from the mean spectrum as the nearest bin that is seen
        value, log_sigma = (
            part.gather(-1, nearest) + (mean - mean[nearest])
            for part, mean in zip((value, torch.log10(sigma)), self.mean, strict=True)
        )
        level = value.mean(-1, keepdim=True)
        return torch.stack([value - level, log_sigma], dim=1), level


def _amplitude(inputs: NetworkInput) -> Float[Tensor, "source one"]:
    """log10 A0."""
    return torch.log10(inputs.amplitude.clamp(min=10.0**LEAST_AMPLITUDE))[:, None]


BEND = 0.07
"""By how much a z-score at the end of a bright spectrum parts from its neighbour's; noise beyond that is none."""


def _extrapolated(
    scaled: Float[Tensor, "source channel bin"], error: Float[Tensor, "source bin"], inputs: NetworkInput
) -> Float[Tensor, "source channel bin"]:
    """z-scores whose first and last bin, where no channel of it is noticed, follow the parabola of the three beside it.

    As far as their own errors let it: a parabola has sqrt(19) times the noise of a bin.
    """
    seen, ends = inputs.noticed > 0, scaled.clone()
    if seen.shape[-1] < 4:
        return scaled
    for end, (first, second, third) in (0, (1, 2, 3)), (-1, (-2, -3, -4)):
        missing = ~seen[:, end] & seen[:, first] & seen[:, second] & seen[:, third]
        bend = 2.0 * scaled[:, :, first] - 3.0 * scaled[:, :, second] + scaled[:, :, third]
        kept = BEND**2 / (BEND**2 + 19.0 * error[:, first, None] ** 2)
        ends[:, :, end] = torch.where(missing[:, None], scaled[:, :, first] + kept * bend, scaled[:, :, end])
    return ends


def _nearest_seen(inputs: NetworkInput) -> Int[Tensor, "source bin"]:
    """Where each bin's features come from: itself, or the nearest bin of which a channel is noticed."""
    seen = inputs.noticed > 0
    bins = seen.shape[-1]
    index = torch.arange(bins, device=seen.device).expand_as(seen)
    below = torch.where(seen, index, -bins).cummax(-1).values
    above = torch.where(seen, index, 2 * bins).flip(-1).cummin(-1).values.flip(-1)
    nearest = torch.where(index - below <= above - index, below, above)
    return torch.where(seen.any(-1, keepdim=True), nearest, index)
