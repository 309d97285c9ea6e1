"""An archive as `xrayflow catalogue` fits it: memory, overhead, workers, deaths, and what a million spectra would cost.

    OMP_NUM_THREADS=1 XRAYFLOW_TEST_DATA=... python benchmarks/catalogue.py PART... [--scratch DIR]

* memory: 100, 1000 and 10 000 faint spectra of a small detector, each with an area of its own, two workers. Answers are
  cut short (`time_limit`), as the memory of the run does not depend on them. Resident memory of the process and of its
  children, at a tenth of the sources and at the end.
* throughput-real, throughput-faint: spectra of MAXI J1535-571, and faint ones of a small detector that cost a tenth,
  answered by `infer_batch`, read before, against the whole command: looking, reading, answering, ledger, draws, table;
  and that with two workers. CPU seconds, as others may be at work on the machine, and the wall clock.
* deaths: a hundred times, a run over small spectra is killed (SIGKILL) at a random moment, and begun again; every
  finished table is compared byte for byte with that of a run that nobody killed. Nine in ten are forks of this process,
  which work in it and say when they begin a batch; the others are whole commands with children, whose batches are not
  counted.
* cost: seconds for a spectrum against its number of bins; core-hours for a million.

Writes benchmarks/results/catalogue.json, each part as it is done.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import select
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from astropy.io import fits

from provenance import provenance
from xrayflow.data import bundled_arf, bundled_pha, bundled_rmf
from xrayflow.errors import XrayflowWarning
from xrayflow.inference import SamplingBudget, infer_batch
from xrayflow.models import parse_model
from xrayflow.ogip import ARF, Origin, read_arf, read_observation, read_rmf, write_arf, write_pha
from xrayflow.setup import FitSetup
from xrayflow.simulate import simulate
from xrayflow.studies.catalogue import Question, Running, fit_catalogue, run_catalogue
from xrayflow.studies.running import Standing, make_listing

HERE = Path(__file__).resolve().parent
DATA = Path(os.environ.get("XRAYFLOW_TEST_DATA", HERE.parents[1] / "shared" / "data"))
ARCHIVE = DATA / "nicer_MAXIJ1535-571"
MATRIX = DATA / "nicer_response" / "nicer.rmf.gz"
MODEL = "TBabs*simpl*ezdiskbb"
TRUTH = {"TBabs.nH": 0.5, "simpl.Gamma": 2.3, "simpl.FracSctr": 0.1, "ezdiskbb.T_max": 0.8, "ezdiskbb.norm": 300.0}
FAINT: dict[str, Any] = {"model": "powerlaw", "freeze": {"powerlaw.PhoIndex": 1.7}, "energies": [(1.0, 6.0)]}
MANY = (100, 1000, 10_000)
DEATHS, IN_EACH, BATCH = 100, 18, 3
"""Kills, spectra of the archive that is killed, and spectra of its batches."""


PARTS = ("memory", "throughput-real", "throughput-faint", "deaths", "cost")


def small_detector(folder: Path) -> None:
    """A matrix of 120 channels and 150 energies, 4 keV wide at the top."""
    from scipy.special import ndtr

    edges, channels = np.linspace(0.2, 12.0, 151), np.linspace(0.0, 12.0, 121)
    centre = 0.5 * (edges[1:] + edges[:-1])
    below = ndtr((channels - centre[:, None]) / (0.03 + 0.03 * np.sqrt(centre))[:, None])
    matrix = 0.95 * np.diff(below, axis=1)
    matrix[matrix < 1e-6] = 0.0
    write_dense(folder / "small.rmf", matrix, edges, channels)


def write_dense(path: Path, matrix: Any, edges: Any, channels: Any) -> None:
    """A matrix as a file."""
    columns = [
        fits.Column("ENERG_LO", "D", array=edges[:-1]),
        fits.Column("ENERG_HI", "D", array=edges[1:]),
        fits.Column("N_GRP", "I", array=np.ones(len(matrix))),
        fits.Column("F_CHAN", "I", array=np.zeros(len(matrix))),
        fits.Column("N_CHAN", "I", array=np.full(len(matrix), matrix.shape[1])),
        fits.Column("MATRIX", f"{matrix.shape[1]}E", array=matrix),
    ]
    table = fits.BinTableHDU.from_columns(columns, name="MATRIX")
    table.header.update({"HDUCLAS1": "RESPONSE", "HDUCLAS3": "REDIST", "DETCHANS": matrix.shape[1], "TLMIN4": 0})
    bounds = fits.BinTableHDU.from_columns(
        [
            fits.Column("CHANNEL", "J", array=np.arange(matrix.shape[1])),
            fits.Column("E_MIN", "D", array=channels[:-1]),
            fits.Column("E_MAX", "D", array=channels[1:]),
        ],
        name="EBOUNDS",
    )
    fits.HDUList([fits.PrimaryHDU(), table, bounds]).writeto(path, overwrite=True)


def small_archive(folder: Path, count: int, own_areas: bool = True) -> None:
    """Power laws of 20 to 300 counts; those that are there already stay."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "small.rmf").exists():
        small_detector(folder)
    rmf = read_rmf(folder / "small.rmf")
    centre, width = 0.5 * (rmf.energy_edges[1:] + rmf.energy_edges[:-1]), np.diff(rmf.energy_edges)
    area = 600.0 * np.exp(-(np.log(centre / 1.5) ** 2))
    folded = (centre**-1.7 * width * area) @ rmf.matrix.toarray()
    channel = np.arange(rmf.channel.size)
    for number in range(count):
        name = f"s{number:05d}"
        if (folder / f"{name}.pha").exists():
            continue
        grey = np.random.default_rng(number)
        share = grey.uniform(0.5, 1.0)
        arf = f"{name}.arf" if own_areas else "small.arf"
        if own_areas or number == 0:
            write_arf(folder / arf, ARF(folder / arf, rmf.energy_edges, (share if own_areas else 1.0) * area, ""))
        expected = folded * share * grey.uniform(20.0, 300.0) / folded.sum()
        origin = Origin("TOY", "SMALL", f"source {number}", "small.rmf", arf, None)
        write_pha(folder / f"{name}.pha", channel, grey.poisson(expected).astype(float), 100.0, origin=origin)


