"""Rows of a summary, as plain numbers and words: a parameter, a nuisance, the files of a data set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from xrayflow.dataset import ObservedData
from xrayflow.inference.weights import LEVELS, shown_quantiles
from xrayflow.models import Model
from xrayflow.prior import Marginal

Numbers = NDArray[np.float64]


def parameter_rows(model: Model, draws: Numbers, weights: Numbers, best: Numbers) -> dict[str, dict[str, Any]]:
    """Per parameter of the model, frozen and linked ones included: unit, best, median, intervals.

    Args:
        model: The spectral model.
        draws: (draw, parameter) in the parameters' units, the model's free ones first.
        weights: (draw,) normalised.
        best: (parameter,) the best point.
    """
    count = len(model.names)
    values = model.values(torch.as_tensor(draws[:, :count])).numpy()
    tops = model.values(torch.as_tensor(best[:count])).numpy()
    out: dict[str, dict[str, Any]] = {}
    for parameter, column, top in zip(model.parameters, values.T, tops, strict=True):
        held = dict.fromkeys(LEVELS, float(parameter.value))
        quantiles = held if parameter.frozen else shown_quantiles(column, weights)
        row = {"unit": parameter.unit, "best": float(top), **quantiles}
        out[parameter.name] = row | {"frozen": parameter.frozen}
        if parameter.link is not None:
            out[parameter.name]["link"] = parameter.link.text
    return out


def nuisance_rows(
    marginals: Sequence[Marginal], draws: Numbers, weights: Numbers, best: Numbers
) -> dict[str, dict[str, Any]]:
    """The same of the likelihood's own parameters.

    Args:
        marginals: Their priors.
        draws: (draw, nuisance) their columns.
        weights: (draw,) normalised.
        best: (nuisance,) the best point.
    """
    out: dict[str, dict[str, Any]] = {}
    for marginal, column, top in zip(marginals, draws.T, best, strict=True):
        quantiles = shown_quantiles(column, weights)
        out[marginal.name] = {"unit": marginal.unit, "best": float(top), **quantiles, "frozen": False}
    return out


def observation_row(data: ObservedData) -> dict[str, Any]:
    """The files of one data set and what they hold in the band.

    Args:
        data: What an answer keeps of it.
    """
    return {
        "pha": str(data.pha),
        "rmf": str(data.rmf),
        "arf": None if data.arf is None else str(data.arf),
        "background": None if data.background is None else str(data.background),
        "sha256": dict(data.sha256),
        "exposure": data.exposure,
        "counts": float(data.counts.sum()),
        "bins": int(data.counts.size),
    }
