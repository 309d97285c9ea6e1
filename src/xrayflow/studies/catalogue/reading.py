"""A catalogue's table read back, with its manifest and the draws of its sources: files that nobody vouches for.

Columns are those that a catalogue writes (`source`, `path`, `verdict`, ..., `TBabs.nH_median`, ...), and others that
were carried through. Draws lie beside the table, one FITS file for each batch, whose hash the rows hold.
"""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xrayflow.errors import DataError, FileError, MissingExtraError, XrayflowError
from xrayflow.models import Model
from xrayflow.prior import Marginal
from xrayflow.setup import FitSetup
from xrayflow.studies.catalogue.manifest import manifest_path, read_manifest

Numbers = NDArray[np.float64]

FORMATS = {".fits": "fits", ".ecsv": "ascii.ecsv"}
PARQUET = ".parquet"
NEEDED = ("path", "verdict")
USABLE = ("certified", "approximate")
"""Verdicts of rows whose draws may be believed."""

_MEDIAN = re.compile(r"(?P<name>\S+\.\S+)_median")


@dataclass(frozen=True, eq=False)
class CatalogueTable:
    """A catalogue's table.

    Attributes:
        path: The file.
        columns: By name; floats, where they are numbers, NaN where nothing stands; else text.
        units: Of columns, as the table has them.
    """

    path: Path
    columns: Mapping[str, NDArray[Any]]
    units: Mapping[str, str]

    @property
    def rows(self) -> int:
        """How many sources."""
        return len(self.columns["path"])

    @property
    def parameters(self) -> tuple[str, ...]:
        """XSPEC's names of the free parameters."""
        matches = (_MEDIAN.fullmatch(name) for name in self.columns)
        return tuple(match["name"] for match in matches if match is not None)

    def text(self, name: str) -> list[str]:
        """A column of words; empty ones where the table lacks it."""
        return [str(one) for one in self.columns.get(name, np.full(self.rows, ""))]

    def number(self, name: str) -> Numbers:
        """A column of numbers; NaN where the table lacks it, or it holds words."""
        column = self.columns.get(name)
        if column is None or column.dtype.kind not in "fiub":
            return np.full(self.rows, np.nan)
        return np.asarray(column, dtype=np.float64)

    def verdicts(self) -> dict[str, int]:
        """How many rows have each verdict."""
        words = self.text("verdict")
        return {word: words.count(word) for word in dict.fromkeys(words)}


def read_catalogue(path: Path) -> CatalogueTable:
    """A catalogue's table.

    Args:
        path: FITS, ECSV or Parquet, as its name ends.

    Raises:
        FileError: It cannot be read, or is no catalogue's table.
        MissingExtraError: Parquet without its package.
    """
    if path.suffix.lower() not in (*FORMATS, PARQUET):
        raise FileError(f"{path}: a catalogue's table ends in .fits, .ecsv or .parquet; give one of these")
    if not path.is_file():
        raise FileError(f"{path}: no such file; give the table that xrayflow catalogue --out wrote")
    try:
        columns, units = (_of_parquet if path.suffix.lower() == PARQUET else _of_astropy)(path)
    except ModuleNotFoundError:
        raise MissingExtraError("pyarrow: not installed; pip install 'xrayflow[io]'") from None
    except Exception as error:  # noqa: BLE001  the libraries say what is wrong with a file in many ways
        raise FileError(f"{path}: no table that can be read ({str(error) or type(error).__name__:.120})") from None
    missing = [name for name in NEEDED if name not in columns]
    if missing:
        raise FileError(f"{path}: no column {missing[0]}; give the table that xrayflow catalogue --out wrote")
    return CatalogueTable(path, columns, units)


def read_model(table: CatalogueTable) -> tuple[Model, dict[str, Marginal]]:
    """The model of a catalogue, and the priors of its free parameters by name.

    Args:
        table: Its manifest is read.

    Raises:
        FileError: No manifest, or one that does not say.
    """
    place, document = manifest_path(table.path), read_manifest(table.path)
    try:
        said = document["model"]
        held = dict(said.get("held", {}))
        links = {name: str(value) for name, value in held.items() if isinstance(value, str)}
        setup = FitSetup(
            model=str(said["expression"]),
            abund=said.get("abund"),
            prior=[str(one) for words in document["prior"].values() for one in words],
            freeze={name: float(value) for name, value in held.items() if name not in links},
            link=links,
        )
        model, prior = setup.model_and_prior()
    except XrayflowError as error:
        raise FileError(f"{place}: its model and priors cannot be read: {error}") from None
    except (KeyError, TypeError, ValueError, AttributeError):
        raise FileError(f"{place}: it does not say the model and its priors; run the catalogue again") from None
    return model, {marginal.name: marginal for marginal in prior.marginals}