def resident(process: int) -> float:
    """Resident memory of a process [MB]."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024.0
    return 0.0


def children_of(process: int) -> list[int]:
    """Its children."""
    return [int(word) for word in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def memory(scratch: Path) -> dict[str, Any]:
    """Resident memory against the number of sources; each in a process of its own."""
    small_archive(scratch / "many", max(MANY))
    found = {}
    for count in MANY:
        out = scratch / f"memory-{count}.fits"
        ran = subprocess.run(
            [sys.executable, __file__, "one-memory", "--scratch", str(scratch), "--count", str(count)],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        found[str(count)] = json.loads(ran.stdout.splitlines()[-1]) | {"ledger_MB": ledger_size(out)}
        print(count, found[str(count)], flush=True)
    return found


def ledger_size(out: Path) -> float:
    """Of the ledger [MB]."""
    return out.with_name(out.name + ".ledger").stat().st_size / 2**20


def one_memory(scratch: Path, count: int) -> None:
    """One run; prints what it found."""
    seen: list[tuple[int, float, float]] = []
    started = time.perf_counter()

    def told(standing: Standing) -> None:
        if standing.step == "fitting" and standing.done:
            inside = [resident(one) for one in children_of(os.getpid())]
            seen.append((standing.done, resident(os.getpid()), max(inside, default=0.0)))

    listed = scratch / f"list-{count}.txt"
    listed.write_text("".join(f"many/s{number:05d}.pha\n" for number in range(count)))
    out = scratch / f"memory-{count}.fits"
    words = FAINT | {"network": "none", "draws": 50, "ess": 10.0, "time_limit": 0.02}
    made = fit_catalogue((), out, listed=listed, workers=2, restart=True, progress=told, **words)
    tenth = next(one for one in seen if one[0] >= count / 10)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    print(
        json.dumps(
            {
                "outcomes": dict(made.outcomes),
                "at_a_tenth_MB": {"process": tenth[1], "largest_child": tenth[2]},
                "at_the_end_MB": {"process": resident(os.getpid()), "largest_child": seen[-1][2]},
                "peak_of_the_process_MB": usage.ru_maxrss / 1024.0,
                "wall_seconds": time.perf_counter() - started,
            }
        )
    )


def real_paths(count: int) -> list[Path]:
    """Spectra of MAXI J1535-571, evenly spaced."""
    paths = sorted(ARCHIVE.glob("*/*.jsgrp.gz"))
    return [paths[row] for row in np.linspace(0, len(paths) - 1, count).astype(int)]


def spent() -> float:
    """CPU seconds of this process and of its children that have ended."""
    mine, theirs = (resource.getrusage(one) for one in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return mine.ru_utime + mine.ru_stime + theirs.ru_utime + theirs.ru_stime


@dataclass(frozen=True)
class Took:
    """What a catalogue took: CPU seconds of all its processes, and of the wall clock."""

    cpu: float
    wall: float


@dataclass(frozen=True)
class Archive:
    """Spectra, and how they are fitted.

    Attributes:
        paths: The spectra.
        words: Of `fit_catalogue`.
        rmf: Of all of them; None: what their headers name.
    """

    paths: list[Path]
    words: dict[str, Any]
    rmf: Path | None


def archives(scratch: Path, count: int) -> dict[str, Archive]:
    """Real spectra, and six times as many faint ones of a small detector, which cost a tenth."""
    small_archive(scratch / "many", 6 * count)
    faint = [scratch / "many" / f"s{number:05d}.pha" for number in range(6 * count)]
    return {
        "real": Archive(real_paths(count), {"model": MODEL, "systematic": 0.0}, MATRIX),
        "faint": Archive(faint, FAINT, None),
    }


def whole_command(scratch: Path, archive: Archive, workers: int, out: str) -> Took:
    """A catalogue."""
    before, started = spent(), time.perf_counter()
    made = fit_catalogue(
        archive.paths,
        scratch / out,
        rmf=None if archive.rmf is None else str(archive.rmf),
        draws_dir=scratch / "draws",
        workers=workers,
        restart=True,
        **archive.words,
    )
    assert made.failed == 0, made.reasons
    return Took(spent() - before, time.perf_counter() - started)


def starting() -> float:
    """CPU seconds of a child that does nothing but start."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", "import xrayflow.studies.catalogue"], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def throughput(scratch: Path, archive: Archive) -> dict[str, Any]:
    """The whole command against pure inference, and two workers against one."""
    paths = archive.paths
    rmf = None if archive.rmf is None else read_rmf(archive.rmf)
    observations = [read_observation(path, rmf=rmf) for path in paths]
    observations = [replace(one, rmf=observations[0].rmf) for one in observations]
    setup = FitSetup(**archive.words)
    infer_batch(observations[:1], setup)
    before = time.process_time()
    for at in range(0, len(paths), 24):
        infer_batch(observations[at : at + 24], setup)
    pure = time.process_time() - before
    print("pure inference:", pure, "CPU seconds", flush=True)
    one, two = (whole_command(scratch, archive, workers, f"workers-{workers}.fits") for workers in (1, 2))
    same = (scratch / "workers-1.fits").read_bytes() == (scratch / "workers-2.fits").read_bytes()
    start = starting()
    return {
        "spectra": len(paths),
        "cpu_seconds_of_pure_inference": pure,
        "cpu_seconds_of_a_child_that_starts": start,
        "cpu_seconds": {"1": one.cpu, "2": two.cpu},
        "wall_seconds": {"1": one.wall, "2": two.wall},
        "load_average": os.getloadavg()[1],
        "pure_over_whole": pure / one.cpu,
        "pure_over_whole_without_the_start": pure / (one.cpu - start),
        "cpu_of_one_worker_over_that_of_two": one.cpu / (two.cpu - start),
        "wall_of_one_worker_over_twice_that_of_two": one.wall / (2.0 * two.wall),
        "same_table": same,
    }


