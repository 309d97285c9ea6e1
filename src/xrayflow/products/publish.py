"""Answers as people print them: rows of LaTeX, tables that machines read, and tables with units for Python.

A cell of LaTeX is median with the distances to both ends of an interval, `$1.617^{+0.015}_{-0.014}$`, all to the digit
that the interval deserves; a parameter that reaches the edge of its prior is a limit, `$<0.21$` at 95 %.

Source: AAS, "Machine-readable tables" (by astropy's writer).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from io import StringIO
from typing import TYPE_CHECKING, Any

import numpy as np

from xrayflow.errors import DataError
from xrayflow.inference import Posterior
from xrayflow.products.numbers import with_uncertainty

if TYPE_CHECKING:
    from astropy.table import QTable, Table

FORMATS = ("latex", "ecsv", "csv", "mrt")
LEVELS = ("68", "90")

UNITS = {
    "0/1": "",
    "10^22 cm^-2": "1e22 cm-2",
    "(km/10kpc)^2": "1e-2 km2 kpc-2",
    "ph/cm^2/s/keV": "ph cm-2 s-1 keV-1",
    "ph/cm^2/s": "ph cm-2 s-1",
    "1e39erg/s/(10kpc)^2": "1e37 erg s-1 kpc-2",
    "erg/cm^2/s": "erg cm-2 s-1",
}
"""Of our parameters, in astropy's words."""

SYMBOLS = {
    "nH": r"N_\mathrm{H}",
    "Gamma": r"\Gamma",
    "PhoIndex": r"\Gamma",
    "FracSctr": r"f_\mathrm{sc}",
    "T_max": r"kT_\mathrm{max}",
    "Tin": r"kT_\mathrm{in}",
    "kT": "kT",
    "kT_e": r"kT_\mathrm{e}",
    "norm": r"\mathrm{norm}",
    "LineE": r"E_\mathrm{line}",
    "Sigma": r"\sigma",
    "HighECut": r"E_\mathrm{cut}",
    "cutoffE": r"E_\mathrm{c}",
    "foldE": r"E_\mathrm{f}",
    "edgeE": r"E_\mathrm{edge}",
    "MaxTau": r"\tau",
}
"""What people write for XSPEC's names."""

LATEX_UNITS = {
    "10^22 cm^-2": r"$10^{22}$ cm$^{-2}$",
    "(km/10kpc)^2": r"(km / 10 kpc)$^2$",
    "ph/cm^2/s/keV": r"ph cm$^{-2}$ s$^{-1}$ keV$^{-1}$",
    "ph/cm^2/s": r"ph cm$^{-2}$ s$^{-1}$",
    "1e39erg/s/(10kpc)^2": r"$10^{39}$ erg s$^{-1}$ (10 kpc)$^{-2}$",
}

_SPECIAL = {"\\": r"\textbackslash{}", **{one: "\\" + one for one in "&%$#_{}"}, "~": r"\textasciitilde{}"}
_SPECIAL["^"] = r"\textasciicircum{}"


def draws_table(posterior: Posterior) -> QTable:
    """The draws with units, one column per free parameter, and their weights.

    Args:
        posterior: The answer.
    """
    from astropy import units
    from astropy.table import QTable

    table = QTable()
    for marginal, column in zip(posterior.prior.marginals, posterior.draws.T, strict=True):
        table[marginal.name] = column * units.Unit(UNITS.get(marginal.unit, marginal.unit))
    table["weight"] = posterior.weights
    table["log_likelihood"] = posterior.log_likelihood
    table.meta = {"model": posterior.model.text, "verdict": posterior.verdict, "pha": posterior.data[0].pha.name}
    return table


