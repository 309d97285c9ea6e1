"""What has been done, on disk: one transaction for each finished batch, synced before the next counts as begun.

A ledger stands beside what is made of it (`table.fits.ledger`) and belongs to one question. It is read and written by
one process at a time: a lock on `.table.fits.lock` dies with the process that holds it, however that ends. What a
process did after its last transaction is lost, which is the batches it was at; nothing else can be.

Source: sqlite.org, "Atomic Commit In SQLite"; flock(2).
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from xrayflow.errors import DataError, FileError
from xrayflow.files import OTHER_OUT, SCHEMA_VERSION, cannot_write

SUFFIX = ".ledger"
"""Behind the name of what is made of a ledger."""

AGAIN = "make room and give the same command: what is done is kept"

SHOWN = 3
"""Changes that an error line names at most."""

_TABLES = """
CREATE TABLE asked (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE looks (
    key TEXT PRIMARY KEY, matrix TEXT NOT NULL, record TEXT NOT NULL, error TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE batches (
    number INTEGER PRIMARY KEY, rows INTEGER NOT NULL, file TEXT NOT NULL, sha256 TEXT NOT NULL, seconds REAL NOT NULL
);
CREATE TABLE rows (
    key TEXT PRIMARY KEY, batch INTEGER NOT NULL, record TEXT NOT NULL, error TEXT NOT NULL, extra BLOB
) WITHOUT ROWID;
CREATE TABLE begun (file TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TEMP TABLE listed (place INTEGER PRIMARY KEY, key TEXT NOT NULL);
"""


@dataclass(frozen=True)
class Kept:
    """A row of the ledger.

    Attributes:
        place: Of the source in the list, from 0.
        key: Of the source.
        look: What its files hold.
        record: What became of it; None where that is not known yet.
        error: Why there is no answer; "" where there is one.
        extra: What else was made of it.
    """

    place: int
    key: str
    look: dict[str, Any]
    record: dict[str, Any] | None
    error: str
    extra: bytes | None


class Ledger:
    """A ledger that is open, and locked."""

    def __init__(self, out: Path, restart: bool = False) -> None:
        """Open or begin one.

        Args:
            out: What is made of it.
            restart: Begin anew.

        Raises:
            FileError: The place takes no file, another process is at it, or the file is no ledger.
        """
        self.path = out.with_name(out.name + SUFFIX)
        self._lock = _locked(out)
        self.dropped: list[str] = []
        try:
            if restart:
                self._drop()
            self._open()
        except BaseException:
            self._unlock(out)
            raise
        self._out = out

    def _drop(self) -> None:
        """Take the old ledger away; `dropped` are the files of its batches."""
        with suppress(FileError):
            self._open()
            self.dropped = [name for name, _ in self.files()]
            self._base.close()
        for suffix in ("", "-journal"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)

    def _open(self) -> None:
        with self._speaking():
            self._base = sqlite3.connect(self.path, isolation_level=None)
            self._base.execute("PRAGMA synchronous = FULL")
            self._base.execute("PRAGMA temp_store = MEMORY")
            version = self._base.execute("PRAGMA user_version").fetchone()[0]
            found = {name for (name,) in self._base.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if found and (version != SCHEMA_VERSION or "batches" not in found):
                raise FileError(f"{self.path}: not a ledger of this version; --restart starts anew")
            tables = _TABLES.strip().split("\n")
            if found:
                self._base.execute(tables[-1])
                return
            self._base.executescript(f"BEGIN; {_TABLES} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with suppress(sqlite3.Error):
            self._base.close()
        self._unlock(self._out)

    def _unlock(self, out: Path) -> None:
        with suppress(OSError):
            _lock_of(out).unlink()
        os.close(self._lock)

    @contextmanager
    def _speaking(self) -> Iterator[None]:
        """What sqlite finds wrong, in one line."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            if "full" in str(error) or "I/O" in str(error):
                raise FileError(f"{self.path}: cannot be written ({error}); {AGAIN}") from None
            raise FileError(f"{self.path}: {error}; {OTHER_OUT}, or --restart starts anew") from None

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction: all of it is on disk at the end, or nothing."""
        with self._speaking():
            self._base.execute("BEGIN IMMEDIATE")
            try:
                yield self._base
                self._base.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):  # a full disk has rolled back already
                    self._base.execute("ROLLBACK")
                raise

    def settle(self, asked: Mapping[str, Any]) -> None:
        """Keep the question, or see that it is the one that was asked before.

        Args:
            asked: Of JSON's kinds.

        Raises:
            DataError: It is another; the line says what changed.
        """
        plain = {name: json.loads(json.dumps(value)) for name, value in asked.items()}
        with self._speaking():
            before = {name: json.loads(value) for name, value in self._base.execute("SELECT name, value FROM asked")}
        if not before:
            with self._writing() as base:
                pairs = [(name, json.dumps(value)) for name, value in plain.items()]
                base.executemany("INSERT INTO asked VALUES (?, ?)", pairs)
            return
        changes = list(_differences(before, plain))
        if changes:
            more = f", and {len(changes) - SHOWN} more" if len(changes) > SHOWN else ""
            raise DataError(
                f"{self.path}: was begun with other settings: {'; '.join(changes[:SHOWN])}{more}. Ask as before, give "
                "another --out, or --restart starts anew"
            )

    def ask_for(self, keys: Iterable[str]) -> None:
        """Say which sources are asked for, in order.

        Args:
            keys: Each once.
        """
        with self._writing() as base:
            base.execute("DELETE FROM listed")
            base.executemany("INSERT INTO listed VALUES (?, ?)", enumerate(keys))

    def not_looked_at(self) -> list[int]:
        """Places of listed sources whose files are to be looked at: new ones, and those that could not be read."""
        with self._speaking():
            found = self._base.execute(
                "SELECT place FROM listed LEFT JOIN looks USING (key) WHERE looks.key IS NULL OR error != '' ORDER BY 1"
            )
            return [place for (place,) in found]

    def keep_looks(self, found: Iterable[tuple[str, Mapping[str, Any], str]]) -> None:
        """Keep what files hold.

        Args:
            found: Key, record and error of each source.
        """
        with self._writing() as base:
            rows = [(key, record.get("matrix", ""), json.dumps(record), error) for key, record, error in found]
            base.executemany("INSERT OR REPLACE INTO looks VALUES (?, ?, ?, ?)", rows)

    def look(self, key: str) -> dict[str, Any]:
        """What the files of a source hold.

        Args:
            key: Of a source that was looked at.
        """
        with self._speaking():
            found = self._base.execute("SELECT record FROM looks WHERE key = ?", (key,)).fetchone()
        record: dict[str, Any] = json.loads(found[0])
        return record

    def answered(self, keys: Sequence[str]) -> set[str]:
        """Those of some sources that have not failed: with an answer, or on the way to one.

        Args:
            keys: Of sources that were looked at.
        """
        with self._speaking():
            asked = (
                "SELECT 1 FROM looks LEFT JOIN rows USING (key) "
                "WHERE key = ? AND looks.error = '' AND ifnull(rows.error, '') = ''"
            )
            return {key for key in keys if self._base.execute(asked, (key,)).fetchone() is not None}

    def forget(self, keys: Sequence[str]) -> None:
        """All that is known of some sources.

        Args:
            keys: Of them.
        """
        with self._writing() as base:
            for table in ("looks", "rows"):
                base.executemany(f"DELETE FROM {table} WHERE key = ?", [(key,) for key in keys])

    def left(self, retry: bool = False) -> dict[str, array[int]]:
        """Places of listed sources that can be read and have no answer yet, by the matrix that they share.

        Args:
            retry: Those too that have failed.
        """
        again = "OR rows.error != ''" if retry else ""
        places: dict[str, array[int]] = {}
        with self._speaking():
            found = self._base.execute(
                "SELECT place, matrix FROM listed JOIN looks USING (key) LEFT JOIN rows USING (key) "
                f"WHERE looks.error = '' AND (rows.key IS NULL {again}) ORDER BY place"
            )
            for place, matrix in found:
                places.setdefault(matrix, array("q")).append(place)
        return places

    def begin_file(self, name: str) -> None:
        """Say that a file of a batch is going to be written: it is none of ours until the batch is kept.

        Args:
            name: Of the file.
        """
        with self._writing() as base:
            base.execute("INSERT OR REPLACE INTO begun VALUES (?)", (name,))

    def abandoned(self) -> list[str]:
        """Files that were begun, and whose batch was not kept."""
        with self._speaking():
            found = self._base.execute("SELECT file FROM begun WHERE file NOT IN (SELECT file FROM batches)")
            return [name for (name,) in found]

    def forget_file(self, name: str) -> None:
        """The rows of a batch whose file is gone: they are worked on again.

        Args:
            name: Of the file.
        """
        with self._writing() as base:
            base.execute("DELETE FROM rows WHERE batch IN (SELECT number FROM batches WHERE file = ?)", (name,))
            base.execute("DELETE FROM batches WHERE file = ?", (name,))

    def keep_batch(
        self,
        rows: Sequence[tuple[str, Mapping[str, Any], str, bytes | None]],
        seconds: float,
        file: str = "",
        sha256: str = "",
    ) -> None:
        """Keep a finished batch: it is on disk when this returns.

        Args:
            rows: Key, record, error and extra of each source.
            seconds: That it took.
            file, sha256: Name and hash of the file that was written for it.
        """
        with self._writing() as base:
            made = base.execute(
                "INSERT INTO batches (rows, file, sha256, seconds) VALUES (?, ?, ?, ?)",
                (len(rows), file, sha256, seconds),
            )
            number = made.lastrowid
            base.executemany(
                "INSERT OR REPLACE INTO rows VALUES (?, ?, ?, ?, ?)",
                [(key, number, json.dumps(record), error, extra) for key, record, error, extra in rows],
            )
            base.execute("DELETE FROM begun")

    def rows(self) -> Iterator[Kept]:
        """Every listed source that was looked at, in order."""
        with self._speaking(), closing(self._base.cursor()) as cursor:
            found = cursor.execute(
                "SELECT place, key, looks.record, looks.error, rows.record, rows.error, rows.extra "
                "FROM listed JOIN looks USING (key) LEFT JOIN rows USING (key) ORDER BY place"
            )
            for place, key, look, unread, record, error, extra in found:
                known = None if record is None else json.loads(record)
                if unread:
                    known, error = {}, unread
                yield Kept(place, key, json.loads(look), known, error or "", extra)

    def count(self) -> tuple[int, int, int]:
        """Listed sources, those that are done, and those of them that failed."""
        with self._speaking():
            found = self._base.execute(
                "SELECT count(*), count(*) FILTER (WHERE looks.error != '' OR rows.key IS NOT NULL), "
                "count(*) FILTER (WHERE looks.error != '' OR rows.error != '') "
                "FROM listed LEFT JOIN looks USING (key) LEFT JOIN rows USING (key)"
            ).fetchone()
        return int(found[0]), int(found[1]), int(found[2])

    def seconds(self) -> float:
        """That all batches took."""
        with self._speaking():
            return float(self._base.execute("SELECT ifnull(sum(seconds), 0) FROM batches").fetchone()[0])

    def files(self) -> list[tuple[str, str]]:
        """Name and hash of every file of a batch."""
        with self._speaking():
            return list(self._base.execute("SELECT file, sha256 FROM batches WHERE file != '' ORDER BY file"))


def _differences(before: Mapping[str, Any], now: Mapping[str, Any], within: str = "") -> Iterator[str]:
    """What changed, name by name."""
    for name in sorted({*before, *now}):
        old, new = before.get(name), now.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _differences(old, new, f"{within}{name} ")
        elif old != new:
            yield f"{within}{name} was {_shown(old)}, is {_shown(new)}"


def _shown(value: Any) -> str:
    text = "not given" if value is None else value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _lock_of(out: Path) -> Path:
    return out.with_name(f".{out.name}.lock")


def _locked(out: Path) -> int:
    """A lock on an output that dies with this process.

    Raises:
        FileError: Another process has it, or the folder takes no file.
    """
    place = _lock_of(out)
    while True:
        try:
            handle = os.open(place, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise cannot_write(out, error) from None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            ours, there = os.fstat(handle), place.stat()
        except BlockingIOError:
            os.close(handle)
            raise FileError(f"{out}: another run is writing it; wait for that, or {OTHER_OUT}") from None
        except FileNotFoundError:  # its owner took it away between our two steps
            os.close(handle)
            continue
        except OSError as error:
            os.close(handle)
            raise FileError(
                f"{out}: cannot be locked ({error.strerror}); {OTHER_OUT} on a file system with locks"
            ) from None
        if (ours.st_dev, ours.st_ino) == (there.st_dev, there.st_ino):
            return handle
        os.close(handle)
