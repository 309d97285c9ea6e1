"""A small archive from files to the table: right, the same in any company, and whole after any death."""

from __future__ import annotations

import hashlib
import inspect
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from catalogue_zoo import NORMS, QUICK, Died, Here, assert_same, write_archive
from ogip_zoo import toy_files
from xrayflow.dataset import hashes_of
from xrayflow.errors import DataError, FileError, PriorError
from xrayflow.inference import NoAnswer, Posterior, infer
from xrayflow.inference.ladder import SamplingBudget
from xrayflow.models import parse_model
from xrayflow.ogip import Observation, read_observation
from xrayflow.prior import Prior
from xrayflow.setup import FitSetup
from xrayflow.studies.catalogue import catalogue as room
from xrayflow.studies.catalogue import fitting
from xrayflow.studies.catalogue.catalogue import Catalogue, Running, fit_catalogue, run_catalogue
from xrayflow.studies.catalogue.manifest import read_manifest
from xrayflow.studies.catalogue.question import Question
from xrayflow.studies.running.batching import Standing
from xrayflow.studies.running.listing import make_listing
from xrayflow.studies.running.load import Done
from xrayflow.studies.running.outcome import Outcome
from xrayflow.studies.running.sources import Source


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    write_archive(folder)
    return folder


def paths_of(archive: Path) -> list[Path]:
    return [
        *sorted(archive.glob("toy*/toy.pha"))[:2],
        archive / "broken.pha",
        *sorted(archive.glob("toy*/toy.pha"))[2:],
    ]


def made(
    paths: Sequence[Path | Source],
    out: Path,
    workers: Here | None = None,
    asked: dict[str, Any] | None = None,
    **running: Any,
) -> Catalogue:
    """A catalogue that is made in this process."""
    words = QUICK | (asked or {})
    budget = SamplingBudget(words.pop("draws"), words.pop("ess"))
    network, seed = words.pop("network"), words.pop("seed", 0)
    draws_dir = running.get("draws_dir")
    question = Question.of(FitSetup(**words), network, False, seed, budget, None, draws_dir is not None)
    return run_catalogue(make_listing(paths), question, out, Running(**running), workers=workers or Here())


