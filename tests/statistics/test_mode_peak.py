"""The likeliest errors of a response: each draw by itself, all sources at once."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import pad

from calibration_zoo import bright, draws
from xrayflow.statistics import CountLikelihood
from xrayflow.statistics.mode_basis import ModeBasis
from xrayflow.statistics.mode_inverse import ModeInverse
from xrayflow.statistics.mode_peak import SETTLED, drawn_errors, find_peak
from xrayflow.statistics.seen import Seen


def test_a_draw_settles_in_its_own_way_whatever_its_company() -> None:
    one = bright(1e6, wiggle=0.02)
    basis = one.likelihood().basis
    expected, amplitude = draws(one, 12)
    far = torch.cat([expected, 30.0 * expected[:3], 0.01 * expected[:3]])
    wide = torch.cat([amplitude, amplitude[:6]])
    alone = find_peak(basis, expected[None], amplitude[None], Seen.of(one.inner))
    together = find_peak(basis, far[None], wide[None], Seen.of(one.inner))
    assert torch.allclose(together.z[:, :12], alone.z, rtol=0, atol=1e-9)
    assert torch.isfinite(together.expected).all()


def test_sources_of_other_bins_and_modes_go_together() -> None:
    """A fine and a wide one in a batch have the peaks that they have alone."""
    each = [bright(1e6, "none", wiggle=0.02), bright(1e5)]
    bins = max(one.spectrum.counts.size for one in each)
    wide = [bins - one.spectrum.counts.size for one in each]
    counts, used = (
        torch.stack([pad(part[0], (0, more)) for part, more in zip(parts, wide, strict=True)])
        for parts in ([one.inner.counts[:, 0] for one in each], [one.inner.used for one in each])
    )
    inner = CountLikelihood.of(counts, torch.zeros_like(counts), torch.zeros(2, dtype=torch.float64), used)
    bases = [one.likelihood().basis for one in each]
    joined = ModeBasis.joined(bases)
    assert joined.own.tolist() == [one.strength.shape[1] for one in bases]
    made = [draws(one) for one in each]
    expected = torch.stack([pad(mu, (0, more)) for (mu, _), more in zip(made, wide, strict=True)])
    amplitude = torch.stack([a for _, a in made])
    together = find_peak(joined, expected, amplitude, Seen.of(inner))
    for i, (one, basis) in enumerate(zip(each, bases, strict=True)):
        (mu, a), size = made[i], one.spectrum.counts.size
        alone = find_peak(basis, mu[None], a[None], Seen.of(one.inner))
        assert torch.allclose(together.z[i, :, : basis.strength.shape[1]], alone.z[0], rtol=0, atol=1e-9)
        assert torch.allclose(together.expected[i, :, :size], alone.expected[0], rtol=1e-9)
        assert not together.expected[i, :, size:].any()
        assert torch.equal(joined.select(torch.tensor([i]), size).psi, basis.psi)


def test_a_peak_has_no_slope_left() -> None:
    one = bright(1e6, wiggle=0.02)
    basis, seen = one.likelihood().basis, Seen.of(one.inner)
    expected, amplitude = (each[None] for each in draws(one))
    peak = find_peak(basis, expected, amplitude, seen)
    slope = basis.by_z(seen.by_eta(peak.expected), peak.away, amplitude) - peak.z
    left = (slope * ModeInverse.of(basis, peak.away, amplitude)(slope)).sum(-1)
    assert (left < SETTLED).all()
    torch.testing.assert_close(left, peak.decrement)
    start = basis.by_z(seen.by_eta(expected), peak.away, amplitude)
    assert ((start**2 * basis.inverse(amplitude)).sum(-1) > 1.0).all()


@pytest.mark.parametrize("total", [1e5, 1e6, 1e8])
def test_hardly_a_step_is_needed(total: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Errors of 2 % and draws that miss by as much: one step of conjugate gradients, whatever the counts."""
    one = bright(total, "none", wiggle=0.02)
    basis = one.likelihood().centred(one.expected(), torch.zeros((1, 1, 1), dtype=torch.float64)).basis
    expected, amplitude = (each[None] for each in draws(one))
    monkeypatch.setattr("xrayflow.statistics.mode_peak.MOST_STEPS", 1)
    peak = find_peak(basis, expected, amplitude, Seen.of(one.inner))
    assert float((peak.decrement < SETTLED).double().mean()) > 0.9


def test_draws_that_settle_late_end_where_they_belong(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that still move go on by themselves, and come back to their places."""
    one = bright(1e6, wiggle=0.02)
    basis, seen = one.likelihood().basis, Seen.of(one.inner)
    expected, amplitude = (each[None] for each in draws(one))
    expected = expected * torch.linspace(0.5, 2.0, expected.shape[1], dtype=torch.float64)[None, :, None]
    apart = find_peak(basis, expected, amplitude, seen)
    monkeypatch.setattr("xrayflow.statistics.mode_peak.LEFT", -1.0)
    together = find_peak(basis, expected, amplitude, seen)
    assert torch.allclose(apart.z, together.z, rtol=0, atol=1e-9)
    assert torch.allclose(apart.eta, together.eta, rtol=0, atol=1e-12)
    assert torch.allclose(apart.expected, together.expected, rtol=1e-12)


def test_errors_that_are_drawn_are_the_modes_of_the_set() -> None:
    """The scatter of ln counts in each bin is A times the length of the modes there."""
    one = bright(1e7)
    basis = one.likelihood().basis
    expected = one.expected().expand(1, 4000, -1)
    amplitude = torch.full((1, 1, 1), 2.0, dtype=torch.float64)
    found = torch.log(drawn_errors(basis, expected, amplitude, torch.Generator().manual_seed(1)) / expected)[0]
    wanted = 2.0 * (basis.psi_at(find_peak(basis, one.expected(), amplitude, Seen.of(one.inner)))[0, 0] ** 2).sum(-1)
    assert torch.allclose(found.std(0) / 2.0, (wanted / 2.0).sqrt(), rtol=0.06)
