"""An archive of spectra -> one table: in batches, in processes that may die, and without losing what was done.

    list -> a look at the files -> batches of one matrix -> answers -> ledger -> table

Sources that share a matrix are answered together, `BATCH` at a time; a batch that is done stands in the ledger before
it counts as done. The table is made of the ledger at the end, or when the run is stopped. So it does not matter how
often, or when, a run dies: the same command goes on. A source's answer depends on its files and the seed alone.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xrayflow.errors import DataError
from xrayflow.files import appearing, make_folder, sha256_of, sweep
from xrayflow.inference import SamplingBudget
from xrayflow.models import Model
from xrayflow.prior import Prior
from xrayflow.setup import FitSetup
from xrayflow.statistics import MODELLED_SCALE
from xrayflow.studies.catalogue.columns import columns_of, row_of
from xrayflow.studies.catalogue.draws_file import draws_bytes, draws_name
from xrayflow.studies.catalogue.fitting import DrawsOf, Fitting
from xrayflow.studies.catalogue.manifest import manifest_path, write_manifest
from xrayflow.studies.catalogue.question import Question
from xrayflow.studies.catalogue.table import check_place, write_table
from xrayflow.studies.running import (
    AGAIN,
    BATCH,
    FAILED,
    STOPPING,
    Children,
    Cluster,
    Done,
    Ledger,
    Listing,
    Outcome,
    Run,
    Source,
    Standing,
    Told,
    Workers,
    key_of,
    make_listing,
    stopping_at_signals,
)


@dataclass(frozen=True)
class Running:
    """How a catalogue is made; none of it decides a number.

    Attributes:
        draws_dir: Folder for the draws; None: they are not kept.
        workers: Processes on this machine.
        scheduler: Address of a Dask scheduler, whose workers are taken instead.
        batch: Sources of a batch.
        restart: Begin anew.
        retry: Try those again that failed, or whose files changed.
    """

    draws_dir: Path | None = None
    workers: int = 1
    scheduler: str | None = None
    batch: int = BATCH
    restart: bool = False
    retry: bool = False

    def asked(self, question: Question, out: Path) -> dict[str, Any]:
        """What a ledger keeps of a question, and must find again.

        Args:
            question: The question.
            out: The table.
        """
        place = None if self.draws_dir is None else os.path.relpath(self.draws_dir, out.parent)
        return {**question.words, "draws folder": place}

    def crew(self, limit: float | None) -> Children | Cluster:
        """What works on batches.

        Args:
            limit: Seconds that the answer of a source may take.

        Raises:
            DataError: No scheduler answers.
        """
        return Children(self.workers, limit) if self.scheduler is None else Cluster(self.scheduler, limit)


@dataclass(frozen=True)
class Catalogue:
    """What a run left.

    Attributes:
        table: The table; it is there where a source was done.
        manifest: Beside it.
        outcomes: How many sources have which verdict.
        sources: How many there are.
        reasons: Why the first sources failed, by path.
    """

    table: Path
    manifest: Path
    outcomes: Mapping[str, int]
    sources: int
    reasons: Mapping[str, str]

    @property
    def failed(self) -> int:
        """How many have no answer."""
        return self.outcomes.get(FAILED, 0)

    @property
    def complete(self) -> bool:
        """Whether every source is done."""
        return sum(self.outcomes.values()) == self.sources


SHOWN = 10
"""Reasons of failures that a run keeps in mind; all are in the table."""


def fit_catalogue(
    spectra: str | Path | Iterable[str | Path | Source] = (),
    out: str | Path = "catalogue.fits",
    model: str | Model | None = None,
    prior: Iterable[str] | Prior | None = None,
    freeze: Mapping[str, float] | None = None,
    link: Mapping[str, str] | None = None,
    systematic: float | str | None = None,
    energies: Sequence[tuple[float, float]] | None = None,
    channels: tuple[int, int] | None = None,
    grouping: str | None = None,
    statistic: str = "auto",
    network: str | Path | None = None,
    amortised: bool = False,
    seed: int = 0,
    draws: int = 1000,
    ess: float = 400.0,
    abund: str | None = None,
    time_limit: float | None = None,
    likelihood: str = "marginalised",
    background_scale: float = MODELLED_SCALE,
    listed: str | Path | None = None,
    rmf: str | None = None,
    arf: str | None = None,
    background: str | None = None,
    draws_dir: str | Path | None = None,
    workers: int = 1,
    scheduler: str | None = None,
    batch: int = BATCH,
    restart: bool = False,
    retry: bool = False,
    progress: Told | None = None,
) -> Catalogue:
    """Many spectra -> a table with one row each. The same call goes on where an earlier one was stopped or died.

    Args:
        spectra: Paths and patterns (`"obs*/*.pha"`).
        out: The table: `.fits`, `.ecsv` or `.parquet`. A ledger and a manifest stand beside it.
        model, prior, freeze, link, systematic, energies, channels, grouping, statistic, amortised, seed, draws, ess,
            abund, likelihood, background_scale: As for `infer`.
        network: As for `infer`, by name or file.
        time_limit: Seconds that an answer may take; a process that takes much longer is ended.
        listed: A text file with lines `PHA [ARF [BACKGROUND]]`, or a table with columns pha, rmf, arf, background, name
            and others, which are carried through.
        rmf, arf, background: For all spectra that do not say.
        draws_dir: Folder for the draws, a FITS file for each batch.
        workers: Processes on this machine, of one thread each.
        scheduler: Address of a Dask scheduler, whose workers are taken instead.
        batch: Spectra that are fitted together.
        restart: Begin anew, instead of going on.
        retry: Try those again that failed, or whose files changed.
        progress: Called with how far it is.

    Raises:
        XrayflowError: What is wrong for all spectra: a model, a list, a place; settings or files that changed since an
            earlier call. What is wrong with one spectrum is a row.
    """
    setup = FitSetup(
        model=model,
        abund=abund,
        prior=prior,
        freeze=freeze,
        link=link,
        systematic=systematic,
        energies=energies,
        channels=channels,
        grouping=grouping,
        statistic=statistic,
        likelihood=likelihood,
        background_scale=background_scale,
    )
    budget = SamplingBudget(draws, ess, seconds=time_limit)
    question = Question.of(setup, network, amortised, seed, budget, rmf, draws_dir is not None)
    listing = make_listing(spectra, listed, arf=arf, background=background)
    folder = None if draws_dir is None else Path(draws_dir)
    running = Running(folder, workers, scheduler, batch, restart, retry)
    return run_catalogue(listing, question, Path(out), running, progress)


def run_catalogue(
    listing: Listing,
    question: Question,
    out: Path,
    running: Running,
    progress: Told | None = None,
    workers: Workers | None = None,
    looks: Mapping[str, Outcome] | None = None,
) -> Catalogue:
    """Make a catalogue, or go on with it.

    Args:
        listing: The sources.
        question: What is asked of them.
        out: The table.
        running: How.
        progress: Called with how far it is.
        workers: Instead of processes on this machine.
        looks: Of `look_at`, by key, of sources that were looked at just now.

    Raises:
        XrayflowError: As `fit_catalogue`.
    """
    told = progress or _silent
    check_place(out)
    if running.workers < 1 or running.batch < 1:
        raise DataError(f"workers={running.workers}, batch={running.batch}: give at least 1 of each")
    if running.draws_dir is not None:
        make_folder(running.draws_dir)
    with ExitStack() as stack:
        ledger = stack.enter_context(Ledger(out, running.restart))
        ledger.settle(running.asked(question, out))
        stop = stack.enter_context(stopping_at_signals(lambda: told(Standing(STOPPING, 0, 0))))
        if workers is None:
            crew = running.crew(question.budget.seconds)
            stack.enter_context(crew)
            workers = crew
        run = Run(listing, ledger, workers, question.rmf, running.batch, running.retry, stop, told, looks or {})
        keeper = Keeper(question, running.draws_dir)
        for written in (out, manifest_path(out)):
            sweep(written)
        keeper.tidy(ledger)
        run.look()
        if not stop.asked:
            run.work(Fitting(question, DrawsOf.of if question.draws else None), keeper.keep)
        return finish(listing, question, out, running.draws_dir, ledger)


@dataclass(frozen=True)
class Keeper:
    """Writes finished batches: their draws first, then the ledger.

    Attributes:
        question: What is asked.
        folder: For draws; None where they are not kept.
    """

    question: Question
    folder: Path | None

    def tidy(self, ledger: Ledger) -> None:
        """Take files of draws away whose batch is not in the ledger, and batches out of it whose file is gone.

        Args:
            ledger: The ledger.
        """
        if self.folder is not None:
            for name in (*ledger.abandoned(), *ledger.dropped):
                with suppress(OSError):
                    sweep(self.folder / name)
                    (self.folder / name).unlink()
            for name, _ in ledger.files():
                if not (self.folder / name).is_file():
                    ledger.forget_file(name)

    def keep(self, ledger: Ledger, done: Done) -> None:
        """Keep a batch.

        Args:
            ledger: The ledger.
            done: The batch.

        Raises:
            FileError: The disk is full, or refuses.
        """
        name, sha256 = "", ""
        pairs = [(one, out.extra) for one, out in zip(done.items, done.outcomes, strict=True)]
        drawn = [(one, extra) for one, extra in pairs if isinstance(extra, DrawsOf)]
        if self.folder is not None and drawn:
            name = draws_name([key_of(one.source) for one, _ in drawn], self.question.words)
            content = draws_bytes(
                [str(one.source.pha) for one, _ in drawn],
                [extra for _, extra in drawn],
                self.question.model,
                self.question.prior_words,
            )
            sha256 = hashlib.sha256(content).hexdigest()
            ledger.begin_file(name)
            with appearing(self.folder / name, AGAIN) as temporary:  # synced, as the ledger is going to say it is there
                temporary.write_bytes(content)
        rows = [
            (
                key_of(one.source),
                outcome.record | ({"draws_file": name, "draws_sha256": sha256} if outcome.extra is not None else {}),
                outcome.error,
                None,
            )
            for one, outcome in zip(done.items, done.outcomes, strict=True)
        ]
        ledger.keep_batch(rows, done.seconds, name, sha256)


def finish(listing: Listing, question: Question, out: Path, draws_dir: Path | None, ledger: Ledger) -> Catalogue:
    """The table and the manifest of what is in the ledger.

    Args:
        listing, question, out: Of the run.
        draws_dir: Where the draws are.
        ledger: The ledger.

    Raises:
        FileError: They cannot be written.
    """
    model, sources = question.model, listing.sources

    def rows() -> Iterator[dict[str, Any]]:
        for kept in ledger.rows():
            if kept.record is not None:
                source = sources[kept.place]
                row = row_of(kept, str(source.pha), source.name, model, question.seed)
                yield row | {"place": kept.place}

    verdicts, reasons = Counter[str](), dict[str, str]()
    for row in rows():
        verdicts[row["verdict"]] += 1
        if row["verdict"] == FAILED and len(reasons) < SHOWN:
            reasons[row["path"]] = row["reasons"]
    if verdicts:
        write_table(out, columns_of(model), rows, listing.carried)
    sha256 = sha256_of(out) if verdicts else ""
    manifest = write_manifest(out, question, draws_dir, verdicts, len(sources), sha256)
    return Catalogue(out, manifest, dict(verdicts), len(sources), reasons)


def _silent(standing: Standing) -> None:
    """Tells nobody."""
