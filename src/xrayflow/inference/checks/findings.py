"""What weighted draws give cause to say beside their numbers: of a prior's scale, of nuisances, of what a model lacks.

A fit says it, and an answer that is reweighed under another prior says it anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from xrayflow.inference.checks.misfit import Misfit
from xrayflow.inference.checks.verdict import Doubt, FarNuisance, OtherScale, far_nuisances, find_flags, other_scales
from xrayflow.models import Model
from xrayflow.prior import Prior
from xrayflow.statistics import AMPLITUDE


@dataclass(frozen=True)
class Findings:
    """Of one source.

    Attributes:
        scales: Parameters that depend on the scale of their prior.
        far: Nuisances that lie far from what was believed of them.
        misfit: What the model lacks; None where that was not looked for.
    """

    scales: Sequence[OtherScale]
    far: Sequence[FarNuisance]
    misfit: Misfit | None

    @classmethod
    def of(
        cls, model: Model, prior: Prior, theta: Tensor, weights: NDArray[np.float64], misfit: Misfit | None
    ) -> Findings:
        """From weighted draws.

        Args:
            model: Whose free parameters come first.
            prior: Of them and of the nuisances.
            theta: (draw, parameter).
            weights: (draw,) normalised.
            misfit: What the model lacks.
        """
        scales = other_scales(prior, [parameter.scale for parameter in model.free], theta, weights)
        return cls(scales, far_nuisances(prior, len(model.free), theta, weights), misfit)

    @property
    def doubts(self) -> list[Doubt]:
        """What speaks against the fit."""
        lacking = () if self.misfit is None else self.misfit.suspected
        return [*lacking, *(one for one in self.far if one.name == AMPLITUDE)]

    @property
    def notes(self) -> tuple[str, ...]:
        """In words, but for the doubts."""
        return (
            *(one.reason for one in self.scales),
            *(one.reason for one in self.far if one.name != AMPLITUDE),
            *(() if self.misfit is None else self.misfit.notes),
        )

    def flags(self, prior: Prior, theta: Tensor, weights: NDArray[np.float64], optima: int) -> tuple[str, ...]:
        """Facts about the posterior.

        Args:
            prior: Of the free parameters alone.
            theta: (draw, parameter) these first.
            weights: (draw,) normalised.
            optima: Distinct optima within reach of the best.
        """
        return (
            *find_flags(prior, theta[:, : len(prior.marginals)], weights, optima, self.scales),
            *(f"far_from_prior:{one.name}" for one in self.far),
            *(() if self.misfit is None else self.misfit.flags),
        )
