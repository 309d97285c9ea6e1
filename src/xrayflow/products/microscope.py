"""The misfit microscope on a stored answer, and what a terminal shows of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch
from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from xrayflow.errors import DataError, XrayflowError
from xrayflow.inference import Microscope, Missing, Posterior, compared, find_missing, fit_larger
from xrayflow.models import parse_model

STRIKING = 0.01
"""Share of simulated spectra below which what was found is told as more than chance."""

ENERGY_OF = {"narrow line": ("LineE", -1), "broad line": ("LineE", -1), "dip": ("LineE", 0), "edge": ("edgeE", 0)}
"""The parameter that says where a component of a kind is; of those of this name in the model, the first or the last."""

NEAR = 0.05
"""A fit looks for a component this part of its energy around where it was found."""


def look_closely(
    posterior: Posterior,
    simulated: int = 1000,
    progress: Callable[[str, float], None] | None = None,
    refit: int = 0,
) -> Microscope:
    """What a fit may lack, by evidence and by how often chance does as much; the files of the answer are read again.

    Args:
        posterior: The answer.
        simulated: Spectra without anything missing that are searched alike.
        progress: Called with (step, fraction).
        refit: So many of the likeliest are fitted, for the exact ln B.

    Raises:
        FileError: A file is gone, or another one now.
        DataError: The answer was computed on an energy grid of its own, or it is of several data sets, or it has no
            evidence and refits were asked for.
    """
    if refit and posterior.mode != "exact":
        raise DataError("a network's own draws have no evidence to compare; fit without --amortised, and look at that")
    told, parts = progress or _silent, 1 + refit
    problem = posterior.problem()
    v = problem.prior.to_probit(torch.from_numpy(posterior.best))
    generator = torch.Generator().manual_seed(posterior.seed)
    found = find_missing(problem, v, generator, simulated, lambda step, done: told(step, done / parts))
    rows = [
        _refitted(posterior, one, _part(told, f"fitting {one.kind}", 1 + place, parts)) if place < refit else one
        for place, one in enumerate(found.missing)
    ]
    return replace(found, missing=tuple(rows))


def _refitted(posterior: Posterior, one: Missing, progress: Callable[[str, float], None]) -> Missing:
    """A component with a fit that has it, or with why there is none."""
    if one.why_not:
        return one
    try:
        larger = fit_larger(posterior, one, progress)
    except XrayflowError as error:
        return replace(one, why_not=str(error))
    return replace(one, refit=compared(posterior, larger, one))


def _part(told: Callable[[str, float], None], step: str, place: int, parts: int) -> Callable[[str, float], None]:
    """Progress of one part of the whole, under one name."""
    return lambda _, fraction: told(step, (place + fraction) / parts)


def _silent(step: str, fraction: float) -> None:
    """Tells nobody."""


def microscope_table(posterior: Posterior, found: Microscope, refit: int = 0) -> RenderableType:
    """What the fit may lack, the likeliest first.

    Args:
        posterior: The answer.
        found: Of `look_closely`.
        refit: How many of the likeliest were to be fitted.
    """
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1), header_style="bold")
    titles = [("component", "left"), ("ln B", "right"), *([("ln B, fitted", "right")] if refit else [])]
    for title, side in (*titles, ("by chance", "right"), ("where", "left")):
        table.add_column(title, justify=side, no_wrap=title != "where")  # type: ignore[arg-type]
    for place, one in enumerate(found.missing):
        rare = one.p_value < 1.5 / found.simulated
        chance = f"< {100 / found.simulated:g} %" if rare else f"{100 * one.p_value:.1f} %"
        where = ": ".join(word for word in (one.where, one.size) if word)
        if place < refit and one.why_not:
            where = f"{where} (not fitted: {one.why_not})"
        fitted = [_exact(one)] if refit else []
        table.add_row(*(Text(cell) for cell in (one.kind, f"{one.log_bayes:+.1f}", *fitted, chance, where)))
    heading = Text(f"{posterior.data[0].pha.name}: {posterior.model.text}")
    return Group(heading, Text(""), table, Text(""), *_fits(posterior, found), *_words(found, refit))


def _exact(one: Missing) -> str:
    """The ln B of a fit, marked where its evidence is not certified."""
    if one.refit is None:
        return ""
    return f"{'?' if one.refit.doubt else ''} {one.refit.log_bayes:+.2f} +- {one.refit.error:.2f}".strip()


def _fits(posterior: Posterior, found: Microscope) -> Iterator[Text]:
    """The verdicts of the fits, and what they say of the components."""
    each = [(one, one.refit) for one in found.missing if one.refit is not None]
    if not each:
        return
    here = _verdict(posterior.verdict, posterior.computation.status, posterior.fit.status)
    yield Text(f"{posterior.model.text}: {here}")
    for one, refit in each:
        verdict = _verdict(refit.verdict, refit.computation, refit.fit)
        yield Text(f"{one.expression}: {verdict}")
        if refit.doubt:
            yield Text(f"  ? {refit.doubt}")
        for name, row in refit.parameters.items():
            numbers = f"{row['median']:.4g}  [{row['lower90']:.4g}, {row['upper90']:.4g}]"
            yield Text(f"  {name:<18} {numbers} {row['unit']}".rstrip() + f"; prior {refit.prior[name]}")
    yield Text("")


def _verdict(verdict: str, computation: str, fit: str) -> str:
    return f"{verdict} (computation {computation}, fit {fit})"


def _words(found: Microscope, refit: int) -> Sequence[Text]:
    """What it comes to, and what to do."""
    share = f"{100 * found.p_value:.1f} % of {found.simulated} simulated spectra that lack nothing"
    if found.p_value > STRIKING:
        return [Text(f"nothing stands out: {share} look as much as if they lacked something")]
    lines = [Text(f"the model lacks something: {share} look as much so")]
    fitted = [one for one in found.missing if one.refit is not None]
    best = max((one for one in fitted or found.missing if one.expression), key=_log_bayes, default=None)
    if best is not None and _log_bayes(best) > 0:
        place = _held_near(best)
        held = f" --prior '{place}'" if place else ""
        lines.append(Text(f"try it: xrayflow fit PHA --model '{best.expression}'{held} --out with-it"))
        lines.append(Text("        xrayflow compare RESULT with-it"))
    if not refit:
        lines.append(
            Text("ln B is that of a linear fit, and too large for strong lines: --refit 3 fits the first", style="dim")
        )
    return lines


def _log_bayes(one: Missing) -> float:
    """Exact where it is known."""
    return one.log_bayes if one.refit is None else one.refit.log_bayes


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
