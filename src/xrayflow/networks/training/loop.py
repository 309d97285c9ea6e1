"""Training: one visible loop over stages, epochs and batches, as a generator of progress.

After every epoch the state is written, so a killed run loses at most one. All randomness of an epoch comes from the
recipe's seed, the stage and the epoch's number; a resumed run therefore ends at the very weights of an uninterrupted
one (on one machine with one thread). Torch's own random state is as the caller left it. A folder of a run holds

    checkpoint.safetensors   weights, optimiser, log: where to go on
    log.csv                  a row per epoch: every loss term, of training and validation
    NAME.safetensors         the network, when all stages are done
    modes.safetensors        what a local flow trains on, where there is one
    not-finite.safetensors   the batch at which a loss or its gradient was no number, if that happened
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import NoReturn

import torch
from torch import Tensor

from xrayflow.errors import TrainingError
from xrayflow.networks.inputs import ModeFrames, NetworkInput
from xrayflow.networks.network import prepare
from xrayflow.networks.nn.core import PosteriorEstimator, freeze_all_but
from xrayflow.networks.recipe import Recipe
from xrayflow.networks.sections import StageSection
from xrayflow.networks.store import FORMAT_VERSION, SUFFIX, save_network, write_tensors
from xrayflow.networks.training.checkpoint import (
    MadeOf,
    State,
    load_optimiser,
    log_row,
    named,
    read_checkpoint,
    write_checkpoint,
)
from xrayflow.networks.training.finetune import describe_pretrained, load_pretrained, warm_start
from xrayflow.networks.training.library import identify_library
from xrayflow.networks.training.losses import loss_terms, total
from xrayflow.networks.training.spectra import Batch, Spectra, library_spectra, mode_spectra, simulated_spectra
from xrayflow.seeds import generator_for
from xrayflow.simulate import Simulator

NOT_FINITE = "not-finite" + SUFFIX
MODES = "modes" + SUFFIX

GAIN = 1e-4
"""A validation loss must fall by this to count as better."""

REPORT_EVERY = 20
"""Steps."""

SCALING_SPECTRA = 20_000
"""Spectra from which means and spreads of the features come."""


@dataclass(frozen=True)
class Progress:
    """How far a training is.

    Attributes:
        stage: Its name.
        epoch, epochs: Its number, from 1; how many at most.
        step, steps: Its number in the epoch; how many.
        done: Fraction of all epochs of all stages.
        rate: Learning rate of the last step.
        losses: Means over the epoch so far, "loss" and every term.
        validation: The same on spectra that train nothing, at the end of an epoch.
        network: The file, in the last one of all.
        modes: Done fraction of the search for modes, before the first epoch of a local flow.
    """

    stage: str
    epoch: int
    epochs: int
    step: int
    steps: int
    done: float
    rate: float
    losses: dict[str, float]
    validation: dict[str, float] | None = None
    network: Path | None = None
    modes: float | None = None


@dataclass(frozen=True)
class Run:
    """What all stages of a training share.

    Attributes:
        recipe: The run file.
        folder: Where its relative paths start.
        out: Folder of the run.
        place: Where the weights are.
        core: The network's parts.
        simulator: Makes the training spectra.
        made_of: What decides the training.
    """

    recipe: Recipe
    folder: Path
    out: Path
    place: torch.device
    core: PosteriorEstimator
    simulator: Simulator
    made_of: MadeOf


def train(
    recipe: Recipe, out: str | Path, folder: str | Path = ".", device: str = "cpu", restart: bool = False
) -> Iterator[Progress]:
    """Train a network; goes on from the checkpoint of an earlier run of the same recipe.

    Args:
        recipe: The run file.
        out: Folder of the run.
        folder: Where the recipe's relative paths start.
        device: "cpu" or "cuda".
        restart: Start anew even where a checkpoint exists.

    Yields:
        Every `REPORT_EVERY` steps, at the end of each epoch, and once when the network is written.

    Raises:
        TrainingError: A loss is not finite (its batch is kept), the checkpoint is of another recipe or of files that
            have changed, a library is not the recipe's, or there is no such device.
        XrayflowError: A model, file or prior that cannot be, or a place that cannot be written.
    """
    place = _device(device)
    network, simulator = prepare(recipe, Path(folder))
    libraries = [Path(folder) / stage.spectra for stage in recipe.stage if stage.spectra is not None]
    listed = [identify_library(library, simulator) for library in libraries]  # now, and not when its stage begins
    start = load_pretrained(network, Path(folder))
    if start is not None:
        warm_start(network, start)
    began = {} if start is None else {"start": describe_pretrained(start)}
    made_of = MadeOf.of(recipe, {"simulator": simulator.describe(), "libraries": listed, **began})
    run = Run(recipe, Path(folder), Path(out), place, network.core.to(place), simulator, made_of)
    state, saved = (State(), {}) if restart else read_checkpoint(run.out, made_of, run.core)
    if not saved and start is None:
        _fit_scalings(run)
    simulated: Spectra | None = None
    for number, stage in enumerate(recipe.stage):
        if number < state.stage:
            continue
        if stage.local > 0:
            spectra = yield from _modes(run, stage, state)
        elif stage.spectra is not None:
            spectra = library_spectra(recipe, run.folder / stage.spectra, simulator, run.core.coordinates)
        else:
            spectra = simulated = simulated or simulated_spectra(recipe, simulator)
        yield from _train_stage(run, stage, spectra, state, saved)
        saved = {}
        state.stage, state.epoch, state.rate, state.best, state.waited = number + 1, 0, 0.0, math.inf, 0
        write_checkpoint(run.out, made_of, run.core, None, state, {})
    trained = {"spectra": state.spectra, "cpu_seconds": round(state.cpu_seconds, 1), "epochs": len(state.rows)}
    last = {key: value for key, value in state.rows[-1].items() if value != ""}
    finished = replace(network, core=run.core.cpu().eval(), trained={**began, **trained, "last_epoch": last})
    path = save_network(finished, run.out / f"{recipe.name}{SUFFIX}")
    stage, losses = recipe.stage[-1], {"loss": last["loss"]}
    yield Progress(stage.name, last["epoch"], stage.epochs, last["steps"], last["steps"], 1.0, 0.0, losses, None, path)


def _modes(run: Run, stage: StageSection, state: State) -> Generator[Progress, None, Spectra]:
    """The modes that a local flow trains on; its features are scaled by them."""
    started = time.process_time()
    spectra: Spectra | None = None
    for found in mode_spectra(run.recipe, run.simulator, run.out / MODES):
        if isinstance(found, Spectra):
            spectra = found
        else:
            yield replace(_progress(run, state, stage, (0, 1), stage.rate, {}), modes=found)
    if (
        spectra is None
        or spectra.fixed is None
        or not isinstance(spectra.fixed[0], ModeFrames)
        or run.core.local is None
    ):
        raise TrainingError(f"stage {stage.name}: there are no modes to train on")
    if state.epoch == 0:
        run.core.local.fit(spectra.fixed[0].to(run.place))
    state.cpu_seconds += time.process_time() - started
    return spectra


def _train_stage(
    run: Run, stage: StageSection, spectra: Spectra, state: State, saved: dict[str, Tensor]
) -> Iterator[Progress]:
    """The epochs of a stage that are not done yet; a plateau schedule ends with its best weights."""
    moving = freeze_all_but(run.core, stage.trains)
    optimiser = torch.optim.AdamW(moving, lr=stage.rate, weight_decay=stage.weight_decay)
    load_optimiser(optimiser, saved)
    best = named("best.", saved)
    state.rate = state.rate or stage.rate
    steps = spectra.steps(stage)
    while state.epoch < stage.epochs and state.waited < stage.stop:
        started = time.process_time()
        losses = dict[str, float]()
        for step, losses in _epoch(run, stage, spectra, state, optimiser):
            if step % REPORT_EVERY == 0 and step < steps:
                yield _progress(run, state, stage, (step, steps), _rate_of(optimiser), losses)
        validation = _validate(run, stage, spectra, state)
        best = _after_epoch(run, stage, state, validation["loss"], best)
        state.cpu_seconds += time.process_time() - started
        state.spectra += steps * stage.batch
        state.rows.append(log_row(stage, state, steps, _rate_of(optimiser), losses, validation))
        write_checkpoint(run.out, run.made_of, run.core, optimiser, state, best)
        yield _progress(run, state, stage, (steps, steps), _rate_of(optimiser), losses, validation)
    if best:
        run.core.load_state_dict(best)


def _epoch(
    run: Run, stage: StageSection, spectra: Spectra, state: State, optimiser: torch.optim.Optimizer
) -> Iterator[tuple[int, dict[str, float]]]:
    """One pass: step number and mean losses so far."""
    generator = generator_for(run.recipe.seed, f"{stage.name}:{state.epoch}")
    noise = _noise_of(generator_for(run.recipe.seed, f"dropout:{stage.name}:{state.epoch}").initial_seed(), run.place)
    run.core.train()
    sums: dict[str, float] = {}
    steps = spectra.steps(stage)
    for step, (inputs, theta) in enumerate(spectra.batches(stage, generator), start=1):
        for group in optimiser.param_groups:
            group["lr"] = _rate(stage, state, state.epoch * steps + step - 1, stage.epochs * steps)
        inputs, theta = inputs.to(run.place), theta.to(run.place)
        with _lent(noise, run.place):
            terms = loss_terms(run.core, stage, inputs, theta, generator)
        loss = total(terms, stage)
        where = f"stage {stage.name}, epoch {state.epoch + 1}, step {step}"
        if not bool(torch.isfinite(loss)):
            _give_up(run, where, "loss", terms, (inputs, theta))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(optimiser.param_groups[0]["params"], stage.clip or math.inf)
        if not bool(torch.isfinite(norm)):
            _give_up(run, where, "gradient of the loss", terms, (inputs, theta))
        optimiser.step()
        for name, value in (("loss", loss), *terms.items()):
            sums[name] = sums.get(name, 0.0) + float(value.detach())
        yield step, {name: value / step for name, value in sums.items()}


def _noise_of(seed: int, place: torch.device) -> list[Tensor]:
    """The states of torch's own noise after a seed."""
    with torch.random.fork_rng([place] if place.type == "cuda" else []):
        torch.manual_seed(seed)
        return _noise_states(place)


