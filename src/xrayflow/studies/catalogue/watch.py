"""A folder that fills: each new spectrum becomes a row of a catalogue, and is compared with those before it.

A round is the catalogue's own run over all spectra that are whole, on its own ledger: what is done is not done again,
and a watch that dies goes on with the same command. A file that is still being written is left for a later round. It is
whole when it can be read with its response, area and background, and was last touched `SETTLED` seconds ago; one that
cannot be read is given up after `PATIENCE`, and becomes a row that says why. A spectrum that is taken away takes its
row with it.

A new file is read twice: one look says whether it is whole and what it holds, and the fit, which may come minutes later
in another process, reads what it computes with and refuses it where it is no longer what the look saw.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xrayflow.errors import FileError
from xrayflow.files import OTHER_OUT, to_json, write_file
from xrayflow.ogip import read_rmf
from xrayflow.studies.catalogue.alarm import RATE, Alarm, alarms_of
from xrayflow.studies.catalogue.catalogue import Catalogue, Running, run_catalogue
from xrayflow.studies.catalogue.pictures import HARDNESS, TIME, catalogue_figures
from xrayflow.studies.catalogue.question import Question
from xrayflow.studies.catalogue.reading import CatalogueTable, read_catalogue, read_model
from xrayflow.studies.catalogue.table import check_place
from xrayflow.studies.running import Listing, Outcome, Source, Told, Workers, key_of, look_at

PATTERNS = ("*.pha", "*.pi", "*.pha.gz", "*.pi.gz")
"""Names of spectra, in the folder and below it."""

SETTLED, PATIENCE = 2.0, 600.0
"""Seconds since a file was last touched: before these it may still grow; a file that cannot be read then is broken."""

OUTBURST = (TIME, HARDNESS)
"""Figures that each round draws anew, behind the name of the table."""

ALARMS = "-alarms.json"
"""Behind the name of the table."""

Stamp = tuple[int, int]
"""Size and time of the last change of a file."""


@dataclass(frozen=True)
class Watched:
    """What is watched, and how.

    Attributes:
        folder: Where spectra arrive.
        patterns: Of their names.
        arf, background: Of all spectra, instead of what their headers name.
        rate: Of false alarms, by spectrum.
        settled, patience: As the constants.
    """

    folder: Path
    patterns: tuple[str, ...] = PATTERNS
    arf: str | None = None
    background: str | None = None
    rate: float = RATE
    settled: float = SETTLED
    patience: float = PATIENCE


@dataclass(frozen=True)
class Round:
    """What a round found.

    Attributes:
        catalogue: The run; None where there was nothing new.
        new: Rows that this round added or made again: path -> {verdict, mjd, reasons, parameters}.
        alarms: Those of the new rows.
        waiting: Files that are not whole yet, and why.
    """

    catalogue: Catalogue | None = None
    new: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    alarms: Sequence[Alarm] = ()
    waiting: Mapping[str, str] = field(default_factory=dict)

    @property
    def stopped(self) -> bool:
        """Whether the run was asked to end before it was done."""
        return self.catalogue is not None and not self.catalogue.complete


class Watch:
    """A folder under watch, from one round to the next."""

    def __init__(
        self, watched: Watched, question: Question, out: Path, running: Running, workers: Workers | None = None
    ) -> None:
        """Nothing is looked at yet.

        Args:
            watched: The folder.
            question: What is asked of each spectrum.
            out: The table.
            running: How; what failed is tried again with each round that finds something new.
            workers: That stay from round to round; None: each round starts its own.

        Raises:
            FileError: There is no such folder, no place for the table, or no response where one is given for all.
        """
        if not watched.folder.is_dir():
            raise FileError(f"{watched.folder}: no such folder; give the one where spectra arrive")
        check_place(out)
        self.watched, self.question, self.out, self.running = watched, question, out, running
        self.workers = workers
        if question.rmf is not None:
            read_rmf(question.rmf)
        self._whole: dict[Path, Stamp] = {}
        self._rows: dict[str, Any] = {}
        if out.exists():
            self._rows = _rows_of(read_catalogue(out))

    def round(self, told: Told | None = None, now: Callable[[], float] = time.time) -> Round:
        """Look once, and fit what is new.

        Args:
            told: Called with how far the run is.
            now: The time, in the file system's seconds.

        Raises:
            XrayflowError: As `run_catalogue`; what is wrong with one spectrum is a row.
        """
        looks, waiting = self._look(now())
        if not looks:
            return Round(waiting=waiting)
        listing = Listing([self._source(path) for path in sorted(self._whole)])
        catalogue = run_catalogue(listing, self.question, self.out, self.running, told, self.workers, looks)
        if not sum(catalogue.outcomes.values()):
            return Round(catalogue, waiting=waiting)
        table = read_catalogue(self.out)
        _, priors = read_model(table)
        rows = _rows_of(table)
        new = {path: row for path, row in rows.items() if self._rows.get(path) != row}
        self._rows = rows
        alarms = alarms_of(table, priors, self.watched.rate)
        self._write(table, alarms)
        return Round(catalogue, new, [one for one in alarms if one.path in new], waiting)

    def _source(self, path: Path) -> Source:
        return Source(path, self.watched.arf, self.watched.background)

    def _look(self, now: float) -> tuple[dict[str, Outcome], dict[str, str]]:
        """Looks at whole files that were not known, or changed, by key; and those that are not whole, with reasons."""
        looks, waiting, there = dict[str, Outcome](), dict[str, str](), _files(self.watched)
        self._whole = {path: stamp for path, stamp in self._whole.items() if path in set(there)}
        for path in there:
            stamp, touched = _stamp(path)
            if stamp is None or self._whole.get(path) == stamp:
                continue
            age = now - touched
            if 0.0 <= age < self.watched.settled:
                waiting[str(path)] = "was written to just now"
                continue
            look = look_at(self.question.rmf, self._source(path))
            if look.error and age < self.watched.patience:
                waiting[str(path)] = look.error
                continue
            self._whole[path] = stamp
            looks[key_of(self._source(path))] = look
        return looks, waiting

    def _write(self, table: CatalogueTable, alarms: Sequence[Alarm]) -> None:
        """Alarms as JSON, and the plots, beside the table."""
        from xrayflow.products.figures import png  # matplotlib, which no worker of a catalogue needs

        marks = [(one.time, one.parameter) for one in alarms]
        figures = catalogue_figures(table, marks=marks)
        for name, figure in ((name, figures[name]) for name in OUTBURST if name in figures):
            write_file(self.out.with_name(f"{self.out.stem}-{name}.png"), png(figure), OTHER_OUT)
        document = {"rate": self.watched.rate, "alarms": [vars(one) for one in alarms]}
        write_file(self.out.with_name(f"{self.out.stem}{ALARMS}"), to_json(document).encode() + b"\n", OTHER_OUT)


def rounds(watch: Watch, every: float, told: Told | None = None) -> Iterator[Round]:
    """Round after round, until somebody asks for an end.

    Args:
        watch: The folder.
        every: Seconds between the end of a round and the next.
        told: Called with how far a run is.
    """
    while True:
        found = watch.round(told)
        yield found
        if found.stopped:
            return
        time.sleep(every)


def _files(watched: Watched) -> list[Path]:
    """Files of these names, each once; hidden ones are somebody's temporary files."""
    found = {path for pattern in watched.patterns for path in watched.folder.rglob(pattern)}
    return sorted(
        path for path in found if not any(part.startswith(".") for part in path.relative_to(watched.folder).parts)
    )


def _stamp(path: Path) -> tuple[Stamp | None, float]:
    """What would be another if the file changed, and when that was; None for what is no file, or has gone."""
    try:
        found = path.stat()
        return ((found.st_size, found.st_mtime_ns) if path.is_file() else None), found.st_mtime
    except OSError:
        return None, 0.0


def _rows_of(table: CatalogueTable) -> dict[str, dict[str, Any]]:
    """What is told of each row."""
    words = {name: table.text(name) for name in ("path", "verdict", "reasons", "hash")}
    when = table.number("mjd").tolist()
    medians = {name: table.number(f"{name}_median").tolist() for name in table.parameters}
    rows: dict[str, dict[str, Any]] = {}
    for i, path in enumerate(words["path"]):
        rows[path] = {name: column[i] for name, column in words.items() if name != "path"}
        rows[path] |= {"mjd": None if when[i] != when[i] else when[i]}
        rows[path] |= {"medians": {n: v[i] for n, v in medians.items() if v[i] == v[i]}}
    return rows
