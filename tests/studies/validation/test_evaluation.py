"""The paper's table of a small catalogue: right numbers, unseen spectra, and files that do not belong together."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from catalogue_zoo import Died, Here
from network_zoo import TOY_RUN, stirred, toy_network, write_toy
from ogip_zoo import toy_files
from xrayflow import cli
from xrayflow.errors import DataError, MismatchError
from xrayflow.files import sha256_of
from xrayflow.networks import Network, load_network, read_recipe
from xrayflow.networks.store import save_network
from xrayflow.networks.training.library import held_apart, read_library
from xrayflow.setup import FitSetup
from xrayflow.studies.running import Children, matched
from xrayflow.studies.running.sources import Reader, Source
from xrayflow.studies.targets.library import Targets, write_targets
from xrayflow.studies.targets.targets import GroupBy, TargetsConfig, find_targets
from xrayflow.studies.validation.evaluation import Evaluation, EvaluationConfig, decades_of, evaluate
from xrayflow.studies.validation.network_draws import answers_of, held_in, inside_box
from xrayflow.studies.validation.refold import reduced_statistic, with_xspecs_statistic

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


def folded_alone(source: Source, network: Network, theta: Tensor) -> float:
    """XSPEC's statistic over the degrees of freedom, of one spectrum without any other."""
    setup = FitSetup(
        model=network.model,
        prior=network.training_prior.prior,
        energies=[network.recipe.layout.energies],
        grouping="file",
        systematic=0.0,
    )
    problem = with_xspecs_statistic([Reader(None).read(source)], setup)
    return float(reduced_statistic(problem, theta[None, None])[0, 0])


