"""The loop under the optimiser: projected Levenberg-Marquardt on many rows at once.

A row is one minimisation: one start of one source, or one point of a profile. With x the coordinates of the goal, J the
Jacobian of the expected counts and W the Fisher weights of the bins, a step solves

    (H + lambda diag H) dx = -g,        H = J^T W J + penalty curvature,        g = half the goal's gradient,

on the coordinates that are free: those that are held, and those at an edge of the box that the gradient pushes outwards,
keep their place; a coordinate that the step would carry over an edge is put on it and the others are solved anew. The
damping follows the ratio of the gained to the promised decrease.

Two things shorten the way through the curved valleys of spectral fits. The norms follow for free: expected counts are
linear in them, so every trial is taken at the common factor of all norms that fits it best, which needs no call of the
model. And each step is bent by the second derivative along it (one more call): dx + a / 2, (H + lambda diag H) a =
-J^T W d^2 mu / ds^2.

Source: Nielsen 1999, "Damping parameter in Marquardt's method" (IMM-REP-1999-05); Transtrum & Sethna 2012,
arXiv:1201.5885 (the bent step, "geodesic acceleration"); Golub & Pereyra 1973 (linear parameters that follow).
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from xrayflow.inference.goal import Goal

PIECE = 400_000
"""Elements (rows x energies x derivatives) whose Jacobian is made at once: they stay in the processor's cache."""

BEND = 0.1
"""The second derivative along a step is taken with this share of the step."""

MOST_BEND = 0.75
"""A step that would be bent by more than this share of its length is taken shorter instead."""

FACTOR_STEPS = 2
LONGEST_FACTOR = 1.5
"""Newton steps for the norms' common factor, and the most that one changes its logarithm."""


