"""The draws of a batch of sources as one FITS file.

HDU `DRAWS`: `row` (from 1, of the second HDU), a column for each free parameter, `log_weight`, `log_prior`. HDU
`SOURCES`: `row`, `path`. The header of the first says the model (`MODEL`) and the prior of each parameter (`PRIOR1`,
...) in words that `Prior.of` reads, several parted by " and ". The same draws give the same bytes.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from astropy.io import fits

from xrayflow.models import Model
from xrayflow.studies.catalogue.columns import UNITS
from xrayflow.studies.catalogue.fitting import DrawsOf

DRAWS, SOURCES = "DRAWS", "SOURCES"


def draws_name(keys: Sequence[str], asked: Mapping[str, Any]) -> str:
    """Name of the file of some sources: what was asked of the same sources has the same one, in any table.

    Args:
        keys: Of the sources.
        asked: Of them.
    """
    content = json.dumps([list(keys), dict(asked)], sort_keys=True)
    return f"draws-{hashlib.sha256(content.encode()).hexdigest()[:16]}.fits"


def draws_bytes(
    paths: Sequence[str], draws: Sequence[DrawsOf], model: Model, prior: Mapping[str, Sequence[str]]
) -> bytes:
    """The file.

    Args:
        paths: Of each source.
        draws: Of each.
        model: The model.
        prior: Words for each of its free parameters.
    """
    sizes = [one.log_weight.size for one in draws]
    theta = np.concatenate([one.theta for one in draws])
    columns = [fits.Column("row", "J", array=np.repeat(np.arange(1, len(draws) + 1), sizes))]
    for place, parameter in enumerate(model.free):
        unit = UNITS.get(parameter.unit, parameter.unit) or None
        columns.append(fits.Column(parameter.name, "D", unit=unit, array=theta[:, place]))
    for name in ("log_weight", "log_prior"):
        columns.append(fits.Column(name, "D", array=np.concatenate([getattr(one, name) for one in draws])))
    table = fits.BinTableHDU.from_columns(columns, name=DRAWS)
    table.header["MODEL"] = (model.text, "XSPEC's expression")
    table.header["ABUND"] = (model.abund, "abundances of absorbers")
    for place, parameter in enumerate(model.free, 1):
        table.header[f"PRIOR{place}"] = " and ".join(prior[parameter.name])
    table.header["COMMENT"] = "log_weight: natural log of the unnormalised weight of each draw"
    table.header["COMMENT"] = "log_prior: natural log of the prior's density, in the units of the parameters"
    width = max(len(path.encode()) for path in paths)
    sources = fits.BinTableHDU.from_columns(
        [
            fits.Column("row", "J", array=np.arange(1, len(paths) + 1)),
            fits.Column("path", f"{width}A", array=np.array([path.encode() for path in paths])),
        ],
        name=SOURCES,
    )
    stream = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), table, sources]).writeto(stream)
    return stream.getvalue()
