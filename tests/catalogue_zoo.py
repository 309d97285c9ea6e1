"""A small archive, and workers that stay in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table

from ogip_zoo import toy_files
from xrayflow.studies.running.inline import Inline

BAND = [(1.0, 6.0)]
QUICK: dict[str, Any] = {
    "model": "powerlaw",
    "energies": BAND,
    "grouping": "min:10",
    "network": "none",
    "draws": 200,
    "ess": 60.0,
}
"""What is asked of a toy, so that an answer takes a third of a second."""

NORMS = (0.03, 0.05, 0.08, 0.12, 0.04)


def write_archive(folder: Path, norms: Sequence[float] = NORMS, header: str = "toy") -> list[Path]:
    """Spectra of power laws, one a folder, and a file that is none.

    Args:
        folder: Where to.
        norms: Of the power laws.
        header: Begins the names of the folders.
    """
    paths = []
    for number, norm in enumerate(norms):
        place = folder / f"{header}{number}"
        place.mkdir(parents=True)
        paths.append(toy_files(place, norm=norm, exposure=30.0, seed=number))
    broken = folder / "broken.pha"
    broken.write_bytes(b"no spectrum")
    return [*paths[:2], broken, *paths[2:]]


def assert_same(one: Table, other: Table, but: Sequence[str] = ()) -> None:
    """Texts equal, numbers to 1e-6."""
    assert one.colnames == other.colnames
    assert len(one) == len(other)
    for name in one.colnames:
        if name in but:
            continue
        left, right = (
            np.ma.filled(table[name], np.nan if table[name].dtype.kind == "f" else 0) for table in (one, other)
        )
        if left.dtype.kind == "f":
            np.testing.assert_allclose(left, right, rtol=1e-6, err_msg=name)
        else:
            assert left.tolist() == right.tolist(), name


class Here(Inline):
    """Workers that stay in this process; they may stop after some batches of a task, as if the run had died."""

    def __init__(self, die_after: int | None = None, of: str = "Fitting") -> None:
        self.left, self.of = die_after, of
        self.done: list[list[str]] = []

    def __enter__(self) -> Here:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def run(
        self, batches: Iterator[tuple[Any, Sequence[Any]]], stopping: Callable[[], bool] = lambda: False
    ) -> Iterator[Any]:
        for task, items in batches:
            if stopping():
                return
            counted = type(task).__name__ == self.of
            if counted and self.left is not None:
                if self.left == 0:
                    raise Died
                self.left -= 1
            yield from super().run(iter([(task, items)]))
            if counted:
                self.done.append([str(item.source.pha) for item in items])


class Died(BaseException):
    """A run that ends here, as by kill -9."""
