"""Run files are read as they stand or refused with one line; the shipped ones parse."""

from __future__ import annotations

import copy
import tempfile
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from network_zoo import PAPER, toy_table
from xrayflow.errors import FormatError, RecipeError, XrayflowError
from xrayflow.networks.recipe import LARGEST_FILE, Recipe, parse_recipe, read_recipe
from xrayflow.networks.sections import (
    DataSection,
    InstrumentSection,
    LayoutSection,
    ModelSection,
    NetworkSection,
    StageSection,
)
from xrayflow.simulate import TrainingPrior

RECIPES = sorted((Path(__file__).resolve().parents[2] / "recipes").rglob("*.toml"))
RECIPES = [path for path in RECIPES if path.stem != "ablation"]  # many in one: tests/studies/test_paper_table.py


def changed(path: str, value: Any) -> dict[str, Any]:
    """The toy table with one value set, by its place as `network.context` or `stage.0.rate`."""
    table = copy.deepcopy(toy_table())
    place: Any = table
    *before, last = path.split(".")
    for part in before:
        place = place[int(part)] if part.isdigit() else place.setdefault(part, {})
    place[last] = value
    return table


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_run_files_of_the_repository_parse(path: Path) -> None:
    recipe = read_recipe(path)
    assert parse_recipe(recipe.model_dump(mode="json"), "header") == recipe


def test_the_tutorial_shows_the_recipe_that_was_measured() -> None:
    root = Path(__file__).resolve().parents[2]
    page = (root / "docs" / "tutorials" / "train-your-own.md").read_text(encoding="utf-8")
    shown = page.split("```toml\n")[1].split("```")[0]
    assert shown == (root / "recipes" / "pn-ulx.toml").read_text(encoding="utf-8")


