"""How long draws take: our inverse of the paper's flow, zuko's own inverse of it, and our flow.

    OMP_NUM_THREADS=1 python benchmarks/drawing.py

The shipped networks' flows (`nicer-bhb-paper`, autoregressive; `nicer-bhb`, coupling) draw for one spectrum, and one
draw each for 2000, from contexts at random. The ways take turns in one process; what counts is the ratio of their
medians of CPU time over zuko's. `difference` is the largest between ours and zuko's draws of the same numbers.

`archive`: 2160 spectra, as many as the paper's table has, from their counts in memory to 1000 draws of each, on one
core: encoded all, drawn from a part (`TIMED`), extrapolated.

Writes benchmarks/results/drawing.json.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from amortised import TOGETHER, fresh
from provenance import provenance
from xrayflow.networks import Network, load_network
from xrayflow.networks.nn.autoregressive import Autoregressive
from xrayflow.studies.validation.network_draws import base_noise, draws_from

RESULTS = Path(__file__).resolve().parent / "results" / "drawing.json"
SHAPES = ((1, 20), (1, 1000), (2000, 1))
"""(spectra, draws of each)."""
REPEATS = 9
RIVAL = "zuko's inverse"
ARCHIVE, THOUSAND, TIMED = 2160, 1000, 120


def archive_seconds(network: Network) -> dict[str, float]:
    """CPU seconds of an archive: the encoding, and a thousand draws of each spectrum."""
    inputs = fresh(network, ARCHIVE + TOGETHER, seed=1)[0].select(torch.arange(ARCHIVE))
    base = base_noise(TIMED, THOUSAND, len(network.model.names), seed=1)
    with torch.no_grad():
        started = time.process_time()
        network.core.context(inputs)
        encoded = time.process_time() - started
    each = []
    for _ in range(3):
        started = time.process_time()
        draws_from(network, inputs.select(torch.arange(TIMED)), base)
        each.append(time.process_time() - started)
    drawn = float(np.median(each)) * inputs.size / TIMED
    return {"spectra": inputs.size, "encoded": round(encoded, 3), "drawn": round(drawn, 2)}


def main() -> None:
    """Measure and write."""
    torch.set_num_threads(1)
    networks = [load_network(name) for name in ("nicer-bhb-paper", "nicer-bhb")]
    paper, coupling = (network.core.flow for network in networks)
    if not isinstance(paper, Autoregressive):
        raise TypeError("the paper's flow is autoregressive")
    zuko = paper.flow
    generator = torch.Generator().manual_seed(1)
    document: dict[str, Any] = {**provenance(__file__), "repeats": REPEATS, "shapes": []}
    for spectra, draws in SHAPES:
        base = torch.randn((spectra, draws, 5), generator=generator)
        sizes = [network.recipe.network.context for network in networks]
        context, other = (torch.randn((spectra, size), generator=generator) for size in sizes)

        def ours(base: Tensor = base, context: Tensor = context) -> Tensor:
            return paper.draw(base, context)

        def zukos(base: Tensor = base, context: Tensor = context) -> Tensor:
            return zuko(context[:, None, :]).transform.inv(base)

        def own(base: Tensor = base, context: Tensor = other) -> Tensor:
            return coupling.draw(base, context)

        ways: dict[str, Callable[[], Tensor]] = {RIVAL: zukos, "ours of it": ours, "our flow": own}
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        with torch.no_grad():
            difference = float((ours() - zukos()).abs().max())
            for _ in range(REPEATS):
                for name, way in ways.items():
                    started = time.process_time()
                    way()
                    seconds[name].append(time.process_time() - started)
        medians = {name: float(np.median(took)) for name, took in seconds.items()}
        document["shapes"].append(
            {
                "spectra": spectra,
                "draws": draws,
                "cpu_seconds": {name: float(f"{value:.3g}") for name, value in medians.items()},
                "over_zukos": {name: float(f"{value / medians[RIVAL]:.3g}") for name, value in medians.items()},
                "difference": difference,
            }
        )
    document["archive"] = {network.name: archive_seconds(network) for network in networks}
    RESULTS.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
