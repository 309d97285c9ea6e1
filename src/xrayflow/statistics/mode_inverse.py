r"""The inverse of I + A^2 Psi' W0 Psi, Psi as every draw has it: what a search for the likeliest errors steps by.

In its basis the matrix is I + A^2 Lambda but for the energy scale, whose modes follow mu. With a what the basis lacks
of T mu / mu and M their place in it, Psi + a M takes the place of Psi, and

    I + A^2 Lambda + A^2 (C M + M' C' + M' G M),      C = Psi' W0 a,      G = a' W0 a,

differs from a diagonal matrix by four columns at most, so that its inverse is that of a matrix of four rows (Woodbury).
It is positive for every draw, as W0 is.

Source: Woodbury 1950 (Inverting modified matrices); the rest derived here.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from xrayflow.statistics.mode_basis import Amplitude, Coefficients, ModeBasis


@dataclass(frozen=True)
class ModeInverse:
    """For draws of theta.

    Attributes:
        diagonal: Of (I + A^2 Lambda)^-1.
        columns: The rows of M and C', times it; none without an energy scale.
        middle: The inverse of Woodbury's small matrix.
    """

    diagonal: Coefficients
    columns: Float[Tensor, "source draw column mode"]
    middle: Float[Tensor, "source draw column column"]

    @classmethod
    def of(cls, basis: ModeBasis, away: Float[Tensor, "source draw gain bin"], amplitude: Amplitude) -> ModeInverse:
        """Of some draws.

        Args:
            basis: Of the sources.
            away: Of `ModeBasis.away`.
            amplitude: A, of each draw.
        """
        diagonal = basis.inverse(amplitude)
        beside, square = basis.coupled(basis.weight[:, None], away)
        rows = torch.cat([basis.mixing[:, None].expand_as(beside), beside], dim=2)
        columns = rows * diagonal[:, :, None]
        one = torch.eye(away.shape[2], dtype=away.dtype).expand_as(square)
        upper, lower = torch.cat([torch.zeros_like(one), one], -1), torch.cat([one, -square], -1)
        middle = torch.cat([upper, lower], -2) / amplitude[..., None] ** 2 + columns @ rows.mT
        return cls(diagonal, columns, torch.linalg.inv(middle))

    def __call__(self, slope: Coefficients) -> Coefficients:
        """Times what stands in modes."""
        share = (self.columns * slope[:, :, None]).sum(-1, keepdim=True)
        return slope * self.diagonal - ((self.middle @ share) * self.columns).sum(2)

    def at(self, places: tuple[Tensor, Tensor]) -> ModeInverse:
        """Of some of the draws.

        Args:
            places: (chosen, 1) sources, and (chosen, draw) draws of each.
        """
        return ModeInverse(self.diagonal[places], self.columns[places], self.middle[places])
