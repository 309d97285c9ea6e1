"""Training repeats bit for bit, goes on where it stopped, and stops with the evidence where a loss is no number."""

from __future__ import annotations

import csv
import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import ogip_zoo
import xrayflow.networks.training.loop as room
from network_zoo import CALIBRATED, PAPER, toy_recipe, toy_table, trained, write_toy
from xrayflow.calibration import shipped_mode_sets
from xrayflow.errors import FileError, NetworkError, TrainingError
from xrayflow.networks import NeuralPosterior, Progress, Recipe, load_network, train
from xrayflow.networks.network import prepare
from xrayflow.networks.store import read_tensors, write_tensors
from xrayflow.networks.training.checkpoint import CHECKPOINT, LOG
from xrayflow.networks.training.losses import loss_terms
from xrayflow.networks.training.spectra import Spectra, simulated_spectra
from xrayflow.simulate.library import write_library

DECODER = {"name": "decoder", "trains": ["decoder"], "flow": 0.0, "decoder": 1.0}
LOCAL = {"name": "local", "trains": ["local"], "flow": 0.0, "local": 1.0, "epochs": 1, "steps": 1, "batch": 16}
TOGETHER = {"name": "end-to-end", "latent": 1.0, "reconstruction": 1.0, "draws": 2}
PLATEAU = {"schedule": "plateau", "rate": 0.05, "warmup": 2, "patience": 1, "stop": 2, "epochs": 8}

Runs = dict[str, tuple[Path, list[Progress]]]
"""Folder and reports of trainings, by the name of their recipe."""

RECIPES = {
    "one stage": toy_recipe({"epochs": 3, "warmup": 2}),
    # dropout, three stages, draws in the loss, a fixed set
    "the paper's stages": toy_recipe(
        DECODER, {}, TOGETHER, network=PAPER | {"decoder": "recurrent", "dropout": 0.2}, data={"spectra": 100}
    ),
    "plateau": toy_recipe({"name": "first"} | PLATEAU, {"name": "second"} | PLATEAU, data={"spectra": 64}),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy(tmp_path_factory.mktemp("toy"))


@pytest.fixture(autouse=True)
def few_spectra_for_the_scalings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "SCALING_SPECTRA", 300)
    monkeypatch.setattr(room, "REPORT_EVERY", 1)