class InThisProcess:
    """Workers that are this process, which somebody kills."""

    def run(
        self, batches: Iterator[tuple[Any, Sequence[Any]]], stopping: Callable[[], bool] = lambda: False
    ) -> Iterator[Any]:
        """One batch after the other."""
        from xrayflow.studies.running.load import Done

        for task, items in batches:
            print("batch", type(task).__name__, flush=True)
            yield Done(items, task.work(task.read(items)), 0.0)


def small_run(scratch: Path, out: Path, here: bool) -> None:
    """A catalogue of the small archive; says when a batch is begun and when it is kept."""
    question = Question.of(FitSetup(**FAINT), "none", False, 0, SamplingBudget(50, 10.0, starts=8), None, True)
    listing = make_listing([scratch / "few" / f"s{number:05d}.pha" for number in range(IN_EACH)])

    def told(standing: Standing) -> None:
        if standing.step == "fitting":
            print("kept", standing.done, flush=True)

    draws = out.with_name(f"{out.stem}-draws")
    run_catalogue(listing, question, out, Running(draws, batch=BATCH), told, InThisProcess() if here else None)


def begun(scratch: Path, out: Path, here: bool) -> tuple[int, int]:
    """A run in a process of its own: its number, and what it says."""
    reading, writing = os.pipe()
    if here:
        process = os.fork()
        if process == 0:
            os.dup2(writing, 1)
            os.close(reading)
            try:
                small_run(scratch, out, True)
            finally:
                os._exit(0)
    else:
        command = [sys.executable, __file__, "one-run", "--scratch", str(scratch), "--out", str(out)]
        process = subprocess.Popen(command, stdout=writing).pid
    os.close(writing)
    return process, reading


