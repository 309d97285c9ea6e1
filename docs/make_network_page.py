"""Draws the paper's network with its sizes, and fills the tables of docs/discussion/network.md from the measurements.

python docs/make_network_page.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from xrayflow.networks import read_recipe
from xrayflow.networks.network import prepare
from xrayflow.networks.nn.core import count_weights
from xrayflow.products.figures import png
from xrayflow.products.figures.style import BACKGROUND, BEST, GREY, INK, MODEL, TRUTH, look, new_figure

DOCS = Path(__file__).resolve().parent
RECIPE = DOCS.parent / "recipes" / "paper" / "full.toml"
RESULTS = DOCS.parent / "benchmarks" / "results" / "paper-network.json"
PAGE = DOCS / "discussion" / "network.md"
PICTURE = DOCS / "discussion" / "images" / "paper-network.png"
BEGIN, END = "<!-- measured: made by docs/make_network_page.py -->", "<!-- end of measured -->"
TINTS = {MODEL: "#DCEBF6", TRUTH: "#F8DFEE", BACKGROUND: "#D9F0E8", BEST: "#FBE3D3", GREY: "#EEEEEE"}


def counts() -> dict[str, int]:
    """Learned numbers of each part of the paper's recipe."""
    core = prepare(read_recipe(RECIPE), RECIPE.parent)[0].core
    parts = {"encoder": core.encoder, "flow": core.flow, "decoder": core.decoder}
    return {name: count_weights(part) for name, part in parts.items()}


def picture(weights: dict[str, int]) -> Figure:
    """The way of a spectrum through the network.

    Args:
        weights: Of `counts`.
    """
    with look(font_size=10):
        figure = new_figure(13.0, 5.6)
        ax = figure.add_axes((0, 0, 1, 1))
        ax.set(xlim=(0, 13), ylim=(0, 5.6))
        ax.set_axis_off()
        column(ax, 0.2, 1.55, "spectrum", ["value\n240 bins", "sigma\n240 bins"], GREY, "2 × 240 in")
        layers = ["conv 2, stride 2 → 16", "conv 3 → 32", "conv 2, stride 2 → 32", "conv 3 → 32"]
        layers += ["conv 2, stride 2 → 32", "conv 3 → 32", "flatten: 832", "linear 120", "linear 120 ×2, skip"]
        column(ax, 2.15, 2.3, "encoder", layers, MODEL, spaced(weights["encoder"]))
        column(ax, 4.85, 1.25, "context", ["120\nnumbers"], GREY, "")
        flow = ["10 transforms:", "rational-quadratic\nsplines, 8 bins", "autoregressive\n120, 120, 120"]
        column(ax, 6.5, 1.8, "flow", flow, TRUTH, spaced(weights["flow"]))
        names = ["log N$_H$", "$\\Gamma$", "log f$_{sc}$", "log kT", "log N"]
        column(ax, 8.7, 1.25, "latent", names, BEST, "= the parameters")
        layers = ["linear 120, 120", "linear 240", "linear 240, skip", "linear 240, skips", "GRU ↔ 2 × 1", "linear 240"]
        column(ax, 10.35, 1.65, "decoder", layers, BACKGROUND, spaced(weights["decoder"]))
        for start, end in ((1.75, 2.15), (4.45, 4.85), (6.1, 6.5), (8.3, 8.7), (9.95, 10.35), (12.0, 12.3)):
            arrow(ax, (start, 3.05), (end, 3.05))
        ax.text(12.36, 3.05, "240\nbins", va="center", fontsize=10)
        base(ax)
        loss(ax, 7.4, "flow: $-$ln q(true parameters)", TRUTH)
        loss(ax, 9.33, "latent: mean\nsquare error", BEST)
        loss(ax, 11.6, "reconstruction:\nGaussian, data's sigma", BACKGROUND)
        ax.text(0.2, 0.75, "losses", va="center", color=GREY)
        total, decoder = spaced(weights["encoder"] + weights["flow"]), spaced(weights["decoder"])
        ax.text(0.2, 0.32, f"Learned numbers: encoder and flow {total}, decoder {decoder}.", color=GREY)
    return figure


def spaced(number: int) -> str:
    """Thousands apart."""
    return f"{number:,}".replace(",", " ")


