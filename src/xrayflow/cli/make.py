"""Verbs that make: simulate, train; and networks, which lists what was made."""

from __future__ import annotations

import sys
from pathlib import Path

from xrayflow.cli import options
from xrayflow.cli.terminal import answering, print_document, show_progress


def simulate(
    model: options.ModelText = "TBabs*simpl*ezdiskbb",
    theta: options.Theta = None,
    prior_draws: options.PriorDraws = None,
    freeze: options.Freeze = None,
    prior: options.PriorChanges = None,
    abund: options.Abund = "wilm",
    rmf: options.Rmf = None,
    arf: options.Arf = None,
    background: options.FakeBackground = None,
    template: options.Template = None,
    exposure: options.Exposure = None,
    systematic: options.MaybeSystematic = None,
    noise: options.Noise = True,
    seed: options.Seed = 0,
    out: options.OutFile = None,
    debug: options.Debug = False,
) -> None:
    """Fake a spectrum with --theta (a PHA file that fit reads), or a library of spectra with --prior-draws."""
    held, values = options.assignments(freeze, "--freeze"), options.assignments(theta, "--theta")
    options.check_systematic(systematic)
    options.check_simulation(theta, freeze, prior_draws, prior, background)
    options.check_exposure(exposure)
    with answering(debug):
        from xrayflow.models import parse_model
        from xrayflow.simulate import Instrument, library_simulator, write_fake, write_library

        spectral = parse_model(model, abund).freeze(held)
        instrument = Instrument(rmf, arf, background, template)
        if prior_draws is None:
            place = out or Path("simulated.pha")
            faked = write_fake(
                place, spectral, values, instrument, exposure, systematic=systematic or 0.0, noisy=noise, seed=seed
            )
            print(f"{faked.pha}: {faked.counts:.10g} counts; truth in {faked.truth}")
            return
        with show_progress() as progress:
            simulator = library_simulator(spectral, instrument, prior or (), exposure, systematic)
            place = out or Path("simulated.safetensors")
            write_library(place, simulator, prior_draws, seed, noise, progress)
        print(f"{place}: {prior_draws} spectra in {simulator.bins} bins")


def train(
    recipe: options.Run,
    out: options.Out = None,
    device: options.Device = "cpu",
    restart: options.Restart = False,
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Train a network from a run file; a stopped run goes on where it was."""
    with answering(debug):
        from xrayflow.networks import read_recipe
        from xrayflow.networks import train as train_network

        run = read_recipe(recipe)
        folder = Path("runs") / run.name if out is None else out
        last = None
        with show_progress() as progress:
            for last in train_network(run, folder, recipe.parent, device, restart):
                if progress is not None and last.modes is not None:
                    progress(f"{last.stage}: finding modes {last.modes:.0%}", last.done)
                elif progress is not None:
                    progress(f"{last.stage} {last.epoch}/{last.epochs}: loss {last.losses['loss']:.4g}", last.done)
                elif last.validation is not None and not as_json:
                    print(
                        f"{last.stage} {last.epoch}/{last.epochs}: loss {last.losses['loss']:.4f}, "
                        f"validation {last.validation['loss']:.4f}",
                        file=sys.stderr,
                    )
        network = None if last is None else last.network
        if as_json:
            print_document({"network": str(network), "log": str(folder / "log.csv")})
        else:
            print(f"{network}: use it with xrayflow fit PHA --network {network}; the log is {folder / 'log.csv'}")


def networks(as_json: options.AsJson = False, debug: options.Debug = False) -> None:
    """The networks that come with xrayflow: what each was made for, and on what it was trained."""
    with answering(debug):
        from xrayflow.networks import describe_networks, list_network_lines

        if as_json:
            from xrayflow.files import to_json

            print(to_json(describe_networks()))
        else:
            print("\n".join(list_network_lines()))