def killed(scratch: Path, out: Path, here: bool, chance: random.Random) -> tuple[bool, int]:
    """Begin a run, and kill it at a random moment after a random number of batches.

    Returns:
        Whether it was killed before its end; and how many batches it began.
    """
    process, reading = begun(scratch, out, here)
    until, said = chance.randint(0, 3), ""
    while said.count("kept") <= until:
        more = os.read(reading, 4096).decode()
        if not more:
            break
        said += more
    # from here to anywhere in the next batch, its draws, its transaction or the table
    select.select([], [], [], chance.uniform(0.0, 0.6))
    os.kill(process, signal.SIGKILL)
    _, status = os.waitpid(process, 0)
    said += os.read(reading, 1 << 16).decode()
    os.close(reading)
    return os.WIFSIGNALED(status), said.count("batch Fitting")


def deaths(scratch: Path) -> dict[str, Any]:
    """A hundred kills."""
    small_archive(scratch / "few", IN_EACH)
    for old in scratch.glob("death-*"):
        shutil.rmtree(old) if old.is_dir() else old.unlink()
    whole = scratch / "death-whole.fits"
    process, reading = begun(scratch, whole, True)
    with os.fdopen(reading) as stream:
        stream.read()
    os.waitpid(process, 0)
    wanted, chance = whole.read_bytes(), random.Random(21)
    kills, runs, finished, batches, incomplete, most, differ = 0, 0, 0, 0, 0, 0, 0
    out, own_kills, own_batches = scratch / "death-0.fits", 0, 0
    while kills < DEATHS or own_kills:
        here = runs % 10 != 9
        runs += 1
        if kills < DEATHS:
            died, began = killed(scratch, out, here, chance)
        else:  # the last one is let go
            process, reading = begun(scratch, out, True)
            with os.fdopen(reading) as stream:
                began, died = stream.read().count("batch Fitting"), False
            os.waitpid(process, 0)
        own_batches += began
        if died:
            kills, own_kills = kills + 1, own_kills + 1
            incomplete += not out.exists()
            continue
        differ += out.read_bytes() != wanted
        repeated = own_batches - IN_EACH // BATCH
        most = max(most, repeated - own_kills) if own_kills else most
        finished, batches = finished + 1, batches + own_batches
        out, own_kills, own_batches = scratch / f"death-{finished}.fits", 0, 0
        print(f"{kills} kills, {finished} tables", flush=True)
    return {
        "kills": kills,
        "of_whole_commands_with_children": runs // 10,
        "left_no_table": incomplete,
        "finished_tables": finished,
        "tables_that_differ_from_the_undisturbed_one": differ,
        "spectra": IN_EACH,
        "batches_of_an_undisturbed_run": IN_EACH // BATCH,
        "batches_begun_in_all": batches,
        "most_batches_repeated_beyond_one_for_each_kill": most,
    }