@pytest.fixture(scope="module")
def whole(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Every recipe trained without interruption: its folder and what it reported."""
    runs = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room, "SCALING_SPECTRA", 300)
        patch.setattr(room, "REPORT_EVERY", 1)
        for name, recipe in RECIPES.items():
            out = tmp_path_factory.mktemp("whole")
            runs[name] = (out, trained(recipe, folder, out))
    return runs


def weights(out: Path, name: str = "toy.safetensors") -> dict[str, Tensor]:
    return read_tensors(out / name)[0]


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def rows(out: Path) -> list[dict[str, str]]:
    with (out / LOG).open(newline="") as stream:
        return [{**row, "cpu_seconds": ""} for row in csv.DictReader(stream)]


def stop_at(recipe: Recipe, folder: Path, out: Path, reports: int) -> None:
    """Train until so many reports came, then leave."""
    training = train(recipe, out, folder)
    for _ in range(reports):
        next(training)
    training.close()


@pytest.mark.parametrize("name", list(RECIPES))
def test_two_trainings_of_one_recipe_are_the_same_bit_for_bit(
    name: str, folder: Path, tmp_path: Path, whole: Runs
) -> None:
    trained(RECIPES[name], folder, tmp_path)
    assert same(weights(tmp_path), weights(whole[name][0]))
    assert rows(tmp_path) == rows(whole[name][0])


@pytest.mark.parametrize("name", list(RECIPES))
def test_a_training_that_is_stopped_anywhere_goes_on_to_the_same_weights(
    name: str, folder: Path, tmp_path: Path, whole: Runs
) -> None:
    out, reports = whole[name]
    # one report a step: within an epoch and at its end, within each stage and at its end
    places = range(2, len(reports), 1 if name == "one stage" else 7)
    for reached in places:
        stopped = tmp_path / str(reached)
        stop_at(RECIPES[name], folder, stopped, reached)
        rest = trained(RECIPES[name], folder, stopped)
        assert same(weights(stopped), weights(out)), reached
        assert rows(stopped) == rows(out), reached
        assert len(rest) <= len(reports) - reached + 2  # at most the steps of one epoch are done again


def test_a_training_can_be_stopped_after_every_single_epoch(folder: Path, tmp_path: Path, whole: Runs) -> None:
    while not (tmp_path / "toy.safetensors").exists():
        for progress in train(RECIPES["plateau"], tmp_path, folder):
            if progress.validation is not None:
                break
    assert same(weights(tmp_path), weights(whole["plateau"][0]))
    assert rows(tmp_path) == rows(whole["plateau"][0])


def test_what_else_draws_random_numbers_does_not_matter(folder: Path, tmp_path: Path, whole: Runs) -> None:
    torch.manual_seed(123)
    before = torch.random.get_rng_state()
    training = train(RECIPES["the paper's stages"], tmp_path, folder)
    next(training)
    assert torch.equal(torch.random.get_rng_state(), before)
    for _ in training:
        torch.rand(7)
    assert same(weights(tmp_path), weights(whole["the paper's stages"][0]))


def test_a_finished_training_has_nothing_left_to_do(folder: Path, tmp_path: Path, whole: Runs) -> None:
    trained(RECIPES["one stage"], folder, tmp_path)
    again = trained(RECIPES["one stage"], folder, tmp_path)
    assert [progress.network for progress in again] == [tmp_path / "toy.safetensors"]
    assert same(weights(tmp_path), weights(whole["one stage"][0]))
    anew = list(train(RECIPES["one stage"], tmp_path, folder, restart=True))
    assert len(anew) == len(whole["one stage"][1])


KILLED = """
import json, sys
from pathlib import Path
import xrayflow.networks.training.loop as room
from xrayflow.networks.recipe import parse_recipe
room.SCALING_SPECTRA = 300
room.REPORT_EVERY = 1
table, folder, out = json.loads(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
for progress in room.train(parse_recipe(table, "toy"), out, folder):
    if (progress.epoch, progress.step) == (3, 2):
        print("ready", flush=True)
        sys.stdin.read()
"""


def test_a_killed_training_loses_at_most_an_epoch(folder: Path, tmp_path: Path, whole: Runs) -> None:
    table = toy_table({"epochs": 3, "warmup": 2})
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, json.dumps(table), str(folder), str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())},
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        os.kill(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert len(rows(tmp_path)) == 2
    rest = trained(RECIPES["one stage"], folder, tmp_path)
    assert [progress.epoch for progress in rest if progress.validation] == [3]
    assert same(weights(tmp_path), weights(whole["one stage"][0]))


def test_progress_counts_epochs_and_steps(whole: Runs) -> None:
    reports = whole["the paper's stages"][1]
    names = ("decoder", "flow", "end-to-end")
    wanted = [(name, epoch, step) for name in names for epoch in (1, 2) for step in (1, 2, 3)]
    assert [(p.stage, p.epoch, p.step) for p in reports[:-1]] == wanted
    assert [p.done for p in reports] == sorted(p.done for p in reports)
    assert reports[-1].done == 1.0
    assert [p.step == p.steps for p in reports[:-1]] == [p.validation is not None for p in reports[:-1]]
    assert all(p.rate > 0 for p in reports[:-1])
    assert reports[-1].network is not None


def test_the_log_has_a_row_for_every_epoch_and_a_column_for_every_loss(
    whole: Runs,
) -> None:
    out, reports = whole["the paper's stages"]
    log = rows(out)
    assert [(row["stage"], row["epoch"]) for row in log] == [
        (name, epoch) for name in ("decoder", "flow", "end-to-end") for epoch in ("1", "2")
    ]
    ends = [progress for progress in reports if progress.validation is not None]
    for row, progress in zip(log, ends, strict=True):
        assert float(row["loss"]) == progress.losses["loss"]
        for name in ("flow", "latent", "reconstruction", "decoder"):
            assert (row[name] != "") == (name in progress.losses) == (row[f"validation_{name}"] != "")
    assert [int(row["spectra"]) for row in log] == [96 * n for n in range(1, 7)]
    terms = [float(log[-1][name]) for name in ("flow", "latent", "reconstruction")]
    assert float(log[-1]["loss"]) == pytest.approx(sum(terms), rel=1e-5)


def test_the_network_knows_how_it_was_trained(whole: Runs) -> None:
    network = load_network(whole["one stage"][0] / "toy.safetensors")
    assert network.recipe == RECIPES["one stage"]
    assert network.trained["spectra"] == 3 * 3 * 32
    assert network.trained["epochs"] == 3
    assert network.trained["last_epoch"]["validation_loss"] == pytest.approx(
        float(rows(whole["one stage"][0])[-1]["validation_loss"])
    )


def test_the_loss_of_an_easy_problem_falls(folder: Path, tmp_path: Path) -> None:
    recipe = toy_recipe({"epochs": 4, "steps": 25, "batch": 128, "rate": 5e-3, "warmup": 10})
    trained(recipe, folder, tmp_path)
    losses = [float(row["validation_loss"]) for row in rows(tmp_path)]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0] - 1.0
    assert losses[-1] < 0.0  # the prior itself has 2.84 nats


def test_a_plateau_keeps_its_best_weights_lowers_its_rate_and_stops(whole: Runs, folder: Path) -> None:
    out, _ = whole["plateau"]
    log = [row for row in rows(out) if row["stage"] == "second"]
    losses = [float(row["validation_loss"]) for row in log]
    best = losses.index(min(losses))
    assert len(losses) == best + 3 < 9  # two epochs without a gain end it
    rates = [float(row["rate"]) for row in log]
    assert rates[-1] == pytest.approx(0.1 * rates[best])
    network = load_network(out / "toy.safetensors")
    held = simulated_spectra(network.recipe, prepare(network.recipe, folder)[1])
    stage = network.recipe.stage[-1]
    with torch.no_grad():
        ((inputs, theta),) = held.validation_batches()
        found = loss_terms(network.core, stage, inputs, theta, torch.Generator())["flow"]
    assert float(found) == pytest.approx(min(losses), rel=1e-6)


def test_a_warm_up_rises_and_a_cosine_falls(whole: Runs) -> None:
    rates = [progress.rate for progress in whole["one stage"][1][:-1]]
    cosine = [0.5 * 1.5e-3 * (1.0 + math.cos(math.pi * step / 9)) for step in range(9)]
    assert rates == pytest.approx([0.5 * cosine[0], *cosine[1:]])


def test_every_epoch_sees_other_spectra(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own, seen = Spectra.batches, []

    def batches(self: Spectra, stage: Any, generator: torch.Generator) -> Iterator[Any]:
        for inputs, theta in own(self, stage, generator):
            seen.append(theta)
            yield inputs, theta

    monkeypatch.setattr(Spectra, "batches", batches)
    trained(toy_recipe({"name": "first"}, {"name": "second"}), folder, tmp_path)
    assert len(seen) == 12
    assert torch.cat(seen).unique(dim=0).shape == (12 * 32, 2)


def bad_batches(at: int, change: Any) -> Any:
    """`Spectra.batches` with one batch changed."""
    own = Spectra.batches

    def batches(self: Spectra, stage: Any, generator: torch.Generator) -> Iterator[Any]:
        batches.calls += 1  # type: ignore[attr-defined]
        for step, batch in enumerate(own(self, stage, generator)):
            yield change(*batch) if (batches.calls, step) == (2, at) else batch  # type: ignore[attr-defined]

    batches.calls = 0  # type: ignore[attr-defined]
    return batches


def no_number(inputs: Any, theta: Tensor) -> tuple[Any, Tensor]:
    inputs.counts[0, 0] = torch.nan
    return inputs, theta


def test_a_loss_that_is_no_number_stops_and_keeps_the_batch_and_the_checkpoint_before(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: Runs
) -> None:
    monkeypatch.setattr(Spectra, "batches", bad_batches(1, no_number))
    training = train(RECIPES["one stage"], tmp_path, folder)
    with pytest.raises(TrainingError, match=r"^stage flow, epoch 2, step 2: the loss is not finite \(flow nan\); the "):
        list(training)
    kept = load_file(tmp_path / "not-finite.safetensors")
    assert kept["theta"].shape == (32, 2)
    assert bool(kept["counts"][0, 0].isnan())
    assert int(kept["counts"].isnan().sum()) == 1
    assert len(rows(tmp_path)) == 1
    # mended, it goes on from the epoch before
    monkeypatch.undo()
    monkeypatch.setattr(room, "SCALING_SPECTRA", 300)
    trained(RECIPES["one stage"], folder, tmp_path)
    assert same(weights(tmp_path), weights(whole["one stage"][0]))


def test_a_gradient_that_is_no_number_stops_before_it_reaches_the_weights(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = room.loss_terms

    def steep(*arguments: Any) -> dict[str, Tensor]:
        terms = own(*arguments)
        # its value is finite, its slope is not
        return {**terms, "flow": terms["flow"] + torch.sqrt(terms["flow"] - terms["flow"].detach())}

    monkeypatch.setattr(room, "loss_terms", steep)
    with pytest.raises(TrainingError, match=r"epoch 1, step 1: the gradient of the loss is not finite \(flow "):
        trained(RECIPES["one stage"], folder, tmp_path)
    assert (tmp_path / "not-finite.safetensors").exists()
    assert not (tmp_path / CHECKPOINT).exists()


def test_a_validation_that_is_no_number_stops(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = Spectra.validation_batches
    monkeypatch.setattr(Spectra, "validation_batches", lambda self: (no_number(*batch) for batch in own(self)))
    with pytest.raises(TrainingError, match=r"^stage flow, epoch 1, validation: the loss is not finite"):
        trained(RECIPES["one stage"], folder, tmp_path)


def test_a_checkpoint_of_another_recipe_is_refused(folder: Path, tmp_path: Path) -> None:
    stop_at(RECIPES["one stage"], folder, tmp_path, 4)
    with pytest.raises(TrainingError, match="of another recipe; give another --out, or --restart to start this one"):
        next(train(RECIPES["plateau"], tmp_path, folder))
    next(train(RECIPES["plateau"], tmp_path, folder, restart=True))


def test_a_checkpoint_of_a_library_that_has_changed_is_refused(folder: Path, tmp_path: Path) -> None:
    _, simulator = prepare(RECIPES["one stage"], folder)
    write_library(tmp_path / "library.safetensors", simulator, 40, seed=1)
    recipe = toy_recipe({"epochs": 3, "spectra": str(tmp_path / "library.safetensors")})
    stop_at(recipe, folder, tmp_path, 4)
    write_library(tmp_path / "library.safetensors", simulator, 40, seed=2)
    with pytest.raises(TrainingError, match="of a response, library or starting network that has changed since; give"):
        trained(recipe, folder, tmp_path)


def test_a_checkpoint_of_another_version_is_refused(folder: Path, tmp_path: Path) -> None:
    stop_at(RECIPES["one stage"], folder, tmp_path, 4)
    tensors, header = read_tensors(tmp_path / CHECKPOINT)
    for changed, state in (
        ({}, header["state"]),
        (tensors, {**header["state"], "more": 1}),
        (tensors, {"stage": 0}),
        (tensors, 5),
    ):
        write_tensors(tmp_path / CHECKPOINT, changed, {**header, "state": state})
        with pytest.raises(NetworkError, match="not a checkpoint of this version; --restart starts anew"):
            next(train(RECIPES["one stage"], tmp_path, folder))


def test_a_device_that_is_not_there_is_one_line(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(TrainingError, match=r"^--device cuda: PyTorch finds no such device here; train with"):
        next(train(RECIPES["one stage"], tmp_path, folder, device="cuda"))
    with pytest.raises(TrainingError, match=r"^--device tpu: give cpu or cuda$"):
        next(train(RECIPES["one stage"], tmp_path, folder, device="tpu"))


def test_a_log_that_cannot_be_written_is_one_line(folder: Path, tmp_path: Path) -> None:
    (tmp_path / LOG).mkdir()
    with pytest.raises(FileError, match=r"log\.csv: cannot be written"):
        trained(RECIPES["one stage"], folder, tmp_path)


@pytest.mark.parametrize("decoder", ["none", "recurrent", "physical"])
@pytest.mark.parametrize("latent", ["coupling", "autoregressive", "gaussian", "point"])
def test_every_latent_space_trains_with_every_decoder(latent: str, decoder: str, folder: Path, tmp_path: Path) -> None:
    losses = {"flow": float(latent != "point"), "latent": 1.0, "reconstruction": float(decoder != "none")}
    stage = losses | {"epochs": 1, "reconstruction_likelihood": "counts" if decoder == "physical" else "gaussian"}
    first = [DECODER | {"epochs": 1}] if decoder == "recurrent" else []
    recipe = toy_recipe(*first, stage, network=PAPER | {"latent": latent, "decoder": decoder})
    reports = trained(recipe, folder, tmp_path)
    assert {name for name, weight in losses.items() if weight} | {"loss"} == set(reports[-2].losses)
    network = load_network(tmp_path / "toy.safetensors")
    assert network.core.flow.has_density == (latent != "point")


def test_a_network_learns_from_responses_with_errors_and_answers(folder: Path, tmp_path: Path) -> None:
    recipe = toy_recipe({"epochs": 2}, LOCAL, training_prior=CALIBRATED, network={"local": True}, data={"modes": 64})
    last = trained(recipe, folder, tmp_path)[-1]
    assert last.network is not None
    network = load_network(last.network)
    assert network.training_prior.calibration == "nicer-v1"
    observation = ogip_zoo.toy_observation(tmp_path, exposure=500.0, norm=0.5)
    spectrum = observation.bin(energies=[(0.6, 8.0)], grouping="none")
    model, prior = network.model, network.training_prior.prior
    answers = [NeuralPosterior.of(network, model, prior, [spectrum], [0.0], told) for told in ([0.0], [1.0], None)]
    draws = [answer.sample(50, [torch.Generator().manual_seed(1)])[0] for answer in answers]
    assert torch.equal(draws[0], draws[2])
    assert not torch.equal(draws[0], draws[1])
    for answer, drawn in zip(answers, draws, strict=True):
        assert answer.absence(0) == ""
        assert bool(torch.isfinite(answer.log_density(drawn[None])).all())
    far = NeuralPosterior.of(network, model, prior, [spectrum], [0.0], [3.0])
    assert far.absence(0) == "calibration amplitude 3, trained on up to 2"


def test_another_set_under_the_same_name_is_another_training(folder: Path, tmp_path: Path) -> None:
    own = folder / "own.safetensors"
    own.write_bytes(shipped_mode_sets()["nicer-v1"].read_bytes())
    recipe = toy_recipe({"epochs": 2}, training_prior={"calibration": "own.safetensors"})
    next(run := train(recipe, tmp_path, folder))
    while next(run).validation is None:
        pass
    run.close()
    own.write_bytes(shipped_mode_sets()["generic-v1"].read_bytes())
    with pytest.raises(TrainingError, match="checkpoint"):
        trained(recipe, folder, tmp_path)
