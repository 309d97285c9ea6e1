"""An answer for ArviZ and xarray: groups of named arrays, in memory or as netCDF.

ArviZ knows no weights, so `posterior` holds draws taken anew with equal weights, and `sample_stats` says of each what
it weighed. The draws are independent; they are dealt out to four chains because ArviZ compares chains.

    posterior        (chain, draw)     each free parameter, nuisances too
    sample_stats     (chain, draw)     lp, log_weight, fit_statistic (XSPEC's)
    log_likelihood   (chain, draw)     of the whole spectrum: bins are not independent where a background is integrated
    observed_data    (bin)             counts
    constant_data    (bin)             energy_lo, energy_hi, background; exposure

ArviZ 1.0 takes the tree as it is; earlier versions read the netCDF file (`arviz.from_netcdf`), or `arviz.InferenceData
.from_datatree`.

Source: ArviZ, "InferenceData schema specification".
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from xrayflow.errors import MissingExtraError
from xrayflow.files import SCHEMA_VERSION, refuse_to_replace, write_file
from xrayflow.inference import Posterior, systematic_rows
from xrayflow.products.write import spare_products

if TYPE_CHECKING:
    from xarray import DataTree

FEWEST, MOST = 1000, 10_000
"""Draws of the posterior."""

CHAINS = 4

NEEDS = ("xarray", "h5netcdf", "h5py")


def data_tree(posterior: Posterior) -> DataTree:
    """The groups of an answer.

    Args:
        posterior: The answer.

    Raises:
        MissingExtraError: xarray is not installed.
    """
    expect_installed(("xarray",))
    import xarray

    sample = posterior.sample
    number = min(max(posterior.draws.shape[0], FEWEST), MOST) // CHAINS * CHAINS
    generator = torch.Generator().manual_seed(posterior.seed)
    rows = systematic_rows(torch.from_numpy(posterior.weights), number, generator).numpy()
    at_draws = ("chain", "draw")

    def dealt(values: NDArray[np.float64]) -> NDArray[np.float64]:
        """One part of the draws to each chain; systematic rows come in random order."""
        found: NDArray[np.float64] = values[rows].reshape(CHAINS, -1)
        return found

    log_prior = posterior.prior.log_density(torch.from_numpy(posterior.draws)).numpy()
    units = {marginal.name: marginal.unit for marginal in posterior.prior.marginals}
    parameters = {
        name: (at_draws, dealt(column), {"units": units[name]})
        for name, column in zip(posterior.names, posterior.draws.T, strict=True)
    }
    stats = {
        "lp": (at_draws, dealt(sample.log_likelihood + log_prior)),
        "log_weight": (at_draws, dealt(sample.log_weight)),
        "fit_statistic": (at_draws, dealt(sample.fit_statistic)),
    }
    (data, *_) = posterior.data
    bins = {"energy_lo": data.energy_lo, "energy_hi": data.energy_hi, "background": data.background_in_source}
    constant: dict[str, Any] = {name: ("bin", values) for name, values in bins.items()}
    coords = {"chain": range(CHAINS), "draw": range(number // CHAINS)}
    groups = {
        "/": xarray.Dataset(attrs=_attributes(posterior)),
        "/posterior": xarray.Dataset(parameters, coords),
        "/sample_stats": xarray.Dataset(stats, coords),
        "/log_likelihood": xarray.Dataset({"spectrum": (at_draws, dealt(sample.log_likelihood))}, coords),
        "/observed_data": xarray.Dataset({"counts": ("bin", data.counts)}, {"bin": data.number}),
        "/constant_data": xarray.Dataset(constant | {"exposure": data.exposure}, {"bin": data.number}),
    }
    return xarray.DataTree.from_dict(groups)


def write_netcdf(posterior: Posterior, path: str | Path) -> Path:
    """The groups of an answer as a netCDF file that ArviZ reads.

    Args:
        posterior: The answer.
        path: The file; its folder exists.

    Raises:
        MissingExtraError: xarray, h5netcdf or h5py is not installed.
        FileError: It cannot be written, or is a product of an answer.
    """
    expect_installed(NEEDS)
    path = Path(path)
    spare_products([path])
    paths = [path for one in posterior.data for path in (one.pha, one.rmf, one.arf, one.background) if path is not None]
    refuse_to_replace(path, paths, "the answer")
    content = data_tree(posterior).to_netcdf(engine="h5netcdf")
    write_file(path, bytes(content), "choose another --out")
    return path


def _attributes(posterior: Posterior) -> dict[str, Any]:
    """What the arrays are of."""
    return {
        "schema_version": SCHEMA_VERSION,
        "inference_library": "xrayflow",
        "inference_library_version": posterior.provenance.versions.get("xrayflow", ""),
        "model": posterior.model.text,
        "pha": posterior.data[0].pha.name,
        "verdict": posterior.verdict,
        "log_evidence": posterior.log_evidence,
        "log_evidence_error": posterior.log_evidence_error,
        "ess": posterior.ess,
        "seed": posterior.seed,
    }


def expect_installed(packages: tuple[str, ...]) -> None:
    """Stop where an extra is missing.

    Args:
        packages: That are needed.

    Raises:
        MissingExtraError: One is not installed.
    """
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        named = " and ".join([", ".join(missing[:-1]), missing[-1]] if missing[1:] else missing)
        raise MissingExtraError(f"{named}: not installed; pip install 'xrayflow[io]'")
