"""What simplcutx was checked against: makes `results/simplcutx.json`, the numbers of docs/discussion/simplcutx.md.

    python benchmarks/check_simplcutx.py          (needs `pip install 'xrayflow[xspec]'`; half a minute, one core)

The original code is not public, so there is nothing to compare the whole component with. Its parts are: photons are
conserved; without a turnover it is simpl; the shape of a scattered line is that of nthComp; and how far it is from two
neighbours in XSPEC, simpl and thcomp, on a real disc.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from xrayflow.models import flux_and_jacobian, parse_model
from xrayflow.models.edges import EnergyBins
from xrayflow.models.simplcutx import bind_simplcutx
from xrayflow.models.xspec import XspecLibrary

RESULT = Path(__file__).resolve().parent / "results" / "simplcutx.json"
EDGES = np.geomspace(1e-3, 1e3, 4001)
ENERGIES = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0)


def tensor(value: float) -> torch.Tensor:
    """A number as a tensor."""
    return torch.tensor(value, dtype=torch.float64)


def disc(temperature: float) -> torch.Tensor:
    """Seed photons."""
    return parse_model("ezdiskbb").photon_flux(
        torch.tensor([temperature, 1.0], dtype=torch.float64), torch.as_tensor(EDGES)
    )


def convolve(
    photons: torch.Tensor, gamma: float, fraction: float, turnover: float, edges: np.ndarray = EDGES
) -> np.ndarray:
    """simplcutx."""
    bound = bind_simplcutx(EnergyBins(torch.as_tensor(edges)))
    return np.asarray(bound(photons, tensor(gamma), tensor(fraction), 0.0, turnover).numpy())


def conservation() -> float:
    """Largest relative loss of photons on a grid up to 90 MeV, over both kernels."""
    edges = np.geomspace(1e-3, 9e4, 4001)
    seed = torch.as_tensor(np.diff(edges) * np.exp(-edges[1:]))
    totals = [
        convolve(seed, gamma, 1.0, turnover, edges).sum() / float(seed.sum())
        for gamma in (1.3, 1.7, 2.3, 4.0)
        for turnover in (-1000.0, -100.0, -5.0, 5.0, 100.0, 1000.0)
    ]
    return float(np.abs(np.array(totals) - 1.0).max())


def at_energies(ratio: np.ndarray) -> dict[str, float]:
    """A ratio at a few energies."""
    middle = np.sqrt(EDGES[1:] * EDGES[:-1])
    return {f"{energy:g}": float(f"{np.interp(energy, middle, ratio):.3f}") for energy in ENERGIES}


def against_neighbours(library: XspecLibrary) -> list[dict[str, object]]:
    """Photons of simplcutx over those of simpl (up only) and of thcomp, for a disc of 0.3 keV, a fifth scattered."""
    seed, rows = disc(0.3), []
    for gamma in (1.7, 2.3, 3.0):
        simpl = library.call("simpl", [[gamma, 0.2, 1.0]], EDGES, seed.numpy())[0]
        for turnover in (100.0, 20.0, -100.0):
            row: dict[str, object] = {"Gamma": gamma, "kT_e": turnover}
            mine = convolve(seed, gamma, 0.2, turnover)
            row["over_simpl"] = at_energies(mine / simpl)
            if turnover > 0.0:
                thcomp = library.call("thcomp", [[gamma, turnover, 0.2, 0.0]], EDGES, seed.numpy())[0]
                row["over_thcomp"] = at_energies(mine / np.maximum(thcomp, 1e-300))
            rows.append(row)
    return rows


def towards_simpl() -> dict[str, float]:
    """Scattered photons of a line at 0.1 keV over those of simpl, as the turnover goes up (Gamma 2.3)."""
    seed = torch.zeros(4000, dtype=torch.float64)
    seed[int(np.searchsorted(EDGES, 0.1))] = 1.0
    bound = parse_model("simpl*powerlaw").on(torch.as_tensor(EDGES)).bound[0]
    simpl = bound(seed, tensor(2.3), tensor(1.0), 1.0).numpy()
    found = {}
    for turnover in (-10.0, -100.0, -1000.0, 10.0, 100.0, 1000.0):
        ratio = convolve(seed, 2.3, 1.0, turnover) / np.maximum(simpl, 1e-300)
        for energy in (1.0, 10.0):
            found[f"kT_e={turnover:g}, {energy:g} keV"] = float(f"{np.interp(energy, EDGES[1:], ratio):.4f}")
    return found


def cost(function: Callable[[], object], elements: int) -> float:
    """CPU time [ns] per bin and row, the best of 80."""
    function()
    times = []
    for _ in range(80):
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return float(f"{min(times) / elements * 1e9:.3g}")


def costs() -> dict[str, dict[str, float]]:
    """Cost of whole models, with and without the Jacobian, one thread, 15 rows of 4000 bins."""
    found = {}
    for text in ("TBabs*simpl*ezdiskbb", "TBabs*simplcutx*ezdiskbb", "TBabs*simplcutx*ezdiskbb, kT_e free"):
        model = parse_model(text.split(",")[0])
        model = model.thaw("simplcutx.kT_e") if "free" in text else model
        for dtype in (torch.float64, torch.float32):
            flux = model.on(torch.as_tensor(EDGES), dtype)
            theta = torch.tensor([[p.value for p in model.free]], dtype=dtype).expand(15, -1).contiguous()
            found[f"{text}, {str(dtype).removeprefix('torch.')}"] = {
                "value": cost(lambda flux=flux, theta=theta: flux(theta), 15 * 4000),
                "with_jacobian": cost(lambda flux=flux, theta=theta: flux_and_jacobian(flux, theta), 15 * 4000),
            }
    return found


def main() -> None:
    """Writes the results."""
    torch.set_num_threads(1)
    with torch.no_grad(), XspecLibrary() as library:
        result = {
            "command": "python benchmarks/check_simplcutx.py",
            "library": "LibXSPEC 6.35.1 (xspectrampoline 0.1.5)",
            "photons_lost": float(f"{conservation():.1g}"),
            "scattered_line_over_simpl": towards_simpl(),
            "disc_of_0.3_keV": against_neighbours(library),
            "cpu_ns_per_bin_and_row": costs(),
        }
    RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
