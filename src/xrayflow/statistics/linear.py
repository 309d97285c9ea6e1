r"""A fit seen as linear: what else in the data would be seen, beside what the fit's own parameters take in.

At a fit the residual of the bins is that of independent scatter D and of columns B, each with a coefficient of unit
variance: the model's parameters in the prior's own coordinates, and the calibration modes. With x the coefficients at
the fit,

    C = D + B B',    M = C^-1,    e = residual + B x,

a further component of shape t has amplitude t' M e / t' M t, with the standard deviation (t' M t)^-1/2: all that the
fit can take in is projected out. Several shapes have the correlations of t' M t.

Source: generalised least squares; Kaastra 2017 (A&A 605, A51) and Protassov et al. 2002 (ApJ 571, 545) on why the
significance of a line needs simulations of the search.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class LinearFit:
    """Of one data set of one source.

    Attributes:
        residual: (bin,) counts less their mean at the fit.
        variance: (bin,) D.
        columns: (bin, column) B.
        at: (column,) x.
        expected: (bin,) the source's counts at the fit, errors of the response included.
        gain: (bin, gain) what one standard deviation of the energy scale's offset and slope changes; no columns where
            it is not in doubt.
        unit: What one standard deviation of the energy scale is [keV, fraction]; None where the response is taken at
            its word.
    """

    residual: Float[Tensor, " bin"]
    variance: Float[Tensor, " bin"]
    columns: Float[Tensor, "bin column"]
    at: Float[Tensor, " column"]
    expected: Float[Tensor, " bin"]
    gain: Float[Tensor, "bin gain"]
    unit: tuple[float, float] | None = None

    def weighed(self, shapes: Float[Tensor, "bin shape"]) -> Tensor:
        """(bin, shape) M t.

        Args:
            shapes: t.
        """
        weight = 1.0 / self.variance.clamp(min=1e-300)
        columns = self.columns * weight[:, None]
        inner = self.columns.T @ columns + torch.eye(columns.shape[1], dtype=columns.dtype)
        taken_in: Tensor = columns @ torch.linalg.solve(inner, columns.T @ shapes)
        return weight[:, None] * shapes - taken_in

    def counts_below(self, shapes: Float[Tensor, "bin shape"]) -> Float[Tensor, " shape"]:
        """Counts that are there without each shape, as the shape weighs them.

        Args:
            shapes: t.
        """
        scatter = (shapes**2 / self.variance.clamp(min=1e-300)[:, None]).sum(0)
        return shapes.sum(0) ** 2 / scatter.clamp(min=1e-300)

    @property
    def offered(self) -> Float[Tensor, " bin"]:
        """e: what the columns and any further component have to explain."""
        return self.residual + self.columns @ self.at

    def amplitudes(self, shapes: Float[Tensor, "bin shape"]) -> tuple[Tensor, Tensor]:
        """Amplitude of each shape by itself, and the covariance of t' M e.

        Args:
            shapes: t.

        Returns:
            (shape,) amplitudes and (shape, shape) t' M t.
        """
        weighed = self.weighed(shapes)
        among = shapes.T @ weighed
        return weighed.T @ self.offered / among.diagonal().clamp(min=1e-300), among

    def gain_evidence(self) -> tuple[float, Tensor]:
        """Natural log of how much likelier the data are with an energy scale in doubt, and what it comes to.

        Returns:
            ln evidence with less that without, and (gain,) the coefficients, in standard deviations of their prior.
        """
        if self.gain.shape[1] == 0:
            return 0.0, self.gain.new_zeros(0)
        weighed = self.weighed(self.gain)
        coefficient = weighed.T @ self.offered
        left = torch.eye(self.gain.shape[1], dtype=self.gain.dtype) - self.gain.T @ weighed
        value, vector = torch.linalg.eigh(left)
        value = value.clamp(min=1e-12)
        turned = vector.T @ coefficient
        return float(0.5 * (turned**2 / value).sum() + 0.5 * torch.log(value).sum()), coefficient
