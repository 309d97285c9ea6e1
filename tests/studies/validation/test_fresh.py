"""Fresh spectra: as many in each decade as asked for, chosen by their counts, the same from the same seed."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch

from network_zoo import WHOLE, toy_network, toy_recipe
from xrayflow.networks import Network, read_response
from xrayflow.ogip import ARF, RMF
from xrayflow.studies.validation.fresh import MODELLED, NONE, FreshSpectra, decade_of, fresh_spectra

Toy = tuple[Network, tuple[RMF, ARF | None]]


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    folder = tmp_path_factory.mktemp("fresh")
    network, _ = toy_network(folder, toy_recipe(training_prior=WHOLE))
    return network, read_response(network, folder / "toy.rmf", folder / "toy.arf")


def fresh(toy: Toy, background: str = NONE, systematic: float = 0.0, seed: int = 0) -> FreshSpectra:
    return fresh_spectra(*toy, background, systematic, 3, seed)


@pytest.mark.parametrize("background", [NONE, MODELLED])
def test_every_decade_that_there_is_has_its_number(toy: Toy, background: str) -> None:
    found = fresh(toy, background)
    by_decade = Counter(found.decade.tolist())
    assert {by_decade[decade] for decade in (2, 3, 4, 5)} == {3}
    assert max(by_decade.values()) == 3
    assert set(by_decade) <= {1, 2, 3, 4, 5, 6}  # 1 .. 1000 counts/s, 100 .. 1000 s
    assert torch.equal(found.decade, decade_of(found.counts))
    assert all((one.background is not None) == (background == MODELLED) for one in found.observations)
    seen = [float(found.setup.bin(one).counts.sum()) for one in found.observations]
    assert seen == found.counts.tolist()


def test_the_last_decade_has_no_end_and_few_counts_are_in_none() -> None:
    assert decade_of(torch.tensor([0.0, 9.0, 10.0, 99.0, 1e8, 1e11])).tolist() == [0, 0, 1, 1, 8, 8]


def test_a_seed_decides_everything(toy: Toy) -> None:
    one, same, other = fresh(toy), fresh(toy), fresh(toy, seed=1)
    assert torch.equal(one.theta, same.theta)
    assert [each.pha.sha256 for each in one.observations] == [each.pha.sha256 for each in same.observations]
    assert not torch.equal(one.theta, other.theta)


def test_the_setup_has_the_systematic_error_and_the_networks_box(toy: Toy) -> None:
    found = fresh(toy, systematic=0.012)
    assert found.setup.believed.fraction == 0.012
    assert found.setup.model_and_prior()[1] == toy[0].training_prior.prior


def test_a_response_that_is_not_the_networks_is_refused(toy: Toy, tmp_path: Path) -> None:
    from xrayflow.errors import MismatchError

    with pytest.raises(MismatchError, match=r"trained with toy\.rmf; give that with --rmf"):
        read_response(toy[0], None, None)
    from ogip_zoo import write_rmf

    write_rmf(tmp_path / "toy.rmf")
    with pytest.raises(MismatchError, match="trained with another response"):
        read_response(toy[0], tmp_path / "toy.rmf", None)
