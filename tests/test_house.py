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
    "memory",
    "rows",
    "data",
    "ogip",
    "calibration",
    "models",
    "folding",
    "prior",
    "statistics",
    "linear_set",
    "dataset",
    "facts",
    "joint_data",
    "problem",
    "shown",
    "setup",
    "fitting",
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
    "load_result",
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


HIDDEN = {"sets", "forward", "fold", "flux", "spectra", "choices"}
"""What a problem is made of: rooms below it ask the problem instead."""

BELOW_PROBLEM = ("fitting", "inference", "products", "studies", "demo", "cli")


def reaches(source: Path) -> list[str]:
    """Where rooms below the problem read what it is made of."""
    found = []
    for path in sorted(source.rglob("*.py")):
        name = module_name(path, source)
        if name == "xrayflow" or room(name) not in BELOW_PROBLEM:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
            if not isinstance(node, ast.Attribute):
                continue
            of_problem = ast.unparse(node.value).split(".")[-1].split("(")[0] in (
                "problem",
                "select",
                "at",
                "finer",
                "on",
            )
            if node.attr in HIDDEN - {"spectra", "choices", "forward"} or (
                of_problem and node.attr in {*HIDDEN, "likelihood"}
            ):
                found.append(f"{name}:{node.lineno} reads {ast.unparse(node)}")
    return found


def test_nothing_below_the_problem_looks_behind_it() -> None:
    assert reaches(SOURCE) == []


@pytest.mark.parametrize(
    "text",
    [
        "problem.data.sets[0].forward",
        "self.problem.likelihood.variance(x)",
        "one.problem.spectra",
        "problem.select(i).fold",
    ],
)
def test_a_look_behind_the_problem_is_seen(tmp_path: Path, text: str) -> None:
    (tmp_path / "inference").mkdir()
    (tmp_path / "inference" / "answer.py").write_text(text, encoding="utf-8")
    assert reaches(tmp_path) != []


MIRRORED = ("folding", "statistics", "fitting", "inference")
"""Rooms whose every file has a test file named after it."""


def untested(source: Path, tests: Path, rooms: tuple[str, ...] = MIRRORED) -> list[str]:
    """Files of some rooms without a test file at the same place, named after them."""
    found = []
    for name in rooms:
        for path in sorted((source / name).rglob("*.py")):
            mirror = tests / path.relative_to(source).with_name(f"test_{path.name}")
            if path.name != "__init__.py" and not mirror.is_file():
                found.append(str(path.relative_to(source)))
    return found


def test_tests_mirror_the_rooms() -> None:
    assert untested(SOURCE, REPOSITORY / "tests") == []


def test_a_file_without_a_test_is_seen(tmp_path: Path) -> None:
    for name in ("src/fitting/inner/__init__.py", "src/fitting/inner/fit.py", "src/fitting/starts.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("", encoding="utf-8")
    (tmp_path / "tests" / "fitting").mkdir(parents=True)
    (tmp_path / "tests" / "fitting" / "test_starts.py").write_text("", encoding="utf-8")
    assert untested(tmp_path / "src", tmp_path / "tests", ("fitting",)) == ["fitting/inner/fit.py"]


FACELESS = ("cli", "data", "inference.proposals", "inference.checks", "studies")
"""Packages without `__all__`: the command line, the bundled files' few functions, the workshops within a room, and the
studies, which are rooms with faces of their own."""

PAST_THE_FACE = {"models.absorption", "models.listing"}
"""Files that other rooms still import from, past the face of theirs; the list only shrinks."""


def packages(source: Path) -> dict[str, Path]:
    """The `__init__` of every package below the top, by its name without xrayflow."""
    found = {module_name(path, source).removeprefix("xrayflow."): path for path in source.rglob("__init__.py")}
    found.pop("xrayflow", None)
    return found


def offered(init: Path, source: Path) -> set[str]:
    """The public names that an `__init__` defines or takes from its own files."""
    own, names = module_name(init, source), set()
    for node in ast.parse(init.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{own}."):
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
    return {name for name in names if not name.startswith("_")}


def past_faces(source: Path) -> dict[str, list[str]]:
    """Files of a room that modules of other rooms import from, by who does; a package's face is its `__init__`."""
    faces = packages(source)
    found: dict[str, list[str]] = {}
    for path in sorted(source.rglob("*.py")):
        name = module_name(path, source)
        if name == "xrayflow":
            continue
        for target in imports(path, source):
            inner = target.removeprefix("xrayflow.").rpartition(".")[0]
            if target.startswith("xrayflow.") and room(target) != room(name) and "." in inner and inner not in faces:
                found.setdefault(inner, []).append(name)
    return found


@pytest.mark.parametrize("name", sorted(packages(SOURCE)))
def test_a_face_shows_exactly_what_it_names(name: str) -> None:
    init = packages(SOURCE)[name]
    shown = getattr(importlib.import_module(f"xrayflow.{name}"), "__all__", None)
    if name in FACELESS:
        assert shown is None
    else:
        assert shown is not None
        assert len(set(shown)) == len(shown)
        assert set(shown) == offered(init, SOURCE)


def test_rooms_are_entered_by_their_faces() -> None:
    assert set(past_faces(SOURCE)) == PAST_THE_FACE


def test_an_import_past_a_face_is_seen(tmp_path: Path) -> None:
    for path, text in (
        ("fitting/__init__.py", ""),
        ("fitting/starts.py", "from xrayflow.fitting.objective import FAR\n"),
        ("products/figures/__init__.py", ""),
        (
            "cli/answer.py",
            "from xrayflow.fitting.starts import FEW\nfrom xrayflow.products.figures import png\n",
        ),
    ):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text, encoding="utf-8")
    assert past_faces(tmp_path) == {"fitting.starts": ["xrayflow.cli.answer"]}


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


def test_what_benchmarks_and_documents_import_is_there() -> None:
    """Nothing else runs them when a name moves."""
    names = sorted(
        {
            (node.module, alias.name)
            for folder in ("benchmarks", "docs", "recipes")
            for path in (REPOSITORY / folder).rglob("*.py")
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "xrayflow"
            for alias in node.names
        }
    )
    assert names
    code = f"""
import importlib, importlib.util
for module, name in {names!r}:
    if not hasattr(importlib.import_module(module), name) and importlib.util.find_spec(module + "." + name) is None:
        print(module, name)
"""
    assert run_python(code).stdout == ""


def test_importing_xrayflow_loads_neither_torch_nor_matplotlib() -> None:
    code = "import sys, xrayflow; print([m for m in ('torch', 'numpy', 'astropy', 'matplotlib') if m in sys.modules])"
    assert run_python(code).stdout == "[]\n"


def test_reading_files_loads_no_torch() -> None:
    code = "import sys, xrayflow; xrayflow.read_observation; print('torch' in sys.modules)"
    assert run_python(code).stdout == "False\n"


def test_an_answer_starts_without_the_slow_rooms_of_scipy() -> None:
    """A fifth of a command's start that most answers do without."""
    slow = [f"scipy.{room}" for room in ("signal", "stats", "interpolate", "optimize", "integrate")]
    code = f"import sys, xrayflow.inference; print([m for m in {slow} if m in sys.modules])"
    assert run_python(code).stdout == "[]\n"


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
