"""The verbs `train` and `networks`, and a network of one's own in `fit`."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from network_zoo import TOY_RUN, write_toy
from xrayflow import cli
from xrayflow.networks import load_network

RUN = (
    TOY_RUN
    + """
name = "mine"
seed = 3
data = { validation = 64 }

[[stage]]
name = "flow"
trains = ["encoder", "flow"]
flow = 1.0
epochs = 2
steps = 3
batch = 32
"""
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_toy(tmp_path)
    (tmp_path / "run.toml").write_text(RUN)
    return tmp_path


def test_train_writes_a_network_and_says_how_to_use_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["train", str(folder / "run.toml"), "--out", str(folder / "out")]) == 0
    said = capsys.readouterr()
    path = folder / "out" / "mine.safetensors"
    assert f"xrayflow fit PHA --network {path}" in said.out
    assert len(re.findall(r"flow \d/2: loss", said.err)) == 2
    assert load_network(path).name == "mine"
    assert (folder / "out" / "log.csv").read_text().count("\n") == 3


def test_train_as_json_is_one_object(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["train", str(folder / "run.toml"), "--out", str(folder / "out"), "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["network"] == str(folder / "out" / "mine.safetensors")
    assert said.err == ""


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (("seed", "sead"), [], "run.toml: unknown key 'sead'; did you mean 'seed'"),
        (('"powerlaw"', '"powerlow"'), [], "unknown component 'powerlow'"),
        (('"toy.arf"', '"none.arf"'), [], "none.arf: no such file"),
        (("epochs = 2", "epochs = 0"), [], "stage.0.epochs"),
        (("name", "name ="), [], "run.toml: not TOML"),
        (("", ""), ["--device", "tpu"], "--device tpu: give cpu or cuda"),
    ],
)
def test_a_bad_run_is_one_line(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    change: tuple[str, str],
    options: list[str],
    message: str,
) -> None:
    (folder / "run.toml").write_text(RUN.replace(*change, 1) if change[0] else RUN)
    assert cli.run(["train", str(folder / "run.toml"), "--out", str(folder / "out"), *options]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) == 1
    assert re.search(message, said.err), said.err
    assert not (folder / "out").exists()


def test_a_run_file_that_is_missing_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["train", str(tmp_path / "none.toml")]) == 1
    assert "none.toml" in capsys.readouterr().err


def test_networks_lists_what_ships(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["networks"]) == 0
    text = capsys.readouterr().out
    assert "nicer-bhb  TBabs*simpl*ezdiskbb" in text
    assert "ezdiskbb.T_max" in text
    assert cli.run(["networks", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["schema_version"] == 1
    assert found["networks"][0]["bins"] == 240
