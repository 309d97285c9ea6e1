"""Coordinates for a local flow, in which a posterior that bends is flat: the counts in the place of the norm.

Data fix the expected counts far better than any parameter. Where the norm may trade for others, a posterior is a thin
bent sheet in the prior's probits v; with

    w_norm = ln(expected counts of the source)

in the norm's place it is flat, and what is thin stays thin in one coordinate. Counts are linear in the norms, so v -> w
is a shear of ln norm along the others. Of several norms the first becomes the level, the others their ratio to it; the
other coordinates are the probits. Where a norm is frozen, linked or may be negative, w is v.

The counts are computed and not learned: a network that knows them to 1 % bends a posterior of 1e6 counts, whose level
is known to 0.1 %, more than it was bent before. docs/decisions/0019-local-flows-see-the-level.md has the numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from xrayflow.models import Model
from xrayflow.networks.inputs import ModeFeatures, ModeFrames
from xrayflow.prior import FAR, Prior

V = Float[Tensor, "*batch parameter"]

STEP = 1e-4
"""Of v, for differences that give the slopes of ln counts: off by 1e-8."""


@dataclass(frozen=True)
class Level:
    """The coordinates w of a model's free parameters.

    Attributes:
        prior: Of the parameters; v is its probit.
        norms: Places of the norms among them; empty where w is v.
        counts: theta -> expected counts of the source, up to a factor.
    """

    prior: Prior
    norms: tuple[int, ...]
    counts: Callable[[V], Float[Tensor, "*batch"]]

    @classmethod
    def of(cls, model: Model, prior: Prior, counts: Callable[[V], Float[Tensor, "*batch"]]) -> Level:
        """The level of a model; v itself where its counts are not proportional to norms that are free.

        Args:
            model: Says which parameters are norms.
            prior: Of its free parameters.
            counts: theta -> expected counts of the source, up to a factor.
        """
        norms = tuple(i for i, parameter in enumerate(model.free) if parameter.is_norm)
        linked = {name for parameter in model.parameters if parameter.link is not None for name in parameter.link.names}
        whole = len(norms) == sum(parameter.is_norm for parameter in model.parameters)
        alone = all(model.free[i].name not in linked and prior.marginals[i].lo >= 0.0 for i in norms)
        return cls(prior, norms if whole and alone else (), counts)

    def into(self, v: V) -> V:
        """v -> w.

        Args:
            v: Probit coordinates.
        """
        if not self.norms:
            return v
        first, *others = self.norms
        theta = self.prior.to_theta(v)
        w = v.clone()
        w[..., first] = torch.log(self.counts(theta))
        for other in others:
            w[..., other] = torch.log(theta[..., other] / theta[..., first])
        return w

    def back(self, w: V) -> V:
        """w -> v; the far end for what lies beyond the box, and where the model gives no number.

        Args:
            w: Coordinates.
        """
        if not self.norms:
            return w
        chosen = list(self.norms)
        first, *others = chosen
        inside = w.clone()
        inside[..., chosen] = 0.0
        theta = self.prior.to_theta(inside)
        theta[..., first] = 1.0
        for other in others:
            theta[..., other] = torch.exp(w[..., other])
        factor = torch.exp(w[..., first] - torch.log(self.counts(theta)))
        theta[..., chosen] *= factor[..., None]
        norms = self.prior.to_probit(theta)[..., chosen]
        v = w.clone()
        v[..., chosen] = torch.where(torch.isnan(norms), FAR, norms)
        return v

    def log_slope(self, v: V) -> Float[Tensor, "*batch"]:
        """ln |dw / dv|.

        Args:
            v: Probit coordinates.
        """
        if not self.norms:
            return torch.zeros_like(v[..., 0])
        chosen = list(self.norms)
        theta, slope = self.prior.to_theta(v), self.prior.slope(v)
        return torch.log(slope[..., chosen] / theta[..., chosen]).sum(-1)

    def frames(self, modes: ModeFeatures) -> ModeFrames:
        """Modes as a local flow sees them.

        Args:
            modes: Places and curvatures in v.
        """
        if not self.norms:
            return modes.frames()
        slope = torch.linalg.inv(self._slopes(modes.v))
        information = slope.mT @ modes.information @ slope
        symmetric = 0.5 * (information + information.mT)
        return ModeFrames(self.into(modes.v), symmetric, modes.numbers, modes.v)

    def _slopes(self, v: Float[Tensor, "source parameter"]) -> Float[Tensor, "source parameter parameter"]:
        """dw / dv."""
        size = v.shape[-1]
        first, *others = self.norms
        step = STEP * torch.eye(size, dtype=v.dtype)
        ends = self.prior.to_theta(torch.stack([v[:, None] + step, v[:, None] - step]))
        up, down = torch.log(self.counts(ends))
        slopes = torch.eye(size, dtype=v.dtype).repeat(v.shape[0], 1, 1)
        slopes[:, first] = (up - down) / (2.0 * STEP)
        relative = self.prior.slope(v) / self.prior.to_theta(v)
        for other in others:
            slopes[:, other] = 0.0
            slopes[:, other, other] = relative[:, other]
            slopes[:, other, first] = -relative[:, first]
        return slopes


class Remembered:
    """A level that is asked for the same places again: the parts of a proposal are, one after the other.

    Attributes:
        level: What is asked.
    """

    def __init__(self, level: Level) -> None:
        """Nothing is remembered yet.

        Args:
            level: What is asked.
        """
        self.level = level
        self._last: tuple[Tensor, tuple[Tensor, Tensor]] | None = None

    def __call__(self, v: Float[Tensor, "draw parameter"]) -> tuple[Tensor, Tensor]:
        """w, and ln |dw / dv|.

        Args:
            v: Probit coordinates.
        """
        if self._last is None or not torch.equal(self._last[0], v):
            self._last = v.clone(), (self.level.into(v), self.level.log_slope(v))
        return self._last[1]
