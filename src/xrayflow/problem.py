"""The problem: prior, model and data of a batch of sources as one target. Everything below sees only this.

theta carries the model's free parameters in the prior's order, the likelihoods' nuisances behind them, with the axes
(source, draw, parameter): each source has draws of its own. Inference works in the prior's probit coordinates v, where

    log_target(v) = ln L(theta(v)) + ln N(v; 0, I).

A source may have several data sets, an instrument each: `JointData` holds them as one, and is asked for what concerns
the data alone. The work is cut into pieces that stay in the processor's cache.

How exactly expected counts are computed is a `Fidelity`: `at(SEARCH)` is the same problem on a coarse grid, for
searches, and `corrected` makes that exact at some places; what is certified was checked against EXACT. theta, expected
counts and all after them are float64 at any fidelity.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from xrayflow.dataset import DataSet
from xrayflow.errors import ModelError, PriorError
from xrayflow.folding import EXACT, MANY_DRAWS, PIECE, SEARCH, Fidelity, Grid
from xrayflow.joint_data import JointData
from xrayflow.linear_set import LinearSet
from xrayflow.models import Model, additive_components
from xrayflow.prior import FAR, Prior, log_standard_normal
from xrayflow.seeds import generator_for
from xrayflow.statistics import Curvature

Theta = Float[Tensor, "source draw parameter"]
V = Float[Tensor, "source draw parameter"]
Expected = Float[Tensor, "source draw bin"]


@dataclass(frozen=True)
class Problem:
    """One target for a batch of sources.

    Attributes:
        model: The spectral model.
        prior: The model's free parameters, then the nuisances of the likelihoods.
        data: What is told of the sources, by one instrument or several.
    """

    model: Model
    prior: Prior
    data: JointData

    @classmethod
    def of(cls, model: Model, prior: Prior, sets: Sequence[DataSet]) -> Problem:
        """Bring model and data together.

        Args:
            model: The spectral model.
            prior: Prior of its free parameters.
            sets: At least one, all of the same sources.

        Raises:
            ModelError: Nothing is free.
            PriorError: The prior is not one of the model's free parameters, in their order.
        """
        if not model.free:
            raise ModelError(f"{model.text}: every parameter is frozen; leave at least one free")
        if prior.names != model.names:
            raise PriorError(
                f"{model.text}: its free parameters are {', '.join(model.names)}, and the prior has "
                f"{', '.join(prior.names)}; give one with just these, as `Prior.of` makes it"
            )
        data = JointData(tuple(sets))
        return cls(model, prior.extended(data.nuisances), data)

    @property
    def sources(self) -> int:
        """How many sources the batch holds."""
        return self.data.sources

    @property
    def parameters(self) -> int:
        """How many columns theta has, nuisances included."""
        return len(self.prior.marginals)

    @property
    def energies(self) -> int:
        """Grid edges of all data sets: what a row of theta costs."""
        return self.data.energies

    @property
    def model_prior(self) -> Prior:
        """The prior of the model's free parameters alone."""
        return Prior(self.prior.marginals[: len(self.model.free)])

    @cached_property
    def norms(self) -> tuple[int, ...]:
        """Columns of theta that the expected counts are proportional to, all together."""
        return tuple(i for i, parameter in enumerate(self.model.free) if parameter.is_norm)

    def generators(self, seed: int) -> list[torch.Generator]:
        """A generator for each source, from the run's seed and the hashes of its files: the same in any company."""
        return [generator_for(seed, key) for key in self.data.keys]

    def expected(self, theta: Theta) -> Expected:
        """Expected source counts (without background) per bin, data sets end to end."""
        return torch.cat([self.data.expected(part) for part in self.pieces(theta)], dim=1)

    def components(self, theta: Theta) -> dict[str, Expected]:
        """Expected counts of each additive component alone, data sets end to end; they add up to `expected`.

        Args:
            theta: As for `expected`.
        """
        return {
            name: torch.cat([self.data.of_component(name, part) for part in self.pieces(theta)], dim=1)
            for name in additive_components(self.model)
        }

    def expected_counts(self, theta: Theta) -> Float[Tensor, "source draw"]:
        """Expected source counts of all noticed bins together; a correction of bins is left out."""
        return torch.cat([self.data.expected_counts(part) for part in self.pieces(theta)], dim=1)

    def log_likelihood(self, theta: Theta) -> Float[Tensor, "source draw"]:
        """ln p(counts | theta), normalised."""
        if self._one_by_one(theta):
            return torch.cat([one.log_likelihood(part) for one, part in self._each(theta)])
        data = self.data
        return torch.cat([data.log_density(data.expected(part), part) for part in self.pieces(theta)], dim=1)

    def log_target(self, v: V, power: float = 1.0) -> Float[Tensor, "source draw"]:
        """Natural log of likelihood^power x prior in probit coordinates.

        It is -inf where the model gives no number, and outside the box, where a network made for another box may draw.

        Args:
            v: Probit coordinates.
            power: Of the likelihood; below 1 it is tempered.
        """
        value = power * self.log_likelihood(self.prior.to_theta(v)) + log_standard_normal(v)
        return torch.where(torch.isnan(value) | (v.abs() >= FAR).any(-1), -torch.inf, value)

    def curvature(self, theta: Theta, slope: Theta) -> Curvature:
        """Gradient of ln L and Fisher's information, in the caller's coordinates.

        Args:
            theta: Where.
            slope: d theta / d coordinate there.
        """
        gradients, informations = [], []
        pieces = zip(*(self.pieces(one, copies=self.parameters + 1) for one in (theta, slope)), strict=True)
        for part, part_slope in pieces:
            found = self.data.curvature(part, part_slope)
            gradients.append(found.gradient)
            informations.append(found.information)
        return Curvature(torch.cat(gradients, dim=1), torch.cat(informations, dim=1))

    def target_curvature(self, v: V) -> Curvature:
        """Gradient of `log_target` in probit coordinates, and Fisher's information with the prior's.

        Args:
            v: Probit coordinates.
        """
        found = self.curvature(self.prior.to_theta(v), self.prior.slope(v))
        return Curvature(found.gradient - v, found.information + torch.eye(v.shape[-1], dtype=v.dtype))

    def matched(self, theta: Theta) -> tuple[Theta, Float[Tensor, "source draw"]]:
        """theta with all norms multiplied so that the expected counts meet the observed ones, and ln L there.

        The norms stay in the box. Expected counts are linear in them, so this costs no further evaluation.
        """
        if self._one_by_one(theta):
            both = [one.matched(part) for one, part in self._each(theta)]
            return torch.cat([scaled for scaled, _ in both]), torch.cat([value for _, value in both])
        scaled, values = [], []
        for part in self.pieces(theta):
            expected = self.data.expected(part)
            if self.norms:
                norms = list(self.norms)
                factor = self._matching_factor(part, expected)
                expected = expected * factor[..., None]
                part = part.clone()
                part[..., norms] = part[..., norms] * factor[..., None]
            scaled.append(part)
            values.append(self.data.log_density(expected, part))
        return torch.cat(scaled, dim=1), torch.cat(values, dim=1)

    def centred(self, theta: Float[Tensor, "source one parameter"], sources: Sequence[int] | None = None) -> Problem:
        """The problem whose likelihoods are exact where a model fits; itself where they are everywhere.

        Args:
            theta: Where, of each source.
            sources: Those that are asked for; None is all.
        """
        return self._with(self.data.centred(theta, range(self.sources) if sources is None else sources))

    def linear(self, v: Float[Tensor, " parameter"]) -> tuple[LinearSet, ...]:
        """The fit of a batch of one as linear, each data set by itself, at the nuisances that a fit is judged at.

        Args:
            v: The fit, in probit coordinates.
        """
        here = v[None, None]
        return self.data.linear(self.data.as_judged(self.prior.to_theta(here)), self.prior.slope(here), here)

    def as_asked(self) -> Problem:
        """The problem of a batch of one in the bins that were asked for, where the counts had decided those.

        The likelihood takes others then; XSPEC's statistic, its degrees of freedom and figures are of these.
        """
        return self._with(self.data.as_asked())

    def statistic(self, theta: Theta) -> Float[Tensor, "source draw"]:
        """XSPEC's statistic."""
        return -2.0 * self.of_statistic().log_likelihood(theta)

    def of_statistic(self) -> Problem:
        """The same with XSPEC's statistics in the place of the likelihoods: ln L = -statistic / 2.

        Raises:
            DataError: The bins are not those that were asked for, or the likelihood has nuisances.
        """
        return self._with(self.data.of_statistic())

    def softened(self, error: float) -> Problem:
        """The same as if the model were off by a part of itself in every bin; nuisances change nothing then.

        Args:
            error: That part.
        """
        return self._with(self.data.softened(error))

    def is_sharp(self, error: float) -> Bool[Tensor, " source"]:
        """Whether starts of a source are led better on the softened likelihood.

        Args:
            error: That part.
        """
        return self.data.is_sharp(error)

    def at(self, fidelity: Fidelity) -> Problem:
        """The same problem at another fidelity; itself where that is no other.

        Args:
            fidelity: How exactly expected counts are computed.
        """
        return self._with(self.data.at(fidelity))

    def corrected(self, theta: Theta, known: Bool[Tensor, "source draw"]) -> Problem:
        """The problem on the search's grid, made exact at some places; itself where that is the answer's own.

        A corrected problem keeps the places where it is exact already.

        Args:
            theta: The places; nuisances change nothing.
            known: Which of them are any.
        """
        cheap = self.at(SEARCH)
        return cheap if cheap.is_exact else cheap._with(cheap.data.corrected(theta, known))

    def on(self, grid: Grid) -> Problem:
        """The same problem with another photon-energy grid as the answer's own.

        Args:
            grid: Of all data sets.
        """
        return self._with(self.data.on(grid))

    def finer(self, parts: int) -> Problem:
        """The same problem with every bin of the answer's grid cut.

        Args:
            parts: Into how many.
        """
        return self._with(self.data.finer(parts))

    def select(self, sources: Int[Tensor, " chosen"]) -> Problem:
        """The problem of some of the sources; repeats are allowed.

        Args:
            sources: Their numbers in the batch, from 0.
        """
        return self._with(self.data.select(sources))

    @property
    def is_exact(self) -> bool:
        """Whether expected counts are computed on the answer's own grid, in float64."""
        return self.data.fidelity == EXACT

    def pieces(self, theta: Theta, copies: int = 1) -> Sequence[Theta]:
        """Cut along the draws, so that the work of a piece stays in the processor's cache; at least one draw in each.

        Args:
            theta: All draws.
            copies: How many times the expected counts of a piece are held.
        """
        draws = max(PIECE // (self.energies * theta.shape[0] * copies), 1)
        return torch.split(theta, draws, dim=1)

    def _with(self, data: JointData) -> Problem:
        """The same of other data; itself where these are its own."""
        return self if data is self.data else replace(self, data=data)

    def _matching_factor(self, theta: Theta, expected: Expected) -> Float[Tensor, "source draw"]:
        """What all norms are multiplied by to meet the observed net counts, held in the box."""
        norms, box = list(self.norms), self.prior.box
        factor = self.data.facts.net.clamp(min=1.0)[:, None] / expected.sum(-1).clamp(min=1e-300)
        norm = theta[..., norms]
        smallest = (box.lo[norms] / norm).amax(-1)
        largest = (box.hi[norms] / norm).amin(-1)
        return torch.minimum(torch.maximum(factor, smallest), largest)

    def _one_by_one(self, theta: Theta) -> bool:
        """Whether sources have so many draws each that it is cheaper to keep one's matrix at hand than to mix them."""
        return self.sources > 1 and theta.shape[1] >= MANY_DRAWS

    def _each(self, theta: Theta) -> Iterator[tuple[Problem, Theta]]:
        """Every source as a batch of one, with its draws."""
        for source in range(self.sources):
            yield self.select(torch.tensor([source])), theta[source : source + 1]
