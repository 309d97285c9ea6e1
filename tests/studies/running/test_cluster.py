"""A Dask scheduler's workers give what children give; what goes wrong there is a row, or one line."""

from __future__ import annotations

import importlib.util
import multiprocessing
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask
import pytest
from astropy.table import Table
from distributed import LocalCluster, utils

from catalogue_zoo import NORMS, QUICK, Here, assert_same, write_archive
from lost_zoo import Deadly, HeldCluster
from moody_zoo import Moody
from xrayflow.errors import DataError, MissingExtraError
from xrayflow.inference import SamplingBudget
from xrayflow.setup import FitSetup
from xrayflow.studies.catalogue import Question, Running, run_catalogue
from xrayflow.studies.running import Standing, child, children, cluster, make_listing
from xrayflow.studies.running.cluster import Cluster
from xrayflow.studies.running.outcome import Outcome

LIGHT = (
    "from importlib.util import module_from_spec as m, spec_from_file_location as s; o = s('child', {path!r}); "
    "c = m(o); o.loader.exec_module(c); c.serve({{0}}, {{1}})"
)
"""A child without the room around it, which would load torch."""

RECIPE = Path(__file__).resolve().parents[3] / "recipes" / "slurm" / "workers.py"


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A scheduler with two workers; they are threads here, their children processes."""
    before = children.SERVE
    children.SERVE = LIGHT.format(path=str(Path(child.__file__)))
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=":0") as found:
        yield found.scheduler_address
    for one in cluster._CHILDREN.values():
        one.__exit__(None, None, None)
    cluster._CHILDREN.clear()
    children.SERVE = before


@dataclass(frozen=True)
class Unreadable:
    """A source that cannot be sent to a worker's child."""

    def __reduce__(self) -> Any:
        return _unpack, ()


def _unpack() -> None:
    raise RuntimeError("not on this machine")


def results(address: str, *batches: list[Any]) -> list[list[Any]]:
    with Cluster(address, 1.0) as workers:
        found = {tuple(map(str, one.items)): one.outcomes for one in workers.run((Moody(), batch) for batch in batches)}
    return [found[tuple(map(str, batch))] for batch in batches]


def test_batches_come_back_with_what_became_of_each(address: str) -> None:
    assert results(address, [1, 2], [3], [4, 5, 6], *([number] for number in range(10, 16))) == [
        [2, 4],
        [6],
        [8, 10, 12],
        *([2 * number] for number in range(10, 16)),
    ]


def test_what_kills_its_process_fails_alone_and_the_worker_lives(address: str) -> None:
    ((first, middle, last), after) = results(address, [2, "die", 3], [4])
    assert (first, last, after) == (4, 6, [8])
    assert isinstance(middle, Outcome)
    assert "was killed (SIGKILL" in middle.error


def test_what_a_worker_cannot_even_be_given_fails_alone(address: str) -> None:
    ((first, second),) = results(address, [Unreadable(), 3])
    assert second == 6
    assert isinstance(first, Outcome)
    assert "not on this machine" in first.error


def test_a_stop_finishes_what_was_handed_out(address: str) -> None:
    found: list[Any] = []
    with Cluster(address) as workers:
        for one in workers.run(((Moody(), [number]) for number in range(50)), lambda: bool(found)):
            found.append(one.outcomes)
    assert 1 <= len(found) <= 5


def test_workers_of_another_version_are_refused(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def told(*names: str) -> dict[str, str]:
        return {
            "xrayflow": "0.0.1" if len(names) == 0 and sys._getframe(1).f_code.co_name == "_expect_our_version" else "9"
        }

    monkeypatch.setattr(cluster, "package_versions", told)
    with pytest.raises(DataError, match=r"its workers have xrayflow 9, this is 0\.0\.1"):
        results(address, [1])


def test_an_address_without_a_scheduler_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "SECONDS", 0.2)
    with pytest.raises(DataError, match=r"--scheduler tcp://127\.0\.0\.1:9: no Dask scheduler answers"):
        Cluster("tcp://127.0.0.1:9")
    with pytest.raises(DataError, match=r"none\.json: no such file; a Dask scheduler writes it when it starts"):
        Cluster(str(tmp_path / "none.json"))


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'xrayflow\[cluster\]'"):
        Cluster("tcp://127.0.0.1:9")


