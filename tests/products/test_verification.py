"""A published answer is checked: what is right passes, and what was changed is named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from answer_zoo import altered
from ogip_zoo import power_law_counts, toy_files, toy_observation, write_spectrum
from xrayflow import infer, read_observation, write_products
from xrayflow.errors import DataError, FileError
from xrayflow.folding import Grid
from xrayflow.inference import Posterior
from xrayflow.products import Verification, verification_lines, verify
from xrayflow.products.store import ANSWER, DRAWS, answer_file, draws_file, load_result
from xrayflow.products.verification import differences, located

BOTH = {"files", "likelihood", "best point", "weights", "computation", "fit", "summary.json", "chain.fits"}


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data of a toy with a background, and its answer in a folder beside."""
    folder = tmp_path_factory.mktemp("published")
    observation = toy_observation(folder, exposure=200.0, background=True)
    answer = infer(observation, "TBabs*powerlaw", energies=[(1.0, 6.0)], grouping="min:20")
    write_products(answer, folder / "result")
    return folder


@pytest.fixture
def result(published: Path, tmp_path: Path) -> Path:
    """The answer alone, somewhere else."""
    return Path(shutil.copytree(published / "result", tmp_path / "result"))


def rewrite(result: Path, change: Callable[[Posterior], Posterior]) -> None:
    """Draws and answer as somebody changed them, the rest as it was."""
    posterior = change(load_result(result))
    (result / ANSWER).write_bytes(answer_file(posterior))
    (result / DRAWS).write_bytes(draws_file(posterior))


def words(found: Verification, name: str) -> str:
    (check,) = (one for one in found.checks if one.name == name)
    return check.words


def test_an_answer_is_what_its_files_give(result: Path) -> None:
    found = verify(result)
    assert found.right
    assert found.wrong == ()
    assert {one.name for one in found.checks} >= BOTH | {"ess", "pareto_k", "log_evidence", "log_evidence_error"}
    assert words(found, "files") == "4 files of the data have their hashes"
    assert found.notes == ()
    lines = verification_lines(found)
    assert lines[-1] == "verified: the answer is what its files give"
    assert sum(line.startswith("ok ") for line in lines) == len(found.checks)
    assert found.report()["verified"] is True


def test_draws_that_the_model_gives_no_number_are_no_alarm(result: Path) -> None:
    def with_a_hole(posterior: Posterior) -> Posterior:
        nowhere = np.where(np.arange(posterior.draws.shape[0]) == int(posterior.log_weight.argmin()), -np.inf, 0.0)
        log_weight, log_likelihood = (one + nowhere for one in (posterior.log_weight, posterior.log_likelihood))
        return altered(posterior, log_weight=log_weight, log_likelihood=log_likelihood)

    rewrite(result, with_a_hole)
    assert {"weights", "likelihood"}.isdisjoint(verify(result).wrong)


def changed_draw(posterior: Posterior, name: str, by: float) -> Posterior:
    """The heaviest draw with another number."""
    values = getattr(posterior.sample, name).copy()
    values[posterior.weights.argmax()] += by
    return replace(posterior, sample=replace(posterior.sample, **{name: values}))


def moved(posterior: Posterior) -> Posterior:
    """Everything a bit steeper, and all the rest as it was."""
    draws = posterior.draws + np.array([0.0, 0.05, 0.0, 0.0, 0.0])
    return altered(posterior, draws=draws)


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        (moved, {"likelihood", "weights", "summary.json", "chain.fits"}),
        (lambda p: changed_draw(p, "log_weight", 3.0), {"weights", "ess", "pareto_k", "log_evidence", "summary.json"}),
        (lambda p: changed_draw(p, "log_likelihood", 3.0), {"likelihood", "weights"}),
        (lambda p: changed_draw(p, "log_proposal", 0.1), {"weights"}),
        (lambda p: altered(p, ess=p.ess * 1.01), {"ess", "computation", "summary.json"}),
        (lambda p: altered(p, pareto_k=p.pareto_k - 0.01), {"pareto_k", "summary.json"}),
        (lambda p: altered(p, log_evidence=p.log_evidence + 1.0), {"log_evidence", "summary.json"}),
        (lambda p: altered(p, best=p.best * 1.01), {"best point", "summary.json"}),
        (lambda p: altered(p, statistic=replace(p.statistic, value=30.0)), {"best point", "summary.json"}),
        (lambda p: replace(p, fit=replace(p.fit, status="bad")), {"fit", "summary.json"}),
        (lambda p: altered(p, fit_statistic=p.sample.fit_statistic - 5.0), {"chain.fits"}),
    ],
)
def test_what_was_changed_is_named(result: Path, change: Callable[[Posterior], Posterior], wrong: set[str]) -> None:
    rewrite(result, change)
    found = verify(result)
    assert not found.right
    assert wrong <= set(found.wrong)
    assert set(found.wrong) <= wrong | {"summary.json", "chain.fits", "computation", "log_evidence_error"}
    assert verification_lines(found)[-1] == "not verified"


