"""The data sets of a batch of sources, an instrument each, seen as one: their log densities add.

Their bins stand end to end in everything that has an axis of bins. In theta the model's free parameters come first,
then the nuisances of each data set's likelihood, in the order of the sets. All draws are worked on at once: `Problem`
cuts them where they are many.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from xrayflow.dataset import DataSet, ObservedData
from xrayflow.errors import DataError
from xrayflow.facts import Facts, LikelihoodFacts, feature_places
from xrayflow.folding import Fidelity, Forward, Grid
from xrayflow.linear_set import LinearSet
from xrayflow.prior import Marginal
from xrayflow.statistics import Curvature, FitStatistic

Theta = Float[Tensor, "source draw parameter"]
Expected = Float[Tensor, "source draw bin"]


@dataclass(frozen=True)
class JointData:
    """Data sets end to end, with their nuisances.

    Attributes:
        sets: At least one, all of the same sources.
    """

    sets: tuple[DataSet, ...]

    @property
    def sources(self) -> int:
        """How many sources the batch holds."""
        return len(self.sets[0].spectra)

    @property
    def nuisances(self) -> list[Marginal]:
        """Priors of all nuisances, in the order of their columns."""
        return [one for data in self.sets for one in data.likelihood.nuisances]

    @property
    def keys(self) -> list[str]:
        """What names each source in any company: the hashes of its files."""
        each = zip(*([spectrum.observation.pha.sha256 for spectrum in data.spectra] for data in self.sets), strict=True)
        return ["+".join(key) for key in each]

    @cached_property
    def facts(self) -> Facts:
        """What is known of each source without its model."""
        return Facts.of(self.sets)

    @property
    def rests_on(self) -> LikelihoodFacts:
        """What the posterior of a batch of one rests on."""
        return LikelihoodFacts.of(self.sets)

    @property
    def statistic_names(self) -> tuple[str, ...]:
        """(source,) XSPEC's statistic of each, those of several data sets joined."""
        each = zip(*([choice.name for choice in data.choices] for data in self.sets), strict=True)
        return tuple("+".join(dict.fromkeys(names)) for names in each)

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

    def observed(self) -> tuple[ObservedData, ...]:
        """What an answer of a batch of one keeps."""
        return tuple(ObservedData.of(data.spectra[0]) for data in self.sets)

    def places(self) -> Float[Tensor, " place"]:
        """As `facts.feature_places` has them."""
        return feature_places(self.sets)

    def expected(self, theta: Theta) -> Expected:
        """Expected source counts (without background) per bin.

        Args:
            theta: Nuisances change nothing.
        """
        own = self._own(theta)
        parts = [data.forward.expected(own) for data in self.sets]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)

    def of_component(self, name: str, theta: Theta) -> Expected:
        """Expected counts of one additive component alone.

        Args:
            name: As `models.additive_components` has it.
            theta: As for `expected`.
        """
        own = self._own(theta)
        return torch.cat([data.forward.of_component(name, own) for data in self.sets], dim=-1)

    def expected_counts(self, theta: Theta) -> Float[Tensor, "source draw"]:
        """Expected source counts of all noticed bins together; a correction of bins is left out.

        Args:
            theta: As for `expected`.
        """
        own = self._own(theta)
        return torch.stack([forward.expected(own)[..., 0] for forward in self._summed]).sum(0)

    def mean_jacobian(self, theta: Theta) -> Float[Tensor, "source bin parameter"]:
        """d expected / d theta of the model's parameters, averaged over draws.

        Args:
            theta: As for `expected`.
        """
        own = self._own(theta)
        return torch.cat([data.forward.linearised(own)[1].mean(1) for data in self.sets], dim=1)

    def log_density(self, expected: Expected, theta: Theta) -> Float[Tensor, "source draw"]:
        """ln p(counts | theta), normalised.

        Args:
            expected: Of `expected` at theta.
            theta: For its nuisances.
        """
        return _added([data.likelihood.log_density(part, own) for data, part, own in self.parts(expected, theta)])

    def deviance(self, expected: Expected, theta: Theta) -> Float[Tensor, "source draw"]:
        """2 (saturated - log likelihood) of the likelihood that the posterior rests on, judged as a fit is.

        Args:
            expected: Of `expected` at theta; for a replica, as many draws as data.
            theta: For its nuisances.
        """
        parts = self.parts(expected, self.as_judged(theta))
        return _added([data.likelihood.deviance(part, own) for data, part, own in parts])

    def curvature(self, theta: Theta, slope: Theta) -> Curvature:
        """Gradient of ln p and Fisher's information; each data set's nuisances have columns of their own.

        Args:
            theta: Where.
            slope: d theta / d coordinate there.
        """
        free = self._free
        gradient = theta.new_zeros(theta.shape)
        information = theta.new_zeros((*theta.shape, theta.shape[-1]))
        for data, behind in zip(self.sets, self._behind, strict=True):
            expected, jacobian = data.forward.linearised(theta[..., :free])
            nuisance = _columns(theta, behind)
            found = data.likelihood.curvature(expected, jacobian * slope[..., None, :free], nuisance)
            columns = torch.cat([torch.arange(free), torch.arange(behind.start, behind.stop)])
            scale = torch.cat([torch.ones_like(slope[..., :free]), slope[..., behind]], dim=-1)
            gradient[..., columns] += found.gradient * scale
            information[..., columns[:, None], columns] += scale[..., :, None] * found.information * scale[..., None, :]
        return Curvature(gradient, information)

    def score(self, expected: Expected, theta: Theta, jacobian: Float[Tensor, "source bin parameter"]) -> Theta:
        """Gradient of ln p, with one Jacobian for all draws.

        Args:
            expected: Of `expected` at theta; for a replica, as many draws as data.
            theta: For its nuisances.
            jacobian: Of `mean_jacobian`.
        """
        free = self._free
        found = theta.new_zeros((*expected.shape[:2], theta.shape[-1]))
        slopes = self._split(jacobian.mT)
        for (data, part, nuisance), slope, behind in zip(
            self.parts(expected, theta), slopes, self._behind, strict=True
        ):
            own = data.likelihood.score(part, slope.mT, nuisance)
            found[..., :free] += own[..., :free]
            found[..., behind] += own[..., free:]
        return found

    def residuals(self, expected: Expected, theta: Theta) -> Expected:
        """Counts less their mean, the background included.

        Args:
            expected: Of `expected` at theta; for a replica, as many draws as data.
            theta: For its nuisances.
        """
        left = [
            (data.likelihood.counts - data.likelihood.total(part, nuisance)) * data.likelihood.used[:, None]
            for data, part, nuisance in self.parts(expected, theta)
        ]
        return torch.cat(left, dim=-1)

    def replicate(self, expected: Expected, theta: Theta, generator: torch.Generator) -> JointData:
        """Data as another observation would give them: draw i of a replica has data of its own.

        Args:
            expected: Of `expected` at theta.
            theta: For its nuisances.
            generator: Source of randomness.
        """
        return JointData(
            tuple(
                replace(data, likelihood=data.likelihood.replicate(part, generator, nuisance))
                for data, part, nuisance in self.parts(expected, theta)
            )
        )

    def as_judged(self, theta: Theta) -> Theta:
        """theta with the nuisances that a fit is judged at.

        Args:
            theta: Where.
        """
        found = theta.clone()
        for data, behind in zip(self.sets, self._behind, strict=True):
            if (nuisance := _columns(theta, behind)) is not None:
                found[..., behind] = data.likelihood.as_judged(nuisance)
        return found

    def linear(self, theta: Theta, slope: Theta, v: Theta) -> tuple[LinearSet, ...]:
        """The fit of a batch of one as linear, each data set by itself.

        Args:
            theta: (1, 1, parameter) the fit.
            slope: d theta / d coordinate there.
            v: The coordinates there, which have a normal prior.
        """
        own, slope, v = self._own(theta), self._own(slope), self._own(v)
        return tuple(
            data.linear(own, slope, v, _columns(theta, behind))
            for data, behind in zip(self.sets, self._behind, strict=True)
        )

    def parts(self, expected: Expected, theta: Theta) -> Iterator[tuple[DataSet, Expected, Tensor | None]]:
        """Each data set with its bins and its nuisances; None where it has none of these.

        Args:
            expected: Data sets end to end.
            theta: For its nuisances.
        """
        for data, part, behind in zip(self.sets, self._split(expected), self._behind, strict=True):
            yield data, part, _columns(theta, behind)

    def centred(self, theta: Float[Tensor, "source one parameter"], sources: Sequence[int]) -> JointData:
        """The data whose likelihoods are exact where a model fits; themselves where they are everywhere.

        Args:
            theta: Where, of each source.
            sources: Those that are asked for.
        """
        own = self._own(theta)
        pairs = zip(self.sets, self._behind, strict=True)
        return self._with([data.centred(own, _columns(theta, behind), sources) for data, behind in pairs])

    def off_centre(
        self, theta: Float[Tensor, "source one parameter"], away: Sequence[bool], beyond: float
    ) -> list[int]:
        """Sources with a likelihood that is exact about another fit, as `DataSet.off_centre` has it.

        Args:
            theta: The fit of each source.
            away: Whether that is far from where the likelihood was made exact.
            beyond: keV by which an energy scale may be off.
        """
        own, pairs = self._own(theta), zip(self.sets, self._behind, strict=True)
        return sorted({i for one, behind in pairs for i in one.off_centre(own, _columns(theta, behind), away, beyond)})

    def folds_like(self, other: JointData, source: int) -> bool:
        """Whether the expected counts of a source are folded with the same edges.

        Args:
            other: The same data.
            source: Its number.
        """
        return all(a.spectra[source] is b.spectra[source] for a, b in zip(self.sets, other.sets, strict=True))

    def as_asked(self) -> JointData:
        """Those of a batch of one in the bins that were asked for, where the counts had decided the likelihood's."""
        return self._with([data.as_asked() for data in self.sets])

    def of_statistic(self) -> JointData:
        """The same with XSPEC's statistics in the place of the likelihoods: ln p = -statistic / 2.

        Raises:
            DataError: The bins are not those that were asked for, or the likelihood has nuisances.
        """
        if any(spectrum.shown is not None for data in self.sets for spectrum in data.spectra):
            raise DataError("XSPEC's statistic is of the bins asked for; build the problem for objective 'statistic'")
        if self.nuisances:
            raise DataError("XSPEC's statistic has no nuisances; build the problem for objective 'statistic'")
        return self._with([replace(one, likelihood=FitStatistic.of(one.spectra, one.choices)) for one in self.sets])

    def softened(self, error: float) -> JointData:
        """The same as if the model were off by such a part of itself in every bin."""
        return self._with([replace(data, likelihood=data.likelihood.softened(error)) for data in self.sets])

    def is_sharp(self, error: float) -> Bool[Tensor, " source"]:
        """Whether starts of a source are led better on the softened likelihood."""
        return torch.stack([data.likelihood.is_sharp(error) for data in self.sets]).any(0)

    def at(self, fidelity: Fidelity) -> JointData:
        """The same at another fidelity; itself where that is no other.

        Args:
            fidelity: How exactly expected counts are computed.
        """
        return self._with([data.at(fidelity) for data in self.sets])

    def corrected(self, theta: Theta, known: Bool[Tensor, "source draw"]) -> JointData:
        """The same, made exact at some places, beside those where it is exact already.

        Args:
            theta: The places; nuisances change nothing.
            known: Which of them are any.
        """
        own = self._own(theta)
        return self._with([data.corrected(own, known) for data in self.sets])

    def on(self, grid: Grid) -> JointData:
        """The same with another photon-energy grid as the answer's own.

        Args:
            grid: Of all data sets.
        """
        return self._folded([data.forward.on(grid) for data in self.sets])

    def finer(self, parts: int) -> JointData:
        """The same with every bin of the answer's grid cut.

        Args:
            parts: Into how many.
        """
        return self._folded([data.forward.on(data.forward.grid.finer(parts)) for data in self.sets])

    def select(self, sources: Int[Tensor, " chosen"]) -> JointData:
        """Those of some of the sources; themselves where these are all, in order.

        Args:
            sources: Their numbers in the batch, from 0; repeats are allowed.
        """
        if sources.numel() == self.sources and bool((sources == torch.arange(self.sources)).all()):
            return self
        return self._with([data.select(sources) for data in self.sets])

    @cached_property
    def _free(self) -> int:
        """How many columns of theta are the model's own."""
        return len(self.sets[0].forward.family.model.free)

    @cached_property
    def _behind(self) -> tuple[slice, ...]:
        """The columns of theta with each data set's nuisances."""
        place, found = self._free, []
        for data in self.sets:
            count = len(data.likelihood.nuisances)
            found.append(slice(place, place + count))
            place += count
        return tuple(found)

    @cached_property
    def _summed(self) -> tuple[Forward, ...]:
        """All noticed bins of each data set as one."""
        return tuple(data.forward.summed() for data in self.sets)

    def _own(self, theta: Theta) -> Theta:
        """The model's columns."""
        return theta[..., : self._free]

    def _split(self, expected: Expected) -> Sequence[Expected]:
        """The bins of each data set."""
        if len(self.sets) == 1:
            return (expected,)
        return torch.split(expected, [data.likelihood.used.shape[-1] for data in self.sets], dim=-1)

    def _folded(self, forwards: Sequence[Forward]) -> JointData:
        return self._with([replace(data, forward=one) for data, one in zip(self.sets, forwards, strict=True)])

    def _with(self, sets: Sequence[DataSet]) -> JointData:
        """Other data sets; itself where these are its own."""
        return self if all(new is old for new, old in zip(sets, self.sets, strict=True)) else JointData(tuple(sets))


def _columns(theta: Theta, behind: slice) -> Tensor | None:
    return theta[..., behind] if behind.stop > behind.start else None


def _added(values: list[Tensor]) -> Tensor:
    """Their sum over the data sets."""
    return values[0] if len(values) == 1 else torch.stack(values).sum(0)
