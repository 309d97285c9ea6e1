"""The fit as a script that XSPEC reads: `@model.xcm`, in the order of its own `save all`.

What XSPEC is told is what was fitted: statistic, files, the very bins, abundances, limits as wide as the prior's box,
frozen values and links; and `energies extend`, without which a convolution loses the photons that it would take from
outside the response's range. What XSPEC has no word for is said in comments: the shape of the prior, nuisances,
calibration modes, a systematic error beside counts, and groups that were not the file's.

A script is a program of Tcl to XSPEC, and names of files come from anywhere: each character that Tcl would act on is
escaped, and a name with a line break in it is refused.

Source: XSPEC manual, "save", "newpar", "energies", "ignore".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from xrayflow.dataset import ObservedData
from xrayflow.errors import DataError
from xrayflow.inference import Posterior
from xrayflow.prior import Marginal
from xrayflow.products.xspec.names import LOCAL, commands, full_name, numbers, step

SCRIPT = "model.xcm"

EXTENDED = "energies extend low 0.001 200 log"
"""The photons below the response's range that simpl needs; 1 to 40 % of the counts are wrong without."""

SPECIAL = re.compile(r"""[\s"$;\[\]{}\\#*?~]""")
"""What Tcl or XSPEC would act on in a word."""

_NAME = re.compile(r"[A-Za-z_]\w*\.\w+", re.ASCII)


def script(posterior: Posterior) -> str:
    """The text of a script that loads data and model, the parameters at the best point.

    Args:
        posterior: The answer.

    Raises:
        DataError: The name of a file cannot be written in a script.
    """
    lines = [f"# {_harmless(line)}" for line in comments(posterior)]
    names = commands(posterior.statistic.name)
    if len(set(names)) == 1:
        lines.append(f"statistic {names[0]}")
    for number, data in enumerate(posterior.data, start=1):
        if len(set(names)) > 1:
            lines.append(f"statistic {names[min(number, len(names)) - 1]} {number}")
        lines += files(data, number)
    lines += [
        f"ignore {number}:{ignored(data)}" for number, data in enumerate(posterior.data, start=1) if ignored(data)
    ]
    chi = set(names) == {"chi"}
    lines += [
        "method leven 100 0.01",
        f"abund {posterior.model.abund}",
        f"xsect {posterior.model.xsect}",
        "cosmo 70 0 0.73",
        "xset delta 0.01",
        f"systematic {posterior.likelihood.systematic if chi else 0.0:.10g}",
        EXTENDED,
        f"model {posterior.model.text}",
        *parameter_lines(posterior),
        "bayes off",
    ]
    return "\n".join(lines) + "\n"


def files(data: ObservedData, number: int) -> list[str]:
    """The lines that load one spectrum.

    Args:
        data: What was fitted.
        number: Of the spectrum.
    """
    lines = [f"data 1:{number} {word(data.pha)}", f"response 1:{number} {word(data.rmf)}"]
    lines.append(f"arf 1:{number} {'none' if data.arf is None else word(data.arf)}")
    return [*lines, f"backgrnd {number} {'none' if data.background is None else word(data.background)}"]


def ignored(data: ObservedData) -> str:
    """What `ignore` is told of one spectrum: bins by their numbers, or energies where XSPEC's bins are others.

    Args:
        data: What was fitted.
    """
    if data.grouping != "file":
        edges = [edge for pair in data.energies for edge in pair]
        inner = [f"{low:.6f}-{high:.6f}" for low, high in zip(edges[1:-1:2], edges[2:-1:2], strict=True)]
        return ",".join([f"**-{edges[0]:.6f}", *inner, f"{edges[-1]:.6f}-**"])
    kept = sorted(int(number) for number in data.number)
    gaps = [(low + 1, high - 1) for low, high in zip([0, *kept], [*kept, data.all_bins + 1], strict=True)]
    return ",".join(f"{low}-{high}" if low < high else f"{low}" for low, high in gaps if low <= high)


def parameter_lines(posterior: Posterior) -> Iterator[str]:
    """One line per parameter, at the best point: value, step, and limits as wide as the prior's box.

    Args:
        posterior: The answer.
    """
    number = numbers(posterior.model)
    best = dict(zip(posterior.names, posterior.best.tolist(), strict=True))
    boxes = {marginal.name: marginal for marginal in posterior.prior.marginals}
    for parameter in posterior.model.parameters:
        if parameter.link is not None:
            yield f"= {linked(parameter.link.text, number)}"
        elif parameter.frozen:
            yield six(parameter.value, -step(parameter), *parameter.hard, *parameter.soft)
        else:
            box = boxes[parameter.name]
            yield six(best[parameter.name], step(parameter), box.lo, box.hi, box.lo, box.hi)


