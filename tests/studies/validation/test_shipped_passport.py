"""The passports that ship with `nicer-bhb` and `nicer-bhb-cutoff` are of their weights, and are still true.

Fresh spectra, of a seed that the passport does not have, are compared with its rows by the test of Kolmogorov and
Smirnov for two samples, which needs no right calibration. Each of a network's two comparisons fails by chance once in
10 000 seeds, or after a change that moves what the network says or makes its proposals worse.
"""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import stats

from xrayflow.inference import Posterior, infer_batch
from xrayflow.networks import Network, load_network, read_header, read_response, shipped_networks
from xrayflow.studies.validation import PassportConfig, check_network
from xrayflow.studies.validation.fresh import NONE, fresh_spectra

NAMES = "nicer-bhb", "nicer-bhb-cutoff"
FALSE_ALARM = 1e-4
SEED = 1


@pytest.fixture(scope="module", params=NAMES)
def network(request: pytest.FixtureRequest) -> Network:
    return load_network(request.param)


@pytest.fixture(scope="module")
def passport(network: Network) -> dict:  # type: ignore[type-arg]
    path = shipped_networks()[network.name]
    found = json.loads(path.with_name(f"{network.name}.passport.json").read_text())
    assert len({found["seed"], network.recipe.seed, SEED}) == 3
    return found  # type: ignore[no-any-return]


def test_it_is_of_the_weights_that_ship(passport: dict, network: Network) -> None:  # type: ignore[type-arg]
    path = shipped_networks()[network.name]
    assert passport["weights_sha256"] == read_header(path)["sha256"]
    assert passport["network"] == network.name
    assert path.with_name(f"{network.name}.passport.png").read_bytes().startswith(b"\x89PNG")


def test_what_it_says_of_itself_holds(passport: dict) -> None:  # type: ignore[type-arg]
    rows, exact = passport["rows"], passport["exact"]
    assert len(rows) == passport["spectra"] >= 64
    assert max(exact["coverage_off_by"].values()) < exact["coverage_limit"]
    assert exact["tarp_off_by"] < exact["tarp_limit"]
    assert passport["all"]["certified"] == pytest.approx(np.mean([row["certified"] for row in rows]))


def test_the_network_alone_still_says_the_same(passport: dict, network: Network) -> None:  # type: ignore[type-arg]
    again = check_network(network, PassportConfig(spectra=128, draws=400, seed=SEED, exact=False))
    before = np.array([row["rank_alone"] for row in passport["rows"] if row["rank_alone"] is not None])
    now = np.array([row["rank_alone"] for row in again.rows if row["rank_alone"] is not None])
    for place in range(now.shape[1]):
        assert stats.ks_2samp(before[:, place], now[:, place]).pvalue > FALSE_ALARM / now.shape[1]


def test_as_much_of_the_draws_counts_as_before(passport: dict, network: Network) -> None:  # type: ignore[type-arg]
    fresh = fresh_spectra(network, read_response(network, None, None), NONE, 0.0, 1, SEED)
    answers = infer_batch(fresh.observations, fresh.setup, network, seed=SEED, on_error="row")
    now = [one.ess / one.draws.shape[0] for one in answers if isinstance(one, Posterior)]
    assert len(now) == fresh.sources == 8
    own = [row for row in passport["rows"] if (row["background"], row["systematic"]) == (NONE, 0.0)]
    before = [row["final_efficiency"] for row in own]
    assert stats.ks_2samp(now, before, alternative="greater").pvalue > FALSE_ALARM  # now lower
