"""An answer as an HDF5 file that PESummary reads: one analysis, `xrayflow`, with equally weighted draws.

    /version/pesummary                  which marks a file of that format
    /xrayflow/posterior_samples         one record a draw: parameters, nuisances too, log_likelihood, log_prior
    /xrayflow/priors/samples/NAME       draws of the prior, for comparison
    /xrayflow/injection_data            the truth, nan where it is not known
    /xrayflow/meta_data/sampler         evidence, effective draws, seed
    /xrayflow/meta_data/meta_data       model, statistic, verdict, files and their hashes
    /xrayflow/description, version      in words

PESummary has no place for weights, so draws are taken anew with equal ones.

Source: PESummary, "The PESummary file format" (as its version 1.8 reads it).
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from xrayflow.errors import DataError
from xrayflow.files import OTHER_OUT, refuse_to_replace, write_file
from xrayflow.inference import Posterior, systematic_rows
from xrayflow.products.tree import FEWEST, MOST, expect_installed
from xrayflow.products.write import spare_products

if TYPE_CHECKING:
    from h5py import Group

LABEL = "xrayflow"
ENDINGS = (".h5", ".hdf5")
"""Of names from which PESummary knows the format."""


def write_pesummary(posterior: Posterior, path: str | Path) -> Path:
    """An answer as a file of PESummary.

    Args:
        posterior: The answer.
        path: The file; its folder exists.

    Raises:
        MissingExtraError: h5py is not installed.
        DataError: A name that PESummary would take for another format.
        FileError: It cannot be written, or is a product of an answer or one of its files.
    """
    expect_installed(("h5py",))
    path = Path(path)
    if path.suffix.lower() not in ENDINGS:
        ends = " or ".join(ENDINGS)
        raise DataError(f"{path}: PESummary knows its files by their names; give one that ends in {ends}")
    spare_products([path])
    files = [file for one in posterior.data for file in (one.pha, one.rmf, one.arf, one.background) if file is not None]
    refuse_to_replace(path, files, "the answer")
    write_file(path, _content(posterior), OTHER_OUT)
    return path


def _content(posterior: Posterior) -> bytes:
    import h5py

    content = BytesIO()
    with h5py.File(content, "w") as file:
        file["version/pesummary"] = [b"1.8"]
        own = file.create_group(LABEL)
        said = f"{posterior.data[0].pha.name}: {posterior.model.text}, {posterior.verdict}"
        _told(own, {"version": posterior.provenance.versions.get("xrayflow", ""), "description": said})
        own["posterior_samples"] = _draws(posterior)
        truth = {name: np.array([posterior.truth.get(name, np.nan)]) for name in posterior.names}
        own["injection_data"] = _records(truth)
        prior = posterior.prior.sample((FEWEST,), torch.Generator().manual_seed(posterior.seed)).numpy()
        for name, column in zip(posterior.names, prior.T, strict=True):
            own[f"priors/samples/{name}"] = column
        _told(own.create_group("meta_data/sampler"), _sampler(posterior))
        _told(own.create_group("meta_data/meta_data"), _facts(posterior))
    return content.getvalue()


def _draws(posterior: Posterior) -> NDArray[np.void]:
    """Equally weighted draws, a record each."""
    number = min(max(posterior.draws.shape[0], FEWEST), MOST)
    generator = torch.Generator().manual_seed(posterior.seed)
    rows = systematic_rows(torch.from_numpy(posterior.weights), number, generator).numpy()
    log_prior = posterior.prior.log_density(torch.from_numpy(posterior.draws)).numpy()
    columns = dict(zip(posterior.names, posterior.draws.T, strict=True))
    columns |= {"log_likelihood": posterior.log_likelihood, "log_prior": log_prior}
    return _records({name: column[rows] for name, column in columns.items()})


def _records(columns: dict[str, NDArray[np.float64]]) -> NDArray[np.void]:
    """Columns as one array of records."""
    found = np.empty(len(next(iter(columns.values()))), dtype=[(name, np.float64) for name in columns])
    for name, column in columns.items():
        found[name] = column
    return found


def _sampler(posterior: Posterior) -> dict[str, Any]:
    return {
        "pe_algorithm": "xrayflow importance sampling" if posterior.mode == "exact" else "xrayflow network alone",
        "log_evidence": posterior.log_evidence,
        "log_evidence_error": posterior.log_evidence_error,
        "nsamples": posterior.draws.shape[0],
        "ess": posterior.ess,
        "seed": posterior.seed,
    }


def _facts(posterior: Posterior) -> dict[str, Any]:
    data = posterior.data[0]
    told: dict[str, Any] = {
        "source": data.source,
        "model": posterior.model.text,
        "abund": posterior.model.abund,
        "statistic": posterior.statistic.name,
        "statistic_value": posterior.statistic.value,
        "dof": posterior.statistic.dof,
        "verdict": posterior.verdict,
        "pha": data.pha.name,
    }
    return told | {f"sha256_{name}": value for name, value in data.sha256.items()}


def _told(group: Group, facts: dict[str, Any]) -> None:
    """Facts as PESummary has them: arrays of one."""
    for name, value in facts.items():
        group[name] = [value.encode() if isinstance(value, str) else value]
