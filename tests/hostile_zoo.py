"""Damaged and hostile files, made of whole ones, and what the program does with each.

A mutant is drawn by the name of its file and a number, so each can be made again. It is handled in a child process that
may use so much CPU time; the peak of its memory is measured. An answer is every step up to a likelihood that gives a
number; an `XrayflowError` of one printable line is as good. Nothing else is.
"""

from __future__ import annotations

import ctypes
import gzip
import json
import os
import resource
import signal
import sys
import traceback
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator

from ogip_zoo import ENERGY_EDGES, redistribution, toy_files, write_arf, write_parts, write_rmf, write_spectrum
from xrayflow.errors import XrayflowError, XrayflowWarning
from xrayflow.ogip import describe, read_observation
from xrayflow.ogip.fits import read_fits
from xrayflow.ogip.table import Table

SECONDS, MEGABYTES = 5, 760
"""Most CPU time of one mutant, and memory beside the 240 MB that the imports take."""

LINE = 600
"""Longest error line, without the path."""

ANSWERED, REFUSED = "answer", "one line"
GOOD = (ANSWERED, REFUSED)

NUMBERS = ("-1", "0", "1", "3", "8", "255", "32767", "99999", "2147483647", "2147483648", "4294967296", "1000000000000")
NUMBERS += ("9223372036854775807", "9" * 40, "-9223372036854775808", "1.5", "-1.5", "1E300", "1E-300", "1E400", "NaN")
WORDS = ("T", "F", "'0'", "''", "'none'", "'%match%'", "'../../../../etc/passwd'", "'x{2}'", "'x[1]'", "'\x1b[2J\x07'")
WORDS += ("'unclosed", "()", "", "'" + "a" * 66 + "&'", "'/dev/zero'", "'keV '", "'eV'", "'\xff\xfe'")
FORMS = ("'1J'", "'1K'", "'E'", "'D'", "'0E'", "'4096E'", "'999999999E'", "'2147483647B'", "'PE(1)'", "'QD'", "'PB'")
FORMS += ("'16X'", "'20A'", "'1M'", "'L'", "'-1E'", "'E'' '", "'I'", "'1PJ(99999999999)'")
STRUCTURE = (
    "NAXIS",
    "TFIELDS",
    "TFORM",
    "TTYPE",
    "PCOUNT",
    "GCOUNT",
    "BITPIX",
    "THEAP",
    "XTENSION",
    "EXTNAME",
    "EXTVER",
)
STRUCTURE += ("TSCAL", "TZERO", "TNULL", "TLMIN", "DETCHANS", "EXPOSURE", "BACKSCAL", "AREASCAL", "TUNIT", "HDUCLAS")
NASTY = (
    np.nan,
    np.inf,
    -np.inf,
    -1.0,
    0.0,
    1e300,
    -1e300,
    1e-300,
    2.0**31,
    -(2.0**31),
    2.0**53,
    1e9,
    3.0,
    -32768.0,
    0.5,
)


