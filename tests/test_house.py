"""The house stands: rooms import only from rooms above, the public names resolve, and importing changes nothing."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import pkgutil
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import xrayflow

REPOSITORY = Path(__file__).resolve().parents[1]
SOURCE = REPOSITORY / "src" / "xrayflow"

# Top to bottom is the way of the data; a room imports only from rooms above it. `data` needs nothing and serves all.
ROOMS = (
    "errors",
    "files",
    "seeds",
    "data",
    "ogip",
    "models",
    "folding",
    "statistics",
    "prior",
    "problem",
    "simulate",
    "networks",
    "inference",
    "products",
    "studies",
    "demo",
    "web",
    "cli",
    "__main__",
)
PUBLIC = {
    *("read_observation", "Observation", "parse_model", "Prior", "Grid", "Fold", "Problem", "Simulator", "Network"),
    *("load_network", "train", "infer", "Posterior", "optimise", "write_products", "fit_catalogue", "check_network"),
    "XrayflowError",
}

RUN_JOB = "python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/xrayflow demo"
RUN_TESTS = "python3 -m venv .venv && .venv/bin/pip install -e '.[dev]' && .venv/bin/pytest"


def module_name(path: Path, source: Path) -> str:
    """The dotted name of a file below `source`, the folder of the package xrayflow."""
    parts = path.relative_to(source).with_suffix("").parts
    return ".".join(("xrayflow", *parts)).removesuffix(".__init__")


def imports(path: Path, source: Path) -> Iterator[str]:
    """All modules that a file imports anywhere, in functions and for type checking too, as absolute dotted names."""
    name = module_name(path, source)
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            # `from xrayflow import ogip` names its room only in the alias
            yield from (f"{base}.{alias.name}" for alias in node.names)


def room(name: str) -> str:
    """The room of a dotted name below xrayflow."""
    return name.split(".")[1]


def breaches(source: Path) -> list[str]:
    """What stands against the order of the rooms in the files below `source`."""
    found = []
    for path in sorted(source.rglob("*.py")):
        name = module_name(path, source)
        if name == "xrayflow":
            continue
        if room(name) not in ROOMS:
            found.append(f"{name}: no room of that name in the house")
            continue
        for target in imports(path, source):
            if target.split(".")[0] != "xrayflow":
                continue
            if room(target) not in ROOMS:
                found.append(f"{name} imports {target}: import it from its own room")
            elif ROOMS.index(room(target)) > ROOMS.index(room(name)):
                found.append(f"{name} imports {target}, which is below it")
    return found


def importers(package: str, source: Path) -> set[str]:
    """The modules of xrayflow whose text imports a package."""
    return {
        module_name(path, source)
        for path in source.rglob("*.py")
        if any(target.split(".")[0] == package for target in imports(path, source))
    }


def all_modules() -> list[str]:
    """Every module of the package, found without importing any."""
    return sorted(module_name(path, SOURCE) for path in SOURCE.rglob("*.py"))


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    """Runs code in a new interpreter; what it prints comes back."""
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert finished.returncode == 0, finished.stderr
    return finished


def test_a_room_imports_only_from_rooms_above() -> None:
    assert breaches(SOURCE) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("from xrayflow.cli import main", "xrayflow.ogip.pha imports xrayflow.cli.main, which is below it"),
        (
            "from ..models import parse_model",
            "xrayflow.ogip.pha imports xrayflow.models.parse_model, which is below it",
        ),
        ("from xrayflow import prior", "xrayflow.ogip.pha imports xrayflow.prior, which is below it"),
        ("def f():\n    import xrayflow.problem", "xrayflow.ogip.pha imports xrayflow.problem, which is below it"),
        ("from xrayflow import infer", "xrayflow.ogip.pha imports xrayflow.infer: import it from its own room"),
        ("from xrayflow.errors import FileError", None),
        ("from .fits import read", None),
    ],
)
def test_the_order_of_rooms_is_seen_in_every_form_of_import(tmp_path: Path, text: str, message: str | None) -> None:
    (tmp_path / "ogip").mkdir()
    (tmp_path / "ogip" / "pha.py").write_text(text, encoding="utf-8")
    assert breaches(tmp_path) == ([message] if message else [])


def test_a_room_that_the_plan_does_not_have_is_refused(tmp_path: Path) -> None:
    (tmp_path / "misc.py").write_text("", encoding="utf-8")
    assert breaches(tmp_path) == ["xrayflow.misc: no room of that name in the house"]


def test_the_files_room_needs_no_torch() -> None:
    assert {name for name in importers("torch", SOURCE) if room(name) in ("errors", "ogip", "data")} == set()


def test_matplotlib_stays_with_the_figures() -> None:
    plotting = importers("matplotlib", SOURCE) | importers("corner", SOURCE)
    assert {name for name in plotting if not name.startswith("xrayflow.products.figures")} == set()


def test_the_compiled_library_stays_behind_its_bridge() -> None:
    assert importers("xspectrampoline", SOURCE) <= {"xrayflow.models.xspec"}


def test_the_public_names_are_those_of_the_plan() -> None:
    assert len(set(xrayflow.__all__)) == len(xrayflow.__all__)
    assert set(xrayflow.__all__) <= PUBLIC
    assert {"read_observation", "infer", "write_products", "XrayflowError"} <= set(xrayflow.__all__)


def test_dir_shows_the_public_names() -> None:
    assert set(xrayflow.__all__) <= set(dir(xrayflow))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'xrayflow' has no attribute 'infere'"):
        _ = xrayflow.infere


def test_no_public_name_shadows_a_module() -> None:
    for init in SOURCE.rglob("__init__.py"):
        package = importlib.import_module(module_name(init, SOURCE))
        modules = {module.name for module in pkgutil.iter_modules([str(init.parent)])}
        assert modules.isdisjoint(getattr(package, "__all__", ())), package.__name__


@pytest.mark.parametrize("seed", range(2))
def test_public_names_are_the_same_objects_in_any_order(seed: int) -> None:
    names = list(xrayflow.__all__)
    random.Random(seed).shuffle(names)
    code = f"""
