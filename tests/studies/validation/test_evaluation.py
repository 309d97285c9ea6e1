"""The paper's table of a small catalogue: right numbers, unseen spectra, and files that do not belong together."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from catalogue_zoo import Died, Here
from network_zoo import TOY_RUN, stirred, toy_network, write_toy
from ogip_zoo import toy_files
from xrayflow import cli
from xrayflow.errors import DataError, MismatchError
from xrayflow.networks import Network, load_network, read_recipe
from xrayflow.networks.store import save_network
from xrayflow.networks.training.library import held_apart, read_library
from xrayflow.studies.running.sources import Source
from xrayflow.studies.targets.library import Targets, write_targets
from xrayflow.studies.targets.targets import GroupBy, TargetsConfig, find_targets
from xrayflow.studies.validation import exact
from xrayflow.studies.validation.evaluation import Evaluation, EvaluationConfig, decades_of, evaluate
from xrayflow.studies.validation.network_draws import answers_of, inside_box

RUN = (
    TOY_RUN
    + """
name = "toy"
stage = [{ name = "flow", trains = ["encoder", "flow"], flow = 1.0, epochs = 1, steps = 1, batch = 4 }]
"""
)
GROUPS, EACH = 5, 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five observations of three spectra, whose files have the same names, and a network that knows nothing."""
    place = write_toy(tmp_path_factory.mktemp("evaluation"))
    (place / "run.toml").write_text(RUN)
    for i in range(GROUPS * EACH):
        one = place / f"obs{i // EACH}"
        one.mkdir(exist_ok=True)
        toy_files(one, norm=0.05 * (1 + i), seed=i).rename(one / f"s{i % EACH}.pha")
    network, _ = toy_network(place, read_recipe(place / "run.toml"))
    stirred(network.core)
    save_network(network, place / "toy.safetensors")
    return place


@pytest.fixture(scope="module")
def targets(folder: Path) -> Targets:
    found = find_targets(folder / "run.toml", sources(folder), None, TargetsConfig(starts=4, group_by=GroupBy.folder))
    write_targets(folder / "targets.safetensors", found)
    return found


@pytest.fixture(scope="module")
def network(folder: Path) -> Network:
    return load_network(folder / "toy.safetensors")


@pytest.fixture(scope="module")
def found(folder: Path, targets: Targets, network: Network) -> Evaluation:
    asked = EvaluationConfig(draws=200, every=True, exact=GROUPS * EACH, repeats=2, timed=2)
    return evaluate(folder / "targets.safetensors", sources(folder), None, [network], asked)


def sources(folder: Path) -> list[Source]:
    return [Source(path) for path in sorted(folder.glob("obs*/*.pha"))]


def test_the_targets_have_the_statistic_of_their_fits(found: Evaluation, targets: Targets) -> None:
    by_hash = {row.sha256: row.statistic / row.dof for row in targets.rows}
    wanted = [by_hash[sha256] for _, sha256 in found.files]
    np.testing.assert_allclose(found.row("targets").reduced, wanted, rtol=1e-9)
    assert found.statistics == {"cstat": GROUPS * EACH}


def test_exact_draws_lie_above_the_targets_by_one_for_each_parameter(found: Evaluation, targets: Targets) -> None:
    (dof,) = {row.dof for row in targets.rows}
    above = (found.row("exact").reduced - found.row("targets").reduced) * dof
    assert (above > -1e-6).all()
    assert 0.7 < above.mean() < 4.5  # chi^2 of two degrees of freedom, the mean of fifteen
    assert found.exact == {"certified": GROUPS * EACH}


def test_exact_draws_cover_and_correlate_where_a_random_network_does_not(found: Evaluation) -> None:
    rows = {row["name"]: row for row in found.summary()["rows"]}
    assert rows["exact"]["parameters"]["powerlaw.norm"]["pearson_r"] > 0.98
    assert abs(rows["toy"]["parameters"]["powerlaw.norm"]["pearson_r"]) < 0.8
    assert rows["toy"]["reduced_pgstat_median"] > 2.0 * rows["exact"]["reduced_pgstat_median"]
    assert rows["toy"]["of_exact_spectra"]["reduced_pgstat_median"] == rows["toy"]["reduced_pgstat_median"]


def test_time_is_measured_as_often_as_asked(found: Evaluation) -> None:
    row = found.row("toy")
    assert (len(row.seconds_1), len(row.seconds_1000)) == (2, 2)
    assert found.row("targets").seconds_1 == ()
    assert {row["name"]: row["seconds_1"] for row in found.summary()["rows"]}["targets"] is None


