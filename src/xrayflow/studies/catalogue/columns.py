"""The columns of a catalogue: names, units, UCDs and descriptions, and what a row of the ledger has in each.

Source: IVOA recommendation "UCD1+ controlled vocabulary"; CSC 2 column descriptions (lolim, hilim).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from xrayflow.models import Model, Parameter
from xrayflow.studies.running import FAILED, Kept

Kind = Literal["text", "number", "whole"]

LEVELS = {
    "best": "at the mode of log prior + log likelihood",
    "median": "median of the posterior",
    "lower68": "16 % quantile of the posterior",
    "upper68": "84 % quantile of the posterior",
    "lower90": "5 % quantile of the posterior",
    "upper90": "95 % quantile of the posterior",
    "lolim": "68 % lower confidence limit; empty where the data give an upper limit alone",
    "hilim": "68 % upper confidence limit; empty where the data give a lower limit alone",
}
"""Columns of each parameter."""

UNITS = {
    "10^22 cm^-2": "10**22 cm**-2",
    "(km/10kpc)^2": "",
    "ph/cm^2/s": "ph cm**-2 s**-1",
    "ph/cm^2/s/keV": "ph cm**-2 s**-1 keV**-1",
    "1e39erg/s/(10kpc)^2": "",
}
"""XSPEC's units as the FITS standard writes them; "" where it cannot: the description says it then."""

UCDS = {
    "nH": "phys.columnDensity",
    "keV": "phys.energy;em.X-ray",
    "PhoIndex": "spect.index;em.X-ray",
    "Gamma": "spect.index;em.X-ray",
    "norm": "arith.factor;em.X-ray",
}
"""By the last part of a parameter's name, else by its unit."""


@dataclass(frozen=True)
class Column:
    """A column of the table.

    Attributes:
        name: Its name.
        kind: Of its values.
        description: In one line.
        unit: As the FITS standard writes it.
        ucd: What it means, for machines.
    """

    name: str
    kind: Kind
    description: str
    unit: str = ""
    ucd: str = ""

    @property
    def empty(self) -> Any:
        """Of a source that has none."""
        return {"text": "", "number": math.nan, "whole": -1}[self.kind]


LEADING = (
    Column("source", "text", "name of the source", ucd="meta.id;meta.main"),
    Column("path", "text", "spectrum file; the key of the row", ucd="meta.file"),
    Column("verdict", "text", "certified, approximate, do-not-trust, or failed: no answer", ucd="meta.code.qual"),
    Column("computation", "text", "whether the numbers are computed right", ucd="meta.code.qual"),
    Column("fit", "text", "whether the model describes the data", ucd="meta.code.qual;stat.fit"),
    Column("flags", "text", "facts, parted by semicolons", ucd="meta.code"),
    Column("reasons", "text", "why, in words, parted by semicolons", ucd="meta.note"),
    Column("model", "text", "spectral model, XSPEC's expression", ucd="meta.modelled"),
    Column("network", "text", "network that started the answer", ucd="meta.id"),
    Column("statistic_name", "text", "XSPEC's statistic, at the best point", ucd="meta.id;stat.fit"),
    Column("statistic", "number", "its value there", ucd="stat.fit.param"),
    Column("dof", "whole", "bins less free parameters; -1: none", ucd="stat.fit.dof"),
    Column("likelihood", "text", "exact, approximate or profile", ucd="meta.code;stat.likelihood"),
    Column("deviance", "number", "2 (saturated - log likelihood) at the best point", ucd="stat.fit.goodness"),
    Column("systematic", "text", "systematic error that was believed, as --systematic says it", ucd="meta.note"),
    Column("exposure", "number", "exposure time", "s", "time.duration;obs.exposure"),
    Column("counts", "number", "counts in the band", "ct", "phot.count;em.X-ray"),
    Column("ess", "number", "effective sample size of the draws", ucd="stat.value"),
    Column("efficiency", "number", "ess over likelihood evaluations on draws", ucd="stat.value"),
    Column("pareto_k", "number", "tail shape of the weights", ucd="stat.value"),
    Column("log_evidence", "number", "natural log of the evidence", ucd="stat.likelihood"),
    Column("seed", "whole", "seed of the run", ucd="meta.id"),
    Column("mjd", "number", "middle of the observation, in the file's time system", "d", "time.epoch;obs"),
    Column("hash", "text", "SHA-256 of the spectrum's files together", ucd="meta.checksum"),
    Column("draws_file", "text", "file of draws, in the folder of draws", ucd="meta.file"),
    Column("draws_sha256", "text", "its SHA-256", ucd="meta.checksum"),
)
"""The columns before those of parameters."""


def columns_of(model: Model) -> list[Column]:
    """All columns of a model's table.

    Args:
        model: The model; what is frozen has no column.
    """
    return [*LEADING, *(column for parameter in model.parameters if not parameter.frozen for column in _of(parameter))]


def _of(parameter: Parameter) -> Iterator[Column]:
    """Those of a parameter."""
    unit = UNITS.get(parameter.unit, parameter.unit)
    more = f" [{parameter.unit}]" if parameter.unit and not unit else ""
    last = parameter.name.rpartition(".")[2]
    ucd = UCDS.get(last) or UCDS.get(parameter.unit, "phys")
    for level, words in LEVELS.items():
        limit = {"lower68": "stat.min;", "lower90": "stat.min;", "upper68": "stat.max;", "upper90": "stat.max;"}
        limit |= {"lolim": "stat.min;", "hilim": "stat.max;", "median": "stat.median;"}
        yield Column(
            f"{parameter.name}_{level}", "number", f"{parameter.name}{more}: {words}", unit, limit.get(level, "") + ucd
        )


def row_of(kept: Kept, path: str, name: str, model: Model, seed: int) -> dict[str, Any]:
    """What the table says of a source; what is not in it is empty.

    Args:
        kept: Of the ledger, with a record.
        path: Of the spectrum, as the user named it.
        name: Of the source, as the user named it; "" for what the file says.
        model, seed: Of the run.
    """
    look, record = kept.look, kept.record or {}
    row = {
        "source": name or look.get("source", ""),
        "path": path,
        "model": model.text,
        "seed": seed,
        "exposure": look.get("exposure", math.nan),
        "mjd": look.get("mjd", math.nan),
        "hash": look.get("hash", ""),
        **record,
    }
    if kept.error:
        row |= {"verdict": FAILED, "computation": FAILED, "reasons": kept.error}
    elif look.get("said"):
        row["reasons"] = "; ".join(filter(None, (row["reasons"], *look["said"])))
    return row


def values_of(rows: Sequence[Mapping[str, Any]], column: Column) -> list[Any]:
    """A column of some rows.

    Args:
        rows: Of `row_of`.
        column: Which.
    """
    return [row.get(column.name, column.empty) for row in rows]
