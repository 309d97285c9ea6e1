"""The pictures of a catalogue: along time, hardness against intensity, how good the answers are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from xrayflow.errors import DataError, FileError, nearest
from xrayflow.inference import ModelDraws
from xrayflow.models import Model
from xrayflow.prior import Marginal
from xrayflow.studies.catalogue.reading import CatalogueTable, read_model

if TYPE_CHECKING:
    from xrayflow.products.figures import Series

Numbers = NDArray[np.float64]

SOFT, HARD, WHOLE = (2.0, 4.0), (4.0, 10.0), (2.0, 10.0)
"""Bands of the hardness, HARD over SOFT, and of the intensity [keV]."""

MOST_PANELS = 9
"""Parameters along time; of more, name those that are wanted."""

TIME, HARDNESS, QUALITY = "time", "hardness-intensity", "quality"


def catalogue_figures(
    table: CatalogueTable, names: Sequence[str] = (), marks: Sequence[tuple[float, str]] = ()
) -> dict[str, Any]:
    """The figures of a table, by name.

    Args:
        table: The catalogue's.
        names: Parameters along time; none are all.
        marks: Times at which a parameter changed.

    Returns:
        `time`, `quality`, and `hardness-intensity` where the manifest says the model.

    Raises:
        DataError: No such parameter, or no row.
    """
    # matplotlib, which no worker of a catalogue needs
    from xrayflow.products.figures import Series, hardness_figure, quality_figure, time_figure

    if table.rows == 0:
        raise DataError(f"{table.path}: has no rows; run the catalogue to its end")
    known = table.parameters
    chosen = [_named(one, known) for one in names] or list(known[:MOST_PANELS])
    model, priors = _known_model(table)
    verdict, title = table.text("verdict"), f"{table.path.name}, {table.rows} spectra"
    when, label = time_of(table)
    rate = table.number("counts") / table.number("exposure")
    series = [Series("count rate", "counts/s", True, rate, rate, rate)] if np.isfinite(rate).any() else []
    series += [series_of(table, name, priors.get(name)) for name in chosen]
    figures = {TIME: time_figure(when, label, series, verdict, title, marks)}
    if model is not None:
        hardness, intensity = hardness_of(table, model)
    if model is not None and np.isfinite(hardness).any():
        labels = (
            f"hardness: flux {HARD[0]:g}-{HARD[1]:g} keV / {SOFT[0]:g}-{SOFT[1]:g} keV, at the posterior medians",
            f"flux {WHOLE[0]:g}-{WHOLE[1]:g} keV [erg cm$^{{-2}}$ s$^{{-1}}$]",
            label,
        )
        figures[HARDNESS] = hardness_figure(hardness, intensity, when, labels, verdict, title)
    quantities = {
        "efficiency: ess / evaluations": table.number("efficiency"),
        "effective draws (ess)": table.number("ess"),
    }
    figures[QUALITY] = quality_figure(verdict, quantities, title)
    return figures


def time_of(table: CatalogueTable) -> tuple[Numbers, str]:
    """Times of the rows, and what they are; the row's number where fewer than half of the rows have a time.

    Args:
        table: The catalogue's.
    """
    when = table.number("mjd")
    if np.isfinite(when).sum() < max(1, 0.5 * table.rows):
        return np.arange(1.0, table.rows + 1.0), "row of the table (no times in the spectra)"
    return when, "MJD"


def series_of(table: CatalogueTable, name: str, marginal: Marginal | None) -> Series:
    """A parameter over the rows.

    Args:
        table: The catalogue's.
        name: Of the parameter.
        marginal: Its prior, which says scale and unit; None where that is not known.
    """
    from xrayflow.products.figures import Series

    low, middle, high = (table.number(f"{name}_{end}") for end in ("lower90", "median", "upper90"))
    unit = table.units.get(f"{name}_median", "") if marginal is None else marginal.unit
    found = middle[np.isfinite(middle)]
    wide = found.size > 0 and found.min() > 0 and found.max() > 10.0 * found.min()
    is_log = wide and (marginal is None or marginal.scale == "log")
    return Series(name, unit, is_log, low, middle, high)


def hardness_of(table: CatalogueTable, model: Model) -> tuple[Numbers, Numbers]:
    """Hardness and flux [erg/cm^2/s] of the model at the posterior medians of each row; NaN without an answer.

    Args:
        table: The catalogue's.
        model: Its model.
    """
    theta = np.stack([table.number(f"{name}_median") for name in model.names], axis=-1)
    good = np.isfinite(theta).all(-1)
    found = np.full((2, table.rows), np.nan)
    if good.any():
        rows = torch.from_numpy(theta[good])
        weights = np.full(len(rows), 1.0 / len(rows))
        soft, hard, whole = ModelDraws(model, rows, weights, rows[0], 1).fluxes([SOFT, HARD, WHOLE])
        with np.errstate(divide="ignore", invalid="ignore"):
            found[0, good] = hard.energy_flux.values / soft.energy_flux.values
        found[1, good] = whole.energy_flux.values
    return found[0], found[1]


def _known_model(table: CatalogueTable) -> tuple[Model | None, Mapping[str, Marginal]]:
    """Model and priors where a manifest says them: a table alone can be drawn too."""
    try:
        return read_model(table)
    except FileError:
        return None, {}


def _named(name: str, known: Sequence[str]) -> str:
    for one in known:
        if one.lower() == name.lower():
            return one
    raise DataError(f"no parameter '{name}' in the table{nearest(name, known)}")