def read_draws(
    table: CatalogueTable, names: Sequence[str], folder: Path | None = None, verdicts: Sequence[str] = USABLE
) -> list[tuple[str, Numbers, Numbers]]:
    """The draws of a catalogue's sources.

    Args:
        table: The catalogue's.
        names: Parameters that are wanted.
        folder: Where the files of draws lie; None: where the manifest says, or beside the table.
        verdicts: Of the rows that are wanted.

    Returns:
        Of each row with such a verdict and draws: its path, draws (draw, parameter), log weights (draw,).

    Raises:
        FileError: A file is missing, broken, or another one than the rows' hash says.
        DataError: No row has draws.
    """
    files, hashes, paths = (table.text(name) for name in ("draws_file", "draws_sha256", "path"))
    wanted = [i for i, verdict in enumerate(table.text("verdict")) if verdict in verdicts and files[i]]
    if not wanted:
        raise DataError(
            f"{table.path}: no row with draws and one of the verdicts {', '.join(verdicts)}; run the catalogue with "
            "--draws-dir"
        )
    found: dict[int, tuple[str, Numbers, Numbers]] = {}
    for name in dict.fromkeys(files[i] for i in wanted):
        place = _folder_of(table) / Path(name).name if folder is None else folder / Path(name).name
        rows = {paths[i]: i for i in wanted if files[i] == name}
        for path, values, log_weight in _read_batch(place, {hashes[i] for i in rows.values()}, names, rows):
            found[rows[path]] = (path, values, log_weight)
        lacking = [path for path, i in rows.items() if i not in found]
        if lacking:
            raise FileError(f"{place}: holds no draws of {lacking[0]}, which the table says; run the catalogue again")
    return [found[i] for i in wanted]


def _read_batch(
    place: Path, sha256: set[str], names: Sequence[str], wanted: Mapping[str, int]
) -> list[tuple[str, Numbers, Numbers]]:
    """The draws of some sources of one file."""
    from astropy.io import fits

    try:
        content = place.read_bytes()
    except OSError as error:
        raise FileError(f"{place}: {error.strerror}; give --draws-dir the folder of the draws") from None
    if sha256 != {hashlib.sha256(content).hexdigest()}:
        raise FileError(f"{place}: other draws than those that the table was made of; run the catalogue again")
    try:
        with fits.open(place, memmap=False) as units:
            table, sources = units["DRAWS"].data, units["SOURCES"].data
            row = np.asarray(table["row"], dtype=np.int64)
            columns = [np.asarray(table[name], dtype=np.float64) for name in (*names, "log_weight")]
            listed = [(int(number), str(path)) for number, path in zip(sources["row"], sources["path"], strict=True)]
    except KeyError as error:
        raise FileError(f"{place}: {error.args[0]}; run the catalogue again") from None
    except Exception as error:  # noqa: BLE001  astropy says what is wrong with a file in many ways
        raise FileError(f"{place}: no file of draws ({str(error) or type(error).__name__:.120})") from None
    found = []
    for number, path in listed:
        if path in wanted:
            own = row == number
            found.append((path, np.stack([one[own] for one in columns[:-1]], axis=-1), columns[-1][own]))
    return found


def _folder_of(table: CatalogueTable) -> Path:
    """Where the draws lie: the folder may have moved together with the table."""
    said = Path(str(read_manifest(table.path).get("draws_folder") or "."))
    return next((one for one in (said, table.path.parent / said.name) if one.is_dir()), table.path.parent)


def _of_astropy(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """Columns and units of FITS and ECSV."""
    from astropy.table import Table

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of units in other words than astropy's
        table = Table.read(path, format=FORMATS[path.suffix.lower()])
    flat = [name for name in table.colnames if table[name].ndim == 1]
    columns = {name: _plain(table[name], table[name].dtype.kind) for name in flat}
    return columns, {name: str(table[name].unit) for name in flat if table[name].unit is not None}


def _of_parquet(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """Columns and units of Parquet."""
    from pyarrow import parquet, types

    table = parquet.read_table(path)
    columns, units = {}, {}
    for field in table.schema:
        number = types.is_integer(field.type) or types.is_floating(field.type) or types.is_boolean(field.type)
        values = [np.nan if number and one is None else one for one in table[field.name].to_pylist()]
        columns[field.name] = _plain(np.array(values, dtype=float if number else object), "f" if number else "O")
        if unit := (field.metadata or {}).get(b"unit"):
            units[field.name] = unit.decode()
    return columns, units


def _plain(column: Any, kind: str) -> NDArray[Any]:
    """A column as floats or words, NaN or nothing where it is masked."""
    if kind in "fiub":
        return np.asarray(np.ma.filled(np.ma.asarray(column).astype(np.float64), np.nan))
    words = np.ma.filled(np.ma.asarray(column), "") if kind in "SU" else np.asarray(column)
    told = (one.decode("utf-8", "replace") if isinstance(one, bytes) else str(one or "") for one in words.tolist())
    return np.array([one.rstrip() for one in told], dtype=object)
