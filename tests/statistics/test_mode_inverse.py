"""What a search for errors of a response steps by, against the inverse of the whole matrix."""

from __future__ import annotations

import pytest
import torch

from calibration_zoo import bright, draws
from xrayflow.statistics.mode_inverse import ModeInverse
from xrayflow.statistics.mode_peak import find_peak
from xrayflow.statistics.seen import Seen


@pytest.mark.parametrize(("total", "name"), [(1e5, "nicer-v1"), (1e8, "nicer-v1"), (1e6, "generic-v1")])
def test_it_is_that_of_the_matrix_that_each_draw_has(total: float, name: str) -> None:
    """Modes of the energy scale that follow mu, and a set without any."""
    one = bright(total, "none", wiggle=0.02)
    basis = one.likelihood(name=name).basis
    expected, amplitude = (each[None] for each in draws(one, spread=0.05))
    peak = find_peak(basis, expected, amplitude, Seen.of(one.inner))
    psi = amplitude[..., None] * basis.psi_at(peak)
    whole = psi.mT @ (basis.weight[:, None, :, None] * psi) + torch.eye(psi.shape[-1], dtype=torch.float64)
    generator = torch.Generator().manual_seed(1)
    slope = torch.randn(peak.z.shape, generator=generator, dtype=torch.float64)
    wanted = torch.linalg.solve(whole, slope[..., None])[..., 0]
    inverse = ModeInverse.of(basis, peak.away, amplitude)
    torch.testing.assert_close(inverse(slope), wanted, rtol=1e-6, atol=1e-6 * float(wanted.abs().max()))
    assert ((slope * inverse(slope)).sum(-1) > 0).all()
    sources, some = torch.tensor([[0]]), torch.tensor([[3, 1]])
    torch.testing.assert_close(inverse.at((sources, some))(slope[:, [3, 1]]), inverse(slope)[:, [3, 1]])
