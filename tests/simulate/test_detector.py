"""Another detector of the same kind, and what its file says of it."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from calibration_zoo import detector
from xrayflow.calibration import BinModes, find_mode_set
from xrayflow.data import bundled_arf, bundled_rmf
from xrayflow.folding import Forward
from xrayflow.models import parse_model
from xrayflow.ogip import read_pha
from xrayflow.simulate import Instrument, simulate, write_fake
from xrayflow.simulate.detector import OtherDetector

VALUES = {"TBabs.nH": 0.3, "powerlaw.PhoIndex": 1.8, "powerlaw.norm": 1.0}
MODEL = parse_model("TBabs*powerlaw")


def test_detectors_scatter_as_the_likelihood_believes() -> None:
    modes = find_mode_set("nicer-v1")
    generator = torch.Generator().manual_seed(1)
    drawn = [OtherDetector.drawn(modes, 2.0, generator) for _ in range(800)]
    level = np.log([one.amplitude / 2.0 for one in drawn])
    assert abs(level.mean()) < 0.06
    assert abs(level.std() - math.log(1.6)) < 0.04
    offset = np.array([one.gain[0] / one.amplitude for one in drawn])
    assert abs(offset.std() - modes.gain_offset) < 0.1 * modes.gain_offset
    z = np.stack([one.z for one in drawn])
    assert abs(z.std() - 1.0) < 0.02


def test_the_truth_of_a_file_says_which_detector_was_drawn(tmp_path: Path) -> None:
    """Without noise of their own, 1e8 counts show the modes that the truth names."""
    out = tmp_path / "other.pha"
    instrument = Instrument(rmf=bundled_rmf(), arf=bundled_arf())
    faked = write_fake(out, MODEL, VALUES, instrument, 2e5, systematic="modes:nicer-v1:2", seed=4)
    truth = json.loads(faked.truth.read_text())["detector"]
    modes = find_mode_set("nicer-v1")
    assert truth["set"] == "nicer-v1"
    assert list(truth["z"]) == list(modes.names)
    spectrum = simulate(detector(), MODEL, VALUES, 2e5, 4, noisy=False).bin(grouping="optimal")
    moved = replace(spectrum, gain=(truth["gain_offset_keV"], truth["gain_slope"]))
    theta = torch.tensor([[list(VALUES.values())]], dtype=torch.float64)
    plain = Forward.of(MODEL, [moved]).expected(theta)[0, 0].numpy()
    eta = truth["amplitude"] * np.array(list(truth["z"].values())) @ BinModes.of(moved, modes).psi
    used = spectrum.bin_of_channel >= 0
    counts = np.bincount(spectrum.bin_of_channel[used], read_pha(out).counts[used])
    off = np.log(counts / plain) - eta
    assert (np.abs(off) < 5.0 / np.sqrt(counts) + 2e-3).all(), "but for Poisson's noise and bins of channels"
    assert eta.std() > 0.01


def test_a_right_response_has_no_detector(tmp_path: Path) -> None:
    instrument = Instrument(rmf=bundled_rmf(), arf=bundled_arf())
    faked = write_fake(tmp_path / "plain.pha", MODEL, VALUES, instrument, 1.0, seed=4)
    assert json.loads(faked.truth.read_text())["detector"] is None