def test_a_number_of_the_summary_is_named(result: Path) -> None:
    path = result / "summary.json"
    summary = json.loads(path.read_text())
    summary["parameters"]["powerlaw.PhoIndex"]["upper90"] = 1.0
    path.write_text(json.dumps(summary))
    found = verify(result)
    assert found.wrong == ("summary.json",)
    assert words(found, "summary.json").startswith("parameters.powerlaw.PhoIndex.upper90 is 1, found 1.")
    summary["verdict"] = "fine"
    path.write_text(json.dumps(summary))
    assert words(verify(result), "summary.json").endswith("and 1 more")
    path.write_text("{")
    assert "cannot be read" in words(verify(result), "summary.json")
    path.unlink()
    assert verify(result).wrong == ("summary.json",)


def test_a_chain_of_other_draws_is_named(result: Path) -> None:
    with fits.open(result / "chain.fits", mode="update") as file:
        file["CHAIN"].data["norm__3"] *= 1.1
    assert verify(result).wrong == ("chain.fits",)
    (result / "chain.fits").write_bytes(b"no chain")
    assert words(verify(result), "chain.fits").startswith("cannot be read")


def test_data_that_changed_are_named(result: Path, published: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(published, data, ignore=shutil.ignore_patterns("result"))
    with fits.open(data / "toy.pha", mode="update") as file:
        file[1].header["HISTORY"] = "made again"
    rewrite(result, lambda p: replace(p, data=(replace(p.data[0], pha=data / "toy.pha"),)))
    found = verify(result)
    assert "files" in found.wrong
    assert "toy.pha: is not the file that was answered" in words(found, "files")


def test_files_are_found_where_they_went(result: Path, published: Path, tmp_path: Path) -> None:
    def lost(posterior: Posterior) -> Posterior:
        (data,) = posterior.data
        gone = tmp_path / "gone"
        arf = None if data.arf is None else gone / data.arf.name
        return replace(posterior, data=(replace(data, pha=gone / data.pha.name, arf=arf),))

    rewrite(result, lost)
    with pytest.raises(FileError, match=r"toy.pha: is not there, nor in .*; say where with --data DIR"):
        verify(result)
    found = verify(result, published)
    # the summary notes the places that were, and the answer too
    assert set(found.wrong) == {"summary.json"}
    for name in ("toy.pha", "toy.arf"):
        shutil.copy(published / name, result / name)
    assert located(load_result(result), [result]).data[0].pha == result / "toy.pha"


def test_an_answer_on_a_grid_of_the_users_own_cannot_be_checked(tmp_path: Path) -> None:
    observation = toy_observation(tmp_path, exposure=10.0)
    grid = Grid.log(0.05, 20.0, 2000)
    write_products(infer(observation, "powerlaw", energies=[(1.0, 6.0)], grid=grid), tmp_path / "result")
    with pytest.raises(DataError, match="was answered on the energy grid"):
        verify(tmp_path / "result")


@pytest.mark.parametrize(
    ("said", "own", "found"),
    [
        ({"a": 1.0}, {"a": 1.0 + 1e-9}, []),
        ({"a": 1.0}, {"a": 1.1}, ["a is 1, found 1.1"]),
        ({"a": [1, 2]}, {"a": [1, 3]}, ["a[1] is 2, found 3"]),
        ({"a": [1, 2]}, {"a": [1]}, ["a is [1, 2], found [1]"]),
        ({"a": {"b": None}}, {"a": {"b": 1}}, ["a.b is None, found 1"]),
        ({"a": True}, {"a": 1}, ["a is True, found 1"]),
        ({}, {"a": 1}, ["a is missing"]),
        ({"z": 1}, {}, ["z is not of this answer"]),
        ({"products": {"a": 1}}, {"products": {}}, []),
        ([], {}, [" is [], found {}"]),
    ],
)
def test_differences_are_told_with_their_places(said: Any, own: Any, found: list[str]) -> None:
    assert list(differences(said, own)) == found


def test_a_spectrum_of_several_in_a_file_is_read_again(tmp_path: Path) -> None:
    toy_files(tmp_path)
    channel, counts = np.arange(120), np.round(power_law_counts(100.0)).astype(int)
    columns = {"CHANNEL": np.stack([channel] * 2), "COUNTS": np.stack([0 * counts, counts])}
    header = {"RESPFILE": "toy.rmf", "ANCRFILE": "toy.arf", "DETCHANS": 120, "EXPOSURE": 100.0}
    pha = write_spectrum(tmp_path / "two.pha", columns, TLMIN2=0, **header)
    answer = infer(read_observation(pha, row=2), "powerlaw", energies=[(1.0, 6.0)])
    assert answer.data[0].pha.name == f"{pha.name}{{2}}"
    write_products(answer, tmp_path / "result")
    assert verify(tmp_path / "result").right
    assert f"{pha.name}\\{{2\\}}" in (tmp_path / "result" / "model.xcm").read_text()


def test_a_folder_of_data_that_is_given_goes_first(published: Path, result: Path, tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.mkdir()
    with pytest.raises(FileError, match=r"there: holds no toy.pha; give the folder of the data as --data DIR"):
        verify(result, there)
    with pytest.raises(FileError, match=r"nowhere: is no folder"):
        verify(result, tmp_path / "nowhere")
    with pytest.raises(FileError, match=r"toy.pha: is no folder"):
        verify(result, published / "toy.pha")
    shutil.copy(published / "toy.pha", there)
    found = located(load_result(result), [], there).data[0]
    assert (found.pha, found.rmf) == (there / "toy.pha", published / "toy.rmf")
    write_spectrum(there / "toy.pha", {"CHANNEL": np.arange(120), "COUNTS": np.arange(120)})
    assert "files" in verify(result, there).wrong
