"""An answer on disk is the answer: it comes back whole, and files that are not ours are refused in one line."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from answer_zoo import TRUTH, altered, first_parameters, toy_posterior
from xrayflow import load_result
from xrayflow.errors import FileError, FormatError
from xrayflow.files import to_json
from xrayflow.inference import Posterior
from xrayflow.models import parse_model
from xrayflow.products import store
from xrayflow.products.store import ANSWER, DRAWS, answer_file, draws_file


def written(posterior: Posterior, folder: Path) -> Path:
    """The two files that an answer is read from."""
    (folder / ANSWER).write_bytes(answer_file(posterior))
    (folder / DRAWS).write_bytes(draws_file(posterior))
    return folder


@pytest.mark.parametrize("background", [False, True])
def test_an_answer_comes_back_whole(tmp_path: Path, background: bool) -> None:
    posterior = replace(toy_posterior(background=background), truth=TRUTH)
    again = load_result(written(posterior, tmp_path))
    assert to_json(again.summary()) == to_json(posterior.summary())
    assert again.model == posterior.model
    assert again.prior == posterior.prior
    for name in ("theta", "log_weight", "log_likelihood", "log_proposal", "fit_statistic"):
        np.testing.assert_array_equal(getattr(again.sample, name), getattr(posterior.sample, name))
    np.testing.assert_array_equal(again.predictive.total, posterior.predictive.total)
    assert again.data[0].pha == posterior.data[0].pha
    # and once more: nothing is lost on the way
    assert answer_file(again) == answer_file(posterior)


def test_a_file_of_the_folder_leads_to_it(tmp_path: Path) -> None:
    assert load_result(written(toy_posterior(), tmp_path) / ANSWER).names == toy_posterior().names


def test_frozen_and_linked_parameters_come_back(tmp_path: Path) -> None:
    posterior = first_parameters(toy_posterior(), 1)
    assert load_result(written(posterior, tmp_path)).model == posterior.model
    model = parse_model("TBabs*simplcutx*(gaussian+gaussian)").freeze({"TBabs.nH": 0.3}).thaw("simplcutx.kT_e")
    model = model.link({"gaussian_4.Sigma": "2*gaussian.Sigma"})
    arrays: dict[str, Any] = {}
    reader = store._Reader(tmp_path, arrays)
    assert reader.value(type(model), json.loads(json.dumps(store._encoded(model, "model", arrays))), "model") == model


def test_numbers_that_json_does_not_know_come_back(tmp_path: Path) -> None:
    posterior = altered(toy_posterior(), pareto_k=np.inf, log_evidence_error=np.nan, log_evidence=-np.inf)
    again = load_result(written(posterior, tmp_path))
    assert (again.pareto_k, again.log_evidence) == (np.inf, -np.inf)
    assert np.isnan(again.log_evidence_error)


def test_a_folder_without_an_answer_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"holds no answer.npz; give a folder that xrayflow fit --out wrote"):
        load_result(tmp_path)
    with pytest.raises(FileError, match=r"nowhere: is no folder with an answer.npz"):
        load_result(tmp_path / "nowhere")
    (written(toy_posterior(), tmp_path) / DRAWS).unlink()
    with pytest.raises(FileError, match=r"holds no draws.npz"):
        load_result(tmp_path)


@pytest.mark.parametrize("name", [ANSWER, DRAWS])
def test_a_file_that_is_cut_short_is_one_line(tmp_path: Path, name: str) -> None:
    path = written(toy_posterior(), tmp_path) / name
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(FormatError, match=rf"{name}: cannot be read .*; is it cut short\? fit again"):
        load_result(tmp_path)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    written(toy_posterior(), tmp_path)
    np.savez(tmp_path / DRAWS, draws=np.array([{"a": 1}], dtype=object))
    with pytest.raises(FormatError, match=r"draws.npz: cannot be read \(ValueError\)"):
        load_result(tmp_path)


def test_a_file_that_unpacks_to_more_than_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(toy_posterior(), tmp_path)
    with zipfile.ZipFile(tmp_path / DRAWS, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("draws.npy", b"\0" * 1_000_000)
    monkeypatch.setattr(store, "MOST_BYTES", 500_000)
    with pytest.raises(FormatError, match=r"draws.npz: unpacks to 1e\+06 bytes"):
        load_result(tmp_path)


def document(folder: Path) -> dict[str, Any]:
    """The JSON text of an answer."""
    with np.load(folder / ANSWER) as arrays:
        found: dict[str, Any] = json.loads(str(arrays["document"][()]))
        return found


def with_document(folder: Path, text: str) -> None:
    """The answer with another JSON text."""
    with np.load(folder / ANSWER) as arrays:
        others = {name: arrays[name] for name in arrays.files if name != "document"}
    np.savez(folder / ANSWER, document=np.array(text), **others)


@pytest.mark.parametrize(
    ("place", "value", "complaint"),
    [
        (("seed",), "many", r"provenance.seed is missing"),
        (("seed",), True, r"provenance.seed is missing"),
        (("seconds",), [1], r"provenance.seconds is missing"),
        (("grid",), None, r"provenance.grid is missing"),
        (("notes",), "one", r"provenance.notes is missing"),
    ],
)
def test_a_value_of_another_type_is_told_with_its_place(
    tmp_path: Path, place: tuple[str, ...], value: Any, complaint: str
) -> None:
    found = document(written(toy_posterior(), tmp_path))
    found["answer"]["provenance"][place[0]] = value
    with_document(tmp_path, json.dumps(found))
    with pytest.raises(FormatError, match=f"answer.npz: answer.{complaint} or not what it should be; fit again"):
        load_result(tmp_path)


def test_a_value_that_is_missing_is_told_unless_it_has_a_default(tmp_path: Path) -> None:
    found = document(written(toy_posterior(), tmp_path))
    del found["answer"]["misfit"]
    with_document(tmp_path, json.dumps(found))
    assert load_result(tmp_path).misfit is None
    del found["answer"]["fit"]
    with_document(tmp_path, json.dumps(found))
    with pytest.raises(FormatError, match=r"answer.fit is missing"):
        load_result(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"schema_version": 1}', "[" * 100_000])
def test_a_text_that_is_no_answer_is_one_line(tmp_path: Path, text: str) -> None:
    with_document(written(toy_posterior(), tmp_path), text)
    with pytest.raises(FormatError, match=r"answer.npz: holds no answer; fit the spectrum again"):
        load_result(tmp_path)


def test_another_schema_is_told(tmp_path: Path) -> None:
    found = document(written(toy_posterior(), tmp_path))
    with_document(tmp_path, json.dumps(found | {"schema_version": 2}))
    with pytest.raises(FormatError, match=r"schema_version 2, this xrayflow reads 1"):
        load_result(tmp_path)


def test_a_model_that_is_not_known_is_told_in_its_own_words(tmp_path: Path) -> None:
    found = document(written(toy_posterior(), tmp_path))
    found["answer"]["model"]["text"] = "TBabs*powrlaw"
    with_document(tmp_path, json.dumps(found))
    with pytest.raises(FormatError, match=r"answer.npz: .*powrlaw"):
        load_result(tmp_path)


@pytest.mark.parametrize("name", ["draws", "log_weight", "log_likelihood", "log_proposal", "fit_statistic"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_draws_that_are_no_numbers_are_refused(tmp_path: Path, name: str, value: float) -> None:
    written(toy_posterior(), tmp_path)
    with np.load(tmp_path / DRAWS) as arrays:
        held = dict(arrays)
    heaviest = held["log_weight"].argmax()
    held[name][heaviest] = -value if name == "fit_statistic" else value
    np.savez(tmp_path / DRAWS, **held)
    with pytest.raises(FormatError, match=rf"draws.npz: its {name} hold what is no number; fit again"):
        load_result(tmp_path)


def test_single_draws_may_have_no_weight_but_not_all(tmp_path: Path) -> None:
    posterior = toy_posterior()
    for name in ("log_weight", "log_likelihood"):
        values = getattr(posterior.sample, name)
        hole = {name: np.where(np.arange(values.size) == 3, -np.inf, values)}
        assert np.isneginf(getattr(load_result(written(altered(posterior, **hole), tmp_path)).sample, name)[3])
        with np.load(tmp_path / DRAWS) as arrays:
            nothing = dict(arrays) | {name: np.full_like(values, -np.inf)}
        np.savez(tmp_path / DRAWS, **nothing)
        with pytest.raises(FormatError, match=rf"draws.npz: its {name} hold what is no number"):
            load_result(tmp_path)


def test_a_network_alone_asks_for_few_likelihoods_and_some_of_them_are_numbers(tmp_path: Path) -> None:
    posterior = toy_posterior()
    asked = np.where(np.arange(posterior.log_likelihood.size) < 5, posterior.log_likelihood, np.nan)
    alone = replace(altered(posterior, log_likelihood=asked), mode="amortised")
    np.testing.assert_array_equal(load_result(written(alone, tmp_path)).log_likelihood, asked)
    for none in (asked * np.nan, np.where(np.arange(asked.size) == 2, np.inf, asked)):
        with pytest.raises(FormatError, match=r"draws.npz: its log_likelihood hold what is no number"):
            load_result(written(replace(altered(posterior, log_likelihood=none), mode="amortised"), tmp_path))


def test_an_answer_whose_best_values_are_no_numbers_is_refused(tmp_path: Path) -> None:
    posterior = toy_posterior()
    with pytest.raises(FormatError, match=r"answer.npz: its best values hold what is no number"):
        load_result(written(altered(posterior, best=posterior.best * np.nan), tmp_path))


def test_draws_of_another_answer_are_refused(tmp_path: Path) -> None:
    written(toy_posterior(), tmp_path)
    (tmp_path / DRAWS).write_bytes(draws_file(toy_posterior(background=True)))
    with pytest.raises(FormatError, match=r"draws.npz: its draws do not go with answer.npz"):
        load_result(tmp_path)
    with np.load(tmp_path / DRAWS) as arrays:
        held = dict(arrays)
    held["draws"] = held["draws"][:, :3]
    np.savez(tmp_path / DRAWS, **held)
    with pytest.raises(FormatError, match=r"draws.npz: its names do not go"):
        load_result(tmp_path)