def test_a_recipe_survives_a_networks_header_with_its_hash() -> None:
    recipe = parse_recipe(toy_table(network=PAPER | {"decoder": "recurrent"}), "toy.toml")
    again = parse_recipe(recipe.model_dump(mode="json"), "header")
    assert again == recipe
    assert again.sha256 == recipe.sha256
    assert parse_recipe(changed("seed", 8), "toy.toml").sha256 != recipe.sha256


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("sead", 1, "toy.toml: unknown key 'sead'; did you mean 'seed'?"),
        ("network.contxt", 3, "unknown key 'network.contxt'; did you mean 'context'?"),
        ("se\ned", 3, "unknown key 'se\\ned'; did you mean 'seed'?"),
        ("model.freeze", {"a\nb": "x"}, "model.freeze.a\\nb: Input should be a valid number (found 'x')"),
        ("stage.0.epoch", 3, "unknown key 'stage.0.epoch'; did you mean 'epochs'?"),
        ("model", {}, "'model.expression' is missing; give it"),
        ("seed", "seven", "seed: Input should be a valid integer (found 'seven')"),
        ("seed", True, "seed: Input should be a valid integer (found True)"),
        ("seed", -1, "seed: Input should be greater than or equal to 0 (found -1)"),
        ("data.noise", "no", "data.noise: Input should be a valid boolean (found 'no')"),
        ("network.context", 0, "network.context: Input should be greater than or equal to 1 (found 0)"),
        ("network.context", 10**6, "network.context: Input should be less than or equal to 4096"),
        ("network.encoder", "big", "network.encoder: Input should be 'residual' or 'convolutional' (found 'big')"),
        ("network.dropout", 1.0, "network.dropout: Input should be less than 1 (found 1.0)"),
        ("network.convolutions", [[2, 2]], "'network.convolutions.0.2' is missing; give it"),
        ("layout.widths", [1.5], "layout.widths.0: Input should be a valid integer (found 1.5)"),
        ("stage", [], "stage: Tuple should have at least 1 item"),
        ("stage", 3, "stage: Input should be a valid tuple (found 3)"),
        ("stage.0.trains", [], "stage.0.trains: Tuple should have at least 1 item"),
        ("stage.0.rate", float("inf"), "stage.0.rate: Input should be a finite number (found inf)"),
        ("stage.0.rate", 1e300, "stage.0.rate: Input should be less than or equal to 10 (found 1e+300)"),
        ("stage.0.clip", 1e300, "stage.0.clip: Input should be less than or equal to 1000000 (found 1e+300)"),
        ("network.hidden", [8] * 17, "network.hidden: Tuple should have at most 16 items after validation, not 17"),
        ("network.blocks", 65, "network.blocks: Input should be less than or equal to 64 (found 65)"),
        ("network.decoder_layers", 400, "network.decoder_layers: Input should be less than or equal to 64 (found 400)"),
        ("model.expression", "(" * 20_000, "model.expression: String should have at most 10000 characters (found '(("),
        ("layout.starts", [0] * 1001, "layout.starts: Tuple should have at most 1000 items"),
        ("model.prior", ["a.b=1:2"] * 1001, "model.prior: Tuple should have at most 1000 items"),
        ("stage.0.rate", 10**400, "stage.0.rate: Input should be a valid number (found 1000"),
        ("stage.0.name", "End", "stage.0.name: String should match pattern"),
        ("stage.0.trains", ["head"], "stage.0.trains.0: Input should be 'encoder', 'flow', "),
        ("name", "../etc", "name: String should match pattern"),
        ("name", "checkpoint", "name: 'checkpoint' is another file of the run's folder; give another name"),
        ("training_prior.rate", "bright", "training_prior.rate: Input should be a valid tuple (found 'bright')"),
        ("training_prior.rate", True, "training_prior.rate: give a number, numbers in brackets, or a name"),
        ("training_prior.calibration", 1.0, "training_prior.calibration: Input should be a valid string (found 1.0)"),
        ("training_prior.amplitude", [0.1, 11.0], "training_prior.amplitude: 0.1 .. 11; give lo <= hi, above 0, up to"),
        ("training_prior.exposre", 5.0, "toy.toml: unknown key 'training_prior.exposre'; did you mean 'exposure'?"),
        (
            "training_prior.exposure",
            5.0,
            "toy.toml: training_prior.exposure: Input should be a valid tuple (found 5.0)",
        ),
        ("training_prior.rate", [5.0, 1.0], "toy.toml: training_prior.rate: 5 .. 1; give lo <= hi, above 0"),
        ("training_prior.self", 5.0, "toy.toml: unknown key 'training_prior.self'; known: prior, rate, exposure"),
        ("training_prior.rate", [1.0] * 1001, "training_prior.rate: give a number, numbers in brackets, or a name"),
        ("training_prior.prior", [], "training_prior: its box is that of the model; change it in [model], prior ="),
        (
            "instrument",
            {"rmf": "own.rmf"},
            "instrument: say arf for own.rmf too: a file, or 'none' where the matrix inc",
        ),
        ("training_prior", 5, "training_prior: Input should be a valid dictionary (found 5)"),
        (
            "model.freeze",
            {"powerlaw.norm": float("nan")},
            "model.freeze.powerlaw.norm: Input should be a finite number",
        ),
    ],
)
def test_a_key_or_a_value_that_cannot_be_is_named(path: str, value: Any, message: str) -> None:
    with pytest.raises(RecipeError) as found:
        parse_recipe(changed(path, value), "toy.toml")
    assert message in str(found.value)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    ("stages", "network", "message"),
    [
        ([{}], {"decoder": "recurrent"}, "network: a decoder reconstructs the paper's values: scaling = 'paper'"),
        (
            [{}],
            {"latent": "autoregressive", "hidden": [4096] * 8, "transforms": 64},
            "network: it has 7.5e+09 weights; make it smaller, at most 1e+08",
        ),
        ([{}], {"context": 4096, "blocks": 64}, "network: it has 2.1e+09 weights; make it smaller"),
        ([{}], {"hidden": [8, 8]}, "network: hidden: a coupling flow takes one number, as hidden = [64]"),
        ([{"flow": 0.0}], {}, "stage flow: all weights are 0; give flow, latent, reconstruction or decoder"),
        ([{}, {}], {}, "stage: two have one name; logs and checkpoints need different ones"),
        ([{"reconstruction": 1.0}], {}, "stage flow: it needs a decoder; set network.decoder = 'recurrent'"),
        ([{"decoder": 1.0}], {}, "stage flow: it needs a decoder"),
        (
            [{"decoder": 1.0}],
            PAPER | {"decoder": "physical"},
            "stage flow: a physical decoder has nothing to train; leave decoder out",
        ),
        (
            [{"trains": ["decoder"], "reconstruction": 1.0}],
            PAPER | {"decoder": "physical"},
            "stage flow: a physical decoder has nothing to train",
        ),
        ([{}], {"latent": "point"}, "stage flow: a point has no density; set flow = 0 and latent = 1"),
        ([{"steps": None}], {}, "stage flow: batches are simulated anew, so say steps = (batches per epoch)"),
        (
            [{"trains": ["decoder"]}],
            PAPER | {"decoder": "recurrent"},
            "stage flow: no loss with a weight depends on the decoder; leave it out of trains",
        ),
        (
            [{"trains": ["encoder"], "flow": 0.0, "decoder": 1.0}],
            PAPER | {"decoder": "recurrent"},
            "stage flow: no loss with a weight depends on the encoder; leave it out of trains",
        ),
    ],
)
def test_parts_that_do_not_fit_are_refused(stages: list[dict[str, Any]], network: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError) as found:
        parse_recipe(toy_table(*stages, network=network), "toy.toml")
    assert message in str(found.value)


