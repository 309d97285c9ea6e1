"""Products: whole or not at all, and readable without trust."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from answer_zoo import altered, toy_posterior
from xrayflow import write_products
from xrayflow.errors import FileError
from xrayflow.files import to_json
from xrayflow.products.figures.style import new_figure
from xrayflow.products.write import NAMES

FILES = {
    "summary.json",
    "draws.npz",
    "answer.npz",
    "chain.fits",
    "model.xcm",
    "spectrum.ecsv",
    "corner.png",
    "spectrum.png",
    "report.html",
}


@pytest.fixture
def quick_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty figures, where only their files matter."""
    for name in ("corner_figure", "spectrum_figure"):
        monkeypatch.setattr(f"xrayflow.products.figures.{name}", lambda posterior: new_figure(1.0, 1.0))


def test_all_products_are_written_and_named_in_the_summary(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    products = write_products(toy_posterior(), folder)
    assert {path.name for path in folder.iterdir()} == FILES
    assert all(path.is_file() for path in products.values())
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["products"] == {name: path.name for name, path in products.items()}
    for name in ("corner", "spectrum"):
        assert products[name].read_bytes().startswith(b"\x89PNG\r\n")


@pytest.mark.usefixtures("quick_figures")
def test_the_draws_load_without_pickle_and_are_the_posterior_s(tmp_path: Path) -> None:
    posterior = toy_posterior()
    with np.load(write_products(posterior, tmp_path)["draws"], allow_pickle=False) as draws:
        own = {"names", "units", "draws", "log_weight", "weights", "log_likelihood", "best"}
        assert set(draws.files) == own | {"log_proposal", "fit_statistic"}
        assert tuple(draws["names"]) == posterior.names
        assert draws["units"][0] == "10^22 cm^-2"
        for name in ("draws", "log_weight", "weights", "log_likelihood", "best"):
            np.testing.assert_array_equal(draws[name], getattr(posterior, name))


def test_our_own_files_are_replaced_and_others_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "corner.png").write_text("old")
    write_products(toy_posterior(), tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert (tmp_path / "corner.png").stat().st_size > 10_000
    assert {path.name for path in tmp_path.iterdir()} == FILES | {"notes.txt"}


@pytest.mark.usefixtures("quick_figures")
def test_without_a_report_that_of_another_answer_goes(tmp_path: Path) -> None:
    write_products(toy_posterior(), tmp_path)
    assert (tmp_path / "report.html").stat().st_size > 4_000_000
    products = write_products(toy_posterior(), tmp_path, report=False)
    assert "report" not in products
    assert {path.name for path in tmp_path.iterdir()} == FILES - {"report.html"}
    assert "report" not in json.loads((tmp_path / "summary.json").read_text())["products"]


def test_nothing_is_left_when_a_figure_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(posterior: Any) -> None:
        raise ZeroDivisionError("a bug in a figure")

    monkeypatch.setattr("xrayflow.products.figures.corner_figure", fail)
    with pytest.raises(ZeroDivisionError):
        write_products(toy_posterior(), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("quick_figures")
def test_nothing_half_written_is_left_when_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usual, calls = os.fdopen, []

    def full(handle: int, *arguments: Any, **options: Any) -> Any:
        calls.append(handle)
        if len(calls) == 3:
            os.close(handle)
            raise OSError(errno.ENOSPC, "No space left on device")
        return usual(handle, *arguments, **options)

    monkeypatch.setattr(os, "fdopen", full)
    with pytest.raises(FileError, match="cannot be written to \\(No space left on device\\); choose another place"):
        write_products(toy_posterior(), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("quick_figures")
def test_a_folder_that_is_half_replaced_has_no_summary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_products(toy_posterior(), tmp_path)
    usual = Path.replace

    def refuse(self: Path, target: Path) -> Path:
        if Path(target).name == "spectrum.png":
            raise OSError(errno.EIO, "Input/output error")
        return usual(self, target)

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(FileError, match="Input/output error"):
        write_products(toy_posterior(), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == FILES - {"summary.json"}


def test_a_file_where_the_folder_should_be_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(FileError, match="taken: is a file, not a folder; choose another place"):
        write_products(toy_posterior(), tmp_path / "taken")


def test_a_folder_below_a_file_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(FileError, match="cannot be made \\(Not a directory\\); choose a writable place"):
        write_products(toy_posterior(), tmp_path / "taken" / "below")


def test_a_folder_that_may_not_be_written_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(FileError, match="cannot be written to; choose a writable folder"):
        write_products(toy_posterior(), tmp_path)


@pytest.mark.parametrize("name", sorted(NAMES.values()))
def test_a_folder_in_the_way_of_a_product_is_an_error(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(FileError, match=f"{name}: is a folder where a product should be; move it"):
        write_products(toy_posterior(), tmp_path)


def test_numbers_that_json_does_not_know_become_null() -> None:
    summary = toy_posterior().summary() | {
        "odd": [np.float64("nan"), np.inf, -np.inf, np.int64(3), np.bool_(True), np.arange(2)]
    }
    assert json.loads(to_json(summary))["odd"] == [None, None, None, 3, True, [0, 1]]


@pytest.mark.usefixtures("quick_figures")
def test_a_summary_with_infinite_numbers_is_still_json(tmp_path: Path) -> None:
    posterior = altered(toy_posterior(), pareto_k=np.inf, log_evidence_error=np.nan, log_evidence=-np.inf)
    text = write_products(posterior, tmp_path)["summary"].read_text()
    summary = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in summary.json"))
    assert summary["pareto_k"] is None
    assert summary["log_evidence"] is None
