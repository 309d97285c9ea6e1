"""Noisy spectra in batches, made while a network trains.

One evaluation of the model serves every draw: the expected rate is linear in the norm of a model that has one norm, so
the other parameters are drawn from the box, log10(rate) is drawn uniformly, the norm follows, and the draw is rejected
where it leaves its box. With u = log10 norm and r = log10 rate at norm 1, log10 rate = u + r: the map u -> log10 rate
has slope 1 at fixed others, so what is kept is uniform in u on the box where the rate is allowed, which is exactly the
box cut by rate. A model without a norm, with several, with a norm that links use, or whose norm is not log-uniform, is
cut by plain rejection: draw, compute, keep what has an allowed rate. (With several norms a common factor could be drawn
instead. Its ratios then need a range as wide as both boxes, and no fewer draws are lost.)

The noise is a `statistics.CountLikelihood`, the one that the likelihood asks. Where the training prior has a set of
calibration modes, every spectrum is seen by a detector of its own: the expected counts are multiplied by

    exp(A (Psi z + T m / m)),      z ~ N(0, I),      ln A ~ N(ln A0, AMPLITUDE_SPREAD),

the law of `statistics.CalibratedLikelihood`. A0 is what a network is told. The energy scale, T m, is linear in its
shift, in the exponent: where an answer finds a large one it moves the edges of bins, and a network only starts it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from xrayflow.calibration import BinModes, ModeSet, find_mode_set
from xrayflow.errors import ModelError, PriorError
from xrayflow.folding import PIECE, SEARCH, TRAINING, Fidelity, Forward, Grid
from xrayflow.models import Model
from xrayflow.ogip import ARF, RMF, blank_pha, read_observation
from xrayflow.simulate.describe import describe_model
from xrayflow.simulate.layout import Layout
from xrayflow.simulate.training_prior import TrainingPrior
from xrayflow.statistics import AMPLITUDE_SPREAD, CountLikelihood

FEWEST_KEPT, MOST_TRIED = 1e-4, 200_000
"""A prior of which less than this share has an allowed rate, after so many draws, is refused."""


@dataclass(frozen=True, eq=False)
class SimulatedSpectra:
    """A batch of spectra with all that made them.

    Attributes:
        theta: Free parameters in their units.
        v: The same as probit of the training prior's box.
        counts: Noisy counts in the noticed channels of each bin, the background included.
        background: Counts in the source's exposure that the background file says, in the noticed channels.
        noticed: Noticed channels / channels of each bin.
        exposure: s.
        area: Effective area / reference.
        systematic: Fraction of the source model.
        amplitude: A0, at which errors of the response are believed; 0 where it is right.
        rate: Counts/s of the source in all bins with the reference response, which is right.
        expected: Source counts without noise, in the noticed channels, errors of the response included.
        region: Exposure times area of the background's region over the source's; 0 where it is a model's.
    """

    theta: Float[Tensor, "source parameter"]
    v: Float[Tensor, "source parameter"]
    counts: Float[Tensor, "source bin"]
    background: Float[Tensor, "source bin"]
    noticed: Float[Tensor, "source bin"]
    exposure: Float[Tensor, " source"]
    area: Float[Tensor, " source"]
    systematic: Float[Tensor, " source"]
    amplitude: Float[Tensor, " source"]
    rate: Float[Tensor, " source"]
    expected: Float[Tensor, "source bin"]
    region: Float[Tensor, " source"]

    def likelihood(self) -> CountLikelihood:
        """What the counts were drawn from, but for errors of background and response: both are taken at their word."""
        used = (self.noticed > 0).to(self.counts.dtype)
        return CountLikelihood.of(self.counts, self.background, self.systematic, used)


@dataclass(frozen=True, eq=False)
class Simulator:
    """Spectra of one model and one detector in the bins of a layout.

    Attributes:
        model: The spectral model.
        layout: The bins.
        training_prior: What sources and observations are drawn from.
        forward: Parameters -> counts/s in the bins with the reference response.
        first: (bin,) first channel.
        last: (bin,) last channel.
        e_min: (channel,) EBOUNDS [keV].
        e_max: (channel,) EBOUNDS [keV].
        first_channel: Number of the first channel of EBOUNDS.
        response: SHA-256 of the RMF and of the ARF ("none" where the RMF includes it).
        modes: Errors of the response in the bins, at A = 1; None where it is taken at its word.
    """

    model: Model
    layout: Layout
    training_prior: TrainingPrior
    forward: Forward = field(repr=False)
    first: NDArray[np.int64] = field(repr=False)
    last: NDArray[np.int64] = field(repr=False)
    e_min: NDArray[np.float64] = field(repr=False)
    e_max: NDArray[np.float64] = field(repr=False)
    first_channel: int
    response: dict[str, str]
    modes: BinModes | None = field(default=None, repr=False)

    @classmethod
    def of(
        cls,
        model: Model,
        rmf: RMF,
        arf: ARF | None,
        layout: Layout,
        training_prior: TrainingPrior,
        grid: Grid | None = None,
        fidelity: Fidelity = TRAINING,
        modes: ModeSet | None = None,
    ) -> Simulator:
        """Bring model, response and layout together.

        Args:
            model: The spectral model.
            rmf: Redistribution matrix.
            arf: The reference effective area; None where the RMF includes it.
            layout: The bins, of this detector.
            training_prior: Of the model's free parameters and of the observations.
            grid: Photon energies that the fidelity starts from; default that of an answer.
            fidelity: Grid and precision of photons and folding.
            modes: The training prior's set of calibration modes, where it has one; None finds it by its name.

        Raises:
            PriorError: The training prior is not that of the model's free parameters.
            ModelError: Nothing is free, or a link can leave its limits.
            MismatchError: The layout or the ARF is not that of the RMF.
            DataError, FileError: There is no such set of modes.
        """
        prior = training_prior.prior
        if not model.free:
            raise ModelError(f"{model.text}: every parameter is frozen; leave at least one free")
        if prior.names != model.names:
            raise PriorError(
                f"training prior of {', '.join(prior.names)}; {model.text} has {', '.join(model.names)} free"
            )
        model.check_links({marginal.name: (marginal.lo, marginal.hi) for marginal in prior.marginals})
        first, last = layout.groups(rmf.channel, rmf.e_min, rmf.e_max)
        grouping = np.full(rmf.channel.size, -1, dtype=np.int64)
        begin = int(rmf.channel[0])
        grouping[first - begin] = 1
        grouping[: first[0] - begin] = 0
        if last[-1] < rmf.channel[-1]:
            grouping[last[-1] - begin + 1] = 1
        observation = read_observation(blank_pha(rmf, grouping), rmf, "none" if arf is None else arf, "none")
        spectrum = observation.bin(channels=(int(first[0]), int(last[-1])), grouping="file")
        if training_prior.calibration and modes is None:
            modes = find_mode_set(training_prior.calibration)
        return cls(
            model=model,
            layout=layout,
            training_prior=training_prior,
            forward=Forward.of(model, [spectrum], grid, fidelity),
            first=first,
            last=last,
            e_min=rmf.e_min,
            e_max=rmf.e_max,
            first_channel=begin,
            response={"rmf": rmf.sha256, "arf": "none" if arf is None else arf.sha256},
            modes=BinModes.of(spectrum, modes, 1.0) if training_prior.calibration and modes is not None else None,
        )

    def in_float64(self) -> Simulator:
        """The same with photons and folding in float64."""
        return replace(self, forward=self.forward.at(replace(self.forward.fidelity, dtype=torch.float64)))

    def for_searches(self) -> Simulator:
        """The same on the grid of searches, in float64."""
        return replace(self, forward=self.forward.at(SEARCH))

    def at_its_word(self) -> Simulator:
        """The same with a response, and backgrounds, that are what their files say."""
        right = replace(self.training_prior, background_error=0.0, background_level=0.0, background_counted=0.0)
        return replace(self, modes=None, training_prior=right)

    @property
    def bins(self) -> int:
        """The number of bins of the layout."""
        return int(self.first.size)

    @property
    def energy_lo(self) -> NDArray[np.float64]:
        """(bin,) lower energies [keV]."""
        return self.e_min[self.first - self.first_channel]

    @property
    def energy_hi(self) -> NDArray[np.float64]:
        """(bin,) upper energies [keV]."""
        return self.e_max[self.last - self.first_channel]

    def describe(self) -> dict[str, Any]:
        """All that decides what is drawn, for a header in JSON."""
        modes = None if self.modes is None else self.modes.modes
        return {
            **describe_model(self.model),
            "training_prior": self.training_prior.to_dict(),
            **({} if modes is None else {"calibration": {"name": modes.name, "sha256": modes.sha256}}),
            "layout": self.layout.to_dict(),
            "response": dict(self.response),
            "grid": {"description": self.forward.grid.description, "bins": self.forward.energies - 1},
            "precision": str(self.forward.fidelity.dtype).removeprefix("torch."),
        }

    def expected(
        self,
        theta: Float[Tensor, "*batch parameter"],
        exposure: Float[Tensor, "*#batch"],
        area: Float[Tensor, "*#batch"],
    ) -> Float[Tensor, "*batch bin"]:
        """Source counts without noise in the whole bins. Differentiable in theta.

        Args:
            theta: Free parameters in their units.
            exposure: s.
            area: Effective area / reference.
        """
        return self.rates(theta) * (exposure * area)[..., None]

    def rates(self, theta: Float[Tensor, "*batch parameter"]) -> Float[Tensor, "*batch bin"]:
        """Source counts/s in the bins with the reference response. Differentiable in theta.

        Args:
            theta: Free parameters in their units.
        """
        rows = theta.reshape(-1, theta.shape[-1])
        size = max(PIECE // (self.forward.energies - 1), 1)
        parts = [self.forward.expected(part[None])[0] for part in torch.split(rows, size)]
        return torch.cat(parts).reshape(*theta.shape[:-1], -1)

    def draw_theta(
        self, rows: int, generator: torch.Generator
    ) -> tuple[Float[Tensor, "source parameter"], Float[Tensor, "source bin"]]:
        """Sources of the training prior.

        Args:
            rows: How many sources.
            generator: Source of randomness.

        Returns:
            Parameters in their units, and counts/s in the bins with the reference response.

        Raises:
            ModelError: Hardly any draw of the box has an allowed rate, or the model gives what is no number.
        """
        norm = self._norm()
        propose = self._by_rejection if norm is None else partial(self._by_rate, norm)
        thetas, rates, kept, tried = [], [], 0, 0
        share = 0.8 if norm is not None else 0.3
        while kept < rows:
            wanted = min(int((rows - kept) / share * 1.05) + 8, 100_000)
            theta, rate, keep = propose(wanted, generator)
            thetas.append(theta[keep])
            rates.append(rate[keep])
            kept, tried = kept + int(keep.sum()), tried + wanted
            share = max(kept / tried, FEWEST_KEPT)
            if tried > MOST_TRIED and kept < FEWEST_KEPT * tried:
                lo, hi = self.training_prior.rate
                raise ModelError(
                    f"{self.model.text}: of {tried} draws of the training prior {kept} have {lo:g}-{hi:g} counts/s; "
                    "widen its rate or move its box"
                )
        return torch.cat(thetas)[:rows], torch.cat(rates)[:rows]

    def sample(self, rows: int, generator: torch.Generator) -> SimulatedSpectra:
        """Spectra: sources, observations and noise drawn anew. The same generator state gives the same batch.

        Args:
            rows: How many spectra.
            generator: Source of randomness.

        Raises:
            ModelError: What `draw_theta` raises.
        """
        training = self.training_prior
        with torch.no_grad():
            theta, rates = self.draw_theta(rows, generator)
            exposure = training.draw_exposure(rows, generator)
            area = training.draw_area(rows, generator)
            systematic = training.draw_systematic(rows, generator)
            background = training.draw_background(self.energy_lo, self.energy_hi, rows, generator)
            noticed = self.noticed(*training.draw_band(*self.layout.band, rows, generator))
            background = background * exposure[:, None] * noticed
            amplitude, factor = self._draw_errors(rates, generator)
            expected = rates * factor * (exposure * area)[:, None] * noticed
            background, truth, region = training.draw_files(background, generator)
            counts = sample_counts(expected, truth, systematic, generator)
        v, rate = training.prior.to_probit(theta), rates.sum(-1)
        return SimulatedSpectra(
            theta, v, counts, background, noticed, exposure, area, systematic, amplitude, rate, expected, region
        )

    def noticed(self, start: Float[Tensor, " source"], stop: Float[Tensor, " source"]) -> Float[Tensor, "source bin"]:
        """The part of each bin's channels that `--energies start-stop` keeps: XSPEC's rule for single channels.

        Args:
            start: keV; the channel that holds it is not kept.
            stop: keV, likewise.
        """
        # a channel is kept where E_MIN >= start and E_MAX < stop
        low = torch.searchsorted(torch.from_numpy(self.e_min), start.to(torch.float64))[:, None]
        high = torch.searchsorted(torch.from_numpy(self.e_max), stop.to(torch.float64))[:, None]
        first, last = (torch.from_numpy(one - self.first_channel) for one in (self.first, self.last))
        kept = torch.clamp(torch.minimum(high, last + 1) - torch.maximum(low, first), min=0)
        return kept / (last - first + 1).to(torch.float64)

    def _draw_errors(self, rates: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """A0 of each source, and the factors of its counts, of bins that are noticed or not."""
        rows = rates.shape[0]
        if self.modes is None:
            return rates.new_zeros(rows), rates.new_ones((rows, 1))
        nominal = self.training_prior.draw_amplitude(rows, generator)
        level = torch.randn(rows, generator=generator, dtype=torch.float64)
        return nominal, self.modes.seen_by_others(rates, nominal * torch.exp(AMPLITUDE_SPREAD * level), generator)

    def _norm(self) -> int | None:
        """The column of the norm that the rate is proportional to; None where there is no such one."""
        norms = [p for p in self.model.parameters if p.is_norm]
        linked = {name for p in self.model.parameters if p.link is not None for name in p.link.names}
        if len(norms) != 1 or not norms[0].is_free or norms[0].name in linked:
            return None
        column = self.model.names.index(norms[0].name)
        marginal = self.training_prior.prior.marginals[column]
        return column if marginal.scale == "log" and marginal.mean is None else None

    def _by_rejection(self, rows: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        theta = self.training_prior.prior.sample((rows,), generator)
        rates = self._finite(theta)
        total, (lo, hi) = rates.sum(-1), self.training_prior.rate
        return theta, rates, (total >= lo) & (total <= hi)

    def _by_rate(self, column: int, rows: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        (lo, hi) = self.training_prior.rate
        marginal = self.training_prior.prior.marginals[column]
        theta = self.training_prior.prior.sample((rows,), generator)
        middle = float(np.sqrt(marginal.lo) * np.sqrt(marginal.hi))
        theta[:, column] = middle
        rates = self._finite(theta)
        rate = lo * (hi / lo) ** torch.rand(rows, generator=generator, dtype=torch.float64)
        factor = rate / rates.sum(-1)  # inf where nothing arrives: rejected
        theta[:, column] = middle * factor
        keep = (theta[:, column] >= marginal.lo) & (theta[:, column] <= marginal.hi)
        return theta, rates * factor[:, None], keep

    def _finite(self, theta: Tensor) -> Tensor:
        rates = self.rates(theta)
        bad = ~torch.isfinite(rates).all(-1)
        if bad.any():
            values = zip(self.model.names, theta[bad][0].tolist(), strict=True)
            at = ", ".join(f"{name}={value:g}" for name, value in values)
            raise ModelError(f"{self.model.text} gives no finite counts at {at}; narrow the training prior there")
        return rates


def sample_counts(
    expected: Float[Tensor, "source bin"],
    background: Float[Tensor, "source bin"],
    systematic: Float[Tensor, " source"],
    generator: torch.Generator,
) -> Float[Tensor, "source bin"]:
    """Noisy counts.

    Args:
        expected: Source counts.
        background: Known background counts.
        systematic: Fraction of the source model.
        generator: Source of randomness.
    """
    counts = torch.zeros_like(expected)
    # apart, since a batch in which any has a systematic error draws gamma factors for all
    for chosen in ((systematic > 0).nonzero()[:, 0], (systematic <= 0).nonzero()[:, 0]):
        zeros = torch.zeros_like(expected[chosen])
        likelihood = CountLikelihood.of(zeros, background[chosen], systematic[chosen], torch.ones_like(zeros))
        counts[chosen] = likelihood.sample(expected[chosen, None, :], generator)[:, 0]
    return counts