@pytest.fixture(scope="module")
def whole(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The table of an uninterrupted run in batches of three, with its draws."""
    folder = tmp_path_factory.mktemp("whole")
    found = made(paths_of(archive), folder / "t.fits", batch=3, draws_dir=folder / "draws")
    assert found.complete
    assert found.outcomes == {"certified": 5, "failed": 1}
    return folder / "t.fits"


ANSWERS: dict[tuple[str, ...], Posterior | NoAnswer] = {}


@pytest.fixture
def remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers that these tests have had before are not computed again: what they test is what becomes of them."""
    usual = fitting.infer_batch

    def infer_batch(observations: Sequence[Observation], *asked: Any, **words: Any) -> list[Posterior | NoAnswer]:
        keys = [(*sorted(hashes_of(one).values()), repr(asked)) for one in observations]
        if not all(key in ANSWERS for key in keys):
            ANSWERS.update(zip(keys, usual(observations, *asked, **words), strict=True))
        return [ANSWERS[key] for key in keys]

    monkeypatch.setattr(fitting, "infer_batch", infer_batch)


def read(path: Path) -> Table:
    return Table.read(path)


@pytest.fixture(scope="module")
def alone(archive: Path) -> Posterior:
    words = {name: value for name, value in QUICK.items() if name != "network"}
    return infer(read_observation(archive / "toy1" / "toy.pha"), network="none", **words)


def test_a_row_is_what_infer_answers(whole: Path, alone: Posterior, archive: Path) -> None:
    table = read(whole)
    row = table[1]
    summary = alone.summary()
    assert row["path"] == str(archive / "toy1" / "toy.pha")
    assert (row["verdict"], row["fit"], row["statistic_name"]) == (alone.verdict, alone.fit.status, "cstat")
    assert row["source"] == "power law"
    for name, values in summary["parameters"].items():
        for level in ("best", "median", "lower68", "upper68", "lower90", "upper90"):
            assert row[f"{name}_{level}"] == pytest.approx(values[level], rel=1e-6)
        assert (row[f"{name}_lolim"], row[f"{name}_hilim"]) == (row[f"{name}_lower68"], row[f"{name}_upper68"])
    numbers = {"statistic": alone.statistic.value, "dof": alone.statistic.dof, "counts": alone.data[0].counts.sum()}
    numbers |= {"log_evidence": alone.log_evidence, "ess": alone.ess, "exposure": 30.0, "seed": 0}
    for name, value in numbers.items():
        assert row[name] == pytest.approx(value, rel=1e-6), name


def test_what_has_no_answer_is_a_row_with_its_reason(whole: Path) -> None:
    table = read(whole)
    assert table["verdict"].tolist() == ["certified", "certified", "failed", "certified", "certified", "certified"]
    assert "not a FITS file" in table["reasons"][2]
    assert np.ma.getmaskarray(table["powerlaw.norm_best"]).tolist() == [False, False, True, False, False, False]
    assert np.ma.getmaskarray(table["dof"])[2]


def test_the_truth_lies_in_the_intervals(whole: Path) -> None:
    table = read(whole)[[0, 1, 3, 4, 5]]
    inside = (table["powerlaw.norm_lower90"] < NORMS) & (np.array(NORMS) < table["powerlaw.norm_upper90"])
    assert inside.sum() >= 3  # fewer once in 120


def test_draws_are_those_of_the_answer_with_weights_and_prior(whole: Path, alone: Posterior) -> None:
    row = read(whole)[1]
    path = whole.parent / "draws" / row["draws_file"]
    with fits.open(path) as units:
        draws, sources, header = units["DRAWS"].data, units["SOURCES"].data, units["DRAWS"].header
        assert [str(path) for path in sources["path"]] == [str(one) for one in read(whole)["path"][[0, 1, 3]]]
        own = draws[draws["row"] == sources["row"][1]]
        assert header["MODEL"] == "powerlaw"
        assert [header[f"TUNIT{place}"] for place in (3,)] == ["ph cm**-2 s**-1 keV**-1"]
        words = [word for place in (1, 2) for word in header[f"PRIOR{place}"].split(" and ")]
    assert own.names == ["row", "powerlaw.PhoIndex", "powerlaw.norm", "log_weight", "log_prior"]
    np.testing.assert_allclose(own["powerlaw.norm"], alone.draws[:, 1], rtol=1e-6)
    np.testing.assert_allclose(own["log_weight"], alone.log_weight, rtol=1e-6)
    prior = Prior.of(parse_model("powerlaw"), words)
    assert prior == alone.prior
    (index, norm) = prior.marginals
    density = -np.log(index.hi - index.lo) - np.log(own["powerlaw.norm"] * np.log(norm.hi / norm.lo))
    np.testing.assert_allclose(own["log_prior"], density, rtol=1e-12)


def test_the_hash_of_the_draws_is_in_the_row_and_the_manifest_says_what_was_asked(whole: Path, archive: Path) -> None:
    table, told = read(whole), read_manifest(whole)
    for row in table[[0, 1, 3, 4, 5]]:
        content = (whole.parent / "draws" / row["draws_file"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == row["draws_sha256"]
    assert len(set(table["draws_file"].tolist()) - {""}) == 2
    assert told["table_sha256"] == hashlib.sha256(whole.read_bytes()).hexdigest()
    assert (told["complete"], told["outcomes"]) == (True, {"certified": 5, "failed": 1})
    assert told["settings"]["energies"] == [[1.0, 6.0]]
    assert Prior.of(parse_model("powerlaw"), [w for words in told["prior"].values() for w in words]).names


@pytest.mark.parametrize("batch", [1, 5])
def test_rows_do_not_depend_on_the_size_of_batches(whole: Path, archive: Path, tmp_path: Path, batch: int) -> None:
    paths = paths_of(archive)
    made(paths[::-1] if batch == 5 else paths, tmp_path / "t.fits", batch=batch)
    found = read(tmp_path / "t.fits")
    assert_same(found[::-1] if batch == 5 else found, read(whole), ("draws_file", "draws_sha256"))


@pytest.mark.parametrize("after", [0, 1])
@pytest.mark.usefixtures("remembered")
def test_a_run_that_died_goes_on_and_ends_with_the_same_bytes(
    whole: Path, archive: Path, tmp_path: Path, after: int
) -> None:
    out, draws = tmp_path / "t.fits", tmp_path / "draws"
    paths = paths_of(archive)
    with pytest.raises(Died):
        made(paths, out, Here(after), batch=3, draws_dir=draws)
    assert not out.exists()
    again = Here()
    found = made(paths, out, again, batch=3, draws_dir=draws)
    assert found.complete
    assert len(again.done) == 2 - after
    assert out.read_bytes() == whole.read_bytes()
    assert sorted(one.name for one in draws.iterdir()) == sorted(one.name for one in (whole.parent / "draws").iterdir())


@pytest.mark.usefixtures("remembered")
def test_a_draws_file_of_a_batch_that_was_not_kept_goes(archive: Path, tmp_path: Path, monkeypatch: Any) -> None:
    paths, out, draws = paths_of(archive)[:2], tmp_path / "t.fits", tmp_path / "draws"

    def die(*arguments: Any) -> None:
        raise Died

    with monkeypatch.context() as patch:
        patch.setattr(room.Ledger, "keep_batch", die)
        with pytest.raises(Died):
            made(paths, out, batch=2, draws_dir=draws)
    assert len(list(draws.iterdir())) == 1
    assert made(paths, out, batch=1, draws_dir=draws).complete
    assert {one.name for one in draws.iterdir()} == set(read(out)["draws_file"].tolist())


@pytest.mark.usefixtures("remembered")
def test_draws_that_somebody_deleted_are_made_again_and_a_restart_leaves_none(archive: Path, tmp_path: Path) -> None:
    paths, out, draws = paths_of(archive)[:2], tmp_path / "t.fits", tmp_path / "draws"
    made(paths, out, batch=1, draws_dir=draws)
    before, first = out.read_bytes(), draws / read(out)["draws_file"][0]
    first.unlink()
    again = Here()
    made(paths, out, again, batch=1, draws_dir=draws)
    assert again.done == [[str(paths[0])]]
    assert (out.read_bytes(), first.is_file()) == (before, True)
    (draws / "mine.txt").write_text("not ours")
    made(paths, out, batch=2, draws_dir=draws, restart=True)
    assert {one.name for one in draws.iterdir()} == {*read(out)["draws_file"].tolist(), "mine.txt"}


@pytest.mark.usefixtures("remembered")
def test_new_spectra_join_and_the_done_ones_are_not_fitted_again(whole: Path, archive: Path, tmp_path: Path) -> None:
    paths, out = paths_of(archive), tmp_path / "t.fits"
    made(paths[:2], out)
    more = Here()
    made(paths, out, more)
    assert more.done == [[str(path) for path in paths[3:]]]
    assert_same(read(out), read(whole), ("draws_file", "draws_sha256"))


@pytest.mark.usefixtures("remembered")
def test_a_finished_catalogue_is_written_again_without_fitting(archive: Path, tmp_path: Path) -> None:
    paths, out = paths_of(archive)[:3], tmp_path / "t.ecsv"
    made(paths, out)
    before = out.read_bytes()
    out.unlink()
    again = Here()
    assert made(paths, out, again).complete
    assert again.done == []
    assert out.read_bytes() == before


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"seed": 3}, "seed was 0, is 3"),
        ({"model": "powerlaw+bbody"}, "model was powerlaw .*is powerlaw\\+bbody"),
        ({"prior": ["powerlaw.norm=0.001:1"]}, "prior powerlaw.norm was"),
        ({"freeze": {"powerlaw.PhoIndex": 1.7}}, "held powerlaw.PhoIndex was not given, is 1.7"),
        ({"network": "nicer-bhb", "model": "TBabs*simpl*ezdiskbb"}, "network name was none, is nicer-bhb"),
    ],
)
def test_other_settings_are_refused(archive: Path, tmp_path: Path, asked: dict[str, Any], said: str) -> None:
    out = tmp_path / "t.fits"
    with pytest.raises(Died):
        made(paths_of(archive)[:2], out, Here(0))
    with pytest.raises(DataError, match=said):
        made(paths_of(archive)[:2], out, asked=asked)