import importlib, json, pkgutil, sys, types
import xrayflow
def stop(name):
    raise
if {seed}:  # once after every submodule was imported, once with nothing imported before
    for found in pkgutil.walk_packages(xrayflow.__path__, "xrayflow.", onerror=stop):
        importlib.import_module(found.name)
wrong = []
for name in {names!r}:
    value = getattr(xrayflow, name)
    home = getattr(value, "__module__", "")
    if isinstance(value, types.ModuleType) or value.__name__ != name or not home.startswith("xrayflow."):
        wrong.append([name, repr(value)])
    elif getattr(sys.modules[home], name) is not value or getattr(xrayflow, name) is not value:
        wrong.append([name, "two objects of one name"])
print(json.dumps(wrong))
"""
    assert json.loads(run_python(code).stdout) == []


def test_importing_xrayflow_loads_neither_torch_nor_matplotlib() -> None:
    code = "import sys, xrayflow; print([m for m in ('torch', 'numpy', 'astropy', 'matplotlib') if m in sys.modules])"
    assert run_python(code).stdout == "[]\n"


def test_reading_files_loads_no_torch() -> None:
    code = "import sys, xrayflow; xrayflow.read_observation; print('torch' in sys.modules)"
    assert run_python(code).stdout == "False\n"


def test_importing_every_module_prints_nothing_and_changes_no_setting_of_torch() -> None:
    code = f"""
import importlib, os, warnings, torch, numpy
def settings():
    return [torch.get_default_dtype(), torch.get_num_threads(), torch.get_num_interop_threads(),
            torch.is_grad_enabled(), torch.initial_seed(), torch.random.get_rng_state().sum().item(),
            str(numpy.random.get_state()), numpy.geterr(), numpy.get_printoptions(), dict(os.environ), os.getcwd()]
before = settings()
for name in {all_modules()!r}:
    importlib.import_module(name)
after = settings()
changed = [(b, a) for b, a in zip(before, after) if b != a]
assert not changed, changed
"""
    finished = run_python(code)
    assert (finished.stdout, finished.stderr) == ("", "")


def test_no_tracked_file_names_a_path_of_one_machine() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        capture_output=True,
        check=True,
    )
    paths = [REPOSITORY / os.fsdecode(name) for name in listed.stdout.split(b"\0") if name]
    assert len(paths) > 20
    machine = re.compile(rb"(?<![\w.~*>)}])/(?:work|tmp|root|home|Users)/\w")
    found = []
    for path in paths:
        content = path.read_bytes() if path.is_file() else b""
        if b"\0" not in content and machine.search(content):
            found.append(f"{path.relative_to(REPOSITORY)}: {machine.search(content)}")
    assert found == []


def test_readme_and_ci_run_the_same_commands() -> None:
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert RUN_JOB in readme
    assert RUN_TESTS in readme
    script = (REPOSITORY / ".ci" / "run").read_text(encoding="utf-8")
    assert script.rstrip().endswith(RUN_TESTS)
