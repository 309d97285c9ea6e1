"""Draws seen through a response with errors, together and one by one."""

from __future__ import annotations

import torch

from calibration_zoo import bright, draws


def test_draws_and_rows_of_a_source_are_the_same() -> None:
    """Each source's rows go together as its draws; ln p and its slopes do not see that."""
    one = bright(1e6, wiggle=0.02)
    likelihood = one.likelihood()
    expected, amplitude = draws(one, 6)
    nuisance, count = torch.log(amplitude), expected.shape[0]
    jacobian = torch.stack([expected, expected.flip(-1)], dim=-1)
    as_draws, as_rows = likelihood, likelihood.select(torch.zeros(count, dtype=torch.int64))
    together = as_draws.log_density(expected[None], nuisance[None])[0]
    apart = as_rows.log_density(expected[:, None], nuisance[:, None])[:, 0]
    alone = torch.cat([likelihood.log_density(expected[None, [i]], nuisance[None, [i]])[0] for i in range(count)])
    torch.testing.assert_close(together, apart, rtol=0, atol=1e-6)
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-6)
    whole = as_draws.curvature(expected[None], jacobian[None], nuisance[None])
    parts = as_rows.curvature(expected[:, None], jacobian[:, None], nuisance[:, None])
    torch.testing.assert_close(whole.gradient[0], parts.gradient[:, 0], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(whole.information[0], parts.information[:, 0], rtol=1e-6, atol=1e-6)
