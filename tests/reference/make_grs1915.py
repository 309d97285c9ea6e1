"""Photons of the published fits of GRS 1915+105, from the compiled library: python make_grs1915.py, writes grs1915.npz.

Four RXTE PCA spectra of a public catalogue of fits, `constant*vphabs*(diskbb+gaussian+nthComp)`, abundances wilm; the
parameters stand in `tables/grs1915_bestfit_loadxcm.csv` of the folder that XRAYFLOW_TEST_DATA names, and the energies
are those of each spectrum's response. Tests of the reader fold these, and those of our components compare with them.
"""

from __future__ import annotations

import csv
import os
import warnings
from pathlib import Path

import numpy as np

from xrayflow.errors import XrayflowWarning
from xrayflow.models import xspec
from xrayflow.ogip import read_observation

ELEMENTS = ["He", "C", "N", "O", "Ne", "Na", "Mg", "Al", "Si", "S", "Cl", "Ar", "Ca", "Cr", "Fe", "Co", "Ni"]


def main() -> None:
    """Write the table."""
    data = Path(os.environ["XRAYFLOW_TEST_DATA"])
    table = {}
    with (data / "tables/grs1915_bestfit_loadxcm.csv").open() as stream, xspec.XspecLibrary("wilm", "vern") as library:
        for row in csv.DictReader(stream):
            value = {name: float(text) for name, text in row.items() if name not in ("obsid", "model", "ignore")}
            path = data / f"rxte_pca_GRS1915+105_{row['obsid']}/src_pcu2.pha"
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", XrayflowWarning)
                edges = read_observation(path).rmf.energy_edges
            edges = np.maximum(edges, 1e-6)
            disc = library.call("diskbb", [[value["Tin"]]], edges)[0] * value["diskbb_norm"]
            line = library.call("gaussian", [[value["LineE"], value["Sigma"]]], edges)[0] * value["line_norm"]
            # the seed photons have the disc's temperature
            seeds = [[value["Gamma"], value["kTe"], value["Tin"], value["inp_type"], 0.0]]
            corona = library.call("nthComp", seeds, edges)[0] * value["nthcomp_norm"]
            gas = [value["nH"], *(value["Fe"] if name == "Fe" else 1.0 for name in ELEMENTS)]
            factor = library.call("vphabs", [gas], edges)[0] * value["const"]
            table[row["obsid"]] = factor * (disc + line + corona)
    np.savez_compressed(Path(__file__).parent / "grs1915.npz", **table)


if __name__ == "__main__":
    main()
