"""What a catalogue asks of its sources: all that decides its numbers, in words that can be compared and read again."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from xrayflow.errors import DataError, MismatchError, NetworkError
from xrayflow.files import package_versions, sha256_of
from xrayflow.inference import NO_NETWORK, SamplingBudget, default_network, refuse_unknown_modes
from xrayflow.models import Model
from xrayflow.networks import load_network, shipped_networks
from xrayflow.prior import Prior
from xrayflow.setup import FitSetup

COMPUTE = ("torch", "numpy", "scipy")
"""Packages whose versions may move the last digits of an answer."""


@dataclass(frozen=True)
class Question:
    """What is asked of every source.

    Attributes:
        setup: Model, prior, band, statistic, ...; the model and the prior as objects.
        network: Name or file of the network that starts the answers, "none", or None for the default.
        amortised: Answers of the network alone.
        seed: Of the run.
        budget: How hard to try.
        rmf: Of all spectra, instead of what their headers name.
        draws: Whether the draws are kept.
    """

    setup: FitSetup = field(default_factory=FitSetup)
    network: str | None = None
    amortised: bool = False
    seed: int = 0
    budget: SamplingBudget = field(default_factory=SamplingBudget)
    rmf: str | None = None
    draws: bool = False

    @classmethod
    def of(
        cls,
        setup: FitSetup,
        network: str | Path | None,
        amortised: bool,
        seed: int,
        budget: SamplingBudget,
        rmf: str | None,
        draws: bool,
    ) -> Question:
        """With what is wrong for all sources said at once.

        Args:
            setup: In the user's words.
            network: As for `infer`, by name or file.
            amortised, seed, budget, rmf, draws: The attributes.

        Raises:
            XrayflowError: A model, a prior, a network or a number that cannot be.
        """
        model, prior = setup.model_and_prior()
        _ = setup.treatment, setup.believed
        if budget.seconds is not None and not budget.seconds > 0:
            raise DataError(f"time_limit={budget.seconds:g}: give seconds above 0")
        named = default_network(model) if amortised and network is None else network
        if named is not None and named != NO_NETWORK:
            found = load_network(named)
            try:
                found.refuse_model(model)
            except MismatchError as error:
                raise NetworkError(f"network {found.name}: {error}; use --network none, or train one") from None
            if amortised:
                refuse_unknown_modes(found, setup.believed.modes)
        elif amortised:
            raise NetworkError(f"--amortised: no shipped network was made for {model.text}; give one with --network")
        fixed = replace(setup, model=model, prior=prior, freeze=None, link=None, abund=None)
        return cls(fixed, None if network is None else str(network), amortised, seed, budget, rmf, draws)

    @property
    def model(self) -> Model:
        """The model."""
        return self.setup.model_and_prior()[0]

    @property
    def prior(self) -> Prior:
        """The prior of its free parameters."""
        return self.setup.model_and_prior()[1]

    @property
    def prior_words(self) -> dict[str, list[str]]:
        """The prior of each free parameter, as `Prior.of` reads it."""
        return {marginal.name: list(marginal.words) for marginal in self.prior.marginals}

    @cached_property
    def words(self) -> dict[str, Any]:
        """All that decides the numbers, of JSON's kinds."""
        setup, model, budget = self.setup, self.model, self.budget
        held = {
            p.name: p.value if p.link is None else p.link.text
            for p in model.parameters
            if p.frozen or p.link is not None
        }
        return {
            "model": model.identity,
            "held": held,
            "prior": {name: " and ".join(words) for name, words in self.prior_words.items()},
            "systematic": setup.systematic,
            "energies": None if setup.energies is None else [list(map(float, pair)) for pair in setup.energies],
            "channels": None if setup.channels is None else list(setup.channels),
            "grouping": setup.grouping or "file",
            "statistic": setup.statistic,
            "grid": None if setup.grid is None else setup.grid.description,
            "likelihood": setup.likelihood,
            "background scale": setup.background_scale,
            "network": self.network_words,
            "amortised": self.amortised,
            "seed": self.seed,
            "draws": budget.draws,
            "ess": budget.ess,
            "starts": budget.starts,
            "time limit": budget.seconds,
            "draws are kept": self.draws,
            "version of": package_versions(*COMPUTE),
        }

    @property
    def network_words(self) -> Mapping[str, str]:
        """Name of the network, and the hash of its file."""
        path = None
        if self.network is None:
            path = default_network(self.model)
        elif self.network != NO_NETWORK:
            path = shipped_networks().get(self.network, Path(self.network))
        if path is None:
            return {"name": NO_NETWORK, "sha256": ""}
        name = next((name for name, one in shipped_networks().items() if one == path), str(path))
        return {"name": name, "sha256": sha256_of(path)}

    @property
    def model_sha256(self) -> str:
        """Of everything that decides what the model computes."""
        return hashlib.sha256(repr((self.model.identity, self.words["held"])).encode()).hexdigest()
