"""Parameters as XSPEC writes them: a line of six numbers, or a link; and a model of such lines as one of ours.

    value, delta, min, bot, top, max        delta below or at 0: frozen; a lone comma leaves one as it is
    = 2*p3 + 0.1                            a link to parameters by their numbers
    /                                       as it is;      /*: this one and all that follow

Source: XSPEC manual, "newpar", "model".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from xrayflow.models import Model, Parameter, parse_model
from xrayflow.products.xspec.names import numbers

FIELDS = 6
VALUE, DELTA, LOWEST, LOW, HIGH, HIGHEST = range(FIELDS)

_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eEdD][+-]?\d+)?")
DECADES = 1e3
"""How far a range reaches whose other end a script moved beyond ours."""

CLOSE = 1e-6
"""Relative: XSPEC writes six digits."""


@dataclass(frozen=True)
class ParameterLine:
    """What one line says.

    Attributes:
        fields: value, delta, min, bot, top, max; None where nothing is said.
        link: What it equals, in XSPEC's words; "" where it is not linked.
        accepts_all: Whether all later parameters stay as they are.
    """

    fields: tuple[float | None, ...] = (None,) * FIELDS
    link: str = ""
    accepts_all: bool = False

    @classmethod
    def parse(cls, text: str) -> ParameterLine:
        """A line.

        Args:
            text: Without the end of line.

        Raises:
            ValueError: It is no parameter's, in words.

        >>> ParameterLine.parse("3.2107 , 2 2 5 5").fields
        (3.2107, None, 2.0, 2.0, 5.0, 5.0)
        """
        text = text.strip()
        if text.startswith("="):
            return cls(link=text[1:].strip())
        if text in ("", "/"):
            return cls()
        if text == "/*":
            return cls(accepts_all=True)
        # a comma at the end of a number divides, one by itself leaves a number out
        found: list[float | None] = []
        for word in re.findall(r"[^\s,]+,?|,", text):
            if word == "/":
                break
            if word == ",":
                found.append(None)
            elif _NUMBER.fullmatch(word.rstrip(",")):
                found.append(float(re.sub("[dD]", "e", word.rstrip(","))))
            else:
                raise ValueError("is no line of a parameter; write value delta min bot top max, or = p3")
        if len(found) > FIELDS:
            raise ValueError(f"{len(found)} numbers; a parameter has value, delta, min, bot, top and max")
        return cls((*found, *[None] * (FIELDS - len(found))))

    def over(self, before: ParameterLine) -> ParameterLine:
        """This line after another of the same parameter."""
        pairs = zip(self.fields, before.fields, strict=True)
        return ParameterLine(tuple(old if new is None else new for new, old in pairs), self.link)


@dataclass
class SavedModel:
    """A model as a script has it.

    Attributes:
        text: The expression.
        lines: Of its parameters in their order; those without one are at XSPEC's defaults.
    """

    text: str
    lines: list[ParameterLine]

    def change(self, number: int, line: ParameterLine) -> None:
        """`newpar`.

        Args:
            number: Of the parameter, from 1.
            line: What is said of it.
        """
        self._reach(number)
        self.lines[number - 1] = line.over(self.lines[number - 1])

    def hold(self, number: int, frozen: bool) -> None:
        """`freeze` and `thaw`.

        Args:
            number: Of the parameter.
            frozen: Which.
        """
        self._reach(number)
        line = self.lines[number - 1]
        delta = abs(line.fields[DELTA] or 0.01)
        said = [*line.fields]
        said[DELTA] = -delta if frozen else delta
        self.lines[number - 1] = replace(line, fields=tuple(said))

    def untie(self, number: int) -> None:
        """`untie`.

        Args:
            number: Of the parameter.
        """
        self._reach(number)
        self.lines[number - 1] = replace(self.lines[number - 1], link="")

    def _reach(self, number: int) -> None:
        self.lines += [ParameterLine()] * (number - len(self.lines))

    def settings(self, abund: str | None, xsect: str | None) -> ModelSettings:
        """The model, with frozen values, links and ranges as ours are said.

        Args:
            abund, xsect: XSPEC's names; None takes ours.

        Raises:
            ModelError: A component that is not here, a value or a link that cannot be.
            ValueError: More lines than the model has parameters, or a link that cannot be read, in words.
        """
        model = parse_model(self.text, abund or "wilm", xsect or "vern")
        if len(self.lines) > len(model.parameters):
            raise ValueError(f"{len(self.lines)} parameters for {model.text}, which has {len(model.parameters)}")
        names = {number: name for name, number in numbers(model).items()}
        freeze: dict[str, float] = {}
        links: dict[str, str] = {}
        priors: list[str] = []
        free: list[str] = []
        values = {parameter.name: parameter.value for parameter in model.parameters}
        for parameter, line in zip(model.parameters, self.lines, strict=False):
            value = parameter.value if line.fields[VALUE] is None else float(line.fields[VALUE] or 0.0)
            values[parameter.name] = value
            delta = line.fields[DELTA]
            if line.link:
                links[parameter.name] = in_names(line.link, names)
            elif parameter.is_switch or (parameter.frozen if delta is None else delta <= 0.0):
                freeze[parameter.name] = value
            else:
                if parameter.frozen:
                    free.append(parameter.name)
                priors += prior_of(parameter, line)
        model = model.thaw(*free).freeze(freeze).link(links)
        return ModelSettings(model, tuple(priors), {name: values[name] for name in model.names})


@dataclass(frozen=True)
class ModelSettings:
    """A model as `infer` takes it.

    Attributes:
        model: With frozen and linked parameters.
        priors: Ranges that are not ours, as `--prior` has them.
        values: What the script says of the free parameters, by name.
    """

    model: Model
    priors: tuple[str, ...]
    values: Mapping[str, float]


def prior_of(parameter: Parameter, line: ParameterLine) -> list[str]:
    """The range of a free parameter, where a script has another than XSPEC's own.

    Args:
        parameter: Free.
        line: What is said of it.
    """
    hard, soft = parameter.hard, parameter.soft
    lowest, low, high, highest = (line.fields[at] for at in (LOWEST, LOW, HIGH, HIGHEST))
    said = [(first, own) for first, own in ((lowest, hard[0]), (low, soft[0]), (high, soft[1]), (highest, hard[1]))]
    if all(first is None or _is_close(first, own) for first, own in said):
        return []
    ends = [parameter.box[0], parameter.box[1]]
    below = any(first is not None and not _is_close(first, own) for first, own in said[:2])
    above = any(first is not None and not _is_close(first, own) for first, own in said[2:])
    if below:
        ends[0] = max(hard[0], next(one for one in (lowest, low) if one is not None))
    if above:
        ends[1] = min(hard[1], next(one for one in (highest, high) if one is not None))
    # our own end of a range that was moved beyond it, and the 0 of a logarithm
    if parameter.scale == "log" and ends[0] <= 0.0:
        ends[0] = parameter.box[0]
    if ends[0] >= ends[1] and not (below and above and parameter.scale == "linear"):
        far = ends[1] / DECADES if parameter.scale == "log" else hard[0]
        ends = [far, ends[1]] if above else [ends[0], min(hard[1], soft[1], DECADES * abs(ends[0]))]
    return [f"{parameter.name}={ends[0]:.12g}:{ends[1]:.12g}"]


def in_names(link: str, names: dict[int, str]) -> str:
    """A link in our words.

    Args:
        link: With `p3`, or a bare number that stands alone, for parameter 3.
        names: By number.

    Raises:
        ValueError: A parameter that is not there, or of another model.

    >>> in_names("2*p1 + 0.1", {1: "gaussian.Sigma"})
    '2*gaussian.Sigma + 0.1'
    """
    if ":" in link:
        raise ValueError(f"the link '{link[:40]}' leads to another model; one is fitted here")
    alone = re.fullmatch(r"\s*(\d+)\s*", link)
    if alone:
        link = f"p{alone[1]}"

    def named(match: re.Match[str]) -> str:
        number = int(match[1])
        if number not in names:
            raise ValueError(f"the link '{link[:40]}' leads to parameter {number}, which is not there")
        return names[number]

    return re.sub(r"\b[pP](\d{1,4})\b", named, link)


def _is_close(one: float, other: float) -> bool:
    return abs(one - other) <= CLOSE * max(abs(one), abs(other), 1e-30)