@pytest.mark.parametrize("part", ["toy.pha", "toy.arf", "toy.rmf"])
@pytest.mark.usefixtures("remembered")
def test_files_that_changed_are_refused_by_name_until_they_are_to_be_fitted_anew(tmp_path: Path, part: str) -> None:
    paths, out = [path for path in write_archive(tmp_path, NORMS[:2]) if path.name == "toy.pha"], tmp_path / "t.fits"
    made(paths, out)
    before = read(out)
    changed = paths[1].parent / part
    content = bytearray(changed.read_bytes())
    content[content.index(b"EXTNAME") + 40 : content.index(b"EXTNAME") + 41] = (
        b"~"  # a comment: the same data in other bytes
    )
    changed.write_bytes(content)
    with pytest.raises(
        DataError, match=f"{changed}: changed, or gone, since this run was begun; --retry fits what changed anew"
    ):
        made(paths, out)
    again = Here()
    made(paths, out, again, retry=True)
    assert again.done == [[str(paths[1])]]
    after = read(out)
    assert after["hash"].tolist()[0] == before["hash"].tolist()[0]
    assert after["hash"].tolist()[1] != before["hash"].tolist()[1]


def test_a_file_that_changes_between_the_look_and_the_fit_fails_with_the_reason(tmp_path: Path) -> None:
    path = toy_files(tmp_path, exposure=30.0)
    out = tmp_path / "t.fits"

    class Meddling(Here):
        def run(self, batches: Any, stopping: Any = lambda: False) -> Any:
            for task, items in batches:
                if type(task).__name__ == "Fitting":
                    toy_files(tmp_path, exposure=31.0)
                yield from super().run(iter([(task, items)]))

    found = made([path], out, Meddling())
    assert found.outcomes == {"failed": 1}
    assert "one of its files changed after it was looked at" in found.reasons[str(path)]