@contextmanager
def _lent(states: list[Tensor], place: torch.device) -> Iterator[None]:
    """Torch's own noise, which dropout alone takes, from the run's states; the caller's come back after."""
    with torch.random.fork_rng([place] if place.type == "cuda" else []):
        torch.set_rng_state(states[0])
        if place.type == "cuda":
            torch.cuda.set_rng_state(states[1], place)
        yield
        states[:] = _noise_states(place)


def _noise_states(place: torch.device) -> list[Tensor]:
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state(place)] if place.type == "cuda" else [])]


def _rate(stage: StageSection, state: State, step: int, steps: int) -> float:
    """The learning rate of a step."""
    warm = min((step + 1) / stage.warmup, 1.0) if stage.warmup else 1.0
    if stage.schedule == "plateau":
        return warm * state.rate
    return warm * (stage.last_rate + 0.5 * (stage.rate - stage.last_rate) * (1.0 + math.cos(math.pi * step / steps)))


def _rate_of(optimiser: torch.optim.Optimizer) -> float:
    return float(optimiser.param_groups[0]["lr"])


def _after_epoch(
    run: Run, stage: StageSection, state: State, validation: float, best: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Count the epoch; the best weights so far of a plateau schedule."""
    state.epoch += 1
    if stage.schedule == "cosine":
        return {}
    if validation < state.best - GAIN:
        state.best, state.waited = validation, 0
        return {name: tensor.detach().clone() for name, tensor in run.core.state_dict().items()}
    state.waited += 1
    if state.waited % stage.patience == 0:
        state.rate = max(0.1 * state.rate, stage.last_rate)
    return best


def _validate(run: Run, stage: StageSection, spectra: Spectra, state: State) -> dict[str, float]:
    """Mean losses over the validation set, with the same draws every time."""
    generator = generator_for(run.recipe.seed, f"validation:{stage.name}")
    run.core.eval()
    sums: dict[str, float] = {}
    count = 0
    with torch.no_grad():
        for inputs, theta in spectra.validation_batches():
            inputs, theta = inputs.to(run.place), theta.to(run.place)
            terms = loss_terms(run.core, stage, inputs, theta, generator)
            loss = total(terms, stage)
            if not bool(torch.isfinite(loss)):
                where = f"stage {stage.name}, epoch {state.epoch + 1}, validation"
                _give_up(run, where, "loss", terms, (inputs, theta))
            for name, value in (("loss", loss), *terms.items()):
                sums[name] = sums.get(name, 0.0) + float(value) * inputs.size
            count += inputs.size
    return {name: value / count for name, value in sums.items()}


def _give_up(run: Run, where: str, what: str, terms: dict[str, Tensor], batch: Batch) -> NoReturn:
    """Keep the batch at which a number is none; the checkpoint stays that of the epoch before."""
    inputs, theta = batch
    named_inputs = {one.name: getattr(inputs, one.name) for one in fields(inputs)}
    header = {"format_version": FORMAT_VERSION, "where": where}
    path = write_tensors(run.out / NOT_FINITE, {**named_inputs, "theta": theta}, header)
    found = ", ".join(f"{name} {float(term.detach()):g}" for name, term in terms.items())
    raise TrainingError(
        f"{where}: the {what} is not finite ({found}); the batch is in {path}; a lower rate or clip may help"
    )


def _fit_scalings(run: Run) -> None:
    """Means and spreads, from spectra of the training distribution."""
    drawn = run.simulator.sample(SCALING_SPECTRA, generator_for(run.recipe.seed, "scaling"))
    run.core.scaling.fit(NetworkInput.of(drawn, run.recipe.data.noise).to(run.place))
    run.core.coordinates.fit(drawn.theta.to(run.place))


def _progress(
    run: Run,
    state: State,
    stage: StageSection,
    at: tuple[int, int],
    rate: float,
    losses: dict[str, float],
    validation: dict[str, float] | None = None,
) -> Progress:
    """Within an epoch, or at its end, when it is counted already and there is a validation."""
    step, steps = at
    whole = sum(one.epochs for one in run.recipe.stage)
    before = sum(one.epochs for one in run.recipe.stage[: state.stage])
    epoch, part = (state.epoch + 1, step / steps) if validation is None else (state.epoch, 0.0)
    done = (before + state.epoch + part) / whole
    return Progress(stage.name, epoch, stage.epochs, step, steps, done, rate, losses, validation)


def _device(name: str) -> torch.device:
    if name not in ("cpu", "cuda"):
        raise TrainingError(f"--device {name}: give cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise TrainingError("--device cuda: PyTorch finds no such device here; train with --device cpu")
    return torch.device(name)
