"""The command that makes an answer again, in the words of the command line.

All that changes a number is in it: files, model, what is held, tied or believed of it, bins, likelihood, seed and how
many draws were asked for. Numbers are written so that they are read back to the last digit.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from xrayflow.inference import Posterior
from xrayflow.models import parse_model
from xrayflow.prior import Marginal, Prior
from xrayflow.setup import DEFAULT_MODEL
from xrayflow.statistics import ASKED_FOR


def fit_words(posterior: Posterior) -> list[str]:
    """`xrayflow fit ...` as its words, without `--out`.

    Args:
        posterior: The answer.
    """
    data, provenance, likelihood = posterior.data[0], posterior.provenance, posterior.likelihood
    words = ["xrayflow", "fit", str(data.pha), "--rmf", str(data.rmf), "--arf", str(data.arf or "none")]
    words += ["--background", str(data.background or "none"), *_of_model(posterior)]
    if data.channels is not None:
        words += ["--channels", f"{data.channels[0]}-{data.channels[1]}"]
    else:
        words += ["--energies", ",".join(f"{_number(lo)}-{_number(hi)}" for lo, hi in data.energies)]
    words += ["--grouping", data.grouping, "--systematic", str(likelihood.asked)]
    if posterior.statistic.reason == ASKED_FOR:
        words += ["--statistic", posterior.statistic.name]
    if posterior.mode == "amortised":
        words += ["--amortised", "--network", str(posterior.network), "--draws", str(posterior.draws.shape[0])]
    else:
        words += ["--likelihood", likelihood.background.kind]
        words += ["--background-scale", _number(likelihood.background.scale)]
        words += ["--network", posterior.network or "none", "--draws", str(provenance.block)]
        words += ["--ess", _number(400.0 if posterior.evidence is None else posterior.evidence.wanted)]
    return [*words, "--seed", str(posterior.seed)]


def command_text(words: list[str]) -> str:
    """Words as a shell takes them, an option to a line.

    Args:
        words: Of `fit_words`.

    >>> print(command_text(["xrayflow", "fit", "a b.pha", "--seed", "0"]))
    xrayflow fit 'a b.pha' \\
      --seed 0
    """
    text = ""
    for place, word in enumerate(words):
        gap = " \\\n  " if word.startswith("--") else " " if place else ""
        text += gap + shlex.quote(word)
    return text


def _of_model(posterior: Posterior) -> Iterator[str]:
    """Model, what is frozen and linked in it, and the priors of what is free, where they are not as usual."""
    model = posterior.model
    if model.text != DEFAULT_MODEL:
        yield from ("--model", model.text)
    yield from ("--abund", model.abund)
    usual = {p.name: p for p in parse_model(model.text, model.abund, model.xsect).parameters}
    for one in model.parameters:
        if one.link is not None:
            yield from ("--link", f"{one.name}={one.link.text}")
        elif one.frozen and not (usual[one.name].frozen and usual[one.name].value == one.value):
            yield from ("--freeze", f"{one.name}={_number(one.value)}")
    for plain, wanted in zip(Prior.of(model).marginals, posterior.prior.marginals, strict=False):
        for change in _changes(plain, wanted, usual[wanted.name].frozen):
            yield from ("--prior", change)


def _changes(plain: Marginal, wanted: Marginal, thawed: bool) -> Iterator[str]:
    """What makes one prior of another; a parameter that is frozen unless it is given a prior is given one."""
    box = (wanted.lo, wanted.hi, wanted.scale)
    if box != (plain.lo, plain.hi, plain.scale) or (thawed and wanted.mean is None):
        scale = "log" if wanted.scale == "log" else "lin"
        yield f"{wanted.name}={scale}:{_number(wanted.lo)}:{_number(wanted.hi)}"
    if wanted.mean is not None and wanted.sd is not None:
        yield f"{wanted.name}~N({_number(wanted.mean)},{_number(wanted.sd)})"


def _number(value: float) -> str:
    """To the last digit, and short where that is enough."""
    short = f"{value:g}"
    return short if float(short) == value else repr(float(value))
