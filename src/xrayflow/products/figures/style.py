"""What all figures share: colours that the colour-blind can tell apart, font sizes, ticks in physical units.

Source of the colours: Okabe & Ito 2008, "Color Universal Design".
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

INK, GREY = "#222222", "#767676"
MODEL, BACKGROUND, BEST, TRUTH, WORST = "#0072B2", "#009E73", "#D55E00", "#CC3399", "#E69F00"
RECONSTRUCTION = "#7A3E9D"
VERDICT_COLOURS = {"certified": "#00734F", "approximate": "#8A6100", "do-not-trust": "#B03A00"}

DPI = 150

SETTINGS: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "mathtext.fontset": "dejavusans",
    "font.size": 11,
    "axes.titlesize": 11,
    "axes.labelsize": 12,
    "axes.linewidth": 0.8,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.direction": "in",
    "ytick.direction": "in",
    "xtick.top": True,
    "ytick.right": True,
    "legend.frameon": False,
    "legend.fontsize": 10,
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "path.simplify": True,
}
"""Where these differ from matplotlib's defaults."""

_POWER = re.compile(r"\^(-?\d+)")


@contextmanager
def look(**changes: Any) -> Iterator[None]:
    """matplotlib's defaults with our settings: the user's own do not reach these figures, and ours do not stay.

    Args:
        changes: Further settings, with `_` for `.`.
    """
    with mpl.rc_context():
        mpl.rcdefaults()
        for name, value in (SETTINGS | changes).items():
            mpl.rcParams[name.replace("_", ".")] = value  # type: ignore[index]
        yield


def new_figure(width: float, height: float) -> Figure:
    """An empty figure with its own canvas, outside pyplot.

    Args:
        width: Inches.
        height: Inches.
    """
    figure = Figure(figsize=(width, height), dpi=DPI)
    FigureCanvasAgg(figure)
    return figure


def png(figure: Figure) -> bytes:
    """The figure as a PNG; the same figure gives the same bytes."""
    content = BytesIO()
    with look():
        figure.savefig(content, format="png", dpi=DPI, metadata={"Software": None})
    return content.getvalue()


def smaller(picture: bytes, side: int, colours: int = 128) -> bytes:
    """A picture with fewer colours, and no larger than some pixels: for a page.

    Args:
        picture: A PNG.
        side: Pixels of its longer side at most.
        colours: That are left.
    """
    from PIL import Image  # matplotlib's own

    content = BytesIO()
    with Image.open(BytesIO(picture)) as whole:
        made = whole.convert("RGB")
        made.thumbnail((side, side), Image.Resampling.LANCZOS)
        made.quantize(colours, dither=Image.Dither.NONE).save(content, format="png", optimize=True)
    return content.getvalue()


def image(figure: Figure, kind: str) -> bytes:
    """The figure as a PNG, a PDF or an SVG.

    Args:
        figure: The figure.
        kind: png, pdf or svg.
    """
    if kind == "png":
        return png(figure)
    content = BytesIO()
    dates = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}[kind]
    with look(svg_hashsalt="xrayflow"):
        figure.savefig(content, format=kind, metadata=dates)
    return content.getvalue()


def typeset(unit: str) -> str:
    """A unit with raised powers.

    >>> typeset("10^22 cm^-2")
    '10$^{22}$ cm$^{-2}$'
    """
    return _POWER.sub(r"$^{\1}$", unit.replace("$", r"\$"))


@dataclass(frozen=True)
class Scale:
    """Ticks of one parameter, in its unit, at places on a log10 or a linear axis.

    Attributes:
        places: Where the ticks stand on the axis.
        labels: What they say.
        offset: Subtracted from the labels, as text; empty for none.
        power: Labels are in units of 10^power.
    """

    places: tuple[float, ...]
    labels: tuple[str, ...]
    offset: str = ""
    power: int = 0

    def title(self, name: str, unit: str) -> str:
        """The axis label: the name above the unit."""
        factor = f"10$^{{{self.power}}}$" if self.power else ""
        inside = r" $\times$ ".join(part for part in (factor, typeset(unit)) if part)
        head = f"{name} $-$ {self.offset}" if self.offset else name
        return f"{head}\n[{inside}]" if inside else f"{head}\n"


