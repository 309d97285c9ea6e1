"""A result folder as an answer again: what `write_products` keeps beside the draws, and how it is read.

`answer.npz` holds all that a `Posterior` is made of but its draws, which are `draws.npz`: one JSON document with the
plain values, and the arrays that it names. Neither holds an object of Python: both are read without pickle, each value
is checked against the type that its field declares, and no more is unpacked than `MOST_BYTES`. A field that the file
does not know takes its default, so that answers of older versions are read as long as what they hold suffices.
"""

from __future__ import annotations

import json
import math
import types
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Union, cast, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray

from xrayflow.errors import FileError, FormatError, XrayflowError
from xrayflow.files import SCHEMA_VERSION
from xrayflow.inference import Posterior
from xrayflow.models import Model, parse_model

ANSWER, DRAWS = "answer.npz", "draws.npz"
DOCUMENT = "document"
"""Name of the JSON text among the arrays."""

MOST_BYTES = 1 << 30
"""Unpacked: a hundred thousand draws of a hundred parameters take a tenth."""

SAMPLE = "sample"
"""The field of an answer that is in `draws.npz`."""


def answer_file(posterior: Posterior) -> bytes:
    """All of an answer but its draws, as an `.npz` that loads without pickle.

    Args:
        posterior: The answer.
    """
    arrays: dict[str, NDArray[Any]] = {}
    values = {
        one.name: _encoded(getattr(posterior, one.name), one.name, arrays)
        for one in fields(posterior)
        if one.name != SAMPLE
    }
    document = json.dumps({"schema_version": SCHEMA_VERSION, "answer": values}, allow_nan=False)
    content = BytesIO()
    np.savez_compressed(content, allow_pickle=False, **{DOCUMENT: np.array(document, dtype=np.str_)}, **arrays)
    return content.getvalue()


def draws_file(posterior: Posterior) -> bytes:
    """The draws and their weights as an `.npz` that loads without pickle.

    It holds names, units (parameter,), draws (draw, parameter), log_weight, weights, log_likelihood, log_proposal and
    fit_statistic (draw,) and best (parameter,). log_proposal is in the prior's probit coordinates, and empty where
    draws have no weights.
    """
    content = BytesIO()
    np.savez(
        content,
        names=np.array(posterior.names, dtype=np.str_),
        units=np.array([marginal.unit for marginal in posterior.prior.marginals], dtype=np.str_),
        draws=posterior.draws,
        log_weight=posterior.log_weight,
        weights=posterior.weights,
        log_likelihood=posterior.log_likelihood,
        log_proposal=posterior.sample.log_proposal,
        fit_statistic=posterior.sample.fit_statistic,
        best=posterior.best,
    )
    return content.getvalue()


def load_result(folder: str | Path) -> Posterior:
    """The answer that a folder of `xrayflow fit --out` holds.

    Args:
        folder: The folder, or a file in it.

    Raises:
        FileError: A file is missing, or what it holds is no answer of this package.
    """
    folder = Path(folder)
    folder = folder.parent if folder.is_file() else folder
    for name in (ANSWER, DRAWS):
        if not (folder / name).is_file():
            what = "holds no" if folder.is_dir() else "is no folder with an"
            raise FileError(f"{folder}: {what} {name}; give a folder that xrayflow fit --out wrote")
    held = read_arrays(folder / ANSWER)
    path = folder / ANSWER
    try:
        document = json.loads(str(held.pop(DOCUMENT)[()]))
        version, values = document["schema_version"], document["answer"]
    except (KeyError, TypeError, ValueError, RecursionError):
        raise FormatError(f"{path}: holds no answer; fit the spectrum again") from None
    if version != SCHEMA_VERSION:
        raise FormatError(f"{path}: schema_version {version!r:.20}, this xrayflow reads {SCHEMA_VERSION}; fit again")
    reader = _Reader(path, held)
    drawn = read_arrays(folder / DRAWS)
    sample = {
        "theta": drawn.get("draws"),
        **{name: drawn.get(name) for name in ("log_weight", "log_likelihood", "log_proposal", "fit_statistic")},
    }
    posterior = reader.answer(values, sample, folder / DRAWS)
    _check(posterior, drawn, folder / DRAWS)
    return posterior


