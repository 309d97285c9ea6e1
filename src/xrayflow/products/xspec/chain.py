"""The draws as a chain that XSPEC loads and uses: `chain load chain.fits`.

A binary table `CHAIN`: one column of doubles per free, unlinked parameter, named `nH__1` after its number in the model,
with XSPEC's own unit, and last FIT_STATISTIC. The format knows no weights, so draws are taken anew with equal weights.
XSPEC loads a table whose columns are others without a word, and then ignores it: names, order and units are its own to
the letter (`names`).

Nuisances of the likelihood have no parameter in XSPEC: the chain is marginalised over them.

Source: XSPEC manual, "chain"; XSPEC's public source, FITSChain (TFORM `D`, the keywords CHAINTYP, TEMPRnnn, STROWnnn).
"""

from __future__ import annotations

from io import BytesIO

from astropy.io import fits

from xrayflow.inference import Posterior, systematic_rows
from xrayflow.products.xspec.names import commands, full_name, numbers, own_name, unit

FEWEST, MOST = 1000, 10_000
"""Rows of a chain."""

CHAIN = "chain.fits"


def chain_file(posterior: Posterior) -> bytes:
    """A chain of equally weighted draws.

    Args:
        posterior: The answer.
    """
    import torch

    rows = min(max(posterior.draws.shape[0], FEWEST), MOST)
    generator = torch.Generator().manual_seed(posterior.seed)
    picked = systematic_rows(torch.from_numpy(posterior.weights), rows, generator).numpy()
    number = numbers(posterior.model)
    columns = [
        fits.Column(
            name=f"{own_name(parameter)}__{number[parameter.name]}",
            format="D",
            unit=unit(parameter) or None,
            array=posterior.draws[picked, place],
        )
        for place, parameter in enumerate(posterior.model.free)
    ]
    statistic = full_name(commands(posterior.statistic.name))
    columns.append(
        fits.Column(name="FIT_STATISTIC", format="D", unit=statistic, array=posterior.sample.fit_statistic[picked])
    )
    table = fits.BinTableHDU.from_columns(columns, name="CHAIN")
    table.header["TEMPR001"] = 1.0
    table.header["STROW001"] = 1
    table.header["CHAINTYP"] = "MetropolisHastings"
    table.header["HISTORY"] = f"xrayflow {posterior.provenance.versions.get('xrayflow', '')}: equally weighted draws"
    content = BytesIO()
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(content)
    return content.getvalue()
