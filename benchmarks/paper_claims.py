"""The paper's claims about errors, as numbers: do they fall with the counts, where is Gamma lost, are N and kT tied?

Errors are draws less targets, on axes (log10 of all but Gamma), of every draw with weight.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from xrayflow.studies.validation import TruthAndDraws

LOW_FRACTION, HOT = 0.05, 0.5
"""FracSctr; keV. Below and above, the paper finds Gamma hard."""

RATES = (100.0, 1000.0)
"""counts/s that part faint, middling and bright."""


def rms(error: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """(parameter,) of (source, draw, parameter)."""
    return np.sqrt(np.einsum("sd,sdp->p", weights, error**2) / weights.sum())


def claims(answers: TruthAndDraws, rate: NDArray[np.float64]) -> dict[str, Any]:
    """All numbers of a set of answers.

    Args:
        answers: Draws against targets.
        rate: (source,) counts/s.
    """
    rate = rate[: answers.sources]
    error, weights = answers.draws - answers.truth[:, None], answers.weights
    names = list(answers.names)
    faint = {"below 100 c/s": rate < RATES[0], "above 1000 c/s": rate >= RATES[1]}
    faint["100 .. 1000 c/s"] = ~faint["below 100 c/s"] & ~faint["above 1000 c/s"]
    fraction, temperature = (answers.truth[:, names.index(one)] for one in ("simplcutx.FracSctr", "ezdiskbb.T_max"))
    low, hot = fraction < np.log10(LOW_FRACTION), temperature > np.log10(HOT)
    corners = {
        "f_sc < 0.05, kT > 0.5": low & hot,
        "f_sc < 0.05, kT < 0.5": low & ~hot,
        "f_sc > 0.05, kT > 0.5": ~low & hot,
        "f_sc > 0.05, kT < 0.5": ~low & ~hot,
    }
    gamma = names.index("simplcutx.Gamma")
    pair = [names.index("ezdiskbb.T_max"), names.index("ezdiskbb.norm")]
    together = np.einsum("sd,sdp,sdq->pq", weights, error[..., pair], error[..., pair]) / weights.sum()
    sd = np.sqrt(np.diag(together))
    return {
        "rms_error": dict(zip(names, rms(error, weights).tolist(), strict=True)),
        "rms_error_by_rate": {
            label: {"spectra": int(rows.sum())}
            | dict(zip(names, rms(error[rows], weights[rows]).tolist(), strict=True))
            for label, rows in faint.items()
            if rows.any()
        },
        "gamma_rms_error": {
            label: {"spectra": int(rows.sum()), "rms": float(rms(error[rows], weights[rows])[gamma])}
            for label, rows in corners.items()
            if rows.any()
        },
        "kT_and_norm": {
            "rms_kT_dex": float(sd[0]),
            "rms_norm_dex": float(sd[1]),
            "correlation": float(together[0, 1] / (sd[0] * sd[1])),
            "joint_error_dex2": float(np.sqrt(max(np.linalg.det(together), 0.0))),
        },
    }
