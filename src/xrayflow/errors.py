"""The errors and warnings of xrayflow: each says where, what was found and what to do.

```
XrayflowError(Exception)          the command line prints it as one line and exits with 1, or 2 where it is `misused`
├── FileError                     a file that is missing, broken or not what it should be
│   ├── FormatError               readable, but it breaks the OGIP rules that we need
│   └── MismatchError             two files that do not belong together (grids, channels)
├── ModelError                    a model expression, component, parameter or value that cannot be
├── PriorError                    a prior that cannot be
├── DataError                     good files with nothing to fit (no counts, no channels, no exposure)
├── RecipeError                   a run file that cannot be
├── NetworkError                  a network that does not exist, is broken, or was made for something else
├── TrainingError                 a training that cannot go on
└── MissingExtraError             an optional package is not installed
XrayflowWarning(UserWarning)      an assumption was made that the user should know of
```
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from pydantic import ValidationError

Place = tuple[int | str, ...]
"""Where in a table something is wrong: names of keys and numbers of items."""


class XrayflowError(Exception):
    """Base of all errors that a user can cause and mend.

    Attributes:
        usage: Whether what an option says cannot be, whatever files and model are: the command line exits with 2 then.
    """

    usage = False


class FileError(XrayflowError):
    """A file that is missing, broken or not what it should be."""


class FormatError(FileError):
    """A readable file that breaks the OGIP rules that we need."""


class MismatchError(FileError):
    """Two files that do not belong together."""


class ModelError(XrayflowError):
    """A model expression, component, parameter or value that cannot be."""


class PriorError(XrayflowError):
    """A prior that cannot be."""


class DataError(XrayflowError):
    """Good files with nothing to fit."""


class RecipeError(XrayflowError):
    """A run file that cannot be."""


class NetworkError(XrayflowError):
    """A network that does not exist, is broken, or was made for something else."""


class TrainingError(XrayflowError):
    """A training that cannot go on."""


class MissingExtraError(XrayflowError):
    """An optional package is not installed."""


class XrayflowWarning(UserWarning):
    """An assumption was made that the user should know of."""


_Error = TypeVar("_Error", bound=XrayflowError)


def misused(error: _Error) -> _Error:
    """An error of what an option says by itself: `raise misused(DataError(...))`.

    Args:
        error: The error.
    """
    error.usage = True
    return error


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of an error line that offers the nearest known name.

    Args:
        name: The unknown name, compared without regard to case.
        known: The names that exist.

    Returns:
        `"; did you mean 'TBabs'?"`, or the list of the known names where none is near.

    >>> nearest("tbasb", ["TBabs", "simpl"])
    "; did you mean 'TBabs'?"
    """
    by_lower = {candidate.lower(): candidate for candidate in known}
    close = difflib.get_close_matches(name.lower(), list(by_lower), n=1, cutoff=0.5)
    if close:
        return f"; did you mean '{by_lower[close[0]]}'?"
    return f"; known: {', '.join(by_lower.values())}"


@contextmanager
def in_words(kind: type[XrayflowError], known: Callable[[Place], Iterable[str]], table: str = "") -> Iterator[None]:
    """What pydantic finds wrong inside the block, as one of our errors.

    Args:
        kind: Of error.
        known, table: As `explain`'s.
    """
    from pydantic import ValidationError  # whoever reads a table has it; the errors alone do not wait for it

    try:
        yield
    except ValidationError as error:
        raise kind(explain(error, known, table)) from None


def explain(error: ValidationError, known: Callable[[Place], Iterable[str]], table: str = "") -> str:
    """The first thing that is wrong with the values of a table, in one line.

    Args:
        error: Of pydantic.
        known: The keys that exist where an unknown one was found.
        table: The key of the table itself.

    Returns:
        `"layout.bins: Input should be greater than or equal to 1 (found 0)"`.
    """
    first = error.errors()[0]
    loc = first["loc"]
    if loc and isinstance(loc[0], int):  # an argument by its position
        loc = (list(known(()))[loc[0]], *loc[1:])
    place = [*([table] if table else []), *(repr(str(part))[1:-1] for part in loc)]
    where = ".".join(place)
    if first["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return f"unknown key '{where}'{nearest(place[-1], known(loc))}"
    if first["type"].startswith("missing"):
        return f"'{where}' is missing; give it"
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "dataclass_type":
        message = "give a table of names and values"
    found = "" if first["type"] == "value_error" else f" (found {first['input']!r:.60})"
    return f"{where}: {message}{found}" if place else f"{message}{found}"
