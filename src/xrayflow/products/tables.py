"""What a terminal shows of an answer: which data, the parameters, how good, and what to do next."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from xrayflow.inference import Posterior
from xrayflow.products.numbers import counted, significant, with_uncertainty

VERDICT_STYLES = {"certified": "bold green", "approximate": "bold yellow", "do-not-trust": "bold red"}
IN_WORDS = {
    ("certified", "acceptable"): "the numbers are computed exactly, and the model describes the data",
    ("certified", "poor"): "the numbers are computed exactly, but the model describes the data poorly",
    ("certified", "bad"): "the numbers are computed exactly, but the model does not describe the data",
    ("approximate", "acceptable"): "the numbers are approximate; the model describes the data",
    ("approximate", "poor"): "the numbers are approximate, and the model describes the data poorly",
    ("approximate", "bad"): "the model does not describe the data, and the numbers are approximate",
}
NUISANCES = {
    "background.lnA": "natural log of the factor on the background's level",
    "background.tilt": "slope of that in ln energy, over the band",
    "calibration.lnA": "natural log of the errors of the response over what is known of them",
}
"""What the likelihood's own parameters are."""

SPARSE_DATA = "*"
"""Marks parameters whose posterior is mostly the prior."""

LIMIT_LEVEL = "95 %"
"""One end of the 90 % interval alone."""


def report(posterior: Posterior, products: Mapping[str, Path] | None = None) -> RenderableType:
    """Everything about one answer, for a rich console.

    Args:
        posterior: The answer.
        products: Paths of the written products by name, if any.
    """
    parts: list[RenderableType] = [
        header(posterior),
        Text(""),
        parameter_table(posterior),
        *(Text(line, style="dim") for line in marks(posterior)),
        Text(""),
        quality(posterior),
        verdict(posterior),
    ]
    if products:
        folder = next(iter(products.values())).parent
        parts.append(_line("written", f"{folder}: {', '.join(path.name for path in products.values())}"))
    parts.append(_line("next", advice(posterior, products)))
    return Group(*parts)


def header(posterior: Posterior) -> RenderableType:
    """The data and how they were taken."""
    return Group(*(_line(name, text) for name, text in data_rows(posterior)))


def data_rows(posterior: Posterior) -> list[tuple[str, str]]:
    """The data and how they were taken, as names with words.

    Args:
        posterior: The answer.
    """
    data = posterior.data[0]
    background = "none" if data.background is None else data.background.name
    band = ", ".join(f"{significant(lo)}-{significant(hi)}" for lo, hi in data.energies) + " keV"
    if data.channels is not None:
        band += f" (channels {data.channels[0]}-{data.channels[1]})"
    counts = counted(float(data.counts.sum()))
    grouping = {"file": "the file's", "none": "none"}.get(data.grouping, data.grouping)
    return [
        ("source", f"{data.source or 'unnamed'}  ({data.pha.name})"),
        (
            "instrument",
            f"{data.telescope or 'unknown'} {data.instrument}, exposure {significant(data.exposure, 5)} s".replace(
                " ,", ","
            ),
        ),
        (
            "data",
            f"{counts} counts in {data.counts.size} bins, {band}, grouping: {grouping}",
        ),
        ("background", background),
        (
            "model",
            f"{posterior.model.text}  (abundances {posterior.model.abund}, cross-sections {posterior.model.xsect})",
        ),
        ("statistic", f"{posterior.statistic.name}: {posterior.statistic.reason}"),
        ("likelihood", _likelihood(posterior)),
    ]