def results_table(posteriors: Sequence[Posterior], level: str = "90") -> Table:
    """One row per answer: medians with their intervals, statistic, evidence and verdict.

    Args:
        posteriors: Answers of one model.
        level: "68" or "90".

    Raises:
        DataError: There are none, or of different models.
    """
    from astropy.table import Table

    parameters = _common(posteriors)
    rows: list[dict[str, Any]] = []
    units: dict[str, str] = {}
    for posterior in posteriors:
        summary = posterior.summary()
        row: dict[str, Any] = {"source": summary["source"] or "unnamed", "file": posterior.data[0].pha.name}
        for name in parameters:
            own, column = summary["parameters"][name], re.sub(r"\W", "_", name)
            row[column] = own["median"]
            units[column] = own["unit"]
            if not own["frozen"]:
                for end in ("lower", "upper"):
                    row[f"{column}_{end}"] = own[f"{end}{level}"]
                    units[f"{column}_{end}"] = own["unit"]
        flux = summary["fluxes"][0]
        row |= {"flux_lo": flux["band"][0], "flux_hi": flux["band"][1]}
        units |= {"flux_lo": "keV", "flux_hi": "keV"}
        for kind in ("absorbed", "unabsorbed"):
            row[f"flux_{kind}"] = flux[kind]["energy"]["median"]
            units[f"flux_{kind}"] = "erg/cm^2/s"
        row |= {"statistic": posterior.statistic.value, "dof": posterior.statistic.dof}
        row |= {"log_evidence": posterior.log_evidence, "ess": posterior.ess, "verdict": posterior.verdict}
        rows.append(row)
    names = list(dict.fromkeys(name for row in rows for name in row))
    table = Table({name: [row.get(name, np.nan) for row in rows] for name in names})
    for name, unit in units.items():
        table[name].unit = UNITS.get(unit, unit) or None
    for name in names:
        if table[name].dtype.kind == "f":
            table[name].info.format = ".6g"
        table[name].description = described(name, level)
    first = posteriors[0]
    table.meta = {"model": first.model.text, "interval": f"{level} %", "statistic": first.statistic.name}
    return table


def described(column: str, level: str) -> str:
    """What a column of `results_table` is, in words.

    Args:
        column: Its name.
        level: Of the intervals.

    >>> described("TBabs_nH_lower", "90")
    'Lower end of the 90% interval of TBabs.nH'
    """
    known = {
        "source": "Name of the source",
        "file": "Spectrum",
        "flux_lo": "Lower end of the band of the fluxes",
        "flux_hi": "Upper end of the band of the fluxes",
        "flux_absorbed": "Flux, median",
        "flux_unabsorbed": "Unabsorbed flux, median",
        "statistic": "Fit statistic at the best point",
        "dof": "Degrees of freedom",
        "log_evidence": "Natural log of the evidence",
        "ess": "Effective sample size",
        "verdict": "Verdict on computation and fit",
    }
    if column in known:
        return known[column]
    name, _, end = column.rpartition("_")
    if end in ("lower", "upper"):
        return f"{end.capitalize()} end of the {level}% interval of {_dotted(name)}"
    return f"Median of {_dotted(column)}"


def _dotted(column: str) -> str:
    """The parameter that a column is named after: its component may have a number, its own name an underscore."""
    return re.sub(r"^([A-Za-z]+(?:_\d+)?)_(?=[A-Za-z])", r"\1.", column)


