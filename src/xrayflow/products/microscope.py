"""The misfit microscope on a stored answer, and what a terminal shows of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from xrayflow.inference import Microscope, Missing, Posterior, find_missing
from xrayflow.models import parse_model

STRIKING = 0.01
"""Share of simulated spectra below which what was found is told as more than chance."""

ENERGY_OF = {"narrow line": ("LineE", -1), "broad line": ("LineE", -1), "dip": ("LineE", 0), "edge": ("edgeE", 0)}
"""The parameter that says where a component of a kind is; of those of this name in the model, the first or the last."""

NEAR = 0.05
"""A fit looks for a component this part of its energy around where it was found."""


def look_closely(
    posterior: Posterior, simulated: int = 1000, progress: Callable[[str, float], None] | None = None
) -> Microscope:
    """What a fit may lack, by evidence and by how often chance does as much; the files of the answer are read again.

    Args:
        posterior: The answer.
        simulated: Spectra without anything missing that are searched alike.
        progress: Called with (step, fraction).

    Raises:
        FileError: A file is gone, or another one now.
        DataError: The answer was computed on an energy grid of its own, or it is of several data sets.
    """
    problem = posterior.problem()
    v = problem.prior.to_probit(torch.from_numpy(posterior.best))
    return find_missing(problem, v, torch.Generator().manual_seed(posterior.seed), simulated, progress)


def microscope_table(posterior: Posterior, found: Microscope) -> RenderableType:
    """What the fit may lack, the likeliest first.

    Args:
        posterior: The answer.
        found: Of `find_missing`.
    """
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1), header_style="bold")
    for title, side in (("component", "left"), ("ln B", "right"), ("by chance", "right"), ("where", "left")):
        table.add_column(title, justify=side, no_wrap=title != "where")  # type: ignore[arg-type]
    for one in found.missing:
        rare = one.p_value < 1.5 / found.simulated
        chance = f"< {100 / found.simulated:g} %" if rare else f"{100 * one.p_value:.1f} %"
        where = ": ".join(word for word in (one.where, one.size) if word)
        table.add_row(*(Text(cell) for cell in (one.kind, f"{one.log_bayes:+.1f}", chance, where)))
    return Group(
        Text(f"{posterior.data[0].pha.name}: {posterior.model.text}"), Text(""), table, Text(""), *_words(found)
    )


def _words(found: Microscope) -> Sequence[Text]:
    """What it comes to, and what to do."""
    share = f"{100 * found.p_value:.1f} % of {found.simulated} simulated spectra that lack nothing"
    if found.p_value > STRIKING:
        return [Text(f"nothing stands out: {share} look as much as if they lacked something")]
    lines = [Text(f"the model lacks something: {share} look as much so")]
    best = next((one for one in found.missing if one.expression and one.log_bayes > 0), None)
    if best is not None:
        place = _held_near(best)
        held = f" --prior '{place}'" if place else ""
        lines.append(Text(f"try it: xrayflow fit PHA --model '{best.expression}'{held} --out with-it"))
        lines.append(Text("        xrayflow compare RESULT with-it"))
    lines.append(
        Text("ln B is that of a linear fit, and too large for strong lines; evidences of fits decide", style="dim")
    )
    return lines


def _held_near(one: Missing) -> str:
    """A prior that holds the energy of a component near the place where it was found; "" where it has none.

    A fit whose line may lie anywhere in the band may end on any bump of it.
    """
    if one.kind not in ENERGY_OF:
        return ""
    parameter, place = ENERGY_OF[one.kind]
    names = [name for name in parse_model(one.expression).names if name.endswith(f".{parameter}")]
    energy = float(one.where.split()[0])
    return f"{names[place]}={(1.0 - NEAR) * energy:.3g}:{(1.0 + NEAR) * energy:.3g}"
