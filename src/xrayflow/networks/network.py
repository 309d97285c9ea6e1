"""A trained network with all that belongs to it: model, training prior, bins, response, recipe, versions."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from xrayflow import data
from xrayflow.calibration import SUFFIX, ModeSet, find_mode_set
from xrayflow.errors import MismatchError, RecipeError, XrayflowError
from xrayflow.files import package_versions
from xrayflow.models import Model, Parameter, parse_model
from xrayflow.networks.inputs import NetworkInput
from xrayflow.networks.nn.core import PosteriorEstimator, count_weights
from xrayflow.networks.recipe import Recipe
from xrayflow.networks.response import Response
from xrayflow.networks.sections import BUNDLED, NO_ARF
from xrayflow.ogip import ARF, RMF, Spectrum, read_arf, read_rmf
from xrayflow.prior import Prior
from xrayflow.seeds import generator_for
from xrayflow.simulate import Layout, Simulator, TrainingPrior

MOST_BACKGROUND = 0.1
"""Largest share of the counts, for a network that was trained without a background: it subtracts what there is."""


@dataclass(frozen=True)
class Network:
    """An amortised posterior.

    Attributes:
        recipe: How it was made.
        model: What it was made for; its free parameters are the flow's, in order.
        training_prior: What it was trained on; shapes the proposal only.
        layout: Its bins.
        response: Its instrument.
        grid: The photon-energy grid of its training.
        core: Its weights.
        trained: What the training came to: spectra seen, losses, stages.
        versions: Versions of the packages that made it.
        source: Where it was loaded from.
    """

    recipe: Recipe
    model: Model
    training_prior: TrainingPrior
    layout: Layout
    response: Response
    grid: str
    core: PosteriorEstimator = field(repr=False)
    trained: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    source: str = ""

    @property
    def name(self) -> str:
        """What people call it by."""
        return self.recipe.name

    @property
    def bins(self) -> int:
        """The number of bins."""
        return len(self.response.probe[0])

    @property
    def weights(self) -> int:
        """Learned numbers."""
        return count_weights(self.core)

    def refuse_model(self, model: Model) -> None:
        """Check that a model is the network's.

        Args:
            model: The one that is compared with the network's.

        Raises:
            MismatchError: Another expression, abundances, cross-sections, or another parameter free, frozen or linked.
        """
        if model.text != self.model.text:
            raise MismatchError(f"it was made for {self.model.text}, not {model.text}")
        if model.identity != self.model.identity:
            raise MismatchError(f"it was made for {self.model.identity}, not {model.identity}")
        for own, other in zip(self.model.parameters, model.parameters, strict=True):
            if _state(own) != _state(other):
                raise MismatchError(f"it was made with {own.name} {_state(own)}, not {_state(other)}")

    def inputs(self, spectrum: Spectrum, systematic: float = 0.0, amplitude: float = 0.0) -> NetworkInput:
        """What it sees of a spectrum.

        Args:
            spectrum: The user's bins; the network fills its own from the same channels.
            systematic: Fractional systematic error of the source model.
            amplitude: A0, at which calibration modes are believed; 0 without. A network that was trained without does
                not look at it.

        Returns:
            A batch of one.

        Raises:
            MismatchError: Other channels, another instrument, or numbers that are no counts.
        """
        observation = spectrum.observation
        filled = self.layout.fill(spectrum)
        area = self.response.area(observation.rmf, observation.arf, self.layout)
        if not (_are_counts(filled.counts) and _are_counts(filled.background)):
            raise MismatchError("it takes counts, and some of the spectrum or its background are negative or no number")
        one = torch.ones(1, dtype=torch.float64)
        return NetworkInput(
            torch.from_numpy(filled.counts)[None],
            torch.from_numpy(filled.background)[None],
            torch.from_numpy(filled.noticed)[None],
            filled.exposure * one,
            area * one,
            systematic * one,
            amplitude * one,
        )

    def outside(self, inputs: NetworkInput) -> list[str]:
        """In what one spectrum lies outside the training; empty where it does not.

        Args:
            inputs: A batch of one.
        """
        prior, found = self.training_prior, []
        exposure, area = float(inputs.exposure), float(inputs.area)
        total, background = float(inputs.counts.sum()), float(inputs.background.sum())
        rate = (total - background) / (exposure * area)
        level = prior.background_level * background  # by how much a file's may be off
        scatter = 5.0 * np.sqrt(total + 1.0 + level**2) / (exposure * area)
        if not _within(exposure, prior.exposure, 0.01):
            found.append(f"exposure {exposure:g} s, trained on {_range(prior.exposure)} s")
        if not _within(area, prior.area, 0.05):
            found.append(f"effective area {area:.2g} of the reference, trained on {_range(prior.area)}")
        if not prior.rate[0] - scatter <= rate <= prior.rate[1] + scatter:
            found.append(f"{rate:.3g} counts/s above the background, trained on {_range(prior.rate)}")
        largest = prior.systematic[1] if prior.without_systematic < 1 else 0.0
        if float(inputs.systematic) > 1.01 * largest:
            found.append(f"systematic {float(inputs.systematic):g}, trained on up to {largest:g}")
        most = prior.amplitude[1] if prior.without_calibration < 1 else 0.0
        if prior.calibration and float(inputs.amplitude) > 1.01 * most:
            found.append(f"calibration amplitude {float(inputs.amplitude):g}, trained on up to {most:g}")
        if prior.without_background < 1 and background / exposure > 2.0 * prior.background_rate[1]:
            found.append(f"background {background / exposure:.3g} c/s, trained on {_range(prior.background_rate)}")
        if prior.without_background == 1 and background > MOST_BACKGROUND * total:
            found.append(f"a background of {background / total:.0%} of the counts, trained without")
        band = self._noticed(inputs)
        return [*found, band] if band else found

    def _noticed(self, inputs: NetworkInput) -> str:
        """What is wrong with the noticed bins of one spectrum; "" where they are as in the training."""
        prior, noticed = self.training_prior, inputs.noticed[0]
        if not bool((noticed > 0).any()):
            return "no bin of the network is noticed"
        first, last = int(noticed.nonzero()[0]), int(noticed.nonzero()[-1])
        # a bad channel in a bin is nothing, see `SqrtFractionScaler.fit`; a bin without a channel is new to the network
        if not bool((noticed[first : last + 1] > 0).all()):
            return "energies with a gap, trained without"
        energies = self.response.energies
        start, stop = energies[first][0], energies[last][1]
        # without partial bands in the training, a bin at either end is still nothing
        lowest, highest = energies[min(1, len(energies) - 1)][0], energies[max(len(energies) - 2, 0)][1]
        if prior.partial > 0:
            lowest, highest = max(prior.highest_start, lowest), min(prior.lowest_stop, highest)
        if start > 1.01 * lowest or stop < 0.99 * highest:
            return f"energies {start:.2f}-{stop:.2f} keV, trained on at least {lowest:.2f}-{highest:.2f} keV"
        return ""


def prepare(recipe: Recipe, folder: Path) -> tuple[Network, Simulator]:
    """A network with random weights, and the simulator that trains it.

    Args:
        recipe: The run file.
        folder: Where its relative paths start.

    Returns:
        Both, for the same model, response and bins.

    Raises:
        XrayflowError: A model, file, layout, prior or size that cannot be.
    """
    model = parse_model(recipe.model.expression, recipe.model.abund).freeze(recipe.model.freeze)
    rmf, arf = _response(recipe, folder)
    section = recipe.layout
    layout = Layout.of(rmf, section.starts, section.widths, section.energies, section.bins)
    prior = Prior.of(model, recipe.model.prior)
    training_prior = TrainingPrior.from_dict({**TrainingPrior(prior).to_dict(), **recipe.training_prior})
    simulator = Simulator.of(model, rmf, arf, layout, training_prior, modes=_modes(recipe, training_prior, folder))
    width = torch.from_numpy(simulator.energy_hi - simulator.energy_lo)
    core = build_core(recipe, training_prior, width, simulator)
    made = package_versions("torch", "zuko", "numpy")
    response = Response.of(rmf, arf, layout)
    grid = simulator.forward.grid.description
    return Network(recipe, model, training_prior, layout, response, grid, core, {}, made), simulator


def build_core(
    recipe: Recipe, training_prior: TrainingPrior, width: torch.Tensor, simulator: Simulator | None
) -> PosteriorEstimator:
    """Weights as the recipe's seed draws them; torch's own random state stays as it was.

    Args:
        recipe: Sizes and seed.
        training_prior: Its box, and whether it has calibration modes.
        width: (bin,) keV.
        simulator: For a physical decoder.

    Raises:
        RecipeError: The convolutions leave nothing of the bins.
    """
    state = torch.random.get_rng_state()
    try:
        torch.manual_seed(generator_for(recipe.seed, "weights").initial_seed())
        core = PosteriorEstimator(
            recipe.network,
            training_prior.prior,
            width,
            recipe.instrument.detectors,
            simulator,
            calibrated=bool(training_prior.calibration),
        )
    finally:
        torch.random.set_rng_state(state)
    return core.eval()


def _modes(recipe: Recipe, training_prior: TrainingPrior, folder: Path) -> ModeSet | None:
    """The set of calibration modes, where the training has one: a name, or a file relative to the run file."""
    name = training_prior.calibration
    if not name:
        return None
    try:
        return find_mode_set(str(folder / name) if "/" in name or name.endswith(SUFFIX) else name)
    except XrayflowError as error:
        raise RecipeError(f"{recipe.name}: training_prior.calibration: {error}") from None


def read_response(network: Network, rmf: str | Path | None, arf: str | Path | None) -> tuple[RMF, ARF | None]:
    """The response that a network was trained with.

    Args:
        network: Says which.
        rmf: The matrix, where it is not the bundled one.
        arf: The area, likewise; "none" or None where the matrix includes it.

    Raises:
        MismatchError: The files must be given, or are others than the network's.
    """
    own = network.recipe.instrument
    if rmf is None and own.rmf != BUNDLED:
        raise MismatchError(
            f"network {network.name}: it was trained with {own.rmf}; give that with --rmf, and its --arf"
        )
    matrix = read_rmf(data.bundled_rmf() if rmf is None else rmf)
    bundled = data.bundled_arf() if rmf is None and own.arf == BUNDLED else None
    given = bundled if arf is None else arf
    area = None if given is None or given == NO_ARF else read_arf(given)
    hashes = matrix.sha256, "" if area is None else area.sha256
    if hashes != (network.response.rmf_sha256, network.response.arf_sha256):
        raise MismatchError(f"network {network.name}: trained with another response; give its own with --rmf and --arf")
    return matrix, area


def _response(recipe: Recipe, folder: Path) -> tuple[RMF, ARF | None]:
    rmf, arf = recipe.instrument.rmf, recipe.instrument.arf
    matrix = read_rmf(data.bundled_rmf() if rmf == BUNDLED else folder / rmf)
    if arf is None or arf == NO_ARF:
        if not matrix.includes_area:
            raise RecipeError(f"{recipe.name}: instrument.arf is 'none', and {rmf} holds no area; give an ARF")
        return matrix, None
    return matrix, read_arf(data.bundled_arf() if arf == BUNDLED else folder / arf)


def _state(parameter: Parameter) -> str:
    """Free, linked or frozen at a value, in words."""
    if parameter.link is not None:
        return f"= {parameter.link.text}"
    return "free" if parameter.is_free else f"= {parameter.value:g}"


def _are_counts(values: NDArray[np.float64]) -> bool:
    return bool((np.isfinite(values) & (values >= 0)).all())


def _within(value: float, limits: tuple[float, float], slack: float) -> bool:
    return limits[0] * (1.0 - slack) <= value <= limits[1] * (1.0 + slack)


def _range(limits: tuple[float, float]) -> str:
    return f"{limits[0]:g} .. {limits[1]:g}"
