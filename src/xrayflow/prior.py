"""The answer's prior: the box of the model times what the user says, and the coordinates that inference works in.

Each parameter is independent: uniform in its box, on a logarithmic or a linear scale, or a normal cut to the box. The
coordinates `v` are the probit of the prior's unit cube, v = Phi^-1(P(theta' < theta)): there the prior is N(0, I), nothing leaks over an
edge and every posterior is proper.

A density needs a measure. `log_density` is with respect to each parameter's own scale (log10 theta where the box is
logarithmic, theta elsewhere), so that for a plain box the posterior's mode is the likelihood's maximum, as in XSPEC.
The evidence does not depend on that choice.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from xrayflow.errors import PriorError, nearest
from xrayflow.models import Model, Parameter

Theta = Float[Tensor, "*batch parameter"]

FAR = 12.0
"""Beyond this probit the unit cube's edge is reached in float64 (Phi(-12) = 2e-33); only its sign matters."""

_ASSIGNMENT = re.compile(r"^\s*(?P<name>[^=~\s]+)\s*(?P<kind>[=~])\s*(?P<rest>.+?)\s*$")
_NORMAL = re.compile(r"^N\(\s*(?P<mean>[^,]+?)\s*,\s*(?P<sd>[^,]+?)\s*\)$", re.IGNORECASE)


@dataclass(frozen=True)
class Marginal:
    """The prior of one parameter.

    Attributes:
        name: XSPEC's name, `TBabs.nH`.
        unit: XSPEC's unit.
        lo: Lower edge of the box, in the parameter's unit.
        hi: Upper edge.
        scale: "log" or "linear": what the box is uniform in.
        mean: Mean of a normal in the parameter itself, cut to the box; None is uniform.
        sd: Its standard deviation.
    """

    name: str
    unit: str
    lo: float
    hi: float
    scale: str
    mean: float | None = None
    sd: float | None = None

    def __str__(self) -> str:
        box = f"{self.lo:g} .. {self.hi:g}"
        return f"{box} {self.scale}" if self.mean is None else f"N({self.mean:g}, {self.sd:g}) in {box}"


@dataclass(frozen=True)
class Prior:
    """Independent priors of the free parameters, in the model's order."""

    marginals: tuple[Marginal, ...]

    @classmethod
    def of(cls, model: Model, changes: Iterable[str] = ()) -> Prior:
        """The model's box with the user's changes.

        Args:
            model: Gives the free parameters and their boxes.
            changes: `NAME=lo:hi` (keeps the scale; `NAME=log:lo:hi` and `NAME=lin:lo:hi` set it) or `NAME~N(mean,sd)`.

        Raises:
            PriorError: A name that is not free, a range outside the hard limits, or words that cannot be read.
        """
        marginals = {p.name: Marginal(p.name, p.unit, p.box[0], p.box[1], p.scale) for p in model.free}
        parameters = {p.name: p for p in model.free}
        frozen = {p.name.lower() for p in model.parameters if p.frozen}
        for text in changes:
            match = _ASSIGNMENT.match(text)
            if match is None:
                raise PriorError(f"--prior '{text}': not understood; write NAME=lo:hi or NAME~N(mean,sd)")
            asked = match["name"].lower()
            name = next((known for known in marginals if known.lower() == asked), None)
            if name is None:
                hint = "; it is frozen" if asked in frozen else nearest(match["name"], marginals)
                raise PriorError(f"--prior '{text}': no free parameter '{match['name']}' in {model.text}{hint}")
            marginals[name] = _changed(marginals[name], parameters[name], match["kind"], match["rest"], text)
        return cls(tuple(marginals.values()))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the free parameters."""
        return tuple(marginal.name for marginal in self.marginals)

    def to_theta(self, v: Theta) -> Theta:
        """Probit coordinates -> parameters in their units. Differentiable."""
        return torch.stack([_to_theta(marginal, v[..., i]) for i, marginal in enumerate(self.marginals)], dim=-1)

    def slope(self, v: Theta) -> Theta:
        """d theta / d v of every parameter, at probit coordinates v."""
        return torch.stack([_slope(marginal, v[..., i]) for i, marginal in enumerate(self.marginals)], dim=-1)

    def to_probit(self, theta: Theta) -> Theta:
        """Parameters -> probit coordinates; at or beyond an edge of the box: +-12."""
        return torch.stack([_to_probit(marginal, theta[..., i]) for i, marginal in enumerate(self.marginals)], dim=-1)

    def to_scale(self, theta: Theta) -> Theta:
        """Parameters -> their own scale: log10 where the box is logarithmic, else unchanged."""
        return torch.stack(
            [torch.log10(theta[..., i]) if m.scale == "log" else theta[..., i] for i, m in enumerate(self.marginals)],
            dim=-1,
        )

    def log_density(self, theta: Theta) -> Float[Tensor, "*batch"]:
        """Natural log of the normalised density per unit of each parameter's own scale; -inf outside the box."""
        return torch.stack([_log_density(m, theta[..., i]) for i, m in enumerate(self.marginals)], dim=-1).sum(-1)

    def contains(self, theta: Theta) -> Tensor:
        """Whether theta lies in the box."""
        lo = torch.tensor([m.lo for m in self.marginals], dtype=theta.dtype)
        hi = torch.tensor([m.hi for m in self.marginals], dtype=theta.dtype)
        return ((theta >= lo) & (theta <= hi)).all(-1)

    def sample(self, shape: Sequence[int], generator: torch.Generator) -> Theta:
        """Draws of the prior: (*shape, parameter)."""
        return self.to_theta(torch.randn((*shape, len(self.marginals)), generator=generator, dtype=torch.float64))


