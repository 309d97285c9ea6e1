"""A network starts an answer, or stands aside and says why; alone it answers only what it was trained for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from fit_zoo import observation
from network_zoo import CALIBRATED, WHOLE, toy_network, toy_recipe
from ogip_zoo import toy_observation
from xrayflow import write_products
from xrayflow.data import bundled_arf, bundled_pha, bundled_rmf
from xrayflow.errors import NetworkError
from xrayflow.inference import Posterior, infer
from xrayflow.inference.proposals.network import NetworkProposal, find_network
from xrayflow.models import parse_model
from xrayflow.networks import load_network, read_header, save_network, shipped_networks
from xrayflow.ogip import Observation, read_observation
from xrayflow.products import verify
from xrayflow.setup import FitSetup, build_problem
from xrayflow.simulate import simulate

MODEL = "TBabs*simpl*ezdiskbb"
TRUTH = {
    "TBabs.nH": 0.3,
    "simpl.Gamma": 2.2,
    "simpl.FracSctr": 0.1,
    "ezdiskbb.T_max": 0.6,
    "ezdiskbb.norm": 300.0,
}


@pytest.fixture(scope="module")
def observe() -> Callable[[float], Observation]:
    """A simulated NICER spectrum of so many seconds."""
    template = read_observation(bundled_pha(), bundled_rmf(), bundled_arf(), "none")

    def made(exposure: float) -> Observation:
        return simulate(template, parse_model(MODEL), TRUTH, exposure, seed=5)

    return made


@pytest.fixture(scope="module")
def guided(observe: Callable[[float], Observation]) -> Posterior:
    return infer(observe(100.0), systematic=0.0, ess=400)


def said_of(observation: Observation, network: object = None, **words: object) -> NetworkProposal:
    setup = FitSetup(**words)  # type: ignore[arg-type]
    problem = build_problem([observation], setup)
    return find_network(network, problem, [setup.bin(observation)])  # type: ignore[arg-type]


def test_the_shipped_network_starts_the_answer_by_itself(guided: Posterior) -> None:
    assert guided.network == "nicer-bhb"
    assert guided.mode == "exact"
    assert guided.provenance.notes == ()
    assert guided.computation.status == "certified"
    assert guided.summary()["network"] == "nicer-bhb"


def test_the_answer_is_the_same_with_and_without_it(guided: Posterior, observe: Callable[[float], Observation]) -> None:
    without = infer(observe(100.0), systematic=0.0, network="none", ess=400)
    assert without.network is None
    assert without.computation.status == "certified"
    assert abs(without.log_evidence - guided.log_evidence) < 5 * np.hypot(
        without.log_evidence_error, guided.log_evidence_error
    )
    low, middle, high = without.quantile([0.16, 0.5, 0.84])
    logs = np.log(guided.quantile(0.5)), np.log(middle)
    assert (np.abs(logs[0] - logs[1]) < 0.35 * 0.5 * np.log(high / low)).all()


def test_the_same_seed_gives_the_same_answer(guided: Posterior, observe: Callable[[float], Observation]) -> None:
    again = infer(observe(100.0), systematic=0.0, ess=400)
    assert np.array_equal(again.draws, guided.draws)
    assert np.array_equal(again.log_weight, guided.log_weight)


def test_outside_the_training_it_stands_aside_and_the_flag_says_so(observe: Callable[[float], Observation]) -> None:
    answer = infer(observe(0.25))
    assert answer.network is None
    assert "outside_training" in answer.flags
    assert any("exposure 0.25 s, trained on 50 .. 50000 s" in reason for reason in answer.reasons)
    assert answer.computation.status in ("certified", "approximate")


def test_a_network_is_told_at_which_amplitude_modes_are_believed(observe: Callable[[float], Observation]) -> None:
    said = (0.0, "modes:nicer-v1:2", "modes:nicer-v1:8")
    plain, modes, beyond = (said_of(observe(100.0), systematic=one) for one in said)
    assert plain.name(0) == modes.name(0) == "nicer-bhb"
    assert plain.posterior is not None
    assert modes.posterior is not None
    amplitudes = [one.posterior.inputs[0].amplitude.tolist() for one in (plain, modes)]  # type: ignore[union-attr]
    assert amplitudes == [[0.0], [2.0]]
    assert not torch.equal(plain.posterior.context, modes.posterior.context)
    assert beyond.name(0) is None
    assert "calibration amplitude 8, trained on up to 4" in beyond.notes[0]


def test_modes_of_the_response_widen_what_it_says_alone(observe: Callable[[float], Observation]) -> None:
    plain, modes = (said_of(observe(100.0), systematic=one) for one in (0.0, "modes:nicer-v1:4"))
    widths = [
        one.posterior.sample(2000, [torch.Generator().manual_seed(1)])[0].std(0)  # type: ignore[union-attr]
        for one in (plain, modes)
    ]
    assert bool((widths[1] > widths[0]).all())


def test_another_instrument_gets_no_network_and_the_reason(tmp_path: Path) -> None:
    found = said_of(toy_observation(tmp_path, exposure=100.0, seed=1), energies=[(1.0, 6.0)])
    assert found.name(0) is None
    assert "channels, the network's detector has 1501" in found.notes[0]
    assert found.outside == (False,)


def test_a_frozen_parameter_gets_no_network_and_the_reason(observe: Callable[[float], Observation]) -> None:
    found = said_of(observe(100.0), freeze={"TBabs.nH": 0.3})
    assert found.posterior is None
    assert "it was made with TBabs.nH free" in found.notes[0]


def test_another_model_gets_no_network_and_no_note(observe: Callable[[float], Observation]) -> None:
    found = said_of(observe(100.0), model="TBabs*powerlaw")
    assert found.posterior is None
    assert found.notes == ("",)


def test_a_named_network_of_another_model_is_refused(observe: Callable[[float], Observation]) -> None:
    with pytest.raises(NetworkError, match=r"nicer-bhb: it was made for .*simpl.*; use --network none, or train one"):
        said_of(observe(100.0), "nicer-bhb", model="TBabs*powerlaw")


def test_an_unknown_network_offers_the_nearest(observe: Callable[[float], Observation]) -> None:
    with pytest.raises(NetworkError, match="no network 'nicer-bbh'; did you mean 'nicer-bhb'"):
        infer(observe(100.0), systematic=0.0, network="nicer-bbh")


def test_data_with_gaussian_errors_get_no_network(observe: Callable[[float], Observation]) -> None:
    found = said_of(observe(1000.0), grouping="min:20", statistic="chi2")
    assert found.posterior is None
    assert "Gaussian errors" in found.notes[0]


def test_a_gap_in_the_energies_is_outside_the_training(observe: Callable[[float], Observation]) -> None:
    found = said_of(observe(100.0), energies=[(0.3, 1.5), (2.3, 10.0)])
    assert found.outside == (True,)
    assert "energies with a gap" in found.notes[0]


def test_alone_it_answers_without_weights(observe: Callable[[float], Observation], guided: Posterior) -> None:
    alone = infer(observe(100.0), systematic=0.0, amortised=True, draws=2000)
    assert alone.mode == "amortised"
    assert alone.network == "nicer-bhb"
    assert alone.computation.status == "approximate"
    assert any("alone, not weighted" in reason for reason in alone.reasons)
    assert np.isnan(alone.log_evidence)
    assert (alone.log_weight == 0).all()
    assert alone.weighing.evaluations["draws"] <= 250
    low, middle, high = guided.quantile([0.16, 0.5, 0.84])
    off = np.abs(np.log(alone.quantile(0.5)) - np.log(middle)) / (0.5 * np.log(high / low))
    assert (off < 2.0).all(), off


def test_alone_it_refuses_what_it_was_not_trained_for(observe: Callable[[float], Observation]) -> None:
    with pytest.raises(NetworkError, match=r"cannot answer alone: exposure 0\.25 s.*; leave --amortised out"):
        infer(observe(0.25), amortised=True)


def test_alone_it_refuses_a_model_without_a_network(observe: Callable[[float], Observation]) -> None:
    with pytest.raises(NetworkError, match=r"--amortised: no shipped network was made for .*powerlaw"):
        infer(observe(100.0), "TBabs*powerlaw", systematic=0.0, amortised=True)


def test_a_prior_that_excludes_its_draws_stops_it_alone(observe: Callable[[float], Observation]) -> None:
    with pytest.raises(NetworkError, match="of its draws lie outside the prior's box"):
        infer(observe(100.0), systematic=0.0, prior=["TBabs.nH=10:75"], amortised=True)


def test_alone_it_answers_with_the_calibration_modes_that_it_was_trained_with(tmp_path: Path) -> None:
    """The amplitude is drawn as the best fit has it, and the answer is what its files give."""
    network, _ = toy_network(tmp_path, toy_recipe(training_prior={**WHOLE, **CALIBRATED}))
    given = toy_observation(tmp_path, exposure=300.0)
    box = list(network.recipe.model.prior)
    words = {"prior": box, "energies": [(0.5, 8.5)], "network": network, "amortised": True}
    answer = infer(given, "powerlaw", systematic="modes:nicer-v1:1.5", **words)  # type: ignore[arg-type]
    assert answer.names == ("powerlaw.PhoIndex", "powerlaw.norm", "calibration.lnA")
    assert answer.likelihood.asked == "modes:nicer-v1:1.5"
    assert 0.1 < answer.draws[:, 2].std() < 0.6
    assert answer.deviance.value < 1.5 * answer.deviance.dof  # at the mode, wherever the draws of random weights are
    write_products(answer, tmp_path / "answer")
    assert verify(tmp_path / "answer").right
    with pytest.raises(
        NetworkError, match=r"network toy knows no calibration modes generic-v1; .* --systematic 0 or modes:nicer-v1$"
    ):
        infer(given, "powerlaw", systematic="modes:generic-v1", **words)  # type: ignore[arg-type]
    without, _ = toy_network(tmp_path, toy_recipe(training_prior=WHOLE))
    with pytest.raises(
        NetworkError, match=r"knows no calibration modes nicer-v1; leave --amortised out, or give --sys"
    ):
        infer(given, "powerlaw", systematic="modes:nicer-v1", **words | {"network": without})  # type: ignore[arg-type]
    assert infer(given, "powerlaw", **words | {"network": without}).likelihood.calibration is None  # type: ignore[arg-type]


@pytest.mark.parametrize("error", [0.0, 0.3])
def test_alone_it_integrates_over_a_background_where_it_has_learned_to(tmp_path: Path, error: float) -> None:
    network, _ = toy_network(tmp_path, toy_recipe(training_prior={**WHOLE, "background_error": error}))
    given = observation(tmp_path, "errors", exposure=300.0)
    box = list(network.recipe.model.prior)
    answer = infer(given, "powerlaw", box, energies=[(0.5, 8.5)], network=network, amortised=True)
    assert answer.likelihood.background.kind == ("marginalised" if error else "known")
    assert answer.names[2:] == (("background.lnA",) if error else ())
    assert all(0.01 < column.std() < 0.5 for column in answer.draws[:, 2:].T)


def test_a_narrower_prior_is_answered_with_the_network(observe: Callable[[float], Observation]) -> None:
    answer = infer(observe(100.0), systematic=0.0, prior=["TBabs.nH=0.28:0.31", "simpl.Gamma~N(2.2,0.1)"])
    assert answer.network == "nicer-bhb"
    assert answer.computation.status == "certified"
    assert 0.28 <= answer.draws[:, 0].min() <= answer.draws[:, 0].max() <= 0.31


def test_a_network_from_a_file_is_used(observe: Callable[[float], Observation], tmp_path: Path) -> None:
    path = save_network(load_network("nicer-bhb"), tmp_path / "mine.safetensors")
    assert said_of(observe(100.0), str(path)).name(0) == "nicer-bhb"


def test_shipped_networks_load_and_name_what_they_were_made_for() -> None:
    for name, path in shipped_networks().items():
        network = load_network(name)
        assert network.name == name
        assert path.stat().st_size < 5_000_000
        assert read_header(path)["recipe"]["name"] == name
        assert set(network.versions) >= {"xrayflow", "torch", "zuko"}


def test_a_batch_keeps_each_source_to_itself(observe: Callable[[float], Observation]) -> None:
    inside, outside = observe(100.0), observe(0.25)
    setup = FitSetup(systematic=0.0)
    found = find_network(None, build_problem([inside, outside], setup), [setup.bin(one) for one in (inside, outside)])
    assert found.name(0) == "nicer-bhb"
    assert found.name(1) is None
    assert found.outside == (False, True)
