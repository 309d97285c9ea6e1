"""A session of XSPEC as a fit: what `save all session.xcm` wrote, or what a pipeline's load file says.

    data, response, arf, backgrnd     the files of one spectrum
    ignore, notice                    the bins, by number or by energy, as XSPEC counts them
    statistic, systematic             the latter beside chi^2 alone
    abund, xsect, model               with a line per parameter: value, delta, min, bot, top, max; `= 2*p3`; `/*`
    newpar, freeze, thaw, untie       what was changed afterwards

Values of free parameters are where XSPEC's fit would start; ours looks everywhere. Their limits become the prior's
range where they are not XSPEC's own, which span more than any source. What only draws, prints or fits is passed over;
what changes the meaning of data or model and has no counterpart here is refused. Nothing is executed: a script that
computes (`set`, `if`, `$name`) has to be loaded by XSPEC and saved.

Source: XSPEC manual, "save", "data", "ignore", "model", "newpar", "freeze".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from xrayflow.errors import DataError, FormatError
from xrayflow.ogip import Observation, read_observation
from xrayflow.products.xspec.parameters import ParameterLine, SavedModel

MOST_BYTES = 1_000_000
LONGEST = 2000
"""Characters that a line is read of."""

READ = (
    *("data", "response", "arf", "backgrnd", "ignore", "notice", "statistic", "systematic", "abund", "xsect", "model"),
    *("newpar", "freeze", "thaw", "untie", "cd", "energies"),
)
PASSED = (
    *("method", "cosmo", "xset", "bayes", "query", "setplot", "plot", "iplot", "cpd", "fit", "renorm", "show", "log"),
    *("chatter", "parallel", "autosave", "error", "steppar", "flux", "lumin", "eqwidth", "save", "exit", "quit"),
    *("time", "version", "weight", "tclout", "puts", "echo", "chain", "goodness", "margin", "improve", "none", "y"),
    *("n", "script", "uncertain", "lmod", "load", "ftest", "tclexit"),
)
REFUSED = {
    "corfile": "it changes the background",
    "cornorm": "it changes the background",
    "gain": "it changes the energies of the channels",
    "fakeit": "it makes data; simulate with xrayflow simulate",
    "dummyrsp": "it replaces the response",
    "mdefine": "it makes a component that is not known here",
    "addcomp": "it changes the model; save all in XSPEC and give that",
    "delcomp": "it changes the model; save all in XSPEC and give that",
    "editmod": "it changes the model; save all in XSPEC and give that",
    "rescalecov": "it changes the fit",
}
PROGRAM = ("set", "if", "for", "foreach", "while", "proc", "source", "exec", "eval", "expr", "lappend", "catch", "open")
STATISTICS = {"chi": "chi2", "cstat": "cstat", "pstat": "pstat", "pgstat": "pgstat-xspec"}

_ROW = re.compile(r"\{\d+\}$")
_SPECTRUM = re.compile(r"(?:(\d+):)?(\d+)")


@dataclass(frozen=True)
class Notice:
    """One range of `ignore` or `notice`.

    Attributes:
        keep: Whether it is noticed.
        low, high: Numbers of bins or energies [keV]; None for `**`.
        by_energy: Which of these.
    """

    keep: bool
    low: float | None
    high: float | None
    by_energy: bool


@dataclass
class Session:
    """What a script says.

    Attributes:
        path: Of the script.
        files: By `data`, `response`, `arf`, `backgrnd`.
        notices: In their order.
        ignores_bad: Whether bad bins are left out by a word of the script.
        statistic: Ours; None where nothing is said.
        systematic: Fraction.
        abund, xsect: XSPEC's names; None where nothing is said.
        model: With its parameters; None where there is none.
        remarks: What was passed over although it matters, in words.
    """

    path: Path
    files: dict[str, str] = field(default_factory=dict)
    notices: list[Notice] = field(default_factory=list)
    ignores_bad: bool = False
    statistic: str | None = None
    systematic: float = 0.0
    abund: str | None = None
    xsect: str | None = None
    model: SavedModel | None = None
    remarks: list[str] = field(default_factory=list)

    def file(self, kind: str) -> str | None:
        """The place of a file, from the script's folder or from here; None where not named.

        Args:
            kind: data, response, arf or backgrnd.
        """
        name = self.files.get(kind)
        if name is None or name.lower() == "none":
            return name
        row = "".join(_ROW.findall(name))
        plain = name.removesuffix(row)
        for place in (self.path.parent / plain, Path(plain)):
            for found in (str(place), f"{place}.gz"):  # packed files are found under their plain names, as in XSPEC
                if Path(found).is_file():
                    return found + row
        return name

    def observation(
        self,
        pha: str | None = None,
        rmf: str | None = None,
        arf: str | None = None,
        background: str | None = None,
        row: int | None = None,
    ) -> Observation:
        """The spectrum with its files.

        Args:
            pha, rmf, arf, background, row: As for `read_observation`; None takes what the script says.

        Raises:
            DataError: No spectrum is named.
            FileError: As `read_observation`.
        """
        pha = pha or self.file("data")
        if pha is None:
            raise DataError(f"{self.path}: names no data; give the spectrum too")
        response = self.file("response")
        rmf = rmf or (None if response == "none" else response)
        return read_observation(pha, rmf, arf or self.file("arf"), background or self.file("backgrnd"), row)


def read_session(path: str | Path) -> Session:
    """What a script of XSPEC says of data and model.

    Args:
        path: The script.

    Raises:
        FormatError: It cannot be read, computes, or says what has no counterpart here.
    """
    path = Path(path)
    try:
        if path.stat().st_size > MOST_BYTES:
            raise FormatError(f"{path}: larger than any saved session; give what save all wrote")
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise FormatError(f"{path}: cannot be read ({error.strerror}); give what save all wrote in XSPEC") from None
    return _Reader(path, text).read()


class _Reader:
    """One pass over the lines."""

    def __init__(self, path: Path, text: str) -> None:
        self.session = Session(path)
        self.lines = list(_lines(text))
        self.place = 0

    def read(self) -> Session:
        while self.place < len(self.lines):
            number, line = self.lines[self.place]
            self.place += 1
            self.command(number, line)
        if "data" not in self.session.files and self.session.model is None:
            raise FormatError(f"{self.session.path}: names neither data nor a model; give what save all wrote in XSPEC")
        return self.session

    def fail(self, number: int, line: str, todo: str) -> FormatError:
        shown = "".join(character if character.isprintable() else "?" for character in line[:60])
        return FormatError(f"{self.session.path}:{number}: '{shown}': {todo}")

    def command(self, number: int, line: str) -> None:
        words = line.split()
        first = words[0].lower()
        if "$" in line or "[" in line or first in PROGRAM or line[0] in "{}":
            raise self.fail(number, line, "this computes; load it in XSPEC, then save all session.xcm, and give that")
        if line[0] == "@":
            raise self.fail(number, line, "another script; load it in XSPEC, then save all session.xcm, and give that")
        name = _full(first)
        if name is None:
            raise self.fail(number, line, "no command of XSPEC that is known here; leave the line out")
        if name in REFUSED:
            raise self.fail(number, line, f"has no counterpart here: {REFUSED[name]}")
        if name in READ:
            getattr(self, f"read_{name}")(number, line, words[1:])

    def read_data(self, number: int, line: str, words: list[str]) -> None:
        if len(words) > 1 and words[0] in ("1", "1:1"):
            words = words[1:]
        if not words or words[0].lower() == "none":
            return
        if len(words) > 1 or "data" in self.session.files:
            raise self.fail(number, line, "more than one spectrum; fit one at a time, each from a script of its own")
        self.session.files["data"] = words[0]

    def one_file(self, kind: str, number: int, line: str, words: list[str]) -> None:
        """`arf 1 file`, `response 1:1 file`, `backgrnd file`."""
        if words and (match := _SPECTRUM.fullmatch(words[0])) and len(words) > 1:
            if int(match[1] or 1) != 1 or int(match[2]) != 1:
                raise self.fail(number, line, "another source or spectrum; one of each is fitted here")
            words = words[1:]
        if len(words) != 1:
            raise self.fail(number, line, f"write {kind} 1 FILE")
        self.session.files[kind] = words[0]

    def read_response(self, number: int, line: str, words: list[str]) -> None:
        self.one_file("response", number, line, words)

    def read_arf(self, number: int, line: str, words: list[str]) -> None:
        self.one_file("arf", number, line, words)

    def read_backgrnd(self, number: int, line: str, words: list[str]) -> None:
        self.one_file("backgrnd", number, line, words)

    def read_ignore(self, number: int, line: str, words: list[str]) -> None:
        self.notice(number, line, words, keep=False)

    def read_notice(self, number: int, line: str, words: list[str]) -> None:
        self.notice(number, line, words, keep=True)

    def notice(self, number: int, line: str, words: list[str], keep: bool) -> None:
        """`1:1-3,57-129`, `**-0.3 10.-**`, `bad`, `all`."""
        for part in re.split(r"[\s,]+", " ".join(words)):
            said = part.lower()
            if said == "bad" and not keep:
                self.session.ignores_bad = True
                continue
            if said == "all" and keep:
                self.session.notices.append(Notice(True, None, None, False))
                continue
            which, colon, ranges = said.rpartition(":")
            if colon and which not in ("1", "*", "**", "1-1", "1-*", "1-**", "*-*", "**-**"):
                raise self.fail(number, line, "another spectrum; one is fitted here")
            if not ranges:
                continue
            found = re.fullmatch(rf"({_END})(?:-({_END}))?", ranges)
            if found is None:
                raise self.fail(number, line, f"'{part[:20]}' is no range; write 1-3 (bins) or **-0.3 (keV)")
            low, high = found[1], found[2] or found[1]
            by_energy = any(re.search(r"[.e]", end) for end in (low, high))
            ends = [None if "*" in end else float(end) for end in (low, high)]
            if ends[0] is not None and ends[1] is not None and ends[0] > ends[1]:
                raise self.fail(number, line, f"'{part[:20]}' is no range; write the lower end first, as {high}-{low}")
            self.session.notices.append(Notice(keep, ends[0], ends[1], by_energy))

    def read_statistic(self, number: int, line: str, words: list[str]) -> None:
        if words and words[0].lower() == "test":
            return
        name = words[0].lower() if words else ""
        known = next((ours for theirs, ours in STATISTICS.items() if name and theirs.startswith(name)), None)
        if known is None:
            raise self.fail(number, line, f"no statistic of that name here; one of {', '.join(STATISTICS)}")
        self.session.statistic = known

    def read_systematic(self, number: int, line: str, words: list[str]) -> None:
        self.session.systematic = self.number(number, line, words[0] if words else "")

    def read_abund(self, number: int, line: str, words: list[str]) -> None:
        if len(words) != 1:
            raise self.fail(number, line, "write abund and the name of a table, as wilm")
        self.session.abund = words[0].lower()

    def read_xsect(self, number: int, line: str, words: list[str]) -> None:
        if len(words) != 1:
            raise self.fail(number, line, "write xsect vern")
        self.session.xsect = words[0].lower()

    def read_cd(self, number: int, line: str, words: list[str]) -> None:
        raise self.fail(number, line, "leave cd out, and start xrayflow in that folder")

    def read_energies(self, number: int, line: str, words: list[str]) -> None:
        if words and words[0].lower() not in ("extend", "reset"):
            self.session.remarks.append(
                f"{self.session.path.name}: energies {' '.join(words)[:40]} is not taken; the response makes the grid"
            )

    def read_model(self, number: int, line: str, words: list[str]) -> None:
        if self.session.model is not None:
            raise self.fail(number, line, "a second model; fit one at a time")
        text, *inline = line.split(maxsplit=1)[1].split("&") if len(words) else [""]
        if not text.strip() or text.strip().lower() in ("none", "clear", "?"):
            raise self.fail(number, line, "write model and an expression, as model TBabs*powerlaw")
        if ":" in text:
            raise self.fail(number, line, "a model of a name or for another source; one without is fitted here")
        rows = [ParameterLine.parse(one) for one in inline]
        while not inline and self.place < len(self.lines) and _is_parameter(self.lines[self.place][1]):
            at, row = self.lines[self.place]
            try:
                rows.append(ParameterLine.parse(row))
            except ValueError as error:
                raise self.fail(at, row, str(error)) from None
            self.place += 1
            if rows[-1].accepts_all:
                break
        self.session.model = SavedModel(text.strip(), rows)

    def saved(self, number: int, line: str) -> SavedModel:
        if self.session.model is None:
            raise self.fail(number, line, "there is no model yet")
        return self.session.model

    def read_newpar(self, number: int, line: str, words: list[str]) -> None:
        model, which = self.saved(number, line), self.numbers(number, line, words[:1])
        if len(which) != 1 or len(words) < 2:
            raise self.fail(number, line, "write newpar, a number and a value")
        try:
            model.change(which[0], ParameterLine.parse(" ".join(words[1:])))
        except ValueError as error:
            raise self.fail(number, line, str(error)) from None

    def read_freeze(self, number: int, line: str, words: list[str]) -> None:
        for one in self.numbers(number, line, words):
            self.saved(number, line).hold(one, True)

    def read_thaw(self, number: int, line: str, words: list[str]) -> None:
        for one in self.numbers(number, line, words):
            self.saved(number, line).hold(one, False)

    def read_untie(self, number: int, line: str, words: list[str]) -> None:
        for one in self.numbers(number, line, words):
            self.saved(number, line).untie(one)

    def numbers(self, number: int, line: str, words: Sequence[str]) -> list[int]:
        """`1-3,5 7`."""
        found: list[int] = []
        for part in re.split(r"[\s,]+", " ".join(words)):
            match = re.fullmatch(r"(\d{1,4})(?:-(\d{1,4}))?", part)
            if match is None:
                raise self.fail(number, line, "write the numbers of parameters, as 1-3,5")
            found += range(int(match[1]), int(match[2] or match[1]) + 1)
        return found

    def number(self, number: int, line: str, text: str) -> float:
        try:
            return float(text)
        except ValueError:
            raise self.fail(number, line, f"'{text[:20]}' is no number") from None


_END = r"\*\*?|\d+\.?\d*(?:e[+-]?\d+)?|\.\d+(?:e[+-]?\d+)?"


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines that say something, with their numbers."""
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.strip()[:LONGEST]
        if line and line[0] not in "#!":
            yield number, line


def _full(first: str) -> str | None:
    """The command that a word means, as XSPEC completes it: what is read goes first."""
    for known in (READ, tuple(REFUSED), PASSED):
        if first in known:
            return first
    for known in (READ, tuple(REFUSED), PASSED):
        for name in known:
            if len(first) >= 2 and name.startswith(first):
                return name
    return None


def _is_parameter(line: str) -> bool:
    """Whether a line below `model` is a parameter's."""
    return re.match(r"[=/,+-]|\.?\d", line) is not None