def log_standard_normal(v: Theta) -> Float[Tensor, "*batch"]:
    """Natural log of the prior's density in probit coordinates, N(0, I)."""
    return -0.5 * (v * v).sum(-1) - 0.5 * v.shape[-1] * math.log(2.0 * math.pi)


def _changed(marginal: Marginal, parameter: Parameter, kind: str, rest: str, text: str) -> Marginal:
    """The marginal after one of the user's changes."""
    if kind == "~":
        match = _NORMAL.match(rest)
        mean, sd = (_number(match["mean"], text), _number(match["sd"], text)) if match else (math.nan, 0.0)
        if not sd > 0 or not math.isfinite(mean):
            raise PriorError(f"--prior '{text}': write NAME~N(mean,sd) with sd > 0")
        if not marginal.lo < mean < marginal.hi:
            raise PriorError(
                f"--prior '{text}': the mean lies outside the box {marginal.lo:g}:{marginal.hi:g}; widen it with NAME=lo:hi"
            )
        return Marginal(marginal.name, marginal.unit, marginal.lo, marginal.hi, marginal.scale, mean, sd)
    parts = rest.split(":")
    scale = marginal.scale
    if parts[0].lower() in ("log", "lin", "linear"):
        scale = "log" if parts.pop(0).lower() == "log" else "linear"
    if len(parts) != 2:
        raise PriorError(f"--prior '{text}': not understood; write NAME=lo:hi or NAME~N(mean,sd)")
    lo, hi = (_number(part, text) for part in parts)
    if not lo < hi:
        raise PriorError(
            f"--prior '{text}': {lo:g} is not below {hi:g}; to fix a value use --freeze {marginal.name}={lo:g}"
        )
    if lo < parameter.hard[0] or hi > parameter.hard[1]:
        raise PriorError(
            f"--prior '{text}': {marginal.name} must stay within {parameter.hard[0]:g}:{parameter.hard[1]:g}"
        )
    if scale == "log" and lo <= 0:
        raise PriorError(f"--prior '{text}': a logarithmic range starts above 0; give lo > 0 or NAME=lin:{lo:g}:{hi:g}")
    return Marginal(marginal.name, marginal.unit, lo, hi, scale, marginal.mean, marginal.sd)


def _number(text: str, where: str) -> float:
    """A finite number, or one clear line."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise PriorError(f"--prior '{where}': '{text}' is not a number")
    return value


def _phi(z: Tensor) -> Tensor:
    """The standard normal's distribution function."""
    return torch.special.ndtr(z)


def _cut(marginal: Marginal) -> tuple[float, float]:
    """The box's edges in standard deviations from the mean of a normal marginal."""
    mean, sd = marginal.mean or 0.0, marginal.sd or 1.0
    return (marginal.lo - mean) / sd, (marginal.hi - mean) / sd


def _to_theta(marginal: Marginal, v: Tensor) -> Tensor:
    u = _phi(torch.clamp(v, -FAR, FAR))
    if marginal.mean is not None and marginal.sd is not None:
        a, b = (_phi(torch.tensor(edge, dtype=v.dtype)) for edge in _cut(marginal))
        z = torch.special.ndtri(a + u * (b - a))
        return torch.clamp(marginal.mean + marginal.sd * z, marginal.lo, marginal.hi)
    if marginal.scale == "log":
        lo, hi = math.log(marginal.lo), math.log(marginal.hi)
        return torch.clamp(torch.exp(lo + (hi - lo) * u), marginal.lo, marginal.hi)
    return marginal.lo + (marginal.hi - marginal.lo) * u


def _slope(marginal: Marginal, v: Tensor) -> Tensor:
    density = torch.exp(-0.5 * v * v) / math.sqrt(2.0 * math.pi)
    theta = _to_theta(marginal, v)
    if marginal.mean is not None and marginal.sd is not None:
        a, b = (_phi(torch.tensor(edge, dtype=v.dtype)) for edge in _cut(marginal))
        z = (theta - marginal.mean) / marginal.sd
        return marginal.sd * (b - a) * density * math.sqrt(2.0 * math.pi) * torch.exp(0.5 * z * z)
    if marginal.scale == "log":
        return theta * math.log(marginal.hi / marginal.lo) * density
    return (marginal.hi - marginal.lo) * density


def _to_probit(marginal: Marginal, theta: Tensor) -> Tensor:
    if marginal.mean is not None and marginal.sd is not None:
        a, b = (_phi(torch.tensor(edge, dtype=theta.dtype)) for edge in _cut(marginal))
        u = (_phi((theta - marginal.mean) / marginal.sd) - a) / (b - a)
    elif marginal.scale == "log":
        u = torch.log(theta / marginal.lo) / math.log(marginal.hi / marginal.lo)
    else:
        u = (theta - marginal.lo) / (marginal.hi - marginal.lo)
    return torch.clamp(torch.special.ndtri(torch.clamp(u, 0.0, 1.0)), -FAR, FAR)


def _log_density(marginal: Marginal, theta: Tensor) -> Tensor:
    inside = (theta >= marginal.lo) & (theta <= marginal.hi)
    if marginal.mean is not None and marginal.sd is not None:
        a, b = (_phi(torch.tensor(edge, dtype=theta.dtype)) for edge in _cut(marginal))
        z = (theta - marginal.mean) / marginal.sd
        value = -0.5 * z * z - math.log(marginal.sd * math.sqrt(2.0 * math.pi)) - torch.log(b - a)
    elif marginal.scale == "log":
        value = torch.full_like(theta, -math.log(math.log10(marginal.hi / marginal.lo)))
    else:
        value = torch.full_like(theta, -math.log(marginal.hi - marginal.lo))
    return torch.where(inside, value, -torch.inf)
