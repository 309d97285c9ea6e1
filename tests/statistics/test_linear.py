"""A fit as linear: against generalised least squares with every matrix in full."""

from __future__ import annotations

import math

import pytest
import torch

from xrayflow.statistics import LinearFit


@pytest.fixture(scope="module")
def fit() -> LinearFit:
    generator = torch.Generator().manual_seed(4)
    normal = lambda *shape: torch.randn(shape, generator=generator, dtype=torch.float64)  # noqa: E731
    return LinearFit(
        residual=3.0 * normal(30),
        variance=9.0 * torch.exp(normal(30)),
        columns=2.0 * normal(30, 6),
        at=normal(6),
        expected=torch.full((30,), 100.0, dtype=torch.float64),
        gain=4.0 * normal(30, 2),
    )


def covariance(fit: LinearFit) -> torch.Tensor:
    return torch.diag(fit.variance) + fit.columns @ fit.columns.T


def test_amplitudes_are_those_of_least_squares(fit: LinearFit) -> None:
    shapes = torch.eye(30, dtype=torch.float64)[:, :3] + 0.3
    inverse = torch.linalg.inv(covariance(fit))
    among = shapes.T @ inverse @ shapes
    wanted = (shapes.T @ inverse @ (fit.residual + fit.columns @ fit.at)) / among.diagonal()
    amplitude, found = fit.amplitudes(shapes)
    assert torch.allclose(amplitude, wanted)
    assert torch.allclose(found, among)


def test_gain_evidence_is_that_of_two_normals(fit: LinearFit) -> None:
    whole = LinearFit(
        fit.residual,
        fit.variance,
        torch.cat([fit.columns, fit.gain], 1),
        torch.cat([fit.at, torch.ones(2)]),
        fit.expected,
        fit.gain,
    )
    offered = whole.offered
    with_, without = covariance(whole), covariance(fit)

    def log_normal(matrix: torch.Tensor) -> float:
        return float(-0.5 * offered @ torch.linalg.solve(matrix, offered) - 0.5 * torch.linalg.slogdet(matrix)[1])

    evidence, coefficient = whole.gain_evidence()
    assert evidence == pytest.approx(log_normal(with_) - log_normal(without), abs=1e-8)
    assert torch.allclose(coefficient, fit.gain.T @ torch.linalg.solve(with_, offered))


def test_without_an_energy_scale_in_doubt_there_is_no_evidence(fit: LinearFit) -> None:
    still = LinearFit(fit.residual, fit.variance, fit.columns, fit.at, fit.expected, fit.gain[:, :0])
    evidence, coefficient = still.gain_evidence()
    assert (evidence, coefficient.numel()) == (0.0, 0)
    assert math.isfinite(float(still.offered.sum()))