def column(ax: Axes, x: float, width: float, title: str, layers: list[str], colour: str, below: str) -> None:
    """A part with its layers, from top to bottom."""
    frame = FancyBboxPatch((x, 1.35), width, 3.4, boxstyle="round,pad=0,rounding_size=0.1", fc=TINTS[colour], ec=colour)
    ax.add_patch(frame)
    ax.text(
        x + width / 2, 4.9, title, ha="center", fontsize=12.5, weight="bold", color=colour if colour != GREY else INK
    )
    step = 3.4 / len(layers)
    for number, layer in enumerate(layers):
        ax.text(x + width / 2, 4.75 - (number + 0.5) * step, layer, ha="center", va="center", fontsize=9.5)
    ax.text(x + width / 2, 1.17, below, ha="center", va="center", fontsize=9.5, color=GREY)


def base(ax: Axes) -> None:
    """The noise that a draw starts from."""
    ax.text(7.4, 5.38, "standard normal numbers", ha="center", va="center", fontsize=9.5, color=GREY)
    arrow(ax, (7.4, 5.28), (7.4, 5.12))


def loss(ax: Axes, x: float, text: str, colour: str) -> None:
    """What is lowered there."""
    ax.text(x, 0.75, text, ha="center", va="center", fontsize=9.5, color=colour, weight="bold")


def arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    """From one part to the next."""
    ax.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": INK, "lw": 1.3})


def table(headings: list[str], rows: list[list[str]]) -> list[str]:
    """A Markdown table."""
    return [f"| {' | '.join(row)} |" for row in (headings, ["---"] * len(headings), *rows)]


def digits(value: float | None, places: int = 2) -> str:
    """A number in a cell."""
    return "-" if value is None else f"{value:.{places}f}"


def measured(document: dict[str, Any] | None) -> str:
    """The tables of all networks.

    Args:
        document: The results of benchmarks/paper_network.py; None before the first.
    """
    if document is None:
        return "*Not measured yet: run `benchmarks/paper_network.py`, then `docs/make_network_page.py`.*"
    lines = [f"{document['date']}, {document['machine']}, `benchmarks/paper_network.py`.", ""]
    for name, network in document["networks"].items():
        kind = "noisy" if network["noise_in_training"] else "noise-free"
        minutes = network["trained"]["cpu_seconds"] / 60
        lines += [f"**`{name}`**, trained on {kind} spectra ({minutes:.0f} minutes of one core)", ""]
        headings = [
            "parameter",
            "r, clean",
            "r, noisy",
            "r / r of exact draws",
            "slope, noisy",
            "coverage off by, clean",
            "noisy",
        ]
        clean, noisy = (network["sets"][label]["parameters"] for label in ("clean", "noisy"))
        rows = []
        for parameter, row in noisy.items():
            exact = row.get("pearson_r_exact")
            ratio = "-" if exact is None else f"{digits(row['pearson_r_same'])} / {digits(exact)}"
            slope = f"{digits(row['slope'])} ± {digits(row['slope_sd'])}"
            off = [digits(one[parameter]["coverage_deviation"], 3) for one in (clean, noisy)]
            rows.append(
                [f"`{parameter}`", digits(clean[parameter]["pearson_r"]), digits(row["pearson_r"]), ratio, slope, *off]
            )
        lines += [*table(headings, rows), "", *by_counts(network["sets"]["noisy"]), ""]
    return "\n".join(lines).rstrip()


def by_counts(row: dict[str, Any]) -> list[str]:
    """What changes with the counts."""
    headings = [
        "counts",
        "spectra",
        "draws outside the box",
        "PGStat / dof of draws",
        "of truths",
        "decoder's error, median",
    ]
    rows = []
    for decade, one in row["by_counts"].items():
        statistic, decoder = one["reduced_pgstat"], one["decoder"]
        error = f"{100 * decoder['relative_error_50_90'][0]:.2g} %" if decoder else "-"
        cells = [f"{decade} ..", str(one["spectra"]), f"{100 * one['outside_box']:.1f} %"]
        rows.append([*cells, f"{statistic['draws']:.3g}", f"{statistic['targets']:.3g}", error])
    return table(headings, rows)


def main() -> None:
    """Write picture and page."""
    PICTURE.write_bytes(png(picture(counts())))
    page = PAGE.read_text(encoding="utf-8")
    head, rest = page.split(BEGIN)
    document = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else None
    PAGE.write_text(f"{head}{BEGIN}\n\n{measured(document)}\n\n{END}{rest.split(END)[1]}", encoding="utf-8")


if __name__ == "__main__":
    main()
