"""Best fits of a catalogue as a library: right, in groups, and every spectrum that is left out says why."""

from __future__ import annotations

import json
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from catalogue_zoo import Died, Here
from network_zoo import TOY_RUN, toy_network, write_toy
from ogip_zoo import toy_files
from xrayflow import cli
from xrayflow.errors import DataError, FileError, NetworkError, TrainingError
from xrayflow.networks.network import prepare
from xrayflow.networks.recipe import parse_recipe, read_recipe
from xrayflow.networks.store import save_network
from xrayflow.networks.training.library import read_library
from xrayflow.networks.training.spectra import library_spectra
from xrayflow.studies import running as entry
from xrayflow.studies.running.batching import Standing
from xrayflow.studies.running.ledger import Ledger
from xrayflow.studies.running.listing import make_listing
from xrayflow.studies.running.sources import Reader, Source, read_list
from xrayflow.studies.targets.library import Target, Targets, write_targets
from xrayflow.studies.targets.targets import GroupBy, TargetsConfig, find_targets, group_of

RUN = (
    TOY_RUN
    + """
name = "mine"
data = { validation = 2 }

[[stage]]
name = "flow"
trains = ["encoder", "flow"]
flow = 1.0
epochs = 1
batch = 4
spectra = "targets.safetensors"
"""
)
NORMS = (0.05, 0.2, 0.1, 0.4, 0.05, 0.3, 0.08, 0.15)
WANTED = TargetsConfig(starts=4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run file, and four folders of two spectra each: an observation is a folder."""
    place = write_toy(tmp_path_factory.mktemp("targets"))
    (place / "run.toml").write_text(RUN)
    for i, norm in enumerate(NORMS):
        one = place / f"obs{i // 2}"
        one.mkdir(exist_ok=True)
        toy_files(one, norm=norm, seed=i).rename(one / f"s{i % 2}.pha")
    (place / "broken.pha").write_bytes(b"no spectrum")
    return place


@pytest.fixture(scope="module")
def found(folder: Path) -> Targets:
    return find_targets(folder / "run.toml", sources(folder), None, WANTED)


def sources(folder: Path) -> list[Source]:
    return [Source(path) for path in [folder / "broken.pha", *sorted(folder.glob("obs*/*.pha"))]]


@pytest.fixture(scope="module")
def library(folder: Path, found: Targets) -> Path:
    return write_targets(folder / "targets.safetensors", found)


def test_targets_are_the_truths_within_their_errors(found: Targets) -> None:
    theta = found.theta
    error = torch.stack([row.error for row in found.rows])
    truth = torch.stack([torch.full((len(NORMS),), 1.7), torch.tensor(NORMS)], dim=1).double()
    pull = (theta - truth) / error
    assert float(pull.abs().max()) < 4.0
    assert 0.4 < float(pull.square().mean()) < 2.5


def test_what_cannot_be_read_is_left_out_with_its_reason(found: Targets) -> None:
    ((name, reason),) = found.left_out
    assert name == "broken.pha"
    assert "not a FITS file" in reason
    told = found.summary()
    assert (told["spectra"], told["groups"], told["at_limit"], told["not_converged"]) == (8, 4, 0, 0)
    assert 0.5 < told["reduced_statistic_10_50_90"][1] < 1.5


def test_the_library_is_one_that_training_reads(folder: Path, library: Path, found: Targets) -> None:
    network, simulator = prepare(read_recipe(folder / "run.toml"), folder)
    inputs, theta, group = read_library(library, simulator, network.core.coordinates)
    assert torch.equal(theta, found.theta)
    assert group.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert torch.equal(inputs.counts, torch.cat([row.inputs.counts for row in found.rows]))
    spectra = [
        Reader(None).read(source).bin(energies=[network.recipe.layout.energies]) for source in sources(folder)[1:]
    ]
    assert inputs.counts.sum(-1).tolist() == [float(network.inputs(one).counts.sum()) for one in spectra]
    with safe_open(str(library), framework="pt") as file:
        header = json.loads(file.metadata()["xrayflow"])
        assert file.get_tensor("theta_error").shape == file.get_tensor("edge").shape == theta.shape
        assert bool(file.get_tensor("converged").all())
    assert header["groups"] == ["obs0", "obs1", "obs2", "obs3"]
    assert header["statistics"] == ["cstat"]
    assert header["objective"] == "statistic"
    assert [name for name, _ in header["left_out"]] == ["broken.pha"]


@pytest.mark.parametrize("seed", range(6))
def test_a_training_holds_whole_groups_apart(folder: Path, library: Path, seed: int) -> None:
    recipe = parse_recipe({**read_recipe(folder / "run.toml").model_dump(exclude_none=True), "seed": seed}, "run.toml")
    network, simulator = prepare(recipe, folder)
    _, theta, group = read_library(library, simulator, network.core.coordinates)
    spectra = library_spectra(recipe, library, simulator, network.core.coordinates)
    assert spectra.fixed is not None
    of = {float(norm): int(one) for norm, one in zip(theta[:, 1], group, strict=True)}
    held, taught = ({of[float(norm)] for norm in part[1][:, 1]} for part in (spectra.held, spectra.fixed))
    assert len(held) == 1
    assert len(taught) == 3
    assert not held & taught


def test_one_group_cannot_be_split(folder: Path, found: Targets, tmp_path: Path) -> None:
    alone = replace(found, rows=[replace(row, group="one") for row in found.rows])
    path = write_targets(tmp_path / "one.safetensors", alone)
    recipe = read_recipe(folder / "run.toml")
    network, simulator = prepare(recipe, folder)
    with pytest.raises(TrainingError, match="belong to one group"):
        library_spectra(recipe, path, simulator, network.core.coordinates)


def test_the_header_says_what_a_spectrum_belongs_to_and_else_its_folder(folder: Path) -> None:
    observation = Reader(None).read(sources(folder)[1])
    assert observation.pha.obs_id == ""
    assert group_of(observation, GroupBy.obsid) == "obs0"
    assert group_of(observation, GroupBy.object) == "power law"
    assert group_of(observation, GroupBy.folder) == "obs0"


def test_a_list_names_areas_and_backgrounds(tmp_path: Path) -> None:
    listed = tmp_path / "list.txt"
    listed.write_text("# mine\na.pha\n\n'b c.pha' b.arf  # hard state\nc.pha c.arf none\n")
    assert read_list(listed, arf="all.arf") == [
        Source(tmp_path / "a.pha", "all.arf", None),
        Source(tmp_path / "b c.pha", str(tmp_path / "b.arf"), None),
        Source(tmp_path / "c.pha", str(tmp_path / "c.arf"), "none"),
    ]


@pytest.mark.parametrize(
    ("text", "message"), [("a b c d\n", "line 1 has 4 words"), ("\n'a.pha\n", "line 2"), (None, "give --list")]
)
def test_a_list_that_cannot_be_says_where(tmp_path: Path, text: str | None, message: str) -> None:
    listed = tmp_path / "list.txt"
    if text is not None:
        listed.write_text(text)
    with pytest.raises(FileError, match=message):
        read_list(listed)


def test_nothing_to_fit_is_an_error_with_the_first_reason(folder: Path) -> None:
    with pytest.raises(DataError, match=r"none of 1 spectra gives a target; the first: .*not a FITS file"):
        find_targets(folder / "run.toml", [Source(folder / "broken.pha")], None, WANTED)
    with pytest.raises(DataError, match="no spectra; give PHA files"):
        find_targets(folder / "run.toml", [], None, WANTED)


def test_from_the_command_line_to_a_trained_stage(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entry, "Children", lambda *arguments: Here())
    out = folder / "targets.safetensors"
    paths = [str(source.pha) for source in sources(folder)]
    assert cli.run(["targets", str(folder / "run.toml"), *paths, "--starts", "4", "--out", str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["spectra"], told["groups"], len(told["left_out"])) == (8, 4, 1)
    assert cli.run(["train", str(folder / "run.toml"), "--out", str(tmp_path / "run")]) == 0
    assert (tmp_path / "run" / "mine.safetensors").exists()


def test_words_that_are_none_of_the_choices_are_wrong_usage(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["targets", str(folder / "run.toml"), "a.pha", "--group-by", "colour"]) == 2
    assert "one of obsid, object, folder" in capsys.readouterr().err


@pytest.mark.parametrize(("network", "said"), [("nicer-bbh", "nicer-bhb"), ("nicer-bhb", "it was made for TBabs")])
def test_a_network_that_cannot_start_the_fits_is_one_line_at_once(folder: Path, network: str, said: str) -> None:
    with pytest.raises(NetworkError, match=said):
        find_targets(folder / "run.toml", sources(folder), None, TargetsConfig(network=network))


def test_starts_from_a_network_end_where_cold_ones_do(folder: Path, found: Targets) -> None:
    network, _ = toy_network(folder, read_recipe(folder / "run.toml"))
    path = save_network(network, folder / "toy.safetensors")
    guided = find_targets(folder / "run.toml", sources(folder), None, TargetsConfig(starts=4, network=str(path)))
    assert [row.statistic for row in guided.rows] == pytest.approx([row.statistic for row in found.rows], abs=1e-3)
    assert not torch.equal(guided.theta, found.theta)  # other ways to the same places


def test_a_run_that_died_goes_on_and_ends_where_an_undisturbed_one_does(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xrayflow.studies.running.whole.BATCH", 3)
    whole = find_targets(folder / "run.toml", sources(folder), None, WANTED)
    out = tmp_path / "targets.safetensors"
    with pytest.raises(Died):
        find_targets(folder / "run.toml", sources(folder), None, WANTED, out=out, workers=Here(1, "Targeting"))
    again = Here(of="Targeting")
    steps: list[Standing] = []
    found = find_targets(folder / "run.toml", sources(folder), None, WANTED, steps.append, out, again)
    assert [len(batch) for batch in again.done] == [3, 2]
    assert [one.done for one in steps if one.step == "fitting"] == [4, 7, 9]
    ends = [write_targets(tmp_path / f"{name}.safetensors", one) for name, one in (("a", whole), ("b", found))]
    assert ends[0].read_bytes() == ends[1].read_bytes()


def test_other_settings_are_refused_until_the_run_is_begun_anew(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entry, "Children", lambda *arguments: Here())
    out = tmp_path / "t.safetensors"
    with pytest.raises(Died):
        find_targets(folder / "run.toml", sources(folder), None, WANTED, out=out, workers=Here(0, "Targeting"))
    paths = [str(source.pha) for source in sources(folder)]
    command = ["targets", str(folder / "run.toml"), *paths, "--starts", "3", "--out", str(out)]
    assert cli.run(command) == 1
    assert "was begun with other settings: starts was 4, is 3" in capsys.readouterr().err
    assert not out.exists()
    assert cli.run([*command, "--restart"]) == 0
    assert out.exists()


def test_a_stop_keeps_what_is_done_and_ends(folder: Path, tmp_path: Path) -> None:
    def told(standing: Standing) -> None:
        if standing.step == "fitting":
            signal.raise_signal(signal.SIGINT)

    out = tmp_path / "targets.safetensors"
    with pytest.raises(KeyboardInterrupt):
        find_targets(folder / "run.toml", sources(folder), None, WANTED, told, out)
    with Ledger(out) as ledger:
        ledger.ask_for(make_listing(sources(folder)).keys)
        assert ledger.not_looked_at() == [0]  # the broken one; the others were seen


def test_targets_come_back_from_a_ledger(found: Targets) -> None:
    for target in found.rows[:2]:
        again = Target.from_row(*target.to_row())
        for name in ("pha", "sha256", "group", "statistic", "dof", "name", "converged"):
            assert getattr(again, name) == getattr(target, name)
        assert torch.equal(again.theta, target.theta)
        assert torch.equal(again.inputs.counts, target.inputs.counts)