def latex_table(posteriors: Sequence[Posterior], level: str = "90") -> str:
    """Answers as a `tabular` of LaTeX, one row each.

    Args:
        posteriors: Answers of one model.
        level: "68" or "90".

    Raises:
        DataError: There are none, or of different models.
    """
    names = [name for name in _common(posteriors) if name in posteriors[0].model.names]
    summaries = [posterior.summary() for posterior in posteriors]
    first = summaries[0]["parameters"]
    statistic = posteriors[0].statistic.name
    heads = ["Source", *(_head(name) for name in names), f"{statistic} / dof"]
    units = ["", *(_latex_unit(first[name]["unit"]) for name in names), ""]
    held = [f"{name} = {row['best']:g}" for name, row in first.items() if row["frozen"]]
    lines = [
        f"% {posteriors[0].model.text}: medians and {level} % intervals; < and > are limits at 95 %",
        *(f"% held: {one}" for one in held),
        r"\begin{tabular}{l" + "c" * (len(heads) - 1) + "}",
        r"\hline",
        " & ".join(heads) + r" \\",
        " & ".join(units) + r" \\",
        r"\hline",
    ]
    for posterior, summary in zip(posteriors, summaries, strict=True):
        cells = [escaped(summary["source"] or posterior.data[0].pha.name)]
        cells += [_cell(posterior, name, summary["parameters"][name], level) for name in names]
        cells.append(f"{posterior.statistic.value:.1f} / {posterior.statistic.dof}")
        lines.append(" & ".join(cells) + r" \\")
    return "\n".join([*lines, r"\hline", r"\end{tabular}"])


def machine_table(posteriors: Sequence[Posterior], kind: str, level: str = "90") -> str:
    """Answers as a table that machines read.

    Args:
        posteriors: Answers of one model.
        kind: ecsv, csv or mrt (the AAS's).
        level: "68" or "90".

    Raises:
        DataError: There are none, or of different models.
    """
    text = StringIO()
    results_table(posteriors, level).write(text, format=f"ascii.{kind}")
    return text.getvalue().rstrip("\n")


def escaped(text: str) -> str:
    """Plain text in LaTeX's words.

    >>> escaped("4U_1820-30 & co")
    '4U\\\\_1820-30 \\\\& co'
    """
    return "".join(_SPECIAL.get(one, one) if one.isprintable() else " " for one in text)


def _common(posteriors: Sequence[Posterior]) -> list[str]:
    """The parameters of all answers."""
    if not posteriors:
        raise DataError("no answers; give at least one result folder")
    first = posteriors[0].model
    for other in posteriors[1:]:
        if (other.model.text, other.model.names) != (first.text, first.names):
            raise DataError(
                f"{other.data[0].pha.name}: {other.model.text} with free {', '.join(other.model.names)} does not stand "
                f"in one table with {first.text}; make one for each model"
            )
    return [parameter.name for parameter in first.parameters if not parameter.is_switch]


def _head(name: str) -> str:
    component, _, own = name.rpartition(".")
    symbol = SYMBOLS.get(own)
    return f"${symbol}$ ({escaped(component)})" if symbol else f"{escaped(name)}"


def _latex_unit(unit: str) -> str:
    return LATEX_UNITS.get(unit, escaped(unit))


def _cell(posterior: Posterior, name: str, row: dict[str, Any], level: str) -> str:
    """One number with its errors, or a limit."""
    upper, lower = f"upper_limit:{name}" in posterior.flags, f"lower_limit:{name}" in posterior.flags
    ends = row["lower90" if upper or lower else f"lower{level}"], row["upper90" if upper or lower else f"upper{level}"]
    median, low, high = with_uncertainty((row["median"], *ends), *ends)
    if upper != lower:
        return f"$<{_power(high)}$" if upper else f"$>{_power(low)}$"
    mantissas = [text.partition("e")[0] for text in (median, low, high)]
    power = median.partition("e")[2]
    if any(text.partition("e")[2] != power for text in (low, high)):
        return f"${_power(median)}$ [${_power(low)}$, ${_power(high)}$]"
    digits = len(mantissas[0].partition(".")[2])
    middle, below, above = (float(text) for text in mantissas)
    number = f"{mantissas[0]}^{{+{above - middle:.{digits}f}}}_{{-{middle - below:.{digits}f}}}"
    return f"${number}$" if not power else f"$({number})\\times10^{{{power}}}$"


def _power(text: str) -> str:
    """A number with its power of ten."""
    mantissa, exponent, power = text.partition("e")
    return f"{mantissa}\\times10^{{{int(power)}}}" if exponent else mantissa
