"""Quick answers to test products on: a toy power law, with and without background, and ways to bend them."""

from __future__ import annotations

import tempfile
from dataclasses import fields, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ogip_zoo import toy_observation
from xrayflow.inference import Posterior, infer

TRUTH = {"TBabs.nH": 0.01, "powerlaw.PhoIndex": 1.7, "powerlaw.norm": 0.05}

PARTS = ("sample", "weighing", "best_point", "likelihood", "provenance")
"""Of a posterior, whose fields `altered` reaches by their own names."""

NICKNAMES = {
    "draws": ("sample", "theta"),
    "best": ("best_point", "theta"),
    "likelihood_kind": ("likelihood", "kind"),
}


@cache
def toy_posterior(background: bool = False, exposure: float = 200.0, grouping: str = "min:20") -> Posterior:
    """The answer to a toy power law of about 2e4 counts in 1-6 keV; made once per setting."""
    with tempfile.TemporaryDirectory() as folder:
        observation = toy_observation(Path(folder), exposure=exposure, background=background)
        return infer(observation, "TBabs*powerlaw", energies=[(1.0, 6.0)], grouping=grouping)


def altered(posterior: Posterior, **changes: Any) -> Posterior:
    """The answer with other numbers: fields of its own, or of its parts by their names there (`ess`, `log_weight`), and
    `draws` and `best`."""
    own: dict[str, Any] = {}
    inside: dict[str, dict[str, Any]] = {}
    for name, value in changes.items():
        if name in {field.name for field in fields(posterior)}:
            own[name] = value
            continue
        part, inner = NICKNAMES.get(name) or (_part_of(posterior, name), name)
        inside.setdefault(part, {})[inner] = value
    parts = {part: replace(getattr(posterior, part), **changed) for part, changed in inside.items()}
    return replace(posterior, **own, **parts)


def _part_of(posterior: Posterior, name: str) -> str:
    """The one part that has a field of a name."""
    holders = [part for part in PARTS if name in {field.name for field in fields(getattr(posterior, part))}]
    assert len(holders) == 1, f"{name} is in {holders}"
    return holders[0]


def with_counts(posterior: Posterior, factor: float) -> Posterior:
    """The answer as if its first spectrum had so many times the counts."""
    first, *others = posterior.data
    return replace(posterior, data=(replace(first, counts=first.counts * factor), *others))


def first_parameters(posterior: Posterior, count: int) -> Posterior:
    """The answer as if only the first parameters were free."""
    names = posterior.names[:count]
    frozen = {
        p.name: float(b) for p, b in zip(posterior.model.free, posterior.best, strict=False) if p.name not in names
    }
    return altered(
        posterior,
        model=posterior.model.freeze(frozen),
        prior=replace(posterior.prior, marginals=posterior.prior.marginals[:count]),
        draws=posterior.draws[:, :count],
        best=posterior.best[:count],
    )


def squeezed(posterior: Posterior, factor: float) -> Posterior:
    """The answer with draws pulled towards the best fit; 0 puts all of them there."""
    return altered(posterior, draws=posterior.best + factor * (posterior.draws - posterior.best))


def carried_by_few(posterior: Posterior) -> Posterior:
    """The answer with nearly all weight on three draws."""
    log_weight = np.full(posterior.draws.shape[0], -30.0)
    log_weight[:3] = 0.0
    return altered(posterior, log_weight=log_weight, ess=3.0)