def test_what_is_no_table_is_refused() -> None:
    for table in (5, None, [1], "toml"):
        with pytest.raises(RecipeError, match=r"^header: Input should be a valid dictionary"):
            parse_recipe(table, "header")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [b"name = ", b"\xff\xfe", b"a = " + b"[" * 5000, b"a = " + b"9" * 5000, b"name = 'a'\nname = 'b'"],
    ids=["cut", "no text", "deep", "long", "twice"],
)
def test_a_file_that_is_not_toml_is_refused(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "run.toml"
    path.write_bytes(text)
    with pytest.raises(FormatError, match=r"run\.toml: not TOML: "):
        read_recipe(path)


def test_a_file_that_is_too_large_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_bytes(b"#" * (LARGEST_FILE + 1))
    with pytest.raises(FormatError, match=r"run\.toml: larger than 1000000 bytes: not a run file"):
        read_recipe(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"none\.toml: No such file or directory; give a run file"):
        read_recipe(tmp_path / "none.toml")
    with pytest.raises(FormatError, match="Is a directory; give a run file"):
        read_recipe(tmp_path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
SECTIONS = ("model", "instrument", "layout", "training_prior", "data", "network")
PLACES = [
    *Recipe.model_fields,
    *(
        f"{section}.{name}"
        for section in SECTIONS
        for name in ("expression", "starts", "noise", "context", "bins", "x")
    ),
    *(f"stage.0.{name}" for name in ("name", "trains", "epochs", "rate", "spectra", "schedule", "x")),
]


@settings(deadline=None, max_examples=150)
@given(st.sampled_from(PLACES), JSON)
def test_only_errors_of_ours_come_out_of_a_table(path: str, value: Any) -> None:
    lines: list[str] = []
    try:
        recipe = parse_recipe(changed(path, value), "toy.toml")
    except XrayflowError as error:
        lines = str(error).splitlines()
    else:
        assert parse_recipe(recipe.model_dump(mode="json"), "header") == recipe
    assert len(lines) <= 1


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=60) | st.text(alphabet="[]{}=.,'\"#\n abc019-", max_size=60).map(str.encode))
def test_only_errors_of_ours_come_out_of_a_file(text: bytes) -> None:
    with tempfile.NamedTemporaryFile(suffix=".toml") as file:
        file.write(text)
        file.flush()
        with pytest.raises(XrayflowError):
            read_recipe(file.name)


def test_the_guide_names_every_key_and_its_run_file_parses() -> None:
    guide = (Path(__file__).resolve().parents[2] / "docs" / "guides" / "training-a-network.md").read_text("utf-8")
    parse_recipe(tomllib.loads(guide.split("```toml\n")[1].split("```")[0]), "the guide")
    sections = (ModelSection, InstrumentSection, LayoutSection, DataSection, NetworkSection, StageSection)
    keys = {name for section in sections for name in section.model_fields} | {"name", "description", "seed"}
    keys |= {field.name for field in fields(TrainingPrior)} - {"prior"}
    assert {key for key in keys if f"`{key}`" not in guide} == set()
