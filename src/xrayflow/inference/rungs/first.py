"""What stands at the foot of the ladder: the modes, and the proposals that they and a network make."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch

from xrayflow.fitting import Modes, corrected_modes, minimise, settle, starting_points
from xrayflow.inference.proposals.absent import faint_parts
from xrayflow.inference.proposals.foot import Guided, beside_ellipsoids, guided_from_modes, prior_density
from xrayflow.inference.proposals.laplace import laplace_mixture
from xrayflow.inference.proposals.mixture import Proposal
from xrayflow.inference.proposals.network import Guide
from xrayflow.problem import Problem


def find_modes(
    problem: Problem,
    starts: int,
    generators: list[torch.Generator],
    guide: Guide | None,
    exact: bool = False,
    late: Callable[[], bool] | None = None,
) -> tuple[Modes, Problem]:
    """Independent starts, each run to its optimum.

    Args:
        problem: The batch.
        starts: Of each source.
        generators: One per source.
        guide: What a network says of the same sources: some of the starts come from it.
        exact: Whether the modes are those of the answer's own grid: a coarse one does not follow it.
        late: Whether a limit of time has been reached: starts on the search's grid end where they are then.

    Returns:
        The modes, and the problem that they are modes of: the same, on a coarse grid that is corrected at them.
    """
    places, tried = starting_points(problem, starts, generators, guide)
    if exact:
        modes, corrected = settle(problem, minimise(problem, places)), problem
    else:
        modes, corrected = corrected_modes(problem, places, late)
    return replace(modes, evaluations=modes.evaluations + tried), corrected


def first_proposal(problem: Problem, modes: Modes, guide: Guide | None) -> tuple[Proposal, tuple[Guided | None, ...]]:
    """Ellipsoids at the modes, what a network says from them, and densities where features are hardly there.

    Args:
        problem: The batch.
        modes: Where its starts ended.
        guide: What a network says of the same sources.

    Returns:
        The proposal, and what the network says of each source, for later ones.
    """
    guided = [None] * problem.sources if guide is None else guided_from_modes(problem, modes, guide)
    parts = [
        beside_ellipsoids(
            prior_density(problem, modes, source, distinct, one), [], one, faint_parts(problem, modes, source)
        )
        for source, (distinct, one) in enumerate(zip(modes.distinct(), guided, strict=True))
    ]
    return Proposal(laplace_mixture(modes), tuple(parts)), tuple(guided)
