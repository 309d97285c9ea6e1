"""The errors and warnings of xrayflow: each says where, what was found and what to do.

```
XrayflowError(Exception)          the command line prints it as one line and exits with 1
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
from collections.abc import Iterable


class XrayflowError(Exception):
    """Base of all errors that a user can cause and mend."""


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
