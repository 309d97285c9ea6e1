"""Files that are whole or not at all, and strict JSON."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from xrayflow.errors import FileError
from xrayflow.files import (
    appearing,
    cannot_write,
    make_folder,
    package_versions,
    sweep,
    to_json,
    write_file,
    write_folder,
)


def test_a_file_is_replaced_whole_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "answer.json"
    for content in (b"first", b"second"):
        write_file(path, content)
        assert path.read_bytes() == content
        assert list(tmp_path.iterdir()) == [path]


def test_a_new_file_has_the_mode_that_the_umask_leaves(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_file(tmp_path / "answer.json", b"")
    finally:
        os.umask(before)
    assert (tmp_path / "answer.json").stat().st_mode & 0o777 == 0o640


def test_a_file_that_cannot_be_written_is_one_line_with_advice_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"missing.answer\.json: cannot be written .*; choose another --out"):
        write_file(tmp_path / "missing" / "answer.json", b"", "choose another --out")
    (tmp_path / "folder").mkdir()
    with pytest.raises(FileError, match="folder: cannot be written"):
        write_file(tmp_path / "folder", b"")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_the_last_file_of_a_folder_comes_back_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folder(tmp_path, {"a": b"1", "whole": b"1"})
    seen: list[tuple[str, set[str]]] = []
    usual = Path.replace

    def watched(self: Path, target: Path) -> Path:
        seen.append((target.name, {path.name for path in tmp_path.iterdir() if not path.name.startswith(".")}))
        return usual(self, target)

    monkeypatch.setattr(Path, "replace", watched)
    write_folder(tmp_path, {"a": b"2", "b": b"2", "whole": b"2"})
    assert seen == [("a", {"a"}), ("b", {"a"}), ("whole", {"a", "b"})]
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"2", "b": b"2", "whole": b"2"}


def test_a_folder_is_made_with_its_parents_and_may_exist(tmp_path: Path) -> None:
    for _ in range(2):
        assert make_folder(tmp_path / "a" / "b") == tmp_path / "a" / "b"
    assert (tmp_path / "a" / "b").is_dir()


def test_a_folder_in_the_way_of_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "summary.json").mkdir()
    with pytest.raises(FileError, match=r"summary\.json: is a folder where a product should be; move it"):
        make_folder(tmp_path, ("draws.npz", "summary.json"))


def test_json_is_strict_and_takes_arrays_paths_and_what_is_no_number() -> None:
    document = {"k": np.inf, "n": np.float64("nan"), "a": np.arange(2), "p": Path("a", "b"), "t": (1, {2: None})}
    assert json.loads(to_json(document)) == {"k": None, "n": None, "a": [0, 1], "p": "a/b", "t": [1, {"2": None}]}


def test_versions_are_those_of_the_package_and_of_what_is_asked_for() -> None:
    assert list(package_versions("numpy")) == ["xrayflow", "numpy"]
    assert package_versions("numpy")["numpy"] == np.__version__


def test_the_error_of_a_place_says_why_and_what_to_do() -> None:
    told = str(cannot_write(Path("x.pha"), OSError(28, "No space left on device")))
    assert told == "x.pha: cannot be written (No space left on device); choose another --out"


def test_what_is_no_file_is_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileError, match=r"pipe: is a device or a pipe, .*; choose another --out"):
        write_file(tmp_path / "pipe", b"", "choose another --out")
    with pytest.raises(FileError, match="null: is a device or a pipe"):
        write_file(Path(os.devnull), b"")
    assert (tmp_path / "pipe").is_fifo()
    assert not Path(os.devnull).is_file()


def test_a_large_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    place = tmp_path / "large"
    with appearing(place) as temporary:
        temporary.write_bytes(b"new")
        assert not place.exists()
    assert place.read_bytes() == b"new"

    def half() -> None:
        with appearing(place) as temporary:
            temporary.write_bytes(b"half")
            raise OSError(28, "No space left on device")

    with pytest.raises(FileError, match=r"large: cannot be written \(No space left on device\)"):
        half()
    assert [(one.name, one.read_bytes()) for one in tmp_path.iterdir()] == [("large", b"new")]


def test_what_a_killed_process_left_of_a_file_is_swept_and_nothing_else(tmp_path: Path) -> None:
    place = tmp_path / "t.fits"

    script = (
        "import os, pathlib, signal, sys; from xrayflow.files import appearing\n"
        "with appearing(pathlib.Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_bytes(b'half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)"
    )
    ran = subprocess.run([sys.executable, "-c", script, str(place)], check=False)
    assert ran.returncode == -signal.SIGKILL
    kept = [tmp_path / name for name in (".t.fits.lock", ".t.fits.0123456z", "t.fits.01234567", ".u.fits.01234567")]
    for one in kept:
        one.write_bytes(b"")
    assert len(list(tmp_path.iterdir())) == 5
    sweep(place)
    assert sorted(tmp_path.iterdir()) == sorted(kept)
