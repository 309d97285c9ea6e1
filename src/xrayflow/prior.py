"""The answer's prior: the box of the model times what the user says, and the coordinates that inference works in.

Each parameter is independent: uniform in its box, on a logarithmic or a linear scale, or a normal cut to the box. The
coordinates `v` are the probit of the prior's unit cube, v = Phi^-1(P(theta' < theta)): there the prior is N(0, I),
nothing leaks over an edge and every posterior is proper.

A density needs a measure. `log_density` is per unit of log10 theta where the prior is uniform in that, and of theta
elsewhere (a normal is one of theta itself, whatever the scale of its box), so that for a plain box the posterior's mode
is the likelihood's maximum, as in XSPEC. The evidence does not depend on that choice.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from xrayflow.errors import PriorError, misused, nearest
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
        scale: "log" or "linear": what the box is uniform in; with a mean, how it is best shown and walked.
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

    @property
    def words(self) -> tuple[str, ...]:
        """What `Prior.of` makes this marginal of, to the last digit.

        >>> Marginal("TBabs.nH", "10^22 cm^-2", 0.1, 2.0, "log", 0.5, 0.1).words
        ('TBabs.nH=log:0.1:2.0', 'TBabs.nH~N(0.5,0.1)')
        """
        box = f"{self.name}={'log' if self.scale == 'log' else 'lin'}:{float(self.lo)!r}:{float(self.hi)!r}"
        if self.mean is None or self.sd is None:
            return (box,)
        return box, f"{self.name}~N({float(self.mean)!r},{float(self.sd)!r})"


@dataclass(frozen=True)
class Box:
    """The prior's marginals as tensors (parameter,).

    Attributes:
        lo, hi: Edges.
        is_log: Whether the scale is logarithmic.
        log_ratio: ln(hi / lo) there, 1 elsewhere.
        is_normal: Whether the marginal is a normal cut to the box.
        mean, sd: Of the normal; 0 and 1 elsewhere.
    """

    lo: Tensor
    hi: Tensor
    is_log: Tensor
    log_ratio: Tensor
    is_normal: Tensor
    mean: Tensor
    sd: Tensor

    @classmethod
    def of(cls, marginals: Sequence[Marginal]) -> Box:
        """The box of some parameters."""

        def row(values: Sequence[float]) -> Tensor:
            return torch.tensor(values, dtype=torch.float64)

        return cls(
            row([m.lo for m in marginals]),
            row([m.hi for m in marginals]),
            torch.tensor([m.scale == "log" for m in marginals]),
            row([math.log(m.hi / m.lo) if m.scale == "log" else 1.0 for m in marginals]),
            torch.tensor([m.mean is not None for m in marginals]),
            row([m.mean or 0.0 for m in marginals]),
            row([m.sd or 1.0 for m in marginals]),
        )


@dataclass(frozen=True)
class Prior:
    """Independent priors of the free parameters, in the model's order."""

    marginals: tuple[Marginal, ...]

    @classmethod
    def of(cls, model: Model, changes: Iterable[str] = ()) -> Prior:
        """The model's box with the user's changes.

        Args:
            model: Gives the free parameters and their boxes.
            changes: `NAME=lo:hi` (keeps the scale; `NAME=log:lo:hi` and `NAME=lin:lo:hi` set it) or
                `NAME~N(mean,sd)`, in turn; names in any case.

        Raises:
            PriorError: A name that is not free, a range outside the hard limits or not in order, a mean outside the
                range, or words that cannot be read.
        """
        marginals = {p.name: Marginal(p.name, p.unit, p.box[0], p.box[1], p.scale) for p in model.free}
        parameters = {p.name: p for p in model.free}
        frozen = {p.name.lower() for p in model.parameters if p.frozen}
        linked = {p.name.lower() for p in model.parameters if p.link is not None}
        for text in changes:
            match = _assignment(text)
            asked = match["name"].lower()
            name = next((known for known in marginals if known.lower() == asked), None)
            if name is None:
                hint = nearest(match["name"], marginals)
                if asked in frozen or asked in linked:
                    hint = "; it is frozen" if asked in frozen else "; it is linked to others"
                raise PriorError(f"--prior '{text}': no free parameter '{match['name']}' in {model.text}{hint}")
            marginals[name] = _changed(marginals[name], parameters[name], match["kind"], match["rest"], text)
        return cls(tuple(marginals.values()))

    @cached_property
    def box(self) -> Box:
        """The marginals as tensors."""
        return Box.of(self.marginals)

    def extended(self, marginals: Sequence[Marginal]) -> Prior:
        """This prior with further parameters behind its own: the nuisances of a likelihood."""
        return Prior((*self.marginals, *marginals)) if marginals else self

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

    def log_density(self, theta: Theta) -> Float[Tensor, "*batch"]:
        """Natural log of the normalised density, -inf outside the box.

        Args:
            theta: Parameters in their units.

        Returns:
            The sum over parameters; per unit of log10 theta where a box is logarithmic, else of theta.
        """
        return torch.stack([_log_density(m, theta[..., i]) for i, m in enumerate(self.marginals)], dim=-1).sum(-1)

    def contains(self, theta: Theta) -> Tensor:
        """Whether theta lies in the box."""
        return ((theta >= self.box.lo) & (theta <= self.box.hi)).all(-1)

    def sample(self, shape: Sequence[int], generator: torch.Generator) -> Theta:
        """Draws of the prior.

        Args:
            shape: Of the batch.
            generator: Source of randomness.

        Returns:
            (*shape, parameter) in the parameters' units.
        """
        return self.to_theta(torch.randn((*shape, len(self.marginals)), generator=generator, dtype=torch.float64))


