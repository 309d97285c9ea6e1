"""From observations and what a user says of them to a problem: shared by `infer` and `optimise`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from xrayflow.errors import DataError
from xrayflow.folding import Grid
from xrayflow.models import Model, parse_model
from xrayflow.ogip import Observation
from xrayflow.prior import Prior, name_of
from xrayflow.problem import Problem
from xrayflow.statistics import Choice, choose, noise_of

DEFAULT_MODEL = "TBabs*simpl*ezdiskbb"
DEFAULT_ENERGIES = ((0.3, 10.0),)


def build_problem(
    observations: Sequence[Observation],
    model: str | Model | None = None,
    prior: Iterable[str] | Prior | None = None,
    freeze: Mapping[str, float] | None = None,
    link: Mapping[str, str] | None = None,
    systematic: float | None = None,
    energies: Sequence[tuple[float, float]] | None = None,
    channels: tuple[int, int] | None = None,
    grouping: str | None = None,
    statistic: str = "auto",
    grid: Grid | None = None,
) -> tuple[Problem, list[Choice]]:
    """The problem of spectra that share one RMF, and the statistic of each.

    Args:
        observations: From `read_observation`, at least one.
        model: XSPEC expression or a `Model`; default `TBabs*simpl*ezdiskbb`.
        prior: Changes to the model's box, `["TBabs.nH=0.1:2", "simpl.Gamma~N(1.8,0.2)"]`, or a `Prior`.
        freeze: Parameters held at a value, `{"TBabs.nH": 0.24}`.
        link: Parameters that follow others, `{"gaussian_3.Sigma": "2*gaussian.Sigma"}`.
        systematic: Fractional systematic error of the source model; default 0.
        energies: [(lo, hi)] keV; default 0.3-10.
        channels: (first, last) channel numbers of the file, both kept, instead of energies.
        grouping: "file" (default), "none", "optimal" or "min:N".
        statistic: XSPEC's; "auto" takes what suits the data.
        grid: Photon-energy grid; default made from the response.

    Raises:
        XrayflowError: Anything that a user can mend: files, names, ranges, data without counts.
    """
    if model is None or isinstance(model, str):
        model = parse_model(model or DEFAULT_MODEL)
    model = model.freeze(freeze or {}).link(link or {})
    if not isinstance(prior, Prior):
        changes = tuple(prior or ())
        model = model.thaw(*_thawed(model, changes, freeze or {}))
        prior = Prior.of(model, changes)
    model.check_links({marginal.name: (marginal.lo, marginal.hi) for marginal in prior.marginals})
    band = tuple((float(lo), float(hi)) for lo, hi in energies) if energies is not None else DEFAULT_ENERGIES
    spectra = [one.bin(energies=band, channels=channels, grouping=grouping or "file") for one in observations]
    for spectrum in spectra:
        if not np.any(spectrum.counts != 0):
            raise DataError(
                f"{spectrum.observation.pha.path.name}: no counts in {spectrum.energy_lo.min():.3g}-"
                f"{spectrum.energy_hi.max():.3g} keV; choose another band with --energies"
            )
    choices = [choose(spectrum, statistic) for spectrum in spectra]
    return Problem.of(model, prior, spectra, noise_of(spectra, choices, systematic or 0.0), grid), choices


def _thawed(model: Model, changes: Iterable[str], freeze: Mapping[str, float]) -> list[str]:
    """Parameters that are frozen by default (simplcutx.kT_e) and are given a prior: that frees them."""
    held = {name.strip().lower() for name in freeze}
    asked = {name_of(text).lower() for text in changes} - held
    return [p.name for p in model.parameters if p.frozen and not p.is_switch and p.name.lower() in asked]