@pytest.mark.usefixtures("remembered")
def test_other_files_that_are_given_for_a_source_are_refused(archive: Path, tmp_path: Path) -> None:
    paths, out = paths_of(archive)[:2], tmp_path / "t.fits"
    made(paths, out)
    other = tmp_path / "other.arf"
    shutil.copy(archive / "toy0" / "toy.arf", other)
    given = [Source(paths[0]), Source(paths[1], arf=str(other))]
    with pytest.raises(DataError, match=r"toy1/toy.pha \(with other files given for it\): changed, or gone"):
        made(given, out)
    again = Here()
    made(given, out, again, retry=True)
    assert again.done == [[str(paths[1])]]


@pytest.mark.usefixtures("remembered")
def test_another_folder_for_draws_is_refused_and_other_questions_leave_draws_alone(
    archive: Path, tmp_path: Path
) -> None:
    paths, draws = paths_of(archive)[:2], tmp_path / "draws"
    made(paths, tmp_path / "a.fits", draws_dir=draws)
    with pytest.raises(DataError, match="draws folder was draws, is elsewhere"):
        made(paths, tmp_path / "a.fits", draws_dir=tmp_path / "elsewhere")
    before = {one.name: one.read_bytes() for one in draws.iterdir()}
    made(paths, tmp_path / "b.fits", draws_dir=draws, asked={"seed": 1})
    assert before.items() < {one.name: one.read_bytes() for one in draws.iterdir()}.items()


def test_a_file_that_kills_its_reader_is_a_failure_and_is_looked_at_again(archive: Path, tmp_path: Path) -> None:
    class Fatal(Here):
        def run(self, batches: Any, stopping: Any = lambda: False) -> Any:
            for _task, items in batches:
                yield Done(items, [Outcome(error="was killed") for _ in items], 0.0)

    paths, out = paths_of(archive)[:1], tmp_path / "t.fits"
    assert made(paths, out, Fatal()).outcomes == {"failed": 1}
    assert made(paths, out).outcomes == {"certified": 1}


@pytest.mark.usefixtures("remembered")
def test_a_mended_file_is_read_by_the_next_run(tmp_path: Path) -> None:
    paths, out = write_archive(tmp_path, NORMS[:2]), tmp_path / "t.fits"
    assert made(paths, out).outcomes == {"certified": 2, "failed": 1}
    shutil.copy(paths[0], paths[2])
    for part in ("toy.rmf", "toy.arf"):
        shutil.copy(paths[0].parent / part, tmp_path / part)
    again = Here()
    assert made(paths, out, again).outcomes == {"certified": 3}
    assert again.done == [[str(paths[2])]]