def log_standard_normal(v: Theta) -> Float[Tensor, "*batch"]:
    """Natural log of the prior's density in probit coordinates, N(0, I)."""
    return -0.5 * (v * v).sum(-1) - 0.5 * v.shape[-1] * math.log(2.0 * math.pi)


def name_of(change: str) -> str:
    """The parameter that one of the user's changes names.

    Raises:
        PriorError: The words cannot be read.
    """
    return _assignment(change)["name"]


def _assignment(text: str) -> re.Match[str]:
    """Name, kind and rest of one of the user's changes."""
    match = _ASSIGNMENT.match(text)
    if match is None:
        raise misused(PriorError(f"--prior '{text}': not understood; write NAME=lo:hi or NAME~N(mean,sd)"))
    return match


def _changed(marginal: Marginal, parameter: Parameter, kind: str, rest: str, text: str) -> Marginal:
    """The marginal after one of the user's changes."""
    if kind == "~":
        match = _NORMAL.match(rest)
        mean, sd = (_number(match["mean"], text), _number(match["sd"], text)) if match else (math.nan, 0.0)
        if not sd > 0 or not math.isfinite(mean):
            raise misused(PriorError(f"--prior '{text}': write NAME~N(mean,sd) with sd > 0"))
        return _normal(marginal, (marginal.lo, marginal.hi, marginal.scale), (mean, sd), text)
    parts = rest.split(":")
    scale = marginal.scale
    if parts[0].lower() in ("log", "lin", "linear"):
        scale = "log" if parts.pop(0).lower() == "log" else "linear"
    if len(parts) != 2:
        raise misused(PriorError(f"--prior '{text}': not understood; write NAME=lo:hi or NAME~N(mean,sd)"))
    lo, hi = (_number(part, text) for part in parts)
    if not lo < hi:
        raise misused(
            PriorError(
                f"--prior '{text}': {lo:g} is not below {hi:g}; to fix a value use --freeze {marginal.name}={lo:g}"
            )
        )
    if lo < parameter.hard[0] or hi > parameter.hard[1]:
        raise PriorError(
            f"--prior '{text}': {marginal.name} must stay within {parameter.hard[0]:g}:{parameter.hard[1]:g}"
        )
    if scale == "log" and lo <= 0:
        raise PriorError(f"--prior '{text}': a logarithmic range starts above 0; give lo > 0 or NAME=lin:{lo:g}:{hi:g}")
    if marginal.mean is not None and marginal.sd is not None:
        return _normal(marginal, (lo, hi, scale), (marginal.mean, marginal.sd), text)
    return Marginal(marginal.name, marginal.unit, lo, hi, scale)


def _normal(marginal: Marginal, box: tuple[float, float, str], normal: tuple[float, float], text: str) -> Marginal:
    """A normal cut to a box that holds its mean."""
    (lo, hi, scale), (mean, sd) = box, normal
    if not lo <= mean <= hi:
        raise PriorError(
            f"--prior '{text}': the mean {mean:g} lies outside the box {lo:g}:{hi:g}; widen that with "
            f"{marginal.name}=lo:hi"
        )
    return Marginal(marginal.name, marginal.unit, lo, hi, scale, mean, sd)


