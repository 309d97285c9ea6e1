"""Peak and determinant of the modes, against Newton's method with the whole matrix."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from calibration_zoo import Bright, bright, draws
from xrayflow.statistics.mode_basis import ModeBasis
from xrayflow.statistics.mode_peak import find_peak
from xrayflow.statistics.seen import Seen


def exact(one: Bright, basis: ModeBasis, expected: Tensor, amplitude: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """z, ln p - |z|^2 / 2 and ln det H by Newton's method with every matrix in full; the energy scale's modes too."""
    peak = find_peak(basis, expected[None], amplitude[None], Seen.of(one.inner))
    psi = amplitude[..., None] * basis.psi_at(peak)[0]
    counts, z = one.inner.counts[0, 0], torch.zeros_like(peak.z[0])
    unit = torch.eye(z.shape[1], dtype=torch.float64)
    for _ in range(40):
        mean = expected * torch.exp((psi @ z[..., None])[..., 0])
        gradient = (psi.mT @ (counts - mean)[..., None])[..., 0] - z
        curved = psi.mT @ (mean[..., None] * psi) + unit
        z = z + torch.linalg.solve(curved, gradient[..., None])[..., 0]
    mean = expected * torch.exp((psi @ z[..., None])[..., 0])
    curved = psi.mT @ (mean[..., None] * psi) + unit
    value = one.inner.log_density(mean[None])[0] - 0.5 * (z**2).sum(-1)
    return z, value, torch.linalg.slogdet(curved)[1]


@pytest.mark.parametrize("grouping", ["optimal", "none"])
@pytest.mark.parametrize("total", [1e5, 1e6, 1e7])
def test_peak_and_determinant_are_those_of_newtons_method(total: float, grouping: str) -> None:
    one = bright(total, grouping, wiggle=0.02)
    likelihood = one.likelihood()
    centred = likelihood.centred(one.expected(), torch.zeros((1, 1, 1), dtype=torch.float64))
    basis = centred.basis
    expected, amplitude = draws(one)
    z, value, determinant = exact(one, basis, expected, amplitude)
    seen = Seen.of(one.inner)
    peak = find_peak(basis, expected[None], amplitude[None], seen)
    assert torch.allclose(peak.z[0], z, atol=0.06)
    told = one.inner.log_density(peak.expected)[0] - 0.5 * (peak.z[0] ** 2).sum(-1)
    assert (told - value).abs().max() < 1e-3
    near = value > value.max() - 10
    found = basis.log_determinant(peak, seen.weight(peak.expected), amplitude[None])[0]
    assert (0.5 * (found - determinant).abs()[near]).max() < 0.03
    assert (0.5 * (found - determinant)[near]).std() < 0.01


def test_before_a_model_is_known_the_determinant_is_nearly_right() -> None:
    one = bright(1e6, wiggle=0.02)
    basis = one.likelihood().basis
    expected, amplitude = draws(one)
    _, _, determinant = exact(one, basis, expected, amplitude)
    seen = Seen.of(one.inner)
    peak = find_peak(basis, expected[None], amplitude[None], seen)
    found = basis.log_determinant(peak, seen.weight(peak.expected), amplitude[None])[0]
    assert (0.5 * (found - determinant).abs()).max() < 1.0


def test_the_basis_leaves_nothing_out_that_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    one = bright(1e6, wiggle=0.02)
    few = one.likelihood().log_density(one.expected())
    monkeypatch.setattr("xrayflow.statistics.mode_basis.LEFT_OUT", 1e-9)
    all_ = one.likelihood()
    assert all_.basis.strength.shape[1] > one.likelihood().basis.strength.shape[1] - 1
    assert float((all_.log_density(one.expected()) - few).abs()) < 0.02


def test_the_jacobian_at_the_peak_is_that_of_differences() -> None:
    one = bright(1e6)
    basis = one.likelihood().basis
    amplitude = torch.ones((1, 1, 1), dtype=torch.float64)
    step = 1e-4 * one.theta
    about = torch.stack(
        [one.theta, *(one.theta + s for s in torch.diag(step)), *(one.theta - s for s in torch.diag(step))]
    )
    expected = one.expected(about)[0]
    n = one.theta.numel()
    jacobian = ((expected[1 : n + 1] - expected[n + 1 :]) / (2 * step[:, None])).T[None, None]
    peak = find_peak(basis, expected[None, :1], amplitude, Seen.of(one.inner))
    found = basis.bent_jacobian(peak, jacobian, amplitude)[0, 0]

    def bent(mu: Tensor) -> Tensor:
        at = mu[None, None]
        return (at * torch.exp(basis.eta(peak.z, basis.away(at), amplitude)))[0, 0]

    wanted = torch.stack(
        [(bent(expected[1 + k]) - bent(expected[1 + n + k])) / (2 * step[k]) for k in range(n)], dim=-1
    )
    assert torch.allclose(found, wanted, rtol=1e-4, atol=1e-6 * float(wanted.abs().max()))


def test_projected_information_is_positive_wherever_a_draw_stands() -> None:
    one = bright(1e6)
    basis = one.likelihood().basis
    generator = torch.Generator().manual_seed(2)
    relative = torch.randn((1, 6, one.spectrum.counts.size, 4), generator=generator, dtype=torch.float64)
    weight = torch.exp(3.0 * torch.randn((1, 6, one.spectrum.counts.size), generator=generator, dtype=torch.float64))
    found = basis.projected(relative, weight, torch.ones((1, 6, 1), dtype=torch.float64))
    assert (torch.linalg.eigvalsh(found) > 0).all()
