"""Makes `src/xrayflow/models/tables/nthcomp.npz`: the turnover of thermal Comptonisation from the compiled library.

    python tests/reference/make_nthcomp.py          (needs `pip install 'xrayflow[xspec]'`, half a minute)

Far above its seed photons nthComp is E^-Gamma C(E; Gamma, kT_e), whatever the seed. With the coldest seed that the
library takes (a black body of 1 eV), ln C is read from 30 eV on and fitted by

    ln C = y * sum c_ijk T_i(Gamma) T_j(ln kT_e) T_k(y),     y = ln(1 + E / (z0 E*)),     1/E* = 1/kT_e + 1/80 keV,

T Chebyshev polynomials on the ranges below, so that C = 1 at E = 0. E* is where the spectrum turns: at kT_e for cold
electrons; for hot ones, relativity turns it earlier. The fit gives less weight where C is below e^-6.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import json
from pathlib import Path

import numpy as np
from numpy.polynomial import chebyshev

from xrayflow.models.xspec import XspecLibrary

TABLE = Path(__file__).resolve().parents[2] / "src/xrayflow/models/tables/nthcomp.npz"
GAMMA, KT = (1.1, 5.0), (1.0, 1000.0)
COUNTS = (16, 16, 17)
TURN, Z0, Z_MAX = 80.0, 0.1, 30.0
SEED_KT, LOWEST = 1e-3, 0.03
BINS = 3000
FAINTEST = -18.0
"""ln C below which the library's numbers are left and a straight line in E goes on."""


def turning_energy(kt: float) -> float:
    """E* [keV]."""
    return 1.0 / (1.0 / kt + 1.0 / TURN)


def log_turnover(library: XspecLibrary, gamma: float, kt: float) -> tuple[np.ndarray, np.ndarray]:
    """What the library says.

    Args:
        library: The compiled models.
        gamma: Photon index.
        kt: Electron temperature [keV].

    Returns:
        Energies [keV], and ln C up to a constant.
    """
    edges = np.geomspace(LOWEST, 1.01 * Z_MAX * turning_energy(kt), BINS)
    energy = np.sqrt(edges[1:] * edges[:-1])
    flux = library.call("nthComp", [[gamma, kt, SEED_KT, 0.0, 0.0]], edges)[0] / np.diff(edges)
    log_c = np.log(np.maximum(flux, 1e-300)) + gamma * np.log(energy)
    log_c -= log_c[:20].mean()
    known = int(np.argmin(log_c > FAINTEST)) or BINS - 1
    if known < BINS - 1:
        fall = (log_c[known - 1] - log_c[known - 200]) / (energy[known - 1] - energy[known - 200])
        log_c[known:] = log_c[known - 1] + fall * (energy[known:] - energy[known - 1])
    return energy, log_c


def fit_one(library: XspecLibrary, gamma: float, kt: float) -> np.ndarray:
    """The coefficients of T_k(y) at one gamma and kT_e."""
    energy, log_c = log_turnover(library, gamma, kt)
    y, top = np.log1p(energy / (Z0 * turning_energy(kt))), np.log1p(Z_MAX / Z0)
    columns = chebyshev.chebvander(2.0 * y / top - 1.0, COUNTS[2] - 1) * y[:, None]
    columns = np.hstack([columns, np.ones((y.size, 1))])
    weight = np.clip(np.exp((log_c + 6.0) / 6.0), 0.02, 1.0)
    found: np.ndarray = np.linalg.lstsq(columns * weight[:, None], log_c * weight, rcond=1e-12)[0]
    return found[:-1]


def nodes(count: int) -> np.ndarray:
    """Chebyshev nodes on -1 .. 1."""
    return np.cos(np.pi * (np.arange(count) + 0.5) / count)


def main() -> None:
    """Writes the table."""
    gamma = GAMMA[0] + (GAMMA[1] - GAMMA[0]) * (nodes(COUNTS[0]) + 1.0) / 2.0
    kt = KT[0] * (KT[1] / KT[0]) ** ((nodes(COUNTS[1]) + 1.0) / 2.0)
    with XspecLibrary() as library:
        values = np.array([[fit_one(library, g, t) for t in kt] for g in gamma])
    transforms = [np.linalg.inv(chebyshev.chebvander(nodes(count), count - 1)) for count in COUNTS[:2]]
    coefficients = np.einsum("ig,jt,gtk->ijk", *transforms, values)
    facts = {
        "command": "python tests/reference/make_nthcomp.py",
        "date": datetime.date.today().isoformat(),
        "xspectrampoline": importlib.metadata.version("xspectrampoline"),
        "library": "LibXSPEC 6.35.1, nthComp",
    }
    ranges = {"gamma": GAMMA, "kt": KT, "turn": TURN, "z0": Z0, "z_max": Z_MAX}
    np.savez_compressed(TABLE, provenance=np.array(json.dumps(facts)), coefficients=coefficients, **ranges)
    print(TABLE.name, TABLE.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