@dataclass(frozen=True)
class Fixture:
    """A whole spectrum with its files, of which one is damaged.

    Args:
        name: For results.
        victim: The file that is damaged.
        pha: The spectrum.
        given: Arguments of `read_observation`.
    """

    name: str
    victim: Path
    pha: Path
    given: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What became of a mutant.

    Args:
        kind: ANSWERED, REFUSED; "exception", "warning", "time", "memory", "killed", "bad line".
        said: The line, or the end of the traceback.
        seconds: CPU time.
        megabytes: Peak of the memory.
    """

    kind: str
    said: str
    seconds: float
    megabytes: float


def fixtures(folder: Path) -> list[Fixture]:
    """Small files of every form, each in a folder of its own.

    Args:
        folder: Where to.
    """
    found = []

    def make(name: str, victim: str, change: Callable[[Path], Any] | None = None, **pha: Any) -> None:
        place = folder / name
        place.mkdir(parents=True, exist_ok=True)
        path = toy_files(place, exposure=200.0, background=True, **pha)
        if change is not None:
            change(place)
        given = {"row": 2} if name == "type II" else {}
        found.append(Fixture(name, place / victim, path, given))

    channel = np.arange(120)
    group, quality = np.where(channel % 4 == 0, 1, -1), np.where(channel > 110, 5, 0)
    area = {"name": "SPECRESP MATRIX", "hduclas3": "FULL", "matrix": 300.0 * redistribution()}
    parts = [(ENERGY_EDGES, 0.6 * redistribution()), (ENERGY_EDGES[::2], redistribution(ENERGY_EDGES[::2]) * 0.4)]
    make("spectrum", "toy.pha")
    make("columns", "toy.pha", grouping=group, quality=quality, areascal=np.ones(120), backscal=np.ones(120))
    make("errors", "toy.pha", stat_err=1.0 + channel % 5, poisserr=False)
    make("background", "toy.bkg")
    make("type II", "toy.pha", _type_two)
    make("rate", "toy.pha", _rate)
    make("matrix scalar", "toy.rmf")
    make("matrix fixed", "toy.rmf", lambda place: write_rmf(place / "toy.rmf", groups="fixed", elements="fixed"))
    make("matrix variable", "toy.rmf", lambda place: write_rmf(place / "toy.rmf", groups="variable"))
    make("two matrices", "toy.rmf", lambda place: write_parts(place / "toy.rmf", parts))
    make("response", "toy.rmf", lambda place: write_rmf(place / "toy.rmf", **area))
    make("area", "toy.arf", lambda place: write_arf(place / "toy.arf", HDUCLASS="OGIP"))
    return found


def _type_two(place: Path) -> None:
    counts = np.random.default_rng(1).poisson(20.0, (3, 120))
    columns = {"SPEC_NUM": np.arange(3), "CHANNEL": np.tile(np.arange(120), (3, 1)), "COUNTS": counts}
    columns |= {"OBJECT": np.array(["a", "b", "c"]), "EXPOSURE": np.array([100.0, 200.0, 300.0])}
    names = {"RESPFILE": "toy.rmf", "ANCRFILE": "toy.arf", "BACKFILE": "toy.bkg"}
    write_spectrum(place / "toy.pha", columns, TLMIN2=0, DETCHANS=120, **names)


def _rate(place: Path) -> None:
    rate = np.random.default_rng(2).poisson(20.0, 120) / 200.0
    columns = {"CHANNEL": np.arange(120), "RATE": rate.astype(np.float32), "STAT_ERR": np.sqrt(rate / 200.0 + 1e-3)}
    names = {"RESPFILE": "toy.rmf", "ANCRFILE": "toy.arf"}
    write_spectrum(place / "toy.pha", columns, TLMIN1=0, DETCHANS=120, EXPOSURE=200.0, POISSERR=False, **names)


def mutate(whole: bytes, random: Generator) -> tuple[str, bytes]:
    """A damaged copy of a file.

    Args:
        whole: Its bytes, unpacked.
        random: Draws how.

    Returns:
        The kind of damage, and the bytes.
    """
    kind = str(random.choice(list(DAMAGES), p=np.array(list(WEIGHTS)) / sum(WEIGHTS)))
    content = DAMAGES[kind](whole, random)
    if kind != "bomb" and random.random() < 0.15:  # two kinds at once
        content = DAMAGES["cards"](content, random) if content[:2] != b"\x1f\x8b" else content
    return kind, content


def _cards(content: bytes) -> list[tuple[int, str]]:
    """Place and keyword of every card of every header that can be found."""
    found = []
    for start in range(0, len(content), 2880):
        if content[start : start + 9] not in (b"SIMPLE  =", b"XTENSION="):
            continue
        for at in range(start, min(start + 400 * 80, len(content)), 80):
            keyword = content[at : at + 8].decode("latin-1").strip()
            if keyword == "END":
                break
            found.append((at, keyword))
    return found


def _bits(whole: bytes, random: Generator) -> bytes:
    content = bytearray(whole)
    for _ in range(int(random.integers(1, 9))):
        content[random.integers(len(content))] ^= 1 << int(random.integers(8))
    return bytes(content)


def _header_bits(whole: bytes, random: Generator) -> bytes:
    content, cards = bytearray(whole), _cards(whole)
    for _ in range(int(random.integers(1, 9))):
        at = cards[random.integers(len(cards))][0] + int(random.integers(80))
        content[min(at, len(content) - 1)] ^= 1 << int(random.integers(8))
    return bytes(content)


def _card_values(whole: bytes, random: Generator, names: tuple[str, ...] = ()) -> bytes:
    content = bytearray(whole)
    cards = [card for card in _cards(whole) if not names or card[1].startswith(names)]
    for _ in range(int(random.integers(1, 4)) if cards else 0):
        at, keyword = cards[random.integers(len(cards))]
        values = FORMS if keyword.startswith("TFORM") and random.random() < 0.7 else (*NUMBERS, *WORDS)
        value = str(random.choice(values))
        content[at : at + 80] = f"{keyword:8}= {value:>20}".encode("latin-1")[:80].ljust(80)
    return bytes(content)


def _structure(whole: bytes, random: Generator) -> bytes:
    return _card_values(whole, random, STRUCTURE)


def _cut(whole: bytes, random: Generator) -> bytes:
    return whole[: int(random.integers(len(whole)))]


def _blocks(whole: bytes, random: Generator) -> bytes:
    blocks = [whole[at : at + 2880] for at in range(0, len(whole), 2880)]
    one, other = random.integers(len(blocks), size=2)
    how = random.integers(3)
    if how == 0:
        del blocks[one]
    elif how == 1:
        blocks[one], blocks[other] = blocks[other], blocks[one]
    else:
        blocks.insert(int(one), blocks[other])
    return b"".join(blocks)


def _tables(content: bytes, random: Generator) -> list[Table]:
    path = Path("/dev/null")
    try:
        return list(read_fits(path, content).tables)
    except XrayflowError:
        return []


def _elements(whole: bytes, random: Generator) -> bytes:
    """Numbers of one column that are absurd: one row, some, or all."""
    content, tables = bytearray(whole), _tables(whole, random)
    tables = [table for table in tables if table.rows]
    if not tables:
        return _bits(whole, random)
    table = tables[random.integers(len(tables))]
    column = list(table.columns.values())[random.integers(len(table.columns))]
    kind = {"I": ">i2", "J": ">i4", "K": ">i8", "E": ">f4", "D": ">f8", "B": "u1", "P": ">i4", "Q": ">i8"}
    dtype = np.dtype(kind.get(column.kind, "u1"))
    size = column.width // dtype.itemsize
    value = float(random.choice(NASTY))
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        number = np.array(value).astype(dtype).tobytes()
    rows = random.integers(table.rows, size=int(random.choice([1, 1, 3, table.rows])))
    for row in rows if size else ():
        at = table.start + int(row) * table.width + column.offset + int(random.integers(size)) * dtype.itemsize
        content[at : at + dtype.itemsize] = number
    return bytes(content)


def _heap(whole: bytes, random: Generator) -> bytes:
    """Rows of a variable column that all point at one piece of the heap, or past it."""
    content = bytearray(whole)
    variable = [
        (table, column) for table in _tables(whole, random) for column in table.columns.values() if column.element
    ]
    if not variable:
        return _elements(whole, random)
    table, column = variable[random.integers(len(variable))]
    heap = len(table.heap)
    pair = np.array([random.choice([heap, heap // 4, 2**31 - 1, -1, 0]), random.choice([0, 0, heap, -1, 2**31 - 1])])
    for row in range(table.rows):
        at = table.start + row * table.width + column.offset
        content[at : at + 8] = pair.astype(">i4").tobytes()
    return bytes(content)


def _columns(whole: bytes, random: Generator) -> bytes:
    """A table of very many columns in place of the first."""
    many = int(random.choice([999, 1000, 50_000]))
    cards = ["XTENSION= 'BINTABLE'", "BITPIX  =                    8", "NAXIS   =                    2"]
    cards += [f"NAXIS1  = {many:20}", "NAXIS2  =                   10", "PCOUNT  = 0", "GCOUNT  = 1"]
    cards += [f"TFIELDS = {many:20}", "EXTNAME = 'SPECTRUM'"]
    for number in range(1, many + 1):
        cards += [f"{f'TTYPE{number}':8.8}= 'C{number}'", f"{f'TFORM{number}':8.8}= 'B'"]
    header = b"".join(card.encode().ljust(80) for card in [*cards, "END"])
    header += b" " * (-len(header) % 2880)
    return whole[:2880] + header + bytes(-(-many * 10 // 2880) * 2880) + whole[2880:]


_ZEROS = 16 << 20
_MEMBER: list[bytes] = []


def _bomb(whole: bytes, random: Generator) -> bytes:
    """A packed file of a few kilobytes that announces, and has, up to two gigabytes of rows."""
    if not _MEMBER:
        _MEMBER.append(gzip.compress(bytes(_ZEROS), 9))
    tables = [table for table in _tables(whole, random) if table.rows and table.width]
    if not tables:
        return gzip.compress(whole)
    table, members = tables[0], int(random.choice([1, 6, 11, 13, 70, 130]))
    rows = members * _ZEROS // table.width
    head = bytearray(whole[: table.start])
    for at, keyword in _cards(bytes(head)):
        if keyword in ("NAXIS2", "PCOUNT") and at > 2880:
            value = rows if keyword == "NAXIS2" else 0
            head[at : at + 80] = f"{keyword:8}= {value:20}".encode().ljust(80)
    packed = gzip.compress(bytes(head)) + _MEMBER[0] * members
    return packed + gzip.compress(whole[table.start + -(-table.size // 2880) * 2880 :])


def _packed(whole: bytes, random: Generator) -> bytes:
    """A packed file that is damaged."""
    return _bits(zlib.compress(whole, wbits=31), random)


DAMAGES: dict[str, Callable[[bytes, Generator], bytes]] = {
    "bits": _bits,
    "header bits": _header_bits,
    "cards": _card_values,
    "structure": _structure,
    "cut": _cut,
    "blocks": _blocks,
    "elements": _elements,
    "heap": _heap,
    "columns": _columns,
    "bomb": _bomb,
    "packed": _packed,
}
WEIGHTS = (8.0, 14.0, 14.0, 22.0, 5.0, 5.0, 20.0, 6.0, 1.0, 1.5, 3.5)


def mutant(fixture: Fixture, number: int) -> tuple[str, bytes]:
    """The mutant of that number: kind of damage, and bytes."""
    whole = fixture.victim.read_bytes()
    whole = gzip.decompress(whole) if whole[:2] == b"\x1f\x8b" else whole
    return mutate(whole, np.random.default_rng([zlib.crc32(fixture.name.encode()), number]))


def use(fixture: Fixture, victim: Path, likelihood: bool = True) -> None:
    """Everything that is done with files before a fit: read, describe, bin, and a likelihood that gives a number.

    Args:
        fixture: The whole files.
        victim: What takes the place of the one that is damaged.
        likelihood: Go as far as that.
    """
    given = {name: victim if value == fixture.victim else value for name, value in fixture.given.items()}
    pha = victim if fixture.pha == fixture.victim else fixture.pha
    first: XrayflowError | None = None
    try:  # what inspect says has to hold as well, and where it refuses a fit may not
        describe(victim, given.get("row"))
    except XrayflowError as error:
        first = error
    observation = read_observation(pha, **given)
    for grouping in ("file", "optimal", "min:20"):
        spectrum = observation.bin(grouping=grouping)
        if not np.all(np.isfinite(spectrum.counts)):
            raise AssertionError("counts that are no numbers")
    if likelihood:
        import torch

        from xrayflow.setup import FitSetup, build_problem

        problem = build_problem([observation], FitSetup(model="powerlaw"))
        value = problem.log_target(torch.zeros((1, 1, problem.parameters), dtype=torch.float64))
        if bool(torch.isnan(value).any()):
            raise AssertionError("a likelihood that is no number")
    if first is not None:
        raise first


def handle(fixture: Fixture, number: int, folder: Path, likelihood: bool = True) -> tuple[str, Outcome]:
    """What becomes of a mutant, in a child process.

    Args:
        fixture: Of which it is made.
        number: Of the mutant.
        folder: Where it is written; a copy of the fixture's whole files is expected there.
        likelihood: As for `use`.

    Returns:
        The kind of damage, and the outcome.
    """
    kind, content = mutant(fixture, number)
    victim = folder / fixture.victim.name.removesuffix(".gz")
    victim.write_bytes(content)
    moved = Fixture(
        fixture.name,
        victim,
        victim if fixture.pha == fixture.victim else folder / fixture.pha.name,
        {name: victim if value == fixture.victim else value for name, value in fixture.given.items()},
    )
    return kind, in_child(lambda: use(moved, victim, likelihood), str(victim))


def in_child(work: Callable[[], None], path: str = "") -> Outcome:
    """What becomes of a piece of work, in a child process with bounded CPU time.

    Args:
        work: What is tried.
        path: Is not counted in the length of an error line.
    """
    read_end, write_end = os.pipe()
    before = _resident()
    child = os.fork()
    if child == 0:
        os.close(read_end)
        _try(work, path, write_end)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as stream:
        told = stream.read()
    _, status, usage = os.wait4(child, 0)
    seconds, megabytes = usage.ru_utime + usage.ru_stime, max(usage.ru_maxrss / 1024 - before, 0.0)
    if os.WIFSIGNALED(status):
        signalled = os.WTERMSIG(status)
        ended = "time" if signalled in (signal.SIGPROF, signal.SIGXCPU) else "killed"
        return Outcome(ended, signal.Signals(signalled).name, seconds, megabytes)
    found, said = json.loads(told)
    if found in GOOD and megabytes > MEGABYTES:
        found = "memory"
    return Outcome(found, said, seconds, megabytes)


def _resident() -> float:
    """Megabytes that a child is born with: pages of this process that are no file's, without what it has freed."""
    ctypes.CDLL(None).malloc_trim(0)
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024