def is_result(place: str | Path) -> bool:
    """Whether a place is a result folder, or a file in one.

    Args:
        place: As typed.
    """
    folder = Path(place)
    folder = folder.parent if folder.is_file() and folder.suffix in (".npz", ".json") else folder
    return folder.is_dir()


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of an `.npz`, none of them an object of Python.

    Args:
        path: The file.

    Raises:
        FileError: It cannot be read, or would unpack to more than `MOST_BYTES`.
    """
    try:
        with zipfile.ZipFile(path) as packed:
            size = sum(one.file_size for one in packed.infolist())
        if size > MOST_BYTES:
            raise FormatError(f"{path}: unpacks to {size:.3g} bytes, more than any answer; get it anew")
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zipfile.LargeZipFile, MemoryError) as error:
        raise FormatError(f"{path}: cannot be read ({type(error).__name__}); is it cut short? fit again") from None


def _check(posterior: Posterior, drawn: Mapping[str, NDArray[Any]], path: Path) -> None:
    """Sizes that belong together, and names."""
    parameters, free = len(posterior.prior.marginals), len(posterior.model.names)
    draws = posterior.draws.shape[0] if posterior.draws.ndim == 2 else -1
    sizes = {
        "draws": posterior.draws.shape == (draws, parameters) and draws > 0,
        "log_weight": posterior.log_weight.shape == (draws,),
        "log_likelihood": posterior.log_likelihood.shape == (draws,),
        "log_proposal": posterior.sample.log_proposal.shape in ((draws,), (0,)),
        "fit_statistic": posterior.sample.fit_statistic.shape == (draws,),
        "names": "names" in drawn and tuple(drawn["names"].tolist()) == posterior.names,
        "best": posterior.best.shape == (parameters,),
        "bins": _same_bins(posterior),
    }
    wrong = [name for name, right in sizes.items() if not right]
    if wrong or posterior.names[:free] != posterior.model.names or not posterior.data:
        raise FormatError(f"{path}: its {wrong[0] if wrong else 'names'} do not go with {ANSWER}; fit again")
    for place, name, right in _finite(posterior):
        if not right:
            raise FormatError(f"{path.with_name(place)}: its {name} hold what is no number; fit again")


def _same_bins(posterior: Posterior) -> bool:
    """Whether all that a figure draws has the same bins."""
    predictive = posterior.predictive
    bins = predictive.counts.shape
    flat = (predictive.energy_lo, predictive.energy_hi, predictive.variance, predictive.data_variance)
    return (
        all(one.shape == bins for one in (*flat, *predictive.components.values()))
        and predictive.total.shape == predictive.expected.shape == (3, *bins)
        and predictive.total68.shape in ((2, *bins), (2, 0))
    )


def _finite(posterior: Posterior) -> Iterator[tuple[str, str, bool]]:
    """Whether numbers are numbers, by file and name; single draws may have no weight or likelihood: ln 0 is -inf."""
    sample = posterior.sample
    weighted = sample.log_weight > -np.inf  # nan is not
    asked = weighted if posterior.mode == "exact" else weighted & ~np.isnan(sample.log_likelihood)  # a network's: a few
    likelihood = sample.log_likelihood[asked]
    known = weighted & (sample.log_likelihood > -np.inf)
    yield DRAWS, "draws", bool(np.isfinite(sample.theta).all())
    yield DRAWS, "log_weight", bool(weighted.any() and (sample.log_weight < np.inf).all())
    yield DRAWS, "log_likelihood", bool(known.any() and (likelihood < np.inf).all())
    yield DRAWS, "log_proposal", not sample.log_proposal.size or bool(np.isfinite(sample.log_proposal[weighted]).all())
    yield DRAWS, "fit_statistic", bool((sample.fit_statistic[known] > -np.inf).all())
    yield ANSWER, "best values", bool(np.isfinite(posterior.best).all())
    for one in (*posterior.data, posterior.predictive):
        for name in ("energy_lo", "energy_hi", "counts"):
            yield ANSWER, name, bool(np.isfinite(getattr(one, name)).all())


@dataclass
class _Reader:
    """Values of a document as what the fields of our classes declare.

    Attributes:
        path: The file, for error lines.
        arrays: By name.
    """

    path: Path
    arrays: Mapping[str, NDArray[Any]] = field(repr=False)

    def answer(self, values: Any, sample: Mapping[str, Any], beside: Path) -> Posterior:
        """The whole."""
        hints = _hints(Posterior)
        drawn = _Reader(beside, {name: array for name, array in sample.items() if array is not None})
        names = {name: {"array": name} for name in sample}
        own = {SAMPLE: drawn.value(hints[SAMPLE], names, SAMPLE)}
        return cast(Posterior, self.instance(Posterior, values, "answer", own))

    def instance(self, kind: type[Any], values: Any, place: str, known: Mapping[str, Any] | None = None) -> Any:
        """One of our dataclasses."""
        if not isinstance(values, dict):
            raise self.wrong(place)
        found, hints = dict(known or {}), _hints(kind)
        for one in fields(kind):
            if not one.init or one.name in found:
                continue
            if one.name in values:
                found[one.name] = self.value(hints[one.name], values[one.name], f"{place}.{one.name}")
            elif one.default is MISSING and one.default_factory is MISSING:
                raise self.wrong(f"{place}.{one.name}")
        try:
            return kind(**found)
        except (XrayflowError, TypeError, ValueError):
            raise self.wrong(place) from None

    def value(self, hint: Any, value: Any, place: str) -> Any:
        """A value of one declared type."""
        origin, arguments = get_origin(hint), get_args(hint)
        if origin in (Union, types.UnionType):
            return self.optional(arguments, value, place)
        if hint is Model:
            return self.model(value, place)
        if is_dataclass(hint):
            return self.instance(cast(type[Any], hint), value, place)
        if origin is np.ndarray:
            return self.array(value, place)
        if origin is tuple:
            return self.row(arguments, value, place)
        if origin is not None and issubclass(origin, Mapping):
            if not isinstance(value, dict):
                raise self.wrong(place)
            return {name: self.value(arguments[1], one, f"{place}.{name}") for name, one in value.items()}
        if hint is Path and isinstance(value, str):
            return Path(value)
        if hint is float and isinstance(value, int | float | str) and not isinstance(value, bool):
            return self.number(value, place)
        if hint in (int, str, bool) and type(value) is hint:
            return value
        raise self.wrong(place)

    def optional(self, kinds: tuple[Any, ...], value: Any, place: str) -> Any:
        """The first of several types that fits."""
        if value is None and type(None) in kinds:
            return None
        for kind in kinds:
            if kind is not type(None):
                try:
                    return self.value(kind, value, place)
                except FormatError:
                    continue
        raise self.wrong(place)

    def row(self, kinds: tuple[Any, ...], value: Any, place: str) -> tuple[Any, ...]:
        """A tuple, of one type or of several."""
        if not isinstance(value, list):
            raise self.wrong(place)
        if len(kinds) == 2 and kinds[1] is Ellipsis:
            kinds = (kinds[0],) * len(value)
        if len(kinds) != len(value):
            raise self.wrong(place)
        return tuple(
            self.value(kind, one, f"{place}[{i}]") for i, (kind, one) in enumerate(zip(kinds, value, strict=True))
        )

    def number(self, value: float | str, place: str) -> float:
        """A float; those that JSON does not know are words."""
        if isinstance(value, str) and value not in ("nan", "inf", "-inf"):
            raise self.wrong(place)
        return float(value)

    def array(self, value: Any, place: str) -> NDArray[Any]:
        """An array of numbers, native and writable."""
        found = self.arrays.get(value["array"]) if isinstance(value, dict) and "array" in value else None
        if found is None or found.dtype.kind not in "fi":
            raise self.wrong(place)
        return found.astype(np.float64 if found.dtype.kind == "f" else np.int64)

    def model(self, value: Any, place: str) -> Model:
        """A spectral model, from its text and what was said of its parameters."""
        try:
            found = parse_model(value["text"], value["abund"], value["xsect"])
            said = value["parameters"]
            frozen = {name: float(one["frozen"]) for name, one in said.items() if "frozen" in one}
            links = {name: str(one["link"]) for name, one in said.items() if "link" in one}
            free = [p.name for p in found.parameters if p.frozen and p.name in said and not said[p.name]]
            return found.thaw(*free).freeze(frozen).link(links)
        except (KeyError, TypeError, ValueError, AttributeError):
            raise self.wrong(place) from None
        except XrayflowError as error:
            raise FormatError(f"{self.path}: {error}") from None

    def wrong(self, place: str) -> FormatError:
        """The error of a value that is not what its field declares."""
        return FormatError(f"{self.path}: {place} is missing or not what it should be; fit again")


def _encoded(value: Any, place: str, arrays: dict[str, NDArray[Any]]) -> Any:
    """A value in JSON's own types; arrays go beside, under their place."""
    if isinstance(value, Model):
        said = {
            p.name: {"frozen": p.value} if p.frozen else {"link": p.link.text} if p.link is not None else {}
            for p in value.parameters
        }
        return {"text": value.text, "abund": value.abund, "xsect": value.xsect, "parameters": said}
    if isinstance(value, np.ndarray):
        arrays[place] = value
        return {"array": place}
    if is_dataclass(value) and not isinstance(value, type):
        return {
            one.name: _encoded(getattr(value, one.name), f"{place}.{one.name}", arrays)
            for one in fields(value)
            if one.init
        }
    if isinstance(value, Mapping):
        return {str(name): _encoded(one, f"{place}.{name}", arrays) for name, one in value.items()}
    if isinstance(value, tuple | list):
        return [_encoded(one, f"{place}.{i}", arrays) for i, one in enumerate(value)]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    return value


def _hints(kind: type[Any]) -> dict[str, Any]:
    """Declared types of a dataclass's fields."""
    return get_type_hints(kind)