def test_only_what_networks_hold_apart_is_used(folder: Path, targets: Targets, network: Network) -> None:
    library = folder / "targets.safetensors"
    asked = EvaluationConfig(draws=5, repeats=0)
    found = evaluate(library, sources(folder), None, [network], asked)
    _, theta, group = read_library(library, network, network.core.coordinates)
    held = held_apart(group, group.numel() // 5)[0]
    assert sorted(found.groups.tolist()) == sorted(group[held].tolist())
    assert len(found.files) == EACH
    assert bool(torch.isin(found.row("targets").theta[:, 1], theta[held, 1]).all())


def test_a_file_that_has_changed_or_gone_is_refused(folder: Path, targets: Targets, network: Network) -> None:
    library, asked = folder / "targets.safetensors", EvaluationConfig(draws=5, every=True, repeats=0)
    with pytest.raises(DataError, match=r"s\d.pha is not among the spectra; give the list"):
        evaluate(library, sources(folder)[1:], None, [network], asked)
    other = replace(sources(folder)[0], pha=folder / "obs0" / "s1.pha")
    with pytest.raises(DataError, match=r"s0.pha is not among the spectra"):
        evaluate(library, [other, *sources(folder)[1:]], None, [network], asked)


def test_networks_must_differ_in_name_and_agree_in_bins(folder: Path, targets: Targets, network: Network) -> None:
    library = folder / "targets.safetensors"
    with pytest.raises(DataError, match="two rows of the table would be called toy"):
        evaluate(library, sources(folder), None, [network, network], EvaluationConfig())
    layout = replace(network.layout, band=(0.5, 4.5))
    other = replace(network, recipe=network.recipe.model_copy(update={"name": "other"}), layout=layout)
    with pytest.raises(MismatchError, match="network other: its bins are not those of toy"):
        evaluate(library, sources(folder), None, [network, other], EvaluationConfig())


def test_the_command_writes_the_table_and_its_figures(
    folder: Path, targets: Targets, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "list.txt").write_text("\n".join(f"obs{i // EACH}/s{i % EACH}.pha" for i in range(GROUPS * EACH)))
    arguments = ["evaluate", str(folder / "targets.safetensors"), "--list", str(folder / "list.txt")]
    arguments += ["--network", str(folder / "toy.safetensors"), "--draws", "5", "--repeats", "0", "--every"]
    assert cli.run([*arguments, "--out", str(tmp_path / "table")]) == 0
    assert "toy" in capsys.readouterr().out
    assert cli.run([*arguments, "--out", str(tmp_path / "table"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == json.loads((tmp_path / "table" / "evaluation.json").read_text())
    assert [row["name"] for row in told["rows"]] == ["targets", "toy"]
    for picture in told["figures"]["toy"].values():
        assert (tmp_path / "table" / picture).read_bytes().startswith(b"\x89PNG")
    assert cli.run(["evaluate", str(folder / "targets.safetensors")]) == 2


def test_draws_outside_the_box_count_only_where_none_is_inside_and_what_is_no_number_never(network: Network) -> None:
    prior = network.training_prior.prior
    in_it, out, nothing = [2.0, 0.1], [9.0, 0.1], [float("nan"), 0.1]
    draws = torch.tensor([[out, nothing, in_it], [nothing, out, out]], dtype=torch.float64)
    answers, first = answers_of(prior, torch.tensor([in_it, in_it], dtype=torch.float64), draws)
    np.testing.assert_allclose(answers.weights, [[0, 0, 1], [0, 0.5, 0.5]])
    assert first.tolist() == [in_it, out]
    assert inside_box(prior, draws).tolist() == [[False, False, True], [False, False, False]]
    with pytest.raises(DataError, match="source 0"):
        answers_of(prior, torch.tensor([in_it], dtype=torch.float64), torch.tensor([[nothing]], dtype=torch.float64))


def test_spectra_go_into_decades_of_counts() -> None:
    found = decades_of(np.array([5.0, 12.0, 99.0, 0.0]))
    assert {name: rows.tolist() for name, rows in found.items()} == {
        "1e0": [True, False, False, True],
        "1e1": [False, True, True, False],
    }


def test_exact_posteriors_of_a_command_that_died_are_not_computed_again(
    folder: Path, targets: Targets, network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = EvaluationConfig(draws=20, every=True, exact=3, repeats=0, spectra=4)
    library = folder / "targets.safetensors"
    monkeypatch.setattr(exact, "TOGETHER", 2)
    monkeypatch.setattr(exact, "Inline", lambda: Here(1))
    with pytest.raises(Died):
        evaluate(library, sources(folder), None, [network], asked, out=tmp_path)
    again = Here()
    monkeypatch.setattr(exact, "Inline", lambda: again)
    found = evaluate(library, sources(folder), None, [network], asked, out=tmp_path)
    assert [len(batch) for batch in again.done] == [1]
    assert found.exact == {"certified": 3}
    whole = evaluate(library, sources(folder), None, [network], asked)
    np.testing.assert_allclose(found.row("exact").theta, whole.row("exact").theta, rtol=1e-6)
    with pytest.raises(DataError, match="draws of each was 20, is 10"):
        evaluate(library, sources(folder), None, [network], replace(asked, draws=10), out=tmp_path)