def _try(work: Callable[[], None], path: str, write_end: int) -> None:
    """Works, writes what became of it, and ends the process."""
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    resource.setrlimit(resource.RLIMIT_AS, (12 << 30, 12 << 30))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.simplefilter("ignore", XrayflowWarning)
            work()
        told = (ANSWERED, "")
    except XrayflowError as error:
        line = str(error)
        short = len(line.replace(path, "")) <= LINE
        told = (REFUSED if line.isprintable() and short else "bad line", line[:LINE])
    except MemoryError as error:
        told = ("memory", _end(error))
    except Warning as error:
        told = ("warning", _end(error))
    except BaseException as error:  # noqa: BLE001 what is no XrayflowError is what is looked for
        told = ("exception", _end(error))
    os.write(write_end, json.dumps(told).encode()[:60_000])
    os._exit(0)


def _end(error: BaseException) -> str:
    """The last frames of a traceback that are ours, and the error."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f"{Path(one.filename).name}:{one.lineno}" for one in frames if "xrayflow" in one.filename][-2:]
    return f"{type(error).__name__}: {error!s:.200} at {' '.join(ours)}"


def main(arguments: list[str]) -> None:
    """Handle one mutant in this process, with its traceback: python hostile_zoo.py FIXTURE NUMBER FOLDER."""
    name, number, folder = arguments[0], int(arguments[1]), Path(arguments[2])
    fixture = next(one for one in fixtures(folder) if one.name == name)
    kind, content = mutant(fixture, number)
    print(kind, len(content))
    fixture.victim.write_bytes(content)
    use(fixture, fixture.victim)


if __name__ == "__main__":
    main(sys.argv[1:])