def _number(text: str, where: str) -> float:
    """A finite number, or one clear line."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise misused(PriorError(f"--prior '{where}': '{text}' is not a number"))
    return value


def _phi(z: Tensor) -> Tensor:
    """The standard normal's distribution function; torch's own `ndtr` loses the lower tail (1e-9 of it at -6)."""
    below: Tensor = 0.5 * torch.special.erfc(z * -math.sqrt(0.5))
    return below


def _tails(marginal: Marginal, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """What a normal has below its box, above it, and inside."""
    mean, sd = marginal.mean or 0.0, marginal.sd or 1.0
    below = _phi(torch.tensor((marginal.lo - mean) / sd, dtype=dtype))
    above = _phi(torch.tensor((mean - marginal.hi) / sd, dtype=dtype))
    return below, above, 1.0 - below - above


def _to_theta(marginal: Marginal, v: Tensor) -> Tensor:
    v = torch.clamp(v, -FAR, FAR)
    if marginal.mean is not None and marginal.sd is not None:
        below, above, inside = _tails(marginal, v.dtype)
        # each half from its own end, or the upper tail would have no digits
        tail = _phi(torch.where(v < 0, v, -v)) * inside
        z = torch.where(v < 0, torch.special.ndtri(below + tail), -torch.special.ndtri(above + tail))
        return torch.clamp(marginal.mean + marginal.sd * z, marginal.lo, marginal.hi)
    if marginal.scale == "log":
        lo, hi = math.log(marginal.lo), math.log(marginal.hi)
        return torch.clamp(torch.exp(lo + (hi - lo) * _phi(v)), marginal.lo, marginal.hi)
    return marginal.lo + (marginal.hi - marginal.lo) * _phi(v)


def _slope(marginal: Marginal, v: Tensor) -> Tensor:
    density = torch.exp(-0.5 * v * v) / math.sqrt(2.0 * math.pi)
    theta = _to_theta(marginal, v)
    if marginal.mean is not None and marginal.sd is not None:
        z = (theta - marginal.mean) / marginal.sd
        return marginal.sd * _tails(marginal, v.dtype)[2] * torch.exp(0.5 * (z * z - v * v))
    if marginal.scale == "log":
        return theta * math.log(marginal.hi / marginal.lo) * density
    return (marginal.hi - marginal.lo) * density


def _to_probit(marginal: Marginal, theta: Tensor) -> Tensor:
    if marginal.mean is not None and marginal.sd is not None:
        below, above, inside = _tails(marginal, theta.dtype)
        z = (theta - marginal.mean) / marginal.sd
        u, rest = (_phi(z) - below) / inside, (_phi(-z) - above) / inside
    elif marginal.scale == "log":
        positive = torch.clamp(theta, min=0.0)
        u = torch.log(positive / marginal.lo) / math.log(marginal.hi / marginal.lo)
        rest = torch.log(marginal.hi / positive) / math.log(marginal.hi / marginal.lo)
    else:
        u = (theta - marginal.lo) / (marginal.hi - marginal.lo)
        rest = (marginal.hi - theta) / (marginal.hi - marginal.lo)
    near = torch.special.ndtri(torch.clamp(torch.minimum(u, rest), 0.0, 0.5))
    return torch.clamp(torch.where(u < rest, near, -near), -FAR, FAR)


def _log_density(marginal: Marginal, theta: Tensor) -> Tensor:
    inside = (theta >= marginal.lo) & (theta <= marginal.hi)
    if marginal.mean is not None and marginal.sd is not None:
        z = (theta - marginal.mean) / marginal.sd
        share = _tails(marginal, theta.dtype)[2]
        value = -0.5 * z * z - math.log(marginal.sd * math.sqrt(2.0 * math.pi)) - torch.log(share)
    elif marginal.scale == "log":
        value = torch.full_like(theta, -math.log(math.log10(marginal.hi / marginal.lo)))
    else:
        value = torch.full_like(theta, -math.log(marginal.hi - marginal.lo))
    return torch.where(inside, value, -torch.inf)