def parameter_table(posterior: Posterior) -> Table:
    """Parameter, unit, best, median, 90 % interval or limit, and the truth where it is known; nuisances last."""
    summary = posterior.summary()
    rows = summary["parameters"] | summary["nuisances"]
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1), header_style="bold")
    table.add_column("parameter", no_wrap=True)
    table.add_column("unit", overflow="fold")
    for name in ("best", "median"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("90 % interval", justify="left", no_wrap=True)
    if posterior.truth:
        table.add_column("truth", justify="right", no_wrap=True)
    for name, row in rows.items():
        if row["frozen"]:
            cells = [name, row["unit"], f"{row['best']:g}", "", "frozen"]
            truth = ""
        else:
            lower, upper = row["lower90"], row["upper90"]
            best, median, low, high = with_uncertainty((row["best"], row["median"], lower, upper), lower, upper)
            mark = SPARSE_DATA if f"prior_dominated:{name}" in posterior.flags else ""
            cells = [name + mark, row["unit"], best, median, interval(posterior, name, low, high)]
            known = posterior.truth.get(name)
            truth = "" if known is None else f"{known:g}"
        table.add_row(*(Text(cell) for cell in ([*cells, truth] if posterior.truth else cells)))
    return table


def marks(posterior: Posterior) -> list[str]:
    """What the marks in the table mean.

    Args:
        posterior: The answer.
    """
    found: list[str] = []
    for name in posterior.names[len(posterior.model.names) :]:
        if name in NUISANCES:
            found.append(f"{name}: {NUISANCES[name]}")
    if any(flag.startswith("prior_dominated:") for flag in posterior.flags):
        found.append(f"{SPARSE_DATA} the data say little: the interval is mostly the prior's")
    if any(flag.startswith(("upper_limit:", "lower_limit:")) for flag in posterior.flags):
        found.append("< and >: limits, the posterior reaches the edge of the prior")
    return found


def quality(posterior: Posterior) -> RenderableType:
    """The numbers by which an answer is judged."""
    return Group(*(_line(name, text) for name, text in quality_rows(posterior)))


def quality_rows(posterior: Posterior) -> list[tuple[str, str]]:
    """The numbers by which an answer is judged, as names with words.

    Args:
        posterior: The answer.
    """
    statistic, deviance = posterior.statistic, posterior.deviance
    alone = posterior.mode == "amortised"
    taken_at_its_word = "" if posterior.likelihood.calibration is None else " (the response at its word)"
    draws = f"{posterior.ess:.0f} effective of {posterior.draws.shape[0]}, efficiency {posterior.efficiency:.2f}"
    if alone:
        draws = f"{posterior.draws.shape[0]} of the network {posterior.network}, not weighted"
    if math.isfinite(posterior.pareto_k):
        draws += f", Pareto k {posterior.pareto_k:.2f}"
    seconds = posterior.provenance.seconds.get("total")
    if seconds is not None:
        draws += f"; {seconds:.1f} s"
    rows = [
        (f"{statistic.name} / dof", f"{_ratio(statistic.value, statistic.dof)}{taken_at_its_word}"),
        ("deviance / dof", f"{_ratio(deviance.value, deviance.dof)}, p = {posterior.fit.p_value:.2g}"),
        ("draws", draws),
    ]
    if not alone:
        rows.append(("ln evidence", f"{posterior.log_evidence:.2f} +- {posterior.log_evidence_error:.2f}"))
        if posterior.network is not None:
            rows.append(("network", f"{posterior.network} (it proposes; the weights decide)"))
    if "several_modes" in posterior.flags:
        rows.append(("modes", "several: the optimiser found more than one optimum within reach of the best"))
    return rows


def in_words(posterior: Posterior) -> str:
    """The verdict as a sentence.

    Args:
        posterior: The answer.
    """
    both = posterior.computation.status, posterior.fit.status
    return IN_WORDS.get(both, "there is no answer: too few draws carry the weight")


def verdict(posterior: Posterior) -> RenderableType:
    """The verdict and its reasons in words."""
    computation, fit = posterior.computation.status, posterior.fit.status
    line = Text("verdict".ljust(16))
    line.append(posterior.verdict, style=VERDICT_STYLES[posterior.verdict])
    line.append(f" (computation {computation}, fit {fit})")
    reasons = [
        Padding(_bullet(reason), (0, 0, 0, 16), expand=False) for reason in (in_words(posterior), *posterior.reasons)
    ]
    return Group(line, *reasons)


def advice(posterior: Posterior, products: Mapping[str, Path] | None = None) -> str:
    """The one thing to try next."""
    if posterior.computation.status == "failed":
        return "a narrower --prior, or --freeze what the data cannot say; another --seed shows whether it was chance"
    if posterior.fit.status in ("bad", "poor"):
        trusted = posterior.likelihood.systematic == 0 and posterior.likelihood.calibration is None
        if trusted and posterior.data[0].counts.sum() > 1e6:
            return "so many counts show the calibration's errors: try --systematic modes; else another --model"
        if posterior.misfit is not None and posterior.misfit.suspected:
            return posterior.misfit.suspected[0].advice
        return "look at the residuals; then another --model, or leave the energies above out with --energies"
    if posterior.computation.status == "approximate" and posterior.likelihood.kind == "exact":
        return "another --seed shows whether it matters; a narrower --prior or --freeze makes it easier"
    if products and "report" in products:
        return f"open {products['report']} in a browser"
    if products:
        return f"look at {products['spectrum']} and {products['corner']}"
    return "--out DIR writes figures, draws and a summary"


def interval(posterior: Posterior, name: str, low: str, high: str) -> str:
    """A 90 % interval, or the limit that it is.

    Args:
        posterior: The answer.
        name: Of the parameter.
        low, high: Its ends as they are written.
    """
    upper, lower = f"upper_limit:{name}" in posterior.flags, f"lower_limit:{name}" in posterior.flags
    if upper and not lower:
        return f"< {high} ({LIMIT_LEVEL})"
    if lower and not upper:
        return f"> {low} ({LIMIT_LEVEL})"
    return f"{low} .. {high}"


def _likelihood(posterior: Posterior) -> str:
    words = f"{posterior.likelihood.name} ({posterior.likelihood.kind})"
    if posterior.likelihood.calibration is not None:
        words += f", amplitude about {posterior.likelihood.calibration.amplitude:g}"
    if posterior.likelihood.systematic:
        words += f", with a systematic error of {100 * posterior.likelihood.systematic:g} % of the model in each bin"
    return words


def _ratio(value: float, dof: int) -> str:
    reduced = f" = {value / dof:.2f}" if dof > 0 else ""
    return f"{value:.2f} / {dof}{reduced}"


def _line(name: str, text: str) -> RenderableType:
    """A name and its text, which hangs under itself where it is long."""
    grid = Table.grid(padding=0)
    grid.add_column(width=16, no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row(Text(name), Text(text))
    return grid


def _bullet(text: str) -> RenderableType:
    grid = Table.grid(padding=0)
    grid.add_column(width=2)
    grid.add_column(overflow="fold")
    grid.add_row(Text("-"), Text(text))
    return grid
