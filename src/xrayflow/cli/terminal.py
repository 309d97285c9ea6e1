"""What a verb says, and how it ends: one line for an error, a bar while it works, a report at the end."""

from __future__ import annotations

import os
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

import typer

from xrayflow.errors import XrayflowError, XrayflowWarning

DO_NOT_TRUST = 3
INTERRUPTED = 130
WIDE = 1000
"""Columns of what is not a terminal."""


@contextmanager
def answering(debug: bool) -> Iterator[None]:
    """Our errors end as one line and exit code 1, or 2 where an option alone is wrong; our warnings as one line each.

    All else is a bug and shows itself.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("always", XrayflowWarning)
        usual, told = warnings.showwarning, set()

        def show(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if not issubclass(category, XrayflowWarning):
                usual(message, category, filename, lineno, file, line)
            elif str(message) not in told:
                told.add(str(message))
                complain(f"warning: {message}")

        warnings.showwarning = show
        try:
            yield
        except XrayflowError as error:
            if debug:
                traceback.print_exc()
            complain(str(error))
            raise typer.Exit(2 if error.usage else 1) from None
        except KeyboardInterrupt:
            complain("interrupted")
            raise typer.Exit(INTERRUPTED) from None


@contextmanager
def leaving_no_folder(out: Path | None, *inside: str) -> Iterator[None]:
    """Where a verb fails, the folders that it made for its products go again, as far as they are empty.

    Args:
        out: The folder.
        inside: Names of folders that are made in it.
    """
    wanted = [] if out is None else [*(out / name for name in inside), out, *out.parents]
    made = [one for one in wanted if not one.exists()]
    try:
        yield
    except BaseException:
        for one in made:
            with suppress(OSError):
                one.rmdir()
        raise


@contextmanager
def show_progress() -> Iterator[Callable[[str, float], None] | None]:
    """A bar on stderr where that is a terminal; nothing elsewhere."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description:<12}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=sys.stdout.isatty()) as bar:
        task = bar.add_task("reading", total=1.0)
        yield lambda step, fraction: bar.update(task, description=step, completed=fraction)


@contextmanager
def show_standing(announced: bool = True) -> Iterator[Callable[[Any], None]]:
    """Of a long run: a bar with the rate and the time left on a terminal.

    Elsewhere a line where work begins, one for its first batch, then one each minute: more would drown a log.

    Args:
        announced: Whether to say that work begins; not for those that say what comes of each source.
    """
    if not sys.stderr.isatty():
        last, is_first = time.monotonic(), False

        def tell(standing: Any) -> None:
            nonlocal last, is_first
            if not standing.total:
                complain(FINISHING)
            elif standing.batches:
                is_first = announced
                if announced:
                    complain(_ahead(standing))
            elif time.monotonic() - last >= MINUTE or (is_first and standing.per_second and standing.seconds_left):
                last, is_first = time.monotonic(), False
                complain(f"{standing.step}: {standing.done} of {standing.total}, {_pace(standing)}")

        yield tell
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    words = TextColumn("{task.description:<16}"), TextColumn("{task.fields[pace]}")
    console = Console(stderr=True)
    columns = (words[0], BarColumn(), MofNCompleteColumn(), words[1], TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, redirect_stdout=sys.stdout.isatty()) as bar:
        task = bar.add_task("starting", total=None, pace="")

        def show(standing: Any) -> None:
            if not standing.total:
                console.print(FINISHING, highlight=False)
                return
            pace = _pace(standing)
            bar.update(task, description=standing.step, completed=standing.done, total=standing.total, pace=pace)

        yield show


FINISHING = "finishing the batch; Ctrl-C again ends at once, and the same command goes on either way"
MINUTE = 60.0


def _ahead(standing: Any) -> str:
    """What a run begins."""
    counted = [
        f"{number} {word if number == 1 else more}"
        for number, word, more in (
            (standing.matrices, "response", "responses"),
            (standing.batches, "batch", "batches"),
        )
    ]
    return (
        f"{standing.step}: {standing.done} of {standing.total} done; {standing.total - standing.done} left, of "
        f"{counted[0]}, in {counted[1]} of {standing.batch} at most; a line follows the first batch, then one a minute"
    )


def _pace(standing: Any) -> str:
    """Rate, time left and failures."""
    words = []
    if (left := standing.seconds_left) is not None:
        words += [f"{standing.per_second:.3g} /s", f"{duration(left)} left"]
    if standing.failed:
        words.append(f"{standing.failed} failed")
    return ", ".join(words)


def duration(seconds: float) -> str:
    """As people say it.

    >>> duration(42.0), duration(3700.0), duration(200000.0)
    ('42 s', '1 h 02 min', '2 d 7 h')
    """
    minutes = round(seconds / 60.0)
    if seconds < 90:
        return f"{seconds:.0f} s"
    if minutes < 60:
        return f"{minutes} min"
    hours, rest = divmod(minutes, 60)
    return f"{hours} h {rest:02d} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def stdout_console() -> Any:
    """Of stdout; where that is no terminal nothing is cut or wrapped at the 80 columns that nobody sees."""
    from rich.console import Console

    wide = None if sys.stdout.isatty() or "COLUMNS" in os.environ else WIDE
    return Console(highlight=False, markup=False, emoji=False, width=wide)


def print_report(posterior: Any, products: dict[str, Path], title: str | None = None) -> None:
    from xrayflow.products import report

    console = stdout_console()
    if title is not None:
        console.rule(title, align="left", style="dim") if console.width < WIDE else console.print(title)
    console.print(report(posterior, products))
    if title is not None:
        console.print()


def print_rich(what: Any) -> None:
    stdout_console().print(what)


def print_document(told: dict[str, Any]) -> None:
    """For machines: one JSON object on stdout."""
    from xrayflow.files import SCHEMA_VERSION, to_json

    print(to_json({"schema_version": SCHEMA_VERSION, **told}))


def print_evaluation(summary: dict[str, Any]) -> None:
    from rich.table import Table

    table = Table(title=f"{summary['spectra']} spectra of {summary['groups']} groups, {summary['library']}")
    for column in ("row", "PGStat / dof, median", "1 draw [s]", "1000 draws [s]", "worst r", "worst coverage off by"):
        table.add_column(column, justify="left" if column == "row" else "right")
    for row in summary["rows"]:
        times = [_with_error(row[key], row[f"{key}_sd"]) for key in ("seconds_1", "seconds_1000")]
        found = row.get("parameters", {}).values()
        worst = [
            "" if not found else f"{pick(one[key] for one in found):.3f}"
            for pick, key in ((min, "pearson_r"), (max, "coverage_deviation"))
        ]
        table.add_row(row["name"], f"{row['reduced_pgstat_median']:.4g}", *times, *worst)
    print_rich(table)


def _with_error(value: float | None, error: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.3g}" if error is None else f"{value:.3g} +- {error:.1g}"


def complain(text: str) -> None:
    """One line on stderr, whatever the text holds: names of files may command a terminal too."""
    line = "".join(letter if letter.isprintable() else "?" for letter in " ".join(text.split()))
    print(f"xrayflow: {line}", file=sys.stderr)


def usage(error: Exception) -> str:
    """What is wrong with the options, and whose help says more."""
    described, context = getattr(error, "format_message", None), getattr(error, "ctx", None)
    text = described() if callable(described) else str(error)
    return f"{text} (see {getattr(context, 'command_path', 'xrayflow')} --help)"