def six(value: float, delta: float, lowest: float, highest: float, low: float, high: float) -> str:
    """`value delta min bot top max`, with all digits of the value."""
    low, high = max(low, lowest), min(high, highest)
    return "  ".join(f"{number:.12g}" for number in (value, delta, lowest, low, high, highest))


def linked(text: str, number: dict[str, int]) -> str:
    """A link in XSPEC's words, parameters by their numbers.

    Args:
        text: With their names.
        number: By name.

    >>> linked("2*gaussian.Sigma+0.1", {"gaussian.Sigma": 7})
    '2*p7+0.1'
    """
    return _NAME.sub(lambda name: f"p{number[name[0]]}", text)


def word(path: Path) -> str:
    """The name of a file as one word of Tcl: from the root, what Tcl acts on escaped.

    Args:
        path: The file.

    Raises:
        DataError: A line break, or another character that no script holds.

    >>> word(Path("/data/my source [1].pha"))
    '/data/my\\\\ source\\\\ \\\\[1\\\\].pha'
    """
    text = str(path.absolute())
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        raise DataError(f"{text!r}: a control character in the name, which XSPEC cannot read; rename the file")
    return SPECIAL.sub(lambda found: "\\" + found[0], text)


def comments(posterior: Posterior) -> Iterator[str]:
    """What to expect, and what XSPEC is not told.

    Args:
        posterior: The answer.
    """
    statistic, likelihood = posterior.statistic, posterior.likelihood
    version = posterior.provenance.versions.get("xrayflow", "")
    yield f"xrayflow {version}: {posterior.model.text}, {posterior.verdict}"
    yield f"To load: @{SCRIPT}, then chain load chain.fits"
    name = full_name(commands(statistic.name))
    yield f"Expect {name} {statistic.value:.2f} with {statistic.dof} degrees of freedom ({statistic.name})."
    yield "The parameters are at the best point of the posterior, whose likelihood is: " + likelihood.name
    yield "XSPEC's error and steppar know no prior; ours, and the limits below, are:"
    for marginal in posterior.prior.marginals[: len(posterior.model.names)]:
        yield f"  {marginal.name}: {_shape(marginal)}"
    if statistic.name == "pgstat":
        yield "XSPEC takes another variance for its pgstat than its manual; --statistic pgstat-xspec shows that one."
    for marginal in posterior.prior.marginals[len(posterior.model.names) :]:
        yield f"{marginal.name} is a nuisance of the likelihood: XSPEC has none, the chain is marginalised over it."
    if likelihood.calibration is not None:
        yield f"The response was allowed to be wrong (modes {likelihood.calibration.name}), as nothing in XSPEC is. It"
        yield "takes the response at its word, so its best fit lies elsewhere, and its errors are smaller."
    elif likelihood.systematic > 0.0 and commands(statistic.name) != ["chi"]:
        yield f"A systematic error of {likelihood.systematic:g} was believed; XSPEC has one beside chi^2 alone."
    for data in posterior.data:
        if data.grouping != "file":
            yield from _regroup(data)
    for local in LOCAL:
        if local in posterior.model.text:
            yield f"{local} is a local model: load its package with lmod first."


def _regroup(data: ObservedData) -> Iterator[str]:
    """How to make the groups that were fitted."""
    yield f"The bins were grouped anew ({data.grouping}), and XSPEC takes the file's: its statistic is another."
    yield "For the same:"
    kind = {"none": "grouptype=none", "optimal": "grouptype=opt"}.get(data.grouping, "")
    least = data.grouping.removeprefix("min:")
    kind = kind or f"grouptype=min groupscale={least}"
    needs = " respfile=RMF" if data.grouping == "optimal" else ""
    yield f"  ftgrouppha infile=PHA outfile=GROUPED {kind}{needs}"


def _shape(marginal: Marginal) -> str:
    """A prior in words."""
    if marginal.mean is not None and marginal.sd is not None:
        return f"normal, {marginal.mean:g} +- {marginal.sd:g}, within {marginal.lo:g} .. {marginal.hi:g}"
    what = "uniform in its logarithm" if marginal.scale == "log" else "uniform"
    return f"{what}, {marginal.lo:g} .. {marginal.hi:g}"


def _harmless(text: str) -> str:
    """On one line, without what would go on after a comment."""
    return "".join(character if character.isprintable() and character != "\\" else " " for character in text)