def cost(scratch: Path, each: int) -> dict[str, Any]:
    """Seconds against bins, of simulated NICER spectra."""
    template = read_observation(bundled_pha(), read_rmf(bundled_rmf()), read_arf(bundled_arf()), "none")
    model = parse_model(MODEL)
    rate = float(simulate(template, model, TRUTH, 1.0, 0, noisy=False).pha.counts.sum())
    found = []
    for counts, grouping in ((1e4, "optimal"), (1e5, "optimal"), (1e6, "optimal"), (1e5, "bin:4"), (1e5, "none")):
        setup = FitSetup(model=model, systematic=0.0, grouping=grouping)
        spectra = [simulate(template, model, TRUTH, counts / rate, seed, f"{seed}.pha") for seed in range(each)]
        bins = int(np.mean([setup.bin(one).counts.size for one in spectra]))
        before = time.process_time()
        infer_batch(spectra, setup)
        seconds = (time.process_time() - before) / each
        row = {"counts": counts, "grouping": grouping, "bins": bins, "cpu_seconds": seconds}
        found.append(row | {"core_hours_for_a_million": seconds * 1e6 / 3600.0})
        print(found[-1], flush=True)
    return {"spectra_each": each, "rows": found}


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+", choices=(*PARTS, "one-memory", "one-run"))
    parser.add_argument("--scratch", type=Path, required=True)
    parser.add_argument("--real", type=int, default=48)
    parser.add_argument("--each", type=int, default=8)
    parser.add_argument("--count", type=int, default=0)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "catalogue.json")
    options = parser.parse_args()
    warnings.simplefilter("ignore", XrayflowWarning)
    torch.set_num_threads(1)
    options.scratch.mkdir(parents=True, exist_ok=True)
    if options.parts == ["one-memory"]:
        one_memory(options.scratch, options.count)
        return
    if options.parts == ["one-run"]:
        small_run(options.scratch, options.out, False)
        return
    makers: dict[str, Callable[[], dict[str, Any]]] = {
        "memory": lambda: memory(options.scratch),
        "throughput-real": lambda: throughput(options.scratch, archives(options.scratch, options.real)["real"]),
        "throughput-faint": lambda: throughput(options.scratch, archives(options.scratch, options.real)["faint"]),
        "deaths": lambda: deaths(options.scratch),
        "cost": lambda: cost(options.scratch, options.each),
    }
    for part in options.parts:
        found = makers[part]()
        document = json.loads(options.out.read_text()) if options.out.exists() else {}
        document[part] = {**provenance(__file__), **found}
        options.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        print(part, json.dumps(found, indent=1), flush=True)


if __name__ == "__main__":
    main()
