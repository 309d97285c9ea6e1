"""Training spectra: anew for every batch, from a fixed set, or from a library on disk that must be the recipe's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

import xrayflow.networks.training.library as room
import xrayflow.networks.training.loop as training
from network_zoo import CALIBRATED, PAPER, toy_network, toy_recipe, trained, write_toy
from xrayflow.errors import NetworkError, TrainingError
from xrayflow.networks import Recipe
from xrayflow.networks.network import prepare
from xrayflow.networks.nn.coordinates import Coordinates, Probit, Standardised
from xrayflow.networks.training.library import read_library
from xrayflow.networks.training.spectra import library_spectra, simulated_spectra
from xrayflow.seeds import generator_for
from xrayflow.simulate import Simulator
from xrayflow.simulate.library import write_library

ROWS = 200


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Simulator:
    return toy_network(tmp_path_factory.mktemp("toy"))[1]


@pytest.fixture
def library(simulator: Simulator, tmp_path: Path) -> Path:
    return write_library(tmp_path / "library.safetensors", simulator, ROWS, seed=3)


def probit(simulator: Simulator) -> Coordinates:
    return Probit(simulator.training_prior.prior)


def changed(path: Path, header: dict[str, Any] | None = None, **tensors: Tensor | None) -> Path:
    """The library with other tensors or words in its header; a tensor that is None is left out."""
    with safe_open(str(path), framework="pt") as file:
        title = json.loads(file.metadata()["xrayflow"]) | (header or {})
        own = {name: file.get_tensor(name) for name in file.keys()} | tensors  # noqa: SIM118
    kept = {name: tensor.contiguous() for name, tensor in own.items() if tensor is not None}
    save_file(kept, path, metadata={"xrayflow": json.dumps(title)})
    return path


def test_batches_that_are_made_anew_follow_the_generator(simulator: Simulator) -> None:
    recipe = toy_recipe({"steps": 2, "batch": 8})
    spectra, stage = simulated_spectra(recipe, simulator), recipe.stage[0]
    one, same, other = (list(spectra.batches(stage, generator_for(0, name))) for name in ("a", "a", "b"))
    assert spectra.fixed is None
    assert [theta.shape for _, theta in one] == [(8, 2), (8, 2)]
    assert torch.equal(one[1][1], same[1][1])
    assert not torch.equal(one[0][1], one[1][1])
    assert not torch.equal(one[0][1], other[0][1])


def test_an_epoch_of_a_fixed_set_has_every_spectrum_once_in_a_new_order(simulator: Simulator) -> None:
    recipe = toy_recipe({"steps": None, "batch": 25}, data={"spectra": 100})
    spectra, stage = simulated_spectra(recipe, simulator), recipe.stage[0]
    assert spectra.fixed is not None
    assert spectra.steps(stage) == 4
    first, second = (
        torch.cat([theta for _, theta in spectra.batches(stage, generator_for(0, name))]) for name in ("a", "b")
    )
    whole = spectra.fixed[1]
    assert not torch.equal(first, second)
    for seen in (first, second):
        assert torch.equal(seen[seen[:, 0].argsort()], whole[whole[:, 0].argsort()])


def test_a_fixed_set_smaller_than_a_batch_fills_it(simulator: Simulator) -> None:
    recipe = toy_recipe({"steps": None, "batch": 32}, data={"spectra": 10})
    ((inputs, _),) = simulated_spectra(recipe, simulator).batches(recipe.stage[0], generator_for(0, "a"))
    assert inputs.size == 32


def test_the_validation_set_is_apart_and_always_the_same(simulator: Simulator) -> None:
    recipe = toy_recipe(data={"spectra": 100, "validation": 30})
    one, again = (simulated_spectra(recipe, simulator) for _ in range(2))
    assert one.fixed is not None
    assert one.held[0].size == 30
    assert torch.equal(one.held[1], again.held[1])
    assert not bool(torch.isin(one.held[1][:, 0], one.fixed[1][:, 0]).any())


def test_spectra_without_noise_are_the_expected_ones_of_at_least_a_count(simulator: Simulator) -> None:
    quiet = simulated_spectra(toy_recipe(data={"noise": False, "validation": 40}), simulator).held
    noisy = simulated_spectra(toy_recipe(data={"validation": 40}), simulator).held
    assert torch.equal(quiet[1], noisy[1])
    assert float(quiet[0].counts.min()) >= 1.0
    assert not bool((quiet[0].counts == quiet[0].counts.round()).all())
    assert bool((noisy[0].counts == noisy[0].counts.round()).all())


def test_a_library_is_read_as_it_was_simulated(simulator: Simulator, library: Path) -> None:
    inputs, theta, _ = read_library(library, simulator, probit(simulator))
    drawn = simulator.sample(ROWS, torch.Generator().manual_seed(3))
    assert torch.equal(theta, drawn.theta)
    assert torch.equal(inputs.counts, drawn.counts)
    torch.testing.assert_close(inputs.background, drawn.background, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(inputs.noticed, drawn.noticed, rtol=1e-6, atol=1e-6)
    for name in ("exposure", "area", "systematic"):
        assert torch.equal(getattr(inputs, name), getattr(drawn, name))


def test_a_library_keeps_amplitudes_where_there_are_any(simulator: Simulator, library: Path, tmp_path: Path) -> None:
    with safe_open(str(library), framework="pt") as file:
        assert "amplitude" not in file.keys()  # noqa: SIM118
    assert float(read_library(library, simulator, probit(simulator))[0].amplitude.abs().max()) == 0.0
    _, calibrated = toy_network(tmp_path, toy_recipe(training_prior=CALIBRATED))
    path = write_library(tmp_path / "off.safetensors", calibrated, ROWS, seed=3)
    drawn = calibrated.sample(ROWS, torch.Generator().manual_seed(3))
    inputs, _, _ = read_library(path, calibrated, probit(calibrated))
    assert torch.equal(inputs.amplitude, drawn.amplitude)
    assert torch.equal(inputs.counts, drawn.counts)
    off = changed(path, amplitude=torch.full((ROWS,), -1.0))
    with pytest.raises(TrainingError, match="200 of 200 spectra have an amplitude that is negative or not finite"):
        read_library(off, calibrated, probit(calibrated))


def test_a_library_without_noise_has_at_least_a_count(simulator: Simulator, tmp_path: Path) -> None:
    path = write_library(tmp_path / "quiet.safetensors", simulator, 50, noisy=False)
    inputs, _, _ = read_library(path, simulator, probit(simulator))
    assert float(inputs.counts.min()) >= 1.0


def test_every_network_holds_the_same_part_of_a_library_apart(simulator: Simulator, library: Path) -> None:
    def split(recipe: Recipe) -> tuple[Tensor, Tensor]:
        spectra = library_spectra(recipe, library, simulator, probit(simulator))
        assert spectra.fixed is not None
        return spectra.fixed[1], spectra.held[1]

    teach, measure = split(toy_recipe(data={"validation": 30}))
    assert (teach.shape[0], measure.shape[0]) == (170, 30)
    assert not bool(torch.isin(teach[:, 0], measure[:, 0]).any())
    assert torch.equal(split(toy_recipe(data={"validation": 30}))[1], measure)
    assert torch.equal(split(toy_recipe(data={"validation": 30}, seed=8))[1], measure)
    assert torch.equal(split(toy_recipe(data={"validation": 20}))[1], measure[:20])
    assert split(toy_recipe(data={"validation": 4000}))[1].shape[0] == ROWS // 5


def test_a_stage_trains_on_a_library_and_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, simulator: Simulator
) -> None:
    monkeypatch.setattr(training, "SCALING_SPECTRA", 300)
    folder = write_toy(tmp_path / "run")
    write_library(folder / "library.safetensors", simulator, ROWS, seed=3)
    recipe = toy_recipe({"spectra": "library.safetensors", "steps": None})
    reports = trained(recipe, folder, tmp_path / "out")
    assert [progress.steps for progress in reports if progress.validation] == [5, 5]
    stopped = training.train(recipe, tmp_path / "other", folder)
    next(stopped)
    stopped.close()
    trained(recipe, folder, tmp_path / "other")
    one, other = ((tmp_path / name / "toy.safetensors").read_bytes()[-4000:] for name in ("out", "other"))
    assert one == other


def test_a_library_of_another_model_is_refused(library: Path, tmp_path: Path) -> None:
    for changes, message in (
        ({"model": {"expression": "TBabs*powerlaw", "prior": []}}, r"model 'powerlaw', the run file's is 'TBabs\*pow"),
        (
            {"model": {"freeze": {"powerlaw.PhoIndex": 2.0}, "prior": ["powerlaw.norm=0.001:10"]}},
            r"parameters \['powerlaw.PhoIndex', 'powerlaw.norm'\], the run file's is \['powerlaw.norm'\]; simulate it",
        ),
        ({"layout": {"widths": [8, 10]}}, r"its bins are not those of the run file's \[layout\]; simulate it anew"),
    ):
        _, simulator = prepare(toy_recipe(**changes), write_toy(tmp_path))
        with pytest.raises(TrainingError, match=message):
            read_library(library, simulator, probit(simulator))


def test_what_is_no_library_is_refused(simulator: Simulator, library: Path, tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match=r"none\.safetensors: No such file or directory"):
        read_library(tmp_path / "none.safetensors", simulator, probit(simulator))
    with pytest.raises(TrainingError, match=r"holds no noticed; it is no library of spectra"):
        read_library(changed(library, noticed=None), simulator, probit(simulator))
    changed(library, noticed=torch.ones(ROWS, 3))
    with pytest.raises(TrainingError, match=r"noticed has shape \(200, 3\), not \(200, 14\); simulate it anew"):
        read_library(library, simulator, probit(simulator))
    save_file({"counts": torch.zeros(3)}, library)
    with pytest.raises(NetworkError, match="a safetensors file, but without a header of xrayflow"):
        read_library(library, simulator, probit(simulator))


def test_a_library_with_a_broken_layout_is_refused(simulator: Simulator, library: Path) -> None:
    with pytest.raises(TrainingError, match="layout"):
        read_library(changed(library, {"layout": {"starts": [0]}}), simulator, probit(simulator))


def test_a_library_of_one_spectrum_is_refused(simulator: Simulator, tmp_path: Path) -> None:
    path = write_library(tmp_path / "one.safetensors", simulator, 1)
    with pytest.raises(TrainingError, match="1 spectra; some must train and some must measure"):
        read_library(path, simulator, probit(simulator))


def test_a_library_that_is_too_large_is_refused(
    simulator: Simulator, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "LARGEST_LIBRARY", 1000)
    with pytest.raises(NetworkError, match="at most 1000 are read"):
        read_library(library, simulator, probit(simulator))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("theta", float("nan"), "1 of 200 spectra have targets that are not finite or lie outside the training prior"),
        ("theta", float("inf"), "1 of 200 spectra have targets that are not finite"),
        (
            "theta",
            7.0,
            "1 of 200 spectra have targets that are not finite or lie outside the training prior, the first",
        ),
        ("counts", -1.0, "counts that are negative or not finite, the first is row 5; leave them out"),
        ("background", float("inf"), "a background that is negative or not finite"),
        ("noticed", 1.5, "noticed parts outside 0 .. 1"),
        ("exposure", 0.0, "no exposure"),
        ("area", -1.0, "no area"),
        ("systematic", float("nan"), "a systematic error that is negative or not finite"),
    ],
)
def test_a_library_with_numbers_that_cannot_be_is_refused(
    simulator: Simulator, library: Path, name: str, value: float, message: str
) -> None:
    with safe_open(str(library), framework="pt") as file:
        tensor = file.get_tensor(name)
    tensor[5] = value
    if name == "theta" and value == 7.0:
        tensor[5, 1] = 1.0  # an index of 7, beyond the box
    with pytest.raises(TrainingError) as found:
        read_library(changed(library, **{name: tensor}), simulator, probit(simulator))
    assert message in str(found.value)


def test_a_target_of_the_papers_coordinates_may_leave_the_box_but_not_the_logarithm(tmp_path: Path) -> None:
    network, simulator = toy_network(tmp_path, toy_recipe(network=PAPER))
    assert isinstance(network.core.coordinates, Standardised)
    path = write_library(tmp_path / "library.safetensors", simulator, 20)
    with safe_open(str(path), framework="pt") as file:
        theta = file.get_tensor("theta")
    theta[3, 1] = 20.0
    read_library(changed(path, theta=theta), simulator, network.core.coordinates)
    theta[3, 1] = -1.0
    with pytest.raises(TrainingError, match="1 of 20 spectra have targets that are not finite or lie outside"):
        read_library(changed(path, theta=theta), simulator, network.core.coordinates)