def ticks(lo: float, hi: float, logarithmic: bool) -> Scale:
    """Ticks for a stretch of an axis.

    Args:
        lo: Left end, log10 of the parameter where the axis is logarithmic.
        hi: Right end.
        logarithmic: Whether it is.
    """
    if logarithmic and hi - lo > 2.2:
        stride = math.ceil((hi - lo) / 4.5)
        powers = [p for p in range(math.ceil(lo), math.floor(hi) + 1) if p % stride == 0]
        return Scale(tuple(map(float, powers)), tuple(f"$10^{{{p}}}$" for p in powers))
    if logarithmic and hi - lo > 0.8:
        steps = (1, 3) if hi - lo > 1.4 else (1, 2, 5)
        values = [s * 10.0**p for p in range(math.floor(lo), math.ceil(hi) + 1) for s in steps]
        chosen = [value for value in values if lo <= math.log10(value) <= hi]
        power = _power(max(chosen))
        labels = tuple(f"{value / 10.0**power:g}" for value in chosen)
        return Scale(tuple(math.log10(value) for value in chosen), labels, power=power)
    return _even_ticks(10.0**lo, 10.0**hi, True) if logarithmic else _even_ticks(lo, hi, False)


def _even_ticks(lo: float, hi: float, logarithmic: bool) -> Scale:
    """Evenly spaced values; where they need many digits, the common part goes to the axis label."""
    candidates = MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]).tick_values(lo, hi)
    values: NDArray[np.float64] = np.array([value for value in candidates if lo <= value <= hi], dtype=np.float64)
    if values.size == 0:
        values = np.array([0.5 * (lo + hi)])
    step = float(values[1] - values[0]) if values.size > 1 else abs(hi - lo)
    places = tuple(float(value) for value in (np.log10(values) if logarithmic else values))
    largest = float(np.max(np.abs(values)))
    if step <= 0 or largest == 0:
        return Scale(places, tuple(f"{value:g}" for value in values))
    offset, base = "", 0.0
    if largest / step > 1e4:
        # the common part, to the digit above the step's
        digit = math.floor(math.log10(step)) + 1
        base = math.floor(lo / 10.0**digit) * 10.0**digit
        offset = f"{base:.{max(-digit, 0)}f}" if abs(base) < 1e6 else f"{base:.12g}"
    power = _power(float(np.max(np.abs(values - base))))
    scaled = (values - base) / 10.0**power
    # 2.5 is a step of its own: it needs one digit more than its power of ten says
    decimals = next(
        (d for d in range(12) if np.allclose(scaled, np.round(scaled, d), rtol=0, atol=1e-3 * step / 10.0**power)), 12
    )
    return Scale(places, tuple(f"{value:.{decimals}f}" for value in scaled), offset, power)


def _power(largest: float) -> int:
    """The power of ten that is taken out of the labels; 0 where they are readable as they are."""
    first = math.floor(math.log10(largest)) if largest > 0 else 0
    return first if first >= 4 or first < -2 else 0


def energy_ticks(lo: float, hi: float) -> Scale:
    """Ticks of a logarithmic energy axis [keV]: 1, 2, 5 (and 3 where there is room) of each decade.

    >>> energy_ticks(0.3, 10.0).labels
    ('0.3', '0.5', '1', '2', '3', '5', '10')
    """
    steps = (1, 2, 3, 5) if hi / lo < 60 else (1, 2, 5) if hi / lo < 1000 else (1,)
    values = [s * 10.0**p for p in range(math.floor(math.log10(lo)), math.ceil(math.log10(hi)) + 1) for s in steps]
    chosen = [value for value in values if lo * 0.999 <= value <= hi * 1.001]
    if len(chosen) < 2:
        return _even_ticks(lo, hi, logarithmic=False)
    return Scale(tuple(chosen), tuple(f"{value:g}" for value in chosen))
