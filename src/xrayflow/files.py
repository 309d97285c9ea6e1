"""Files that this package writes: whole or not at all, strict JSON, and what made them.

A file is written beside its place and renamed, so nobody ever reads half of one; of several files in a folder the one
that says "this folder is whole" goes first and comes back last.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import os
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from xrayflow.errors import FileError

SCHEMA_VERSION = 1
"""Of every JSON document and header that this package writes."""

OTHER_OUT = "choose another --out"


def write_file(path: Path, content: bytes, advice: str = "choose another place") -> None:
    """Write a file that appears whole or not at all; an existing one is replaced.

    Args:
        path: The file's place; its folder exists.
        content: All bytes of the file.
        advice: What the user can do where writing fails.

    Raises:
        FileError: The disk refuses, or a device or a pipe is there; no temporary file is left.
    """
    temporary: Path | None = None
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise FileError(f"{path}: is a device or a pipe, which would be replaced by a file; {advice}")
        temporary = _beside(path, content)
        temporary.replace(path)
    except OSError as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        raise cannot_write(path, error, advice) from None


def write_folder(
    folder: Path, contents: Mapping[str, bytes], advice: str = "choose another place", gone: Iterable[str] = ()
) -> None:
    """Write several files of one folder; the last one is gone until all others are in place.

    Args:
        folder: Where they go; it exists.
        contents: Bytes by file name, in the order of writing.
        advice: What the user can do where writing fails.
        gone: Names of files that are removed, as they belong to what was there before.

    Raises:
        FileError: The disk refuses; no temporary file is left.
    """
    temporary: dict[str, Path] = {}
    try:
        for name, content in contents.items():
            temporary[name] = _beside(folder / name, content)
        (folder / list(contents)[-1]).unlink(missing_ok=True)
        for name in gone:
            (folder / name).unlink(missing_ok=True)
        for name in contents:
            temporary[name].replace(folder / name)
            del temporary[name]
    except OSError as error:
        raise FileError(f"{folder}: cannot be written to ({error.strerror}); {advice}") from None
    finally:
        for left in temporary.values():
            left.unlink(missing_ok=True)


@contextmanager
def appearing(path: Path, advice: str = OTHER_OUT) -> Iterator[Path]:
    """A file that is too large for one piece of memory, and appears whole or not at all; an existing one is replaced.

    Args:
        path: The file's place; its folder exists.
        advice: What the user can do where writing fails.

    Yields:
        Where to write it.

    Raises:
        FileError: The disk refuses; no temporary file is left.
    """
    temporary: Path | None = None
    try:
        temporary = _beside(path, b"")
        yield temporary
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        raise cannot_write(path, error, advice) from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def sweep(path: Path) -> None:
    """Take away what a process that was killed left of a file that it was writing; nobody else is writing it now.

    Args:
        path: The file's place.
    """
    left = re.compile(re.escape(_hidden(path)) + r"[0-9a-f]{8}")
    for one in path.parent.iterdir():
        if left.fullmatch(one.name):
            one.unlink(missing_ok=True)


def sha256_of(path: str | Path) -> str:
    """Of a file's bytes; "" where there is no file that can be read.

    Args:
        path: The file.
    """
    try:
        if not Path(path).is_file():  # opening a pipe would wait for its writer
            return ""
        with Path(path).open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except (OSError, ValueError):
        return ""


def make_folder(folder: str | Path, names: tuple[str, ...] = ()) -> Path:
    """A folder for products, made where it is missing, found writable.

    Args:
        folder: Its place.
        names: Files that will be written there; none of them may be a folder.

    Raises:
        FileError: It cannot be made or written to, or one of the names is taken by a folder.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise FileError(f"{folder}: is a file, not a folder; choose another place for the products") from None
    except OSError as error:
        raise FileError(
            f"{folder}: cannot be made ({error.strerror}); choose a writable place for the products"
        ) from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise FileError(f"{folder}: cannot be written to; choose a writable folder for the products")
    for name in names:
        if (folder / name).is_dir():
            raise FileError(f"{folder / name}: is a folder where a product should be; move it or choose another place")
    return folder


def refuse_to_replace(out: Path, read: Iterable[Path], reader: str) -> None:
    """Stop before a file is replaced that is read, under whatever name: of a link, of another folder.

    Args:
        out: What would be written.
        read: What is read.
        reader: What reads them, as "the simulation".

    Raises:
        FileError: It is one of them.
    """
    if any(_is_same(out, one) for one in read):
        raise FileError(f"{out}: is one of the files that {reader} reads; {OTHER_OUT}")


def _is_same(one: Path, other: Path) -> bool:
    """Whether both are there, and one file."""
    try:
        return one.samefile(other)
    except (OSError, ValueError):  # one is not there, or has a name that no file system takes
        return False


def cannot_write(path: Path, error: OSError, advice: str = OTHER_OUT) -> FileError:
    """The error of a place that takes no file."""
    return FileError(f"{path}: cannot be written ({error.strerror}); {advice}")


def to_json(document: Mapping[str, Any]) -> str:
    """Strict JSON: numbers that JSON cannot hold (NaN, infinities) are null, arrays are lists, paths are text.

    >>> to_json({"ess": 3.0, "k": float("inf")})
    '{\\n  "ess": 3.0,\\n  "k": null\\n}'
    """
    return json.dumps(_plain(document), indent=2, allow_nan=False)


def package_versions(*packages: str) -> dict[str, str]:
    """Installed versions of this package and of others that decide its numbers."""
    return {name: _version(name) for name in ("xrayflow", *packages)}


@functools.cache
def _version(package: str) -> str:
    """Looked up once: that reads files."""
    return version(package)


def _beside(path: Path, content: bytes) -> Path:
    """A new file next to a place, with the mode that the user's umask leaves."""
    temporary = path.with_name(_hidden(path) + secrets.token_hex(4))
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def _hidden(path: Path) -> str:
    """How the name of a file begins that is not in its place yet."""
    return f".{path.name[:40]}."


def _plain(value: Any) -> Any:
    """The value in JSON's own types."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value) if isinstance(value, Path) else value
