"""The problem: prior, model and data of a batch of sources as one target. Everything below sees only this.

theta carries the model's free parameters in the prior's order, the likelihoods' nuisances behind them, with the axes
(source, draw, parameter): each source has draws of its own. Inference works in the prior's probit coordinates v, where

    log_target(v) = ln L(theta(v)) + ln N(v; 0, I).

A source may have several data sets (an instrument each): their log densities add, and their bins stand end to end in
everything that has an axis of bins. The work is cut into pieces that stay in the processor's cache.

How exactly expected counts are computed is a `Fidelity`: `at(SEARCH)` is the same problem on a coarse grid, for
searches, and `corrected` makes that exact at some places; what is certified was checked against EXACT. theta, expected
counts and all after them are float64 at any fidelity.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from xrayflow.dataset import Calibration, DataSet, Facts, ObservedData, Prediction, Value
from xrayflow.errors import DataError, ModelError, PriorError
from xrayflow.folding import EXACT, MANY_DRAWS, PIECE, SEARCH, Fidelity, Grid
from xrayflow.linear_set import LinearSet
from xrayflow.models import Model, additive_components
from xrayflow.ogip import resolved_energies
from xrayflow.prior import FAR, Prior, log_standard_normal
from xrayflow.seeds import generator_for
from xrayflow.statistics import BackgroundTreatment, Curvature, FitStatistic, background_in_source

PLACE_STEP, MOST_PLACES = 0.5, 400
"""Between places where a feature could stand, in full widths at half maximum; and how many of a spectrum, at most."""

Theta = Float[Tensor, "source draw parameter"]
V = Float[Tensor, "source draw parameter"]
Expected = Float[Tensor, "source draw bin"]


@dataclass(frozen=True)
class Problem:
    """One target for a batch of sources.

    Attributes:
        model: The spectral model.
        prior: The model's free parameters, then the nuisances of the likelihoods.
        sets: The data, one set per instrument.
    """

    model: Model
    prior: Prior
    sets: tuple[DataSet, ...]

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
        nuisances = [one for data in sets for one in data.likelihood.nuisances]
        return cls(model, prior.extended(nuisances), tuple(sets))

    @property
    def sources(self) -> int:
        """How many sources the batch holds."""
        return len(self.sets[0].spectra)

    @property
    def parameters(self) -> int:
        """How many columns theta has, nuisances included."""
        return len(self.prior.marginals)

    @property
    def model_prior(self) -> Prior:
        """The prior of the model's free parameters alone."""
        return Prior(self.prior.marginals[: len(self.model.free)])

    @cached_property
    def norms(self) -> tuple[int, ...]:
        """Columns of theta that the expected counts are proportional to, all together."""
        return tuple(i for i, parameter in enumerate(self.model.free) if parameter.is_norm)

    @cached_property
    def facts(self) -> Facts:
        """What is known of each source without its model."""
        first = self.sets[0]
        counts, background = [], []
        for data in self.sets:
            likelihood = data.likelihood
            counts.append((likelihood.counts[:, 0] * likelihood.used).sum(-1))
            behind = [
                0.0 if choice.gaussian else float(background_in_source(spectrum).sum())
                for spectrum, choice in zip(data.spectra, data.choices, strict=True)
            ]
            background.append(torch.tensor(behind, dtype=torch.float64))
        systematic = torch.stack([data.likelihood.systematic[:, 0] for data in self.sets])
        return Facts(
            names=tuple(spectrum.observation.pha.path.name for spectrum in first.spectra),
            counts=torch.stack(counts).sum(0),
            background=torch.stack(background).sum(0),
            systematic=systematic.amax(0),
            amplitude=first.amplitude,
            bins=torch.tensor(
                [sum(data.spectra[source].counts.size for data in self.sets) for source in range(self.sources)]
            ),
            are_counts=torch.tensor(
                [not any(data.choices[source].gaussian for data in self.sets) for source in range(self.sources)]
            ),
        )

    @property
    def fidelity(self) -> Fidelity:
        """How exactly expected counts are computed."""
        return self.sets[0].forward.fidelity

    @property
    def energies(self) -> int:
        """Grid edges of all data sets: what a row of theta costs."""
        return sum(data.forward.energies for data in self.sets)

    @property
    def grid(self) -> str:
        """The photon-energy grid, in words."""
        return "; ".join(dict.fromkeys(data.forward.grid.description for data in self.sets))

    def generators(self, seed: int) -> list[torch.Generator]:
        """A generator for each source, from the run's seed and the hashes of its files: the same in any company."""
        keys = zip(*([spectrum.observation.pha.sha256 for spectrum in data.spectra] for data in self.sets), strict=True)
        return [generator_for(seed, "+".join(key)) for key in keys]

    def expected(self, theta: Theta) -> Expected:
        """Expected source counts (without background) per bin, data sets end to end."""
        return torch.cat([self._expected(part) for part in self._pieces(theta)], dim=1)

    def components(self, theta: Theta) -> dict[str, Expected]:
        """Expected counts of each additive component alone, data sets end to end; they add up to `expected`.

        Args:
            theta: As for `expected`.
        """
        own = theta[..., : len(self.model.free)]
        return {
            name: torch.cat(
                [
                    torch.cat([data.forward.of_component(name, part) for data in self.sets], dim=-1)
                    for part in self._pieces(own)
                ],
                dim=1,
            )
            for name in additive_components(self.model)
        }

    def expected_counts(self, theta: Theta) -> Float[Tensor, "source draw"]:
        """Expected source counts of all noticed bins together; a correction of bins is left out."""
        forwards = [data.forward.summed() for data in self.sets]
        own = theta[..., : len(self.model.free)]
        pieces = ([forward.expected(part)[..., 0] for forward in forwards] for part in self._pieces(own))
        return torch.cat([torch.stack(piece).sum(0) for piece in pieces], dim=1)

    def log_likelihood(self, theta: Theta) -> Float[Tensor, "source draw"]:
        """ln p(counts | theta), normalised."""
        if self._one_by_one(theta):
            return torch.cat([one.log_likelihood(part) for one, part in self._each(theta)])
        return torch.cat([self._log_density(self._expected(part), part) for part in self._pieces(theta)], dim=1)

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
        pieces = zip(*(self._pieces(one, copies=self.parameters + 1) for one in (theta, slope)), strict=True)
        for part, part_slope in pieces:
            found = self._curvature(part, part_slope)
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
        for part in self._pieces(theta):
            expected = self._expected(part)
            if self.norms:
                norms = list(self.norms)
                factor = self._matching_factor(part, expected)
                expected = expected * factor[..., None]
                part = part.clone()
                part[..., norms] = part[..., norms] * factor[..., None]
            scaled.append(part)
            values.append(self._log_density(expected, part))
        return torch.cat(scaled, dim=1), torch.cat(values, dim=1)

    def deviance(self, expected: Expected, theta: Theta) -> Float[Tensor, "source draw"]:
        """2 (saturated - log likelihood) of all data sets, of the likelihood that the posterior rests on.

        Args:
            expected: Of `expected` at theta; for a replica, as many draws as data.
            theta: For its nuisances.
        """
        nuisances = iter(self._nuisances(self.as_judged(theta)))
        return self._sum(lambda data, part: data.likelihood.deviance(part, next(nuisances)), expected)

    def as_judged(self, theta: Theta) -> Theta:
        """theta with the nuisances that a fit is judged at.

        Args:
            theta: Where.
        """
        found, place = theta.clone(), len(self.model.free)
        for data, nuisance in zip(self.sets, self._nuisances(theta), strict=True):
            if nuisance is not None:
                count = nuisance.shape[-1]
                found[..., place : place + count] = data.likelihood.as_judged(nuisance)
                place += count
        return found

    def centred(self, theta: Float[Tensor, "source one parameter"], sources: Sequence[int] | None = None) -> Problem:
        """The problem whose likelihoods are exact where a model fits; itself where they are everywhere.

        Args:
            theta: Where, of each source.
            sources: Those that are asked for; None is all.
        """
        own, wanted = theta[..., : len(self.model.free)], range(self.sources) if sources is None else sources
        pairs = zip(self.sets, self._nuisances(theta), strict=True)
        sets = tuple(data.centred(own, nuisance, wanted) for data, nuisance in pairs)
        return self if all(new is old for new, old in zip(sets, self.sets, strict=True)) else replace(self, sets=sets)

    def folded_off(self, theta: Float[Tensor, "source one parameter"]) -> list[int]:
        """Sources whose energy scale is another one where a model fits than the one that they are folded with.

        Args:
            theta: Where, of each source.
        """
        own = theta[..., : len(self.model.free)]
        pairs = zip(self.sets, self._nuisances(theta), strict=True)
        return sorted({source for data, nuisance in pairs for source in data.folded_off(own, nuisance)})

    def folds_like(self, other: Problem, source: int) -> bool:
        """Whether the expected counts of a source are folded with the same edges.

        Args:
            other: A problem of the same data.
            source: Its number.
        """
        return all(a.spectra[source] is b.spectra[source] for a, b in zip(self.sets, other.sets, strict=True))

    def replicate(self, expected: Expected, theta: Theta, generator: torch.Generator) -> Problem:
        """The problem of data as another observation would give them: draw i of a replica has data of its own.

        Args:
            expected: Of `expected` at theta.
            theta: For its nuisances.
            generator: Source of randomness.
        """
        parts = zip(self.sets, self._split(expected), self._nuisances(theta), strict=True)
        sets = [
            replace(data, likelihood=data.likelihood.replicate(part, generator, nuisance))
            for data, part, nuisance in parts
        ]
        return replace(self, sets=tuple(sets))

    def residuals(self, expected: Expected, theta: Theta) -> Expected:
        """Counts less their mean, the background included; data sets end to end.

        Args:
            expected: Of `expected` at theta; for a replica, as many draws as data.
            theta: For its nuisances.
        """
        parts = zip(self.sets, self._split(expected), self._nuisances(theta), strict=True)
        left = [
            (data.likelihood.counts - data.likelihood.total(part, nuisance)) * data.likelihood.used[:, None]
            for data, part, nuisance in parts
        ]
        return torch.cat(left, dim=-1)

    def linear(self, v: Float[Tensor, " parameter"]) -> tuple[LinearSet, ...]:
        """The fit of a batch of one as linear, each data set by itself, at the nuisances that a fit is judged at.

        Args:
            v: The fit, in probit coordinates.
        """
        here, free = v[None, None], len(self.model.free)
        theta = self.as_judged(self.prior.to_theta(here))
        slope = self.prior.slope(here)[..., :free]
        parts = zip(self.sets, self._nuisances(theta), strict=True)
        return tuple(data.linear(theta[..., :free], slope, here[..., :free], nuisance) for data, nuisance in parts)

    def predictions(self, expected: Expected, theta: Theta) -> tuple[Prediction, ...]:
        """What the data sets of a batch of one hold, and what draws make of them.

        Args:
            expected: (1, draw, bin) of `expected` at theta.
            theta: For its nuisances.
        """
        found = []
        for data, part, nuisance in zip(self.sets, self._split(expected), self._nuisances(theta), strict=True):
            spectrum, likelihood = data.spectra[0], data.likelihood
            bins = spectrum.counts.size
            total, variance = likelihood.moments(part, nuisance)
            found.append(
                Prediction(
                    spectrum.energy_lo,
                    spectrum.energy_hi,
                    likelihood.counts[0, 0, :bins].numpy(),
                    part[0, :, :bins].numpy(),
                    total[0, :, :bins].numpy(),
                    variance[0, :, :bins].numpy(),
                )
            )
        return tuple(found)

    def places(self) -> Float[Tensor, " place"]:
        """Where in the band of a batch of one a narrow feature could stand, half a resolution element apart [keV]."""
        bands = [
            (one.observation.rmf, float(one.energy_lo.min()), float(one.energy_hi.max()))
            for data in self.sets
            for one in data.spectra
        ]
        return torch.from_numpy(resolved_energies(bands, PLACE_STEP, MOST_PLACES))

    def observed(self) -> tuple[ObservedData, ...]:
        """What an answer of a batch of one keeps of its data sets."""
        return tuple(ObservedData.of(data.spectra[0]) for data in self.sets)

    def as_asked(self) -> Problem:
        """The problem of a batch of one in the bins that were asked for, where the counts had decided those.

        The likelihood takes others then; XSPEC's statistic, its degrees of freedom and figures are of these.
        """
        sets = tuple(data.as_asked() for data in self.sets)
        return self if all(new is old for new, old in zip(sets, self.sets, strict=True)) else replace(self, sets=sets)

    @property
    def remarks(self) -> tuple[str, ...]:
        """What there is to say of the bins of a batch of one, and of its model."""
        outside = [
            f"{p.name} is held at {p.value:g}, where its prior would not go ({p.box[0]:g} .. {p.box[1]:g})"
            for p in self.model.parameters
            if p.frozen and not p.is_switch and p.value != 0.0 and not p.box[0] <= p.value <= p.box[1]
        ]
        return (*(remark for data in self.sets for remark in data.remarks), *outside)

    def shown_at(self, theta: Float[Tensor, " parameter"], asked: Problem | None = None) -> tuple[Value, Value]:
        """What an answer of a batch of one shows at a point: XSPEC's statistic of the bins asked for, the deviance.

        Args:
            theta: The point.
            asked: Of `as_asked`, where it is known already.
        """
        asked, here = self.as_asked() if asked is None else asked, theta[None, None]
        shown = float(asked.shown_statistic(theta[None])[0])
        reasons = "; ".join(dict.fromkeys(data.choices[0].reason for data in self.sets))
        dof = int(asked.facts.bins[0]) - len(self.model.free)
        own_dof = int(self.facts.bins[0]) - self.parameters
        return (
            Value(self.statistic_names[0], shown, dof, reasons),
            Value("deviance", float(self.deviance(self.expected(here), here)), own_dof, self.likelihood_name),
        )

    def shown_statistic(
        self, theta: Float[Tensor, "draw parameter"], log_likelihood: Float[Tensor, " draw"] | None = None
    ) -> Float[Tensor, " draw"]:
        """XSPEC's statistic of a batch of one, as tables show it: in bins that were asked for (`as_asked`).

        Args:
            theta: The points.
            log_likelihood: There, in these very bins, where it is known: C is measured from the same number.
        """
        if log_likelihood is not None and all(
            data.likelihood.is_poisson and data.choices[0].name == "cstat" for data in self.sets
        ):
            return 2.0 * (sum(data.likelihood.log_saturated()[0, 0] for data in self.sets) - log_likelihood)
        shown = []
        for piece in self._pieces(theta[None]):
            value = torch.zeros(piece.shape[1], dtype=torch.float64)
            for data, part in zip(self.sets, self._split(self._expected(piece)), strict=True):
                systematic = float(data.likelihood.systematic[0, 0])
                value += FitStatistic.of(data.spectra, data.choices, systematic).value(part)[0]
            shown.append(value)
        return torch.cat(shown)

    def mean_jacobian(self, theta: Theta) -> Float[Tensor, "source bin parameter"]:
        """d expected / d theta of the model's parameters, averaged over draws."""
        own = theta[..., : len(self.model.free)]
        return torch.cat([data.forward.linearised(own)[1].mean(1) for data in self.sets], dim=1)

    def score(self, expected: Expected, theta: Theta, jacobian: Float[Tensor, "source bin parameter"]) -> Theta:
        """Gradient of ln L, with one Jacobian for all draws.

        Args:
            expected: Of `expected` at theta; for a replica, as many draws as data.
            theta: For its nuisances.
            jacobian: Of `mean_jacobian`.
        """
        free, place = len(self.model.free), len(self.model.free)
        found = theta.new_zeros((*expected.shape[:2], self.parameters))
        parts = zip(self.sets, self._split(expected), self._split(jacobian.mT), self._nuisances(theta), strict=True)
        for data, part, slope, nuisance in parts:
            own = data.likelihood.score(part, slope.mT, nuisance)
            count = own.shape[-1] - free
            found[..., :free] += own[..., :free]
            found[..., place : place + count] = own[..., free:]
            place += count
        return found

    @property
    def likelihood_name(self) -> str:
        """What the posterior rests on, for products."""
        return "; ".join(dict.fromkeys(data.likelihood.name for data in self.sets))

    @property
    def likelihood_kind(self) -> str:
        """The least exact of the data sets: "exact", "approximate" or "profile"."""
        kinds = {data.likelihood.kind for data in self.sets}
        return next(kind for kind in ("profile", "approximate", "exact") if kind in kinds)

    @property
    def likelihood_why(self) -> str:
        """Why the likelihood is not exact, in words; "" where it is."""
        return "; ".join(dict.fromkeys(why for data in self.sets if (why := data.likelihood.why)))

    @property
    def calibration(self) -> Calibration | None:
        """What is believed of the response: of the first data set."""
        return self.sets[0].calibration

    @property
    def treatment(self) -> BackgroundTreatment:
        """What the likelihood makes of a background: of the first data set."""
        return self.sets[0].treatment

    @property
    def statistic_names(self) -> tuple[str, ...]:
        """(source,) XSPEC's statistic of each, those of several data sets joined."""
        each = zip(*([choice.name for choice in data.choices] for data in self.sets), strict=True)
        return tuple("+".join(dict.fromkeys(names)) for names in each)

    def statistic(self, theta: Theta) -> Float[Tensor, "source draw"]:
        """XSPEC's statistic."""
        return -2.0 * self.of_statistic().log_likelihood(theta)

    def of_statistic(self) -> Problem:
        """The same with XSPEC's statistics in the place of the likelihoods: ln L = -statistic / 2.

        Raises:
            DataError: The bins are not those that were asked for, or the likelihood has nuisances.
        """
        if any(spectrum.shown is not None for data in self.sets for spectrum in data.spectra):
            raise DataError("XSPEC's statistic is of the bins asked for; build the problem for objective 'statistic'")
        if self.parameters > len(self.model.free):
            raise DataError("XSPEC's statistic has no nuisances; build the problem for objective 'statistic'")
        sets = [replace(data, likelihood=FitStatistic.of(data.spectra, data.choices)) for data in self.sets]
        return replace(self, sets=tuple(sets))

    def at(self, fidelity: Fidelity) -> Problem:
        """The same problem at another fidelity; itself where that is no other.

        Args:
            fidelity: How exactly expected counts are computed.
        """
        forwards = [data.forward.at(fidelity) for data in self.sets]
        if all(new.fidelity == data.forward.fidelity for new, data in zip(forwards, self.sets, strict=True)):
            return self
        return replace(self, sets=tuple(replace(d, forward=f) for d, f in zip(self.sets, forwards, strict=True)))

    def corrected(self, theta: Theta, known: Bool[Tensor, "source draw"]) -> Problem:
        """The problem on the search's grid, made exact at some places; itself where that is the answer's own.

        A corrected problem keeps the places where it is exact already.

        Args:
            theta: The places; nuisances change nothing.
            known: Which of them are any.
        """
        own = theta[..., : len(self.model.free)]
        cheap = self.at(SEARCH)
        if cheap.is_exact:
            return cheap
        return replace(cheap, sets=tuple(replace(d, forward=d.forward.corrected(own, known)) for d in cheap.sets))

    def on(self, grid: Grid) -> Problem:
        """The same problem with another photon-energy grid as the answer's own.

        Args:
            grid: Of all data sets.
        """
        return replace(self, sets=tuple(replace(data, forward=data.forward.on(grid)) for data in self.sets))

    def finer(self, parts: int) -> Problem:
        """The same problem with every bin of the answer's grid cut.

        Args:
            parts: Into how many.
        """
        sets = [replace(data, forward=data.forward.on(data.forward.grid.finer(parts))) for data in self.sets]
        return replace(self, sets=tuple(sets))

    def select(self, sources: Int[Tensor, " chosen"]) -> Problem:
        """The problem of some of the sources; repeats are allowed.

        Args:
            sources: Their numbers in the batch, from 0.
        """
        if sources.numel() == self.sources and bool((sources == torch.arange(self.sources)).all()):
            return self
        return replace(self, sets=tuple(data.select(sources) for data in self.sets))

    @property
    def is_exact(self) -> bool:
        """Whether expected counts are computed on the answer's own grid, in float64."""
        return self.fidelity == EXACT

    def _expected(self, theta: Theta) -> Expected:
        """Of one piece."""
        own = theta[..., : len(self.model.free)]
        parts = [data.forward.expected(own) for data in self.sets]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)

    def _log_density(self, expected: Expected, theta: Theta) -> Float[Tensor, "source draw"]:
        nuisances = iter(self._nuisances(theta))
        return self._sum(lambda data, part: data.likelihood.log_density(part, next(nuisances)), expected)

    def _curvature(self, theta: Theta, slope: Theta) -> Curvature:
        """Of one piece; each data set's nuisances have columns of their own."""
        free = len(self.model.free)
        gradient = theta.new_zeros(theta.shape)
        information = theta.new_zeros((*theta.shape, theta.shape[-1]))
        place = free
        for data, nuisance in zip(self.sets, self._nuisances(theta), strict=True):
            expected, jacobian = data.forward.linearised(theta[..., :free])
            found = data.likelihood.curvature(expected, jacobian * slope[..., None, :free], nuisance)
            count = len(data.likelihood.nuisances)
            columns = torch.cat([torch.arange(free), torch.arange(place, place + count)])
            scale = torch.cat([torch.ones_like(slope[..., :free]), slope[..., place : place + count]], dim=-1)
            place += count
            gradient[..., columns] += found.gradient * scale
            information[..., columns[:, None], columns] += scale[..., :, None] * found.information * scale[..., None, :]
        return Curvature(gradient, information)

    def _nuisances(self, theta: Theta) -> list[Tensor | None]:
        """The columns of each data set's nuisances."""
        place, found = len(self.model.free), list[Tensor | None]()
        for data in self.sets:
            count = len(data.likelihood.nuisances)
            found.append(theta[..., place : place + count] if count else None)
            place += count
        return found

    def _split(self, expected: Expected) -> Sequence[Expected]:
        """The bins of each data set."""
        if len(self.sets) == 1:
            return (expected,)
        return torch.split(expected, [data.likelihood.used.shape[-1] for data in self.sets], dim=-1)

    def _sum(self, of: Callable[[DataSet, Tensor], Tensor], expected: Expected) -> Tensor:
        """The sum over data sets of what each makes of its bins."""
        parts = [of(data, part) for data, part in zip(self.sets, self._split(expected), strict=True)]
        return parts[0] if len(parts) == 1 else torch.stack(parts).sum(0)

    def _matching_factor(self, theta: Theta, expected: Expected) -> Float[Tensor, "source draw"]:
        """What all norms are multiplied by to meet the observed net counts, held in the box."""
        norms, box = list(self.norms), self.prior.box
        factor = self.facts.net.clamp(min=1.0)[:, None] / expected.sum(-1).clamp(min=1e-300)
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

    def _pieces(self, theta: Theta, copies: int = 1) -> Sequence[Theta]:
        """Cut along the draws; at least one draw in a piece."""
        draws = max(PIECE // (self.energies * theta.shape[0] * copies), 1)
        return torch.split(theta, draws, dim=1)