class Descent:
    """The state of many minimisations; a row has a draw axis of length 1 in everything that the problem sees."""

    def __init__(self, goal: Goal, x: Float[Tensor, "row parameter"], held: Bool[Tensor, "row parameter"]) -> None:
        rows, parameters = x.shape
        bins = goal.problem.noise.counts.shape[-1]
        self.goal = goal
        self.held = held
        self.x = x.clamp(goal.lo, goal.hi)
        self.expected = x.new_zeros(rows, bins)
        self.jacobian = x.new_zeros(rows, bins, parameters)
        self.weight = x.new_zeros(rows, bins)
        self.gradient = x.new_zeros(rows, parameters)
        self.hessian = x.new_zeros(rows, parameters, parameters)
        self.value = x.new_full((rows,), torch.inf)
        self.evaluations = torch.zeros(rows, dtype=torch.int64)
        self.converged = torch.zeros(rows, dtype=torch.bool)
        self.damping = x.new_full((rows,), 1e-2)
        self.growth = x.new_full((rows,), 2.0)

    def run(self, tolerance: float, iterations: int) -> Descent:
        """Iterate until no row moves.

        Args:
            tolerance: A row stops when a step promises to lower the goal by less than this.
            iterations: At most.
        """
        everything = torch.arange(self.x.shape[0])
        self.x, self.expected, self.value = self._tried(everything, self.x)
        self._linearise(everything)
        active = everything[torch.isfinite(self.value)]
        for _ in range(iterations):
            if active.numel() == 0:
                break
            trial, promised = self._step(active)
            trial, expected, value = self._tried(active, trial)
            gain = self.value[active] - value
            better = torch.isfinite(value) & (gain > 0)
            accepted = active[better]
            self.x[accepted], self.expected[accepted] = trial[better], expected[better]
            self.value[accepted] = value[better]
            self._damp(active, better, gain / promised.clamp(min=1e-300))
            arrived = better & (promised < tolerance) & (gain < tolerance)
            arrived |= promised < 1e-3 * tolerance
            self.converged[active] = arrived
            self._linearise(accepted)
            active = active[~arrived & (self.damping[active] < 1e10)]
        return self

    def _damp(self, active: Tensor, better: Tensor, ratio: Tensor) -> None:
        """Nielsen's rule."""
        shrink = torch.clamp(1.0 - (2.0 * ratio - 1.0) ** 3, min=1.0 / 3.0, max=2.0)
        damping, growth = self.damping[active], self.growth[active]
        self.damping[active] = torch.where(better, (damping * shrink).clamp(min=1e-9), damping * growth)
        self.growth[active] = torch.where(better, 2.0, growth * 2.0)

    def _step(self, active: Tensor) -> tuple[Tensor, Tensor]:
        """Where the rows go next, and the decrease that the goal's quadratic model promises there."""
        x, hessian, gradient = self.x[active], self.hessian[active], self.gradient[active]
        diagonal = hessian.diagonal(dim1=-2, dim2=-1)
        damped = hessian + torch.diag_embed(self.damping[active, None] * diagonal + 1e-10)
        fixed = self.held[active] | ((x <= self.goal.lo) & (gradient > 0)) | ((x >= self.goal.hi) & (gradient < 0))
        move = torch.zeros_like(x)
        for _ in range(2):
            move = _solved(damped, gradient, fixed, move)
            beyond = ~fixed & ((x + move < self.goal.lo) | (x + move > self.goal.hi))
            if not bool(beyond.any()):
                break
            move = torch.where(beyond, (x + move).clamp(self.goal.lo, self.goal.hi) - x, move)
            fixed = fixed | beyond
        move = _shortened(move, self.goal.longest)
        promised = -2.0 * (gradient * move).sum(-1) - (move[:, None, :] @ hessian @ move[..., None])[:, 0, 0]
        trial = (x + move + self._bend(active, damped, fixed, move)).clamp(self.goal.lo, self.goal.hi)
        return trial, promised

    def _bend(self, active: Tensor, damped: Tensor, fixed: Tensor, move: Tensor) -> Tensor:
        """Half the acceleration along the step; none where it is not small against the step."""
        x = self.x[active]
        ahead = self._expected(active, (x + BEND * move).clamp(self.goal.lo, self.goal.hi))
        along = (self.jacobian[active] @ move[..., None])[..., 0]
        second = 2.0 / BEND * ((ahead - self.expected[active]) / BEND - along)
        pull = (self.jacobian[active].mT @ (self.weight[active] * second)[..., None])[..., 0]
        bend = 0.5 * _solved(damped, pull, fixed, torch.zeros_like(move))
        scale = damped.diagonal(dim1=-2, dim2=-1)
        small = (scale * bend * bend).sum(-1) < MOST_BEND**2 * (scale * move * move).sum(-1)
        usable = small & torch.isfinite(bend).all(-1)
        return torch.where(usable[:, None], bend, 0.0)

    def _expected(self, rows: Tensor, x: Tensor) -> Tensor:
        """(row, bin)"""
        self.evaluations[rows] += 1
        return self.goal.select(rows).expected(x)

    def _tried(self, rows: Tensor, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The goal at x with the norms at their best common factor: x there, expected counts and value."""
        goal = self.goal.select(rows)
        expected = self._expected(rows, x)
        best_x, best_expected, best_value = x, expected, goal.value(expected, x)
        norms = goal.norms
        if not norms:
            return best_x, best_expected, best_value
        free = ~self.held[rows][:, norms].any(-1)
        theta = goal.to_theta(x)
        log_factor = x.new_zeros(x.shape[0])
        trial_x, trial = x, expected
        for _ in range(FACTOR_STEPS):
            score, weight = goal.slopes(trial)
            slope, curvature = (score * trial).sum(-1), (weight * trial * trial).sum(-1)
            change = slope / curvature.clamp(min=1e-300)
            change = torch.where(torch.isfinite(change) & free, change, 0.0)
            log_factor = log_factor + change.clamp(-LONGEST_FACTOR, LONGEST_FACTOR)
            log_factor = goal.norms_in_box(theta, log_factor)
            scaled = theta.clone()
            scaled[:, norms] *= torch.exp(log_factor)[:, None]
            trial_x, trial = goal.with_norms(scaled, x), expected * torch.exp(log_factor)[:, None]
            value = goal.value(trial, trial_x)
            better = free & (value < best_value)
            best_x = torch.where(better[:, None], trial_x, best_x)
            best_expected = torch.where(better[:, None], trial, best_expected)
            best_value = torch.where(better, value, best_value)
        return best_x, best_expected, best_value

    def _linearise(self, rows: Tensor) -> None:
        """Jacobian, gradient (half of the goal's) and information at the rows' places."""
        parameters = self.x.shape[-1]
        energies = self.goal.problem.fold.grid.energy_edges.size
        size = max(PIECE // (energies * (parameters + 1)), 1)
        for part in rows.split(size):
            if part.numel() == 0:
                continue
            goal = self.goal.select(part)
            expected, jacobian = goal.linearised(self.x[part])
            score, weight = goal.slopes(expected)
            slope, curvature = goal.penalty_slopes(self.x[part])
            self.expected[part], self.jacobian[part], self.weight[part] = expected, jacobian, weight
            self.gradient[part] = slope - (jacobian.mT @ score[..., None])[..., 0]
            self.hessian[part] = jacobian.mT @ (weight[..., None] * jacobian) + torch.diag_embed(curvature)
            self.evaluations[part] += parameters


def _solved(damped: Tensor, gradient: Tensor, fixed: Tensor, move: Tensor) -> Tensor:
    """The step of the free coordinates, given that the fixed ones move as told."""
    free = (~fixed).to(damped.dtype)
    fixed_move = torch.where(fixed, move, 0.0)
    right = -gradient - (damped @ fixed_move[..., None])[..., 0]
    matrix = damped * free[:, :, None] * free[:, None, :] + torch.diag_embed(1.0 - free)
    step, _ = torch.linalg.solve_ex(matrix, (right * free)[..., None])
    return torch.where(fixed, fixed_move, step[..., 0])


def _shortened(move: Tensor, longest: float) -> Tensor:
    """No coordinate moves by more than `longest`."""
    return move * torch.clamp(longest / move.abs().amax(-1, keepdim=True).clamp(min=1e-300), max=1.0)