@pytest.mark.usefixtures("remembered")
def test_one_that_cannot_be_fitted_fails_alone_whatever_it_raises(tmp_path: Path, monkeypatch: Any) -> None:
    paths = [path for path in write_archive(tmp_path, NORMS[:3]) if path.name == "toy.pha"]
    usual = fitting.infer_batch

    def infer_batch(observations: Any, *arguments: Any, **words: Any) -> Any:
        if any(one.pha.path == paths[1] for one in observations):
            raise ZeroDivisionError("by\nnought")
        return usual(observations, *arguments, **words)

    monkeypatch.setattr(fitting, "infer_batch", infer_batch)
    found = made(paths, tmp_path / "t.fits")
    assert found.outcomes == {"certified": 2, "failed": 1}
    assert found.reasons == {str(paths[1]): "ZeroDivisionError: by nought"}
    monkeypatch.setattr(fitting, "infer_batch", usual)
    again = Here()
    made(paths, tmp_path / "t.fits", again)
    assert again.done == []
    assert made(paths, tmp_path / "t.fits", again, retry=True).outcomes == {"certified": 3}
    assert again.done == [[str(paths[1])]]


@pytest.mark.usefixtures("remembered")
def test_a_spectrum_without_counts_is_a_row_of_its_batch(tmp_path: Path) -> None:
    paths = [path for path in write_archive(tmp_path, NORMS[:2]) if path.name == "toy.pha"]
    toy_files(paths[0].parent, counts=np.zeros(120))
    found = made(paths, tmp_path / "t.fits")
    assert found.outcomes == {"certified": 1, "failed": 1}
    assert "no channel left" in found.reasons[str(paths[0])]


def test_what_is_wrong_for_all_is_said_before_anything_is_written(archive: Path, tmp_path: Path) -> None:
    with pytest.raises(PriorError, match="no free parameter"):
        made(paths_of(archive), tmp_path / "t.fits", asked={"prior": ["TBabs.nH=0.1:2"]})
    with pytest.raises(FileError, match="give a name that ends in"):
        made(paths_of(archive), tmp_path / "t.txt")
    with pytest.raises(FileError, match="is no folder"):
        made(paths_of(archive), tmp_path / "nowhere" / "t.fits")
    assert list(tmp_path.iterdir()) == []


SCRIPT = """
import sys
from pathlib import Path
import xrayflow as xf
folder, out, batches = sys.argv[1:]
seen = []
def told(standing):
    if standing.step == "fitting":
        print(standing.done, flush=True)
        if len(seen) == int(batches):
            sys.stdin.read()  # until somebody kills us
        seen.append(standing)
words = {words!r}
xf.fit_catalogue([folder + "/toy*/toy.pha", folder + "/broken.pha"], out, batch=2, progress=told, **words)
"""


def test_a_run_that_is_killed_goes_on_where_it_was(archive: Path, tmp_path: Path) -> None:
    """With real processes: kill -9 after the first batch is in the ledger."""
    out = tmp_path / "t.fits"
    script = SCRIPT.replace("{words!r}", repr(QUICK))
    command = [sys.executable, "-c", script, str(archive), str(out), "1"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        assert [run.stdout.readline() for _ in range(2)] == ["1\n", "3\n"]
        run.kill()
    assert not out.exists()
    steps: list[Standing] = []
    paths = [archive / f"toy{number}" / "toy.pha" for number in range(5)] + [archive / "broken.pha"]
    found = run_catalogue(
        make_listing(paths),
        Question.of(
            FitSetup(**{name: QUICK[name] for name in ("model", "energies", "grouping")}),
            "none",
            False,
            0,
            SamplingBudget(200, 60.0),
            None,
            False,
        ),
        out,
        Running(batch=2),
        steps.append,
        Here(),
    )
    assert found.complete
    assert [one.done for one in steps if one.step == "fitting"] == [3, 5, 6]
    other = tmp_path / "other.fits"
    made(paths, other, batch=2)
    assert_same(read(out), read(other))


def test_the_public_function_takes_what_infer_takes() -> None:
    shared = set(inspect.signature(infer).parameters) - {"observation", "grid"}
    assert shared <= set(inspect.signature(fit_catalogue).parameters) | {"progress"}