def test_each_source_has_the_draws_of_one_loop_over_all_of_them(
    folder: Path, found: Evaluation, network: Network
) -> None:
    """The loop that was before there were batches: one generator, and each spectrum folded by itself."""
    library = folder / "targets.safetensors"
    inputs, _, _ = read_library(library, network, network.core.coordinates)
    order = torch.randperm(GROUPS * EACH, generator=torch.Generator().manual_seed(0))
    generator, parts = torch.Generator().manual_seed(0), []
    for rows in torch.split(order, 8000 // 200):
        base = torch.randn((rows.numel(), 200, 2), generator=generator, dtype=torch.float64)
        with torch.no_grad():
            parts.append(network.core.draw(inputs.select(rows), base))
    wanted, first = answers_of(network.training_prior.prior, found.row("targets").theta, torch.cat(parts))
    row = found.row("toy")
    assert row.answers is not None
    np.testing.assert_allclose(row.answers.draws, wanted.draws, rtol=1e-5)
    np.testing.assert_array_equal(row.answers.weights, wanted.weights)
    single = held_in(network.training_prior.prior, first)
    np.testing.assert_allclose(row.theta, single, rtol=1e-5)
    for place in (0, 7, 14):
        alone = folded_alone(found.files[place][0], network, row.theta[place])
        assert row.reduced[place] == pytest.approx(alone, rel=1e-6)


@pytest.mark.parametrize("task", ["Drawing", "Answering"])
def test_a_command_that_died_goes_on(
    folder: Path, targets: Targets, network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str
) -> None:
    asked = EvaluationConfig(draws=20, every=True, exact=3, repeats=0, spectra=4)
    library = folder / "targets.safetensors"
    monkeypatch.setattr("xrayflow.studies.running.whole.BATCH", 2)
    with pytest.raises(Died):
        evaluate(library, sources(folder), None, [network], asked, out=tmp_path, workers=Here(1, task))
    again = Here(of=task)
    found = evaluate(library, sources(folder), None, [network], asked, out=tmp_path, workers=again)
    assert [len(batch) for batch in again.done] == [2 if task == "Drawing" else 1]
    assert found.exact == {"certified": 3}
    whole = evaluate(library, sources(folder), None, [network], asked)
    for row in ("targets", "toy", "exact"):
        np.testing.assert_allclose(found.row(row).theta, whole.row(row).theta, rtol=1e-6)
        np.testing.assert_allclose(found.row(row).reduced, whole.row(row).reduced, rtol=1e-6)


def test_what_is_done_belongs_to_what_was_asked(
    folder: Path, targets: Targets, network: Network, tmp_path: Path
) -> None:
    library, asked = folder / "targets.safetensors", EvaluationConfig(draws=20, every=True, repeats=0, spectra=4)

    def run(config: EvaluationConfig, workers: Here, restart: bool = False) -> Evaluation:
        return evaluate(library, sources(folder), None, [network], config, None, tmp_path, workers, restart)

    run(asked, Here())
    more = Here(of="Drawing")
    assert run(replace(asked, exact=2), more).row("exact").reduced.size == 2  # exact answers may be asked for later
    assert more.done == []
    with pytest.raises(DataError, match="draws was 20, is 10"):
        run(replace(asked, draws=10), Here())
    assert run(replace(asked, draws=10), Here(), restart=True).row("toy").theta.shape == (4, 2)


def test_workers_find_the_same(folder: Path, targets: Targets, network: Network) -> None:
    asked = EvaluationConfig(draws=20, every=True, exact=1, repeats=0, spectra=3)
    library = folder / "targets.safetensors"
    here = evaluate(library, sources(folder), None, [network], asked)
    with Children() as children:
        there = evaluate(library, sources(folder), None, [network], asked, workers=children)
    for one, other in zip(here.rows, there.rows, strict=True):
        np.testing.assert_allclose(one.theta, other.theta, rtol=1e-6)
        np.testing.assert_allclose(one.reduced, other.reduced, rtol=1e-6)


def test_another_file_of_the_same_name_is_refused_and_the_right_one_goes_on(
    folder: Path, targets: Targets, network: Network, tmp_path: Path
) -> None:
    library, asked = folder / "targets.safetensors", EvaluationConfig(draws=5, every=True, repeats=0, spectra=1)
    (right, _), *_ = evaluate(library, sources(folder), None, [network], asked).files
    other = next(one for one in sources(folder) if one.pha.name == right.pha.name and one != right)
    place = tmp_path / right.pha.name
    place.write_bytes(other.pha.read_bytes())
    given = Source(place, str(right.pha.with_name("toy.arf")), None, str(right.pha.with_name("toy.rmf")))
    with pytest.raises(DataError, match=rf"{right.pha.name}: is not the file that the target was fitted to"):
        evaluate(library, [given], None, [network], asked, out=tmp_path)
    place.write_bytes(right.pha.read_bytes())
    assert evaluate(library, [given], None, [network], asked, out=tmp_path).files[0][0] == given


def test_two_copies_of_a_spectrum_are_two_spectra(tmp_path: Path) -> None:
    copies = []
    for place in ("a", "b"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "s.pha").write_bytes(b"same")
        copies.append(Source(tmp_path / place / "s.pha"))
    listed = [["s.pha", sha256_of(copies[0].pha)]] * 2
    assert [source for source, _ in matched(tmp_path, listed, copies)] == copies
    with pytest.raises(DataError, match=r"s\.pha is not among the spectra"):
        matched(tmp_path, listed, copies[:1])


def test_exact_answers_of_spectra_with_a_background_have_the_parameters_of_the_model_alone(
    network: Network, tmp_path: Path
) -> None:
    """The level of the background is sampled too, and is no column of the table."""
    write_toy(tmp_path)
    (tmp_path / "run.toml").write_text(RUN)
    given = []
    for place in (tmp_path / "a", tmp_path / "b"):
        place.mkdir()
        given.append(Source(toy_files(place, norm=0.3, background=True)))
    library = tmp_path / "targets.safetensors"
    write_targets(library, find_targets(tmp_path / "run.toml", given, None, TargetsConfig(starts=4)))
    found = evaluate(library, given, None, [network], EvaluationConfig(draws=20, every=True, exact=1, repeats=0))
    assert found.statistics == {"wstat": 2}
    assert found.row("exact").theta.shape == (1, 2)
    assert np.isfinite(found.row("exact").reduced).all()
