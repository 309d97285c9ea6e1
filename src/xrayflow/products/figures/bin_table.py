"""The numbers behind the figure of the spectrum: bin by bin, for a plot of one's own, and as they are drawn."""

from __future__ import annotations

from collections.abc import Mapping
from io import StringIO

import numpy as np
from numpy.typing import NDArray

from xrayflow.files import SCHEMA_VERSION
from xrayflow.inference import Posterior
from xrayflow.products.display import PlotAxis, Residuals, Shown, poisson_errors

DIGITS = ".7g"

INNER = ("model_lower68", "model_upper68")


def spectrum_numbers(posterior: Posterior) -> bytes:
    """Data, model and residuals of each bin that was asked for, as an ECSV table.

    The columns, in the order of energy: energy_lo, energy_hi [keV]; counts with their 68 % errors downwards and
    upwards; model_lower90, model, model_upper90: 5, 50 and 95 % of the expected counts, background included;
    model_lower68, model_upper68: 16 and 84 %; component_NAME: median of what an additive component gives, of several;
    source_lower90, source, source_upper90: the same without; background: what the background file gives; noise:
    standard deviation of the counts about the model; residual: (counts - model) / noise; rate, rate_model:
    counts/s/keV.

    Args:
        posterior: The answer.
    """
    predictive, exposure = posterior.predictive, posterior.data[0].exposure
    order = np.argsort(predictive.energy_lo, kind="stable")
    lo, hi = predictive.energy_lo[order], predictive.energy_hi[order]
    counts, total, source = predictive.counts[order], predictive.total[:, order], predictive.expected[:, order]
    noise = np.sqrt(predictive.variance[order])
    gaussian = posterior.likelihood.name == "Gaussian"
    below, above = (np.sqrt(predictive.data_variance[order]),) * 2 if gaussian else poisson_errors(counts)
    background = np.concatenate([data.background_in_source for data in posterior.data])
    width = exposure * (hi - lo)
    inner = dict(zip(INNER, predictive.total68[:, order], strict=True)) if predictive.total68.shape[1] else {}
    parts = {f"component_{name}": values[order] for name, values in predictive.components.items()}
    columns: dict[str, tuple[NDArray[np.float64], str]] = {
        "energy_lo": (lo, "keV"),
        "energy_hi": (hi, "keV"),
        "counts": (counts, "ct"),
        "error_below": (below, "ct"),
        "error_above": (above, "ct"),
        "model_lower90": (total[0], "ct"),
        "model": (total[1], "ct"),
        "model_upper90": (total[2], "ct"),
        **{name: (values, "ct") for name, values in inner.items()},
        "source_lower90": (source[0], "ct"),
        "source": (source[1], "ct"),
        "source_upper90": (source[2], "ct"),
        "background": (background[order], "ct"),
        "noise": (noise, "ct"),
        "residual": (np.divide(counts - total[1], noise, out=np.zeros_like(counts), where=noise > 0), ""),
        "rate": (counts / width, "ct / (s keV)"),
        "rate_model": (total[1] / width, "ct / (s keV)"),
        **{name: (values, "ct") for name, values in parts.items()},
    }
    return _ecsv(posterior, columns)


def shown_numbers(posterior: Posterior, shown: Shown) -> bytes:
    """What the figure draws, group by group in the order of its axis, as an ECSV table.

    The columns: lo, hi [of the axis]; data with error_below and error_above, model with its bands, background and
    components [counts/s/unit of the axis]; residual with its errors, of the kind that the header names.

    Args:
        posterior: The answer.
        shown: Of `shown_bins`.
    """
    unit = {PlotAxis.keV: "keV", PlotAxis.angstrom: "Angstrom", PlotAxis.channel: ""}[shown.display.axis]
    per = f"ct / (s {unit})" if unit else "ct / s"
    rates = {
        "data": shown.counts,
        "error_below": shown.below,
        "error_above": shown.above,
        "model_lower90": shown.total[0],
        "model": shown.total[1],
        "model_upper90": shown.total[2],
        **(dict(zip(INNER, shown.total68, strict=True)) if shown.total68.size else {}),
        "background": shown.behind,
        **{f"component_{name}": counts for name, counts in shown.components.items()},
    }
    left = zip(("residual", "residual_below", "residual_above"), shown.left(shown.display.residuals), strict=True)
    of_residual = per if shown.display.residuals is Residuals.difference else ""
    columns = {
        "lo": (shown.lo, unit),
        "hi": (shown.hi, unit),
        **{name: (shown.density(counts), per) for name, counts in rates.items()},
        **{name: (values, of_residual) for name, values in left},
    }
    return _ecsv(posterior, columns, {"axis": shown.display.axis.label, "residuals": str(shown.display.residuals)})


def _ecsv(
    posterior: Posterior, columns: Mapping[str, tuple[NDArray[np.float64], str]], more: Mapping[str, str] | None = None
) -> bytes:
    """Columns with their units, and what they are of."""
    from astropy.table import Table

    table = Table({name: values for name, (values, _) in columns.items()})
    for name, (_, unit) in columns.items():
        table[name].unit = unit or None
        table[name].info.format = DIGITS
    table.meta = {
        "schema_version": SCHEMA_VERSION,
        "pha": posterior.data[0].pha.name,
        "model": posterior.model.text,
        "exposure_s": posterior.data[0].exposure,
        "statistic": f"{posterior.statistic.name} {posterior.statistic.value:.2f} / {posterior.statistic.dof}",
        "verdict": posterior.verdict,
        **(more or {}),
    }
    text = StringIO()
    table.write(text, format="ascii.ecsv")
    return text.getvalue().encode()
