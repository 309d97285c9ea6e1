"""What a local flow alone is worth: importance efficiency of its draws from the modes, by decade of counts, beside
Laplace's mixture of the same modes and the whole first proposal of an answer.

    OMP_NUM_THREADS=1 python benchmarks/local_flows.py NETWORK... [--plain 160] [--behind 80] [--seed 7001] [--out FILE]

All networks see the same spectra (`simulated_set.py`: the first part without a background, the second with one that is
integrated over) and the same modes, found without any network. 1000 draws of each proposal; 3 % of a local flow's share
goes to Laplace's mixture. The first generation's weights are in the history of `src/xrayflow/data`. Writes
benchmarks/results/local-flows.json.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from provenance import provenance
from simulated_set import simulated_set
from xrayflow.errors import XrayflowWarning
from xrayflow.fitting import Modes
from xrayflow.inference import find_network
from xrayflow.inference.proposals.draws import WeightedDraws
from xrayflow.inference.proposals.foot import guided_from_modes
from xrayflow.inference.proposals.laplace import laplace_mixture
from xrayflow.inference.proposals.mixture import Components, Proposal
from xrayflow.inference.rungs.first import find_modes, first_proposal
from xrayflow.inference.weights import effective_sample_size
from xrayflow.networks import Network, load_network
from xrayflow.problem import Problem

HERE = Path(__file__).resolve().parent
MODEL = "TBabs*simpl*ezdiskbb"
DRAWS, TOGETHER = 1000, 20
REST = 0.03
"""Of Laplace's mixture beside a local flow."""


def efficiency(problem: Problem, proposal: Proposal, seed: int) -> tuple[list[float], float]:
    """Of each source, and microseconds per draw with its weight."""
    started = time.process_time()
    v = proposal.sample(DRAWS, problem.generators(seed))
    drawn = WeightedDraws.of(proposal, v, problem.log_target(v))
    spent = time.process_time() - started
    found: list[float] = (effective_sample_size(drawn.log_weight) / DRAWS).tolist()
    return found, 1e6 * spent / (DRAWS * problem.sources)


def local_alone(problem: Problem, modes: Modes, network: Network) -> Proposal:
    """What a network's local flow sees from the modes, and nearly nothing else."""
    said = find_network(network, problem, problem.data.sets[0].spectra).posterior
    if said is None:
        raise TypeError("the network says nothing of these spectra")
    parts = []
    for guided in guided_from_modes(problem, modes, said):
        if guided is None or not guided.local:
            parts.append(Components.none())
        else:
            shares = [(1.0 - REST) * share for share in guided.shares]
            parts.append(Components.of(guided.local, [0.0] * len(shares), shares))
    return Proposal(laplace_mixture(modes), tuple(parts))


def rows_of(whole: Problem, chosen: torch.Tensor, networks: list[Network], behind: bool) -> list[dict[str, Any]]:
    """Of some spectra."""
    problem = whole.select(chosen)
    modes, corrected = find_modes(problem, 32, problem.generators(0), None)
    plain = Proposal(laplace_mixture(modes), tuple(Components.none() for _ in range(problem.sources)))
    facts = corrected.data.facts
    rows: list[dict[str, Any]] = [
        {"counts": float(counts), "background": behind, "systematic": float(systematic), "modes": int(one.numel())}
        for counts, systematic, one in zip(facts.counts, facts.systematic, modes.distinct(), strict=True)
    ]
    proposals = {"laplace": (corrected, plain)}
    for network in networks:
        said = find_network(network, problem, problem.data.sets[0].spectra).posterior
        first, _, there = first_proposal(corrected, modes, said)
        proposals[f"{network.source} local"] = corrected, local_alone(corrected, modes, network)
        proposals[f"{network.source} first"] = there, first
    for name, (of, proposal) in proposals.items():
        found, price = efficiency(of, proposal, 1)
        for row, value in zip(rows, found, strict=True):
            row[name], row[f"{name} us"] = value, price
    return rows


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Quantiles by background, decade and proposal."""
    names = [name for name in rows[0] if f"{name} us" in rows[0]]
    found: dict[str, Any] = {}
    for behind in (False, True):
        own = [row for row in rows if row["background"] == behind]
        groups = {"all": own} | {
            f"1e{decade}": [row for row in own if int(np.log10(max(row["counts"], 1.0))) == decade]
            for decade in range(9)
        }
        for label, some in groups.items():
            if some:
                found[f"{'behind' if behind else 'plain'} {label}"] = {
                    "spectra": len(some),
                    **{
                        name: np.quantile([row[name] for row in some], [0.1, 0.25, 0.5, 0.75]).tolist()
                        for name in names
                    },
                }
    found["microseconds"] = {name: float(np.mean([row[f"{name} us"] for row in rows])) for name in names}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="+")
    parser.add_argument("--plain", type=int, default=160)
    parser.add_argument("--behind", type=int, default=80)
    parser.add_argument("--seed", type=int, default=7001)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "local-flows.json")
    options = parser.parse_args()
    warnings.simplefilter("ignore", XrayflowWarning)
    networks = [load_network(name) for name in options.networks]
    rows: list[dict[str, Any]] = []
    for behind, count in ((False, options.plain), (True, options.behind)):
        if count == 0:
            continue
        whole = simulated_set(networks[0].training_prior, MODEL, count, options.seed + behind, background=behind)
        for first in range(0, count, TOGETHER):
            chosen = torch.arange(first, min(first + TOGETHER, count))
            rows += rows_of(whole.problem, chosen, networks, behind)
            print(len(rows), json.dumps({k: v for k, v in summary(rows).items() if "all" in k}), flush=True)
    names = {network.source: Path(network.source).name for network in networks}
    text = json.dumps({"summary": summary(rows), "rows": rows})
    for source, name in names.items():
        text = text.replace(source, name)
    settings = {"plain": options.plain, "behind": options.behind, "seed": options.seed}
    options.out.write_text(
        json.dumps({**provenance(__file__), "settings": settings, **json.loads(text)}, indent=1) + "\n"
    )


if __name__ == "__main__":
    main()
