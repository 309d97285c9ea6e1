"""The numbers behind the figure of the spectrum, bin by bin: for a plot of one's own."""

from __future__ import annotations

from io import StringIO

import numpy as np
from numpy.typing import NDArray

from xrayflow.files import SCHEMA_VERSION
from xrayflow.inference import Posterior
from xrayflow.products.figures.spectrum_plot import poisson_errors

DIGITS = ".7g"


def spectrum_numbers(posterior: Posterior) -> bytes:
    """Data, model and residuals of each bin that was asked for, as an ECSV table.

    The columns, in the order of energy: energy_lo, energy_hi [keV]; counts with their 68 % errors downwards and
    upwards; model_lower90, model, model_upper90: 5, 50 and 95 % of the expected counts, background included;
    source_lower90, source, source_upper90: the same without; background: what the background file gives; noise:
    standard deviation of the counts about the model; residual: (counts - model) / noise; rate, rate_model:
    counts/s/keV.

    Args:
        posterior: The answer.
    """
    from astropy.table import Table

    predictive, exposure = posterior.predictive, posterior.data[0].exposure
    order = np.argsort(predictive.energy_lo, kind="stable")
    lo, hi = predictive.energy_lo[order], predictive.energy_hi[order]
    counts, total, source = predictive.counts[order], predictive.total[:, order], predictive.expected[:, order]
    noise = np.sqrt(predictive.variance[order])
    gaussian = posterior.likelihood.name == "Gaussian"
    below, above = (np.sqrt(predictive.data_variance[order]),) * 2 if gaussian else poisson_errors(counts)
    background = np.concatenate([data.background_in_source for data in posterior.data])
    width = exposure * (hi - lo)
    columns: dict[str, tuple[NDArray[np.float64], str]] = {
        "energy_lo": (lo, "keV"),
        "energy_hi": (hi, "keV"),
        "counts": (counts, "ct"),
        "error_below": (below, "ct"),
        "error_above": (above, "ct"),
        "model_lower90": (total[0], "ct"),
        "model": (total[1], "ct"),
        "model_upper90": (total[2], "ct"),
        "source_lower90": (source[0], "ct"),
        "source": (source[1], "ct"),
        "source_upper90": (source[2], "ct"),
        "background": (background[order], "ct"),
        "noise": (noise, "ct"),
        "residual": (np.divide(counts - total[1], noise, out=np.zeros_like(counts), where=noise > 0), ""),
        "rate": (counts / width, "ct / (s keV)"),
        "rate_model": (total[1] / width, "ct / (s keV)"),
    }
    table = Table({name: values for name, (values, _) in columns.items()})
    for name, (_, unit) in columns.items():
        table[name].unit = unit or None
        table[name].info.format = DIGITS
    table.meta = {
        "schema_version": SCHEMA_VERSION,
        "pha": posterior.data[0].pha.name,
        "model": posterior.model.text,
        "exposure_s": exposure,
        "statistic": f"{posterior.statistic.name} {posterior.statistic.value:.2f} / {posterior.statistic.dof}",
        "verdict": posterior.verdict,
    }
    text = StringIO()
    table.write(text, format="ascii.ecsv")
    return text.getvalue().encode()
