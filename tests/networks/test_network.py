"""A network says what it was made for, what it sees of a spectrum, and when that lies outside its training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from network_zoo import CALIBRATED, PAPER, toy_network, toy_recipe, whole_inputs, write_toy
from ogip_zoo import redistribution, toy_observation, write_rmf
from xrayflow.errors import DataError, MismatchError, ModelError, PriorError, RecipeError, XrayflowError
from xrayflow.models import parse_model
from xrayflow.networks import Network
from xrayflow.networks.network import prepare
from xrayflow.networks.nn.core import count_weights

TWO = toy_recipe(
    model={
        "expression": "TBabs*(powerlaw+bbodyrad)",
        "freeze": {"TBabs.nH": 0.2, "bbodyrad.kT": 1.0},
        "prior": ["powerlaw.norm=0.001:10"],
    }
)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Network:
    return toy_network(tmp_path_factory.mktemp("toy"))[0]


@pytest.fixture(scope="module")
def bigger(tmp_path_factory: pytest.TempPathFactory) -> Network:
    return prepare(TWO, write_toy(tmp_path_factory.mktemp("two")))[0]


def test_a_network_accepts_the_model_that_it_was_made_for(bigger: Network) -> None:
    bigger.refuse_model(parse_model("tbabs*(powerlaw+bbodyrad)").freeze({"TBabs.nH": 0.2, "bbodyrad.kT": 1.0}))


def test_a_network_says_what_differs_in_a_model(bigger: Network) -> None:
    free = parse_model("TBabs*(powerlaw+bbodyrad)")
    own = {"TBabs.nH": 0.2, "bbodyrad.kT": 1.0}
    for model, message in (
        (parse_model("powerlaw"), r"it was made for TBabs\*\(powerlaw\+bbodyrad\), not powerlaw"),
        (
            parse_model("TBabs*(powerlaw+bbodyrad)", "angr").freeze(own),
            r"it was made for .* \(abund wilm, xsect vern\), not .* \(abund angr, xsect vern\)",
        ),
        (free.freeze({"TBabs.nH": 0.2}), r"it was made with bbodyrad\.kT = 1, not free"),
        (free.freeze(own | {"TBabs.nH": 0.3}), r"it was made with TBabs\.nH = 0\.2, not = 0\.3"),
        (free.freeze(own | {"powerlaw.norm": 1.0}), r"it was made with powerlaw\.norm free, not = 1"),
        (
            free.freeze({"TBabs.nH": 0.2}).link({"bbodyrad.kT": "powerlaw.PhoIndex"}),
            r"it was made with bbodyrad\.kT = 1, not = powerlaw\.PhoIndex",
        ),
    ):
        with pytest.raises(MismatchError, match=message):
            bigger.refuse_model(model)
    with pytest.raises(
        MismatchError, match=r"it was made for .* \(abund wilm, xsect vern\), not .* \(abund wilm, xsect bcmc\)"
    ):
        bigger.refuse_model(replace(free.freeze(own), xsect="bcmc"))


def test_a_network_knows_its_sizes(network: Network) -> None:
    assert network.name == "toy"
    assert network.bins == 14
    assert network.weights == count_weights(network.core.encoder) + count_weights(network.core.flow)


def test_a_network_sees_the_noticed_channels_in_its_own_bins(network: Network, tmp_path: Path) -> None:
    observation = toy_observation(tmp_path, background=True, exposure=500.0)
    inputs = network.inputs(observation.bin(energies=[(1.0, 6.0)], grouping="min:20"), 0.01)
    counts = observation.pha.counts
    assert inputs.size == 1
    # bins of 4 channels of 0.1 keV from channel 4, of 10 from channel 40; notice keeps channels 11 .. 58
    assert float(inputs.counts[0, 3]) == counts[16:20].sum()
    assert float(inputs.counts[0, 9]) == counts[40:50].sum()
    assert inputs.noticed[0, 2:9].tolist() == [1.0] * 7
    assert inputs.noticed[0, -3:].tolist() == [0.0] * 3
    assert observation.background is not None
    assert float(inputs.background[0, 3]) == pytest.approx(observation.background.counts[16:20].sum() / 4.0)
    assert (float(inputs.exposure), float(inputs.systematic)) == (500.0, 0.01)
    assert float(inputs.area) == pytest.approx(1.0)


def test_negative_channels_are_no_counts(network: Network, tmp_path: Path) -> None:
    observation = toy_observation(tmp_path, exposure=500.0)
    for value in (-1e5, np.nan):
        counts = observation.pha.counts.copy()
        counts[20] = value
        spectrum = observation.bin(energies=[(1.0, 6.0)])
        broken = replace(spectrum, observation=replace(observation, pha=replace(observation.pha, counts=counts)))
        with pytest.raises(MismatchError, match="it takes counts, and some of the spectrum or its background are neg"):
            network.inputs(broken)


def test_another_detector_is_refused(network: Network, tmp_path: Path) -> None:
    observation = toy_observation(tmp_path, exposure=500.0)
    spectrum = observation.bin(energies=[(1.0, 6.0)])
    other = replace(observation.rmf, e_min=observation.rmf.e_min + 0.3, e_max=observation.rmf.e_max + 0.3)
    with pytest.raises(MismatchError, match=r"EBOUNDS has .* keV where the network's detector has"):
        network.inputs(replace(spectrum, observation=replace(observation, rmf=other)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, None),
        ({"exposure": [50.0]}, "exposure 50 s, trained on 100 .. 1000 s"),
        ({"exposure": [2000.0], "counts": [[900.0] * 14]}, "exposure 2000 s, trained on 100 .. 1000 s"),
        ({"exposure": [1005.0]}, None),
        ({"area": [0.1]}, "effective area 0.1 of the reference, trained on 0.3 .. 1"),
        ({"area": [1.2]}, "effective area 1.2 of the reference, trained on 0.3 .. 1"),
        ({"systematic": [0.05]}, "systematic 0.05, trained on up to 0.03"),
        ({"systematic": [0.02]}, None),
        ({"counts": [[1e5] * 14]}, "1.4e+04 counts/s above the background, trained on 1 .. 1000"),
        ({"counts": [[0.0] * 14]}, "0 counts/s above the background, trained on 1 .. 1000"),
        ({"background": [[300.0] * 14], "counts": [[900.0] * 14]}, "background 42 c/s, trained on 0.3 .. 10"),
        ({"noticed": [[0.0] * 14]}, "no bin of the network is noticed"),
        ({"noticed": [[1.0] * 5 + [0.0] + [1.0] * 8]}, "energies with a gap, trained without"),
        ({"noticed": [[1.0] * 5 + [0.75] + [1.0] * 8]}, None),
        ({"noticed": [[0.0] * 5 + [1.0] * 9]}, "energies 2.40-9.00 keV, trained on at least 1.00-5.00 keV"),
        ({"noticed": [[1.0] * 6 + [0.0] * 8]}, "energies 0.40-2.80 keV, trained on at least 1.00-5.00 keV"),
        ({"noticed": [[0.0] + [1.0] * 12 + [0.0]]}, None),
    ],
)
def test_a_network_says_in_what_a_spectrum_lies_outside_its_training(
    network: Network, changes: dict[str, Any], message: str | None
) -> None:
    inputs = whole_inputs([[90.0] * 14], **changes)
    assert network.outside(inputs) == ([] if message is None else [message])


@pytest.mark.parametrize(
    ("prior", "changes", "message"),
    [
        ({"without_systematic": 1.0}, {"systematic": [0.01]}, "systematic 0.01, trained on up to 0"),
        ({"without_background": 1.0}, {"background": [[5.0] * 14]}, None),
        ({"without_background": 1.0}, {"background": [[30.0] * 14]}, "a background of 33% of the counts, trained wit"),
        ({}, {"background": [[100.0] * 14]}, "-1.4 counts/s above the background, trained on 1 .. 1000"),
        ({"background_level": 0.1}, {"background": [[100.0] * 14]}, None),
        ({}, {"amplitude": [8.0]}, None),
        (CALIBRATED, {"amplitude": [2.0]}, None),
        (CALIBRATED, {"amplitude": [0.0]}, None),
        (CALIBRATED, {"amplitude": [4.0]}, "calibration amplitude 4, trained on up to 2"),
        (
            CALIBRATED | {"without_calibration": 1.0},
            {"amplitude": [1.0]},
            "calibration amplitude 1, trained on up to 0",
        ),
        ({"partial": 0.0}, {"noticed": [[0.0] + [1.0] * 12 + [0.0]]}, None),
        ({"partial": 0.0}, {"noticed": [[0.0] * 2 + [1.0] * 12]}, "energies 1.20-9.00 keV, trained on at least 0.80-8"),
    ],
)
def test_what_the_training_left_out_is_outside(
    tmp_path: Path, prior: dict[str, Any], changes: dict[str, Any], message: str | None
) -> None:
    network, _ = prepare(toy_recipe(training_prior=prior), write_toy(tmp_path))
    found = network.outside(whole_inputs([[90.0] * 14], **changes))
    assert len(found) == (message is not None)
    assert message is None or found[0].startswith(message)


def test_weights_follow_the_seed_and_leave_torchs_noise_alone(tmp_path: Path) -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    one, same, other = (prepare(toy_recipe(seed=seed), write_toy(tmp_path))[0].core for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    name = "encoder.first.weight"
    assert torch.equal(one.state_dict()[name], same.state_dict()[name])
    assert not torch.equal(one.state_dict()[name], other.state_dict()[name])


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"model": {"expression": "powerlw"}}, ModelError, "powerlw"),
        ({"model": {"freeze": {"powerlaw.Phondex": 2.0}}}, ModelError, "powerlaw.Phondex"),
        ({"model": {"prior": ["powerlaw.kT=1:2"]}}, PriorError, "powerlaw.kT"),
        ({"instrument": {"rmf": "none.rmf"}}, XrayflowError, r"none\.rmf"),
        ({"instrument": {"arf": "none"}}, RecipeError, r"^toy: instrument\.arf is 'none', and toy\.rmf holds no area;"),
        ({"layout": {"starts": [0, 400]}}, DataError, r"layout: starts \(0, 400\) of channels 0-119"),
        ({"layout": {"starts": [0]}}, DataError, r"layout: widths \(4, 10\); give one for each of the 1 starts"),
        (
            {"training_prior": {"calibration": "nicer-v2"}},
            RecipeError,
            r"^toy: training_prior\.calibration: .*modes:nicer-v2: no such set of modes; did you mean 'nicer-v1'",
        ),
        (
            {"training_prior": {"calibration": "own.safetensors"}},
            RecipeError,
            r"^toy: training_prior\.calibration: .+/own\.safetensors: cannot be read: No such file",
        ),
        ({"model": {"expression": "(" * 10_000}}, ModelError, "more than 30 brackets within each other"),
        (
            {"network": PAPER | {"convolutions": [[9, 9, 4], [2, 1, 4]]}},
            RecipeError,
            "network.convolutions: number 2 is 2 wide, and 1 bins are left; give fewer",
        ),
    ],
)
def test_a_recipe_whose_parts_do_not_exist_is_one_line(
    tmp_path: Path, changes: dict[str, Any], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message) as found:
        prepare(toy_recipe(**changes), write_toy(tmp_path))
    assert len(str(found.value).splitlines()) == 1


def test_an_area_inside_the_matrix_needs_no_arf(tmp_path: Path) -> None:
    write_toy(tmp_path)
    write_rmf(tmp_path / "full.rmf", matrix=300.0 * redistribution(), hduclas3="FULL")
    network, simulator = prepare(toy_recipe(instrument={"rmf": "full.rmf", "arf": "none"}), tmp_path)
    assert network.response.arf_sha256 == ""
    assert simulator.bins == network.bins == 14