def test_the_recipe_for_slurm_makes_a_job_of_single_threads() -> None:
    spec = importlib.util.spec_from_file_location("workers", RECIPE)
    assert spec is not None
    assert spec.loader is not None
    recipe = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(recipe)
    options = recipe.parsed(["--jobs", "2", "--each", "8", "--queue", "long", "--dry-run"])
    with recipe.cluster_of(options) as found:
        script = found.job_script()
    assert script.startswith("#!")
    for line in ("#SBATCH -p long", "#SBATCH --cpus-per-task=8", "#SBATCH -t 04:00:00", "export OMP_NUM_THREADS=1"):
        assert line in script
    assert "--nthreads 1" in script
    assert "--nworkers 8" in script


@pytest.mark.usefixtures("address")
def test_a_scheduler_that_is_lost_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "SECONDS", 0.5)
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=":0") as found,
        Cluster(found.scheduler_address, 1.0) as workers,
    ):
        done = workers.run((Moody(), [number]) for number in range(9))
        assert len(next(done).outcomes) == 1
        found.close()
        with pytest.raises(DataError, match=r"--scheduler \S+: is lost; the same command goes on"):
            list(done)


@pytest.fixture
def mortal(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalCluster]:
    """A scheduler with a worker that is a process, and a nanny that starts another one when it dies."""
    monkeypatch.setattr(utils, "_forkserver_preload_set", True)  # so that another one is there at once
    multiprocessing.set_forkserver_preload(["distributed", "xrayflow.studies.catalogue"])
    light = f"from xrayflow.studies.running import children; children.SERVE = {LIGHT.format(path=child.__file__)!r}"
    with (
        dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"}),
        LocalCluster(
            n_workers=1, threads_per_worker=1, processes=True, dashboard_address=":0", preload=[light]
        ) as found,
    ):
        yield found


def processes(found: LocalCluster) -> set[int]:
    return {nanny.process.pid for nanny in found.workers.values()}


def test_a_lost_worker_and_a_spectrum_that_loses_workers_take_nothing_with_them(
    mortal: LocalCluster, tmp_path: Path
) -> None:
    """A worker is killed while it holds a batch; one source ends every process that it is sent to."""
    paths = write_archive(tmp_path, NORMS[:3])
    words = {name: value for name, value in QUICK.items() if name not in ("network", "draws", "ess")}
    question = Question.of(FitSetup(**words), "none", False, 0, SamplingBudget(200, 60.0), None, False)
    run_catalogue(make_listing(paths), question, tmp_path / "here.fits", Running(batch=1), workers=Here())
    sources = [Deadly(paths[0]), *paths[1:]]

    def patient() -> None:
        mortal.scheduler.allowed_failures = 3

    before, told = processes(mortal), list[Standing]()
    mortal.scheduler.allowed_failures = 0
    with HeldCluster(mortal.scheduler_address, tmp_path / "held", "Fitting", patient) as workers:
        out = tmp_path / "there.fits"
        found = run_catalogue(make_listing(sources), question, out, Running(batch=1), told.append, workers)
    assert workers.killed not in (0, *processes(mortal))
    assert processes(mortal).isdisjoint(before)
    assert found.complete
    assert found.outcomes == {"failed": 2, "certified": 2}
    assert found.reasons[str(paths[0])] == "on the cluster: its workers died, 1 in turn"
    here, there = Table.read(tmp_path / "here.fits"), Table.read(out)
    assert_same(here[1:], there[1:])
    assert [one.done for one in told if one.step == "fitting"] == [2, 3, 4]
