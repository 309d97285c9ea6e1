"""Where the files are that a spectrum's header names.

A file is sought where the header says (relative to the spectrum's folder), then under the same name in the spectrum's
folder, then in the folder above, and in all these places with `.gz` added or taken away: headers often hold paths of
another machine. `%match%` is the spectrum's own name with another suffix; `file{3}` and `file[EXT]` are XSPEC's ways
to choose inside a file. Where the header helps no further, a file of the spectrum's own name beside it (`src.arf`
beside `src.pha`, as many archives have them) is taken, with a warning.

Source: OGIP/92-007, keywords BACKFILE, RESPFILE, ANCRFILE; XSPEC 12 manual, command `data`.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path, PureWindowsPath
from typing import TypeVar

from xrayflow.errors import FileError, XrayflowWarning
from xrayflow.ogip.pha import PHA

_SELECTION = re.compile(r"\s*(?:\{(\d+)\}|\[[^\[\]]*\])$")
T = TypeVar("T")


def is_match(named: str) -> bool:
    """Whether the header says `%match%`."""
    return named.lower() == "%match%"


def selected_row(named: str) -> int | None:
    """The row that a header chooses inside a TYPE:II file, None where it chooses none.

    >>> selected_row("pha2_bg.fits{3}"), selected_row("pha2_bg.fits")
    (3, None)
    """
    found = _SELECTION.search(named)
    return int(found.group(1)) if found and found.group(1) else None


def find(
    pha: PHA,
    keyword: str,
    named: str | None,
    option: str,
    match: str,
    read: Callable[[Path], T],
    beside: Sequence[str] = (),
) -> T:
    """Read the file that a keyword of the spectrum names, wherever it is.

    Args:
        pha: The spectrum.
        keyword: RESPFILE, ANCRFILE or BACKFILE.
        named: What it says; None for nothing.
        option: What the user can give instead, for the error line.
        match: Suffix that stands for `%match%`.
        read: Reader of the file.
        beside: Suffixes of files of the spectrum's name that serve where the header's does not.

    Returns:
        What `read` returns.

    Raises:
        FileError: No file is named, or none of that name is found.
    """
    paths = [] if named is None else candidates(pha.path, named, match)
    for path in paths:
        if _is_file(path):
            return read(path)
    found = f"{keyword} names no file" if named is None else f"{keyword} = {named!r} is not there"
    for suffix in beside:
        for path in candidates(pha.path, "%match%", suffix):
            if _is_file(path):
                warnings.warn(
                    f"{pha.where}: {found}; {path.name} beside it is taken ({option} takes another)",
                    XrayflowWarning,
                    stacklevel=4,
                )
                return read(path)
    if named is None:
        raise FileError(f"{pha.where}: {found}; give {option}")
    raise FileError(
        f"{pha.where}: {found}, and no {paths[-1].name.removesuffix('.gz')} in {pha.path.parent} or the folder above; "
        f"give {option}"
    )


def how_found(pha: PHA, keyword: str, named: str | None, path: Path) -> str:
    """In words, why a file that a spectrum names is that one.

    Args:
        pha: The spectrum.
        keyword: RESPFILE, ANCRFILE or BACKFILE.
        named: What it says; None for nothing.
        path: The file that was taken.
    """
    if named is None or path not in candidates(pha.path, named, path.suffix):
        return f"beside the spectrum; {keyword} names none that is there"
    folder, wanted = pha.path.parent, _SELECTION.sub("", named)
    if is_match(named):
        return f"{keyword} is %match%"
    words = [keyword]
    if path.with_name(path.name.removesuffix(".gz")) != (folder / wanted).with_name(
        PureWindowsPath(wanted).name.removesuffix(".gz")
    ):
        words.append("found in the folder of the spectrum" if path.parent == folder else "found in the folder above")
    if path.name != PureWindowsPath(wanted).name:
        words.append("packed" if path.name.endswith(".gz") else "unpacked")
    return ", ".join(words)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that no file system takes
        return False


def candidates(spectrum: Path, named: str, match: str) -> list[Path]:
    """The places where a file of the header may be, best first.

    Args:
        spectrum: Path of the spectrum.
        named: What the header says.
        match: Suffix that stands for `%match%`.

    Returns:
        Paths, the packed or unpacked twins last.

    >>> [str(path) for path in candidates(Path("a/b.pha"), "%match%", ".rsp")]
    ['a/b.rsp', 'a/b.rsp.gz']
    """
    folder = spectrum.parent
    if is_match(named):
        paths = [folder / Path(spectrum.name.removesuffix(".gz")).with_suffix(match).name]
    else:
        above = folder.resolve().parent
        names = [named, _SELECTION.sub("", named)] if _SELECTION.search(named) else [named]
        # PureWindowsPath splits at both kinds of slash
        paths = [
            place / name
            for name in names
            for place, name in (
                (folder, name),
                (folder, PureWindowsPath(name).name),
                (above, PureWindowsPath(name).name),
            )
        ]
    return paths + [path.with_name(_twin(path.name)) if path.name else path for path in paths]


def _twin(name: str) -> str:
    return name.removesuffix(".gz") if name.endswith(".gz") else f"{name}.gz"
