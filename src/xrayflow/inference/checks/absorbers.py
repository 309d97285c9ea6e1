r"""Absorbers that a fit may lack: a change too large to add to what is expected.

At each column and covering fraction the changed model is first fitted to what the unchanged one expects, and is linear
about that point: with residuals q, derivatives B and parameters v there,

    ln Z = -q'D^-1 q / 2 - v'v / 2 + b'H^-1 b / 2 - ln det H / 2,     b = B'D^-1 q - v,   H = B'D^-1 B + 1.

Parameters take in what they can. A second absorber of what has one of its own with a free column is the first with
another column: it is not looked for, nor a second one over a part.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from xrayflow.inference.checks.candidates import Addition, Kind, Residual
from xrayflow.linear_set import LinearSet
from xrayflow.models import Model, acted_on, additive_components, multiplied
from xrayflow.problem import Problem

COLUMNS = tuple(10.0 ** (-2.0 + 0.25 * i) for i in range(17))
FRACTIONS = (0.2, 0.4, 0.6, 0.8, 0.95)
"""10^22 cm^-2, of absorbers: 1e20 to 1e24 cm^-2; and what they cover."""

FULL, PARTIAL = ("TBabs", "phabs", "vphabs"), ("TBpcf", "pcfabs")
"""Absorbers of everything behind them, and of a part of it."""

REFITS, SETTLED, FARTHEST = 25, 0.02, 8.0
"""Steps of the fits that make up for an absorber at most; shorter ones end them; how far they go in probit units."""


def absorbers_of(problem: Problem, one: LinearSet, v: Float[Tensor, " parameter"]) -> Iterator[Kind]:
    """A further absorber of everything, of each additive component, and of a part of the source.

    Args:
        problem: A batch of one.
        one: Its fit.
        v: The fit, in probit coordinates.
    """
    passed, model = one.transmission(COLUMNS), problem.model
    words = tuple(f"nH {column:.2g} 10^22 cm^-2" for column in COLUMNS)
    names = additive_components(model)
    for name in (None, *(names if len(names) > 1 else ())):
        if not _has(model, FULL, names if name is None else (name,)):
            kind = "absorber" if name is None else f"absorber of {name}"
            yield Kind(kind, words, _changed(problem, one, v, passed, name), _no_size, _addition(model, "TBabs", name))
    if not _has(model, PARTIAL, names):
        covered = np.concatenate([1.0 - fraction * (1.0 - passed) for fraction in FRACTIONS])
        both = tuple(f"{word}, fraction {fraction:g}" for fraction in FRACTIONS for word in words)
        evidence = _changed(problem, one, v, covered, None)
        yield Kind("partial covering", both, evidence, _no_size, _addition(model, "TBpcf", None))


def _has(model: Model, components: Collection[str], covered: Collection[str]) -> bool:
    """Whether a model has an absorber with a free column of just these additive components."""
    free = {parameter.component for parameter in model.free if parameter.name.endswith(".nH")}
    found = acted_on(model, components).items()
    return any(name in free and set(own) == set(covered) for name, own in found)


def _addition(model: Model, component: str, onto: str | None) -> Callable[[int], Addition]:
    """How an absorber is written: its column is as likely in every decade, what it covers anything."""
    written = multiplied(model, component, onto)
    prior = [f"{written.component}.nH=log:{COLUMNS[0]:g}:{COLUMNS[-1]:g}"]
    prior += [f"{written.component}.pcf=lin:0:1"] if component == "TBpcf" else []
    addition = Addition(written.expression, written.component, tuple(prior))
    return lambda at: addition


def _changed(
    problem: Problem, one: LinearSet, v: Tensor, factors: NDArray[np.float64], component: str | None
) -> Callable[[Residual], Tensor]:
    """Evidence of a model that is multiplied by factors, over that of the model as it is.

    Args:
        problem, one, v: The fit.
        factors: (place, energy).
        component: Of which additive component; None is all.
    """
    fit, free = one.fit, one.theta.shape[-1]
    weight = 1.0 / fit.variance.clamp(min=1e-300)
    here, expected, bent = _made_up_for(problem, one, v, factors, component)
    (goal,) = one.times(np.ones((1, factors.shape[1]))).T
    # the rest of the columns (calibration modes) are where they were
    rest, count = fit.columns[:, free:], here.shape[0]
    columns = torch.cat([bent, rest.expand(count, -1, -1)], dim=-1)
    at = torch.cat([here, fit.at[free:].expand(count, -1)], dim=-1)
    left = expected - goal

    def half_gain(residual: Tensor, columns: Tensor, at: Tensor) -> Tensor:
        """b'H^-1 b / 2 - ln det H / 2 - v'v / 2 of (spectrum, place)."""
        weighed = columns * weight[:, None]
        inner = columns.mT @ weighed + torch.eye(at.shape[-1], dtype=at.dtype)
        factor = torch.linalg.cholesky(inner)
        pull = residual @ weighed - at
        solved = torch.linalg.solve_triangular(factor, pull.mT, upper=False)
        log_det = factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        found: Tensor = 0.5 * (solved**2).sum(-2) - log_det[..., None] - 0.5 * (at**2).sum(-1)
        return found

    def evidence(residual: Residual) -> Tensor:
        before = half_gain(residual, fit.columns, fit.at[None])
        each = []
        for own, place, change in zip(columns, at, left, strict=True):
            now = half_gain(residual - change, own, place[None])
            each.append(now - before + (residual - 0.5 * change) @ (weight * change))
        return torch.stack(each, dim=-1)

    return evidence


def _made_up_for(
    problem: Problem, one: LinearSet, v: Tensor, factors: NDArray[np.float64], component: str | None
) -> tuple[Float[Tensor, "place parameter"], Float[Tensor, "place bin"], Float[Tensor, "place bin parameter"]]:
    """Where the parameters of a changed model make up for the change as well as they can (Gauss and Newton).

    Args:
        problem, one, v, factors, component: As for `_changed`.

    Returns:
        Probit coordinates, expected counts, and their derivatives by these coordinates.
    """
    free, weight = one.theta.shape[-1], 1.0 / one.fit.variance.clamp(min=1e-300)
    prior, (goal,) = problem.model_prior, one.times(np.ones((1, factors.shape[1]))).T
    start = v[:free].expand(factors.shape[0], -1)
    here, best = start.clone(), start.clone()
    least = torch.full((factors.shape[0],), torch.inf, dtype=v.dtype)
    for _ in range(REFITS):
        expected, jacobian = one.multiplied(prior.to_theta(here), factors, component)
        left, bent = expected - goal, jacobian * prior.slope(here)[:, None]
        badness = (left**2 * weight).sum(-1) + ((here - start) ** 2).sum(-1)
        best = torch.where((badness < least)[:, None], here, best)
        least = torch.minimum(least, badness)
        normal = bent.mT @ (weight[:, None] * bent) + torch.eye(free, dtype=v.dtype)
        step = torch.linalg.solve(normal, (bent.mT @ (weight * left)[..., None])[..., 0] + here - start)
        if bool((step.norm(dim=-1) < SETTLED).all()):
            break
        here = (here - step * (1.0 / step.norm(dim=-1, keepdim=True).clamp(min=1.0))).clamp(-FARTHEST, FARTHEST)
    expected, jacobian = one.multiplied(prior.to_theta(best), factors, component)
    return best, expected, jacobian * prior.slope(best)[:, None]


def _no_size(residual: Residual, at: int) -> str:
    return ""
