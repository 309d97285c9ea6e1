"""All products of one answer in a folder: `summary.json`, `draws.npz`, `corner.png`, `spectrum.png`.

Everything is made in memory, then written beside its place, then renamed; `summary.json` comes last and an old one goes
first. So a folder with a `summary.json` is whole, whatever happened.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from xrayflow.errors import FileError
from xrayflow.inference import Posterior
from xrayflow.inference.posterior import SCHEMA_VERSION

__all__ = ["NAMES", "SCHEMA_VERSION", "draws_file", "located_summary", "make_folder", "to_json", "write_products"]

NAMES = {"draws": "draws.npz", "corner": "corner.png", "spectrum": "spectrum.png", "summary": "summary.json"}
"""File name of each product, in the order of writing."""


def write_products(posterior: Posterior, folder: str | Path) -> dict[str, Path]:
    """Write everything about one answer into a folder; other files of the folder are left alone.

    Args:
        posterior: The answer.
        folder: Made where it is missing.

    Returns:
        The path of each product by its name: draws, corner, spectrum, summary.

    Raises:
        FileError: The folder or a file in it cannot be written.
    """
    from xrayflow.products.figures import corner_figure, png, spectrum_figure

    folder = make_folder(folder)
    summary = posterior.summary() | {"products": dict(NAMES)}
    contents = {
        "draws": draws_file(posterior),
        "corner": png(corner_figure(posterior)),
        "spectrum": png(spectrum_figure(posterior)),
        "summary": to_json(summary).encode() + b"\n",
    }
    _replace_all(folder, {NAMES[name]: content for name, content in contents.items()})
    return {name: folder / NAMES[name] for name in contents}


def make_folder(folder: str | Path) -> Path:
    """The folder of products, made where it is missing, found writable.

    Raises:
        FileError: It cannot be made or written to, or one of its products' names is taken by a folder.
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
    for name in NAMES.values():
        if (folder / name).is_dir():
            raise FileError(f"{folder / name}: is a folder where a product should be; move it or choose another place")
    return folder


def to_json(summary: Mapping[str, Any]) -> str:
    """The summary as strict JSON: numbers that JSON cannot hold (NaN, infinities) are null.

    >>> to_json({"ess": 3.0, "k": float("inf")})
    '{\\n  "ess": 3.0,\\n  "k": null\\n}'
    """
    return json.dumps(_plain(summary), indent=2, allow_nan=False)


def located_summary(posterior: Posterior, products: Mapping[str, Path]) -> dict[str, Any]:
    """The summary for those who stand elsewhere: paths of the products as the user's own folder leads to them.

    `summary.json` itself names its neighbours by file name alone, so that a folder can be moved.
    """
    return posterior.summary() | {"products": {name: str(path) for name, path in products.items()}}


def draws_file(posterior: Posterior) -> bytes:
    """The draws and their weights as an `.npz` that loads without pickle.

    It holds names, units (parameter,), draws (draw, parameter), log_weight, weights, log_likelihood (draw,) and best
    (parameter,).
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
        best=posterior.best,
    )
    return content.getvalue()


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


def _replace_all(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Write every file beside its place, then rename them in order; `summary.json` is gone meanwhile.

    Raises:
        FileError: The disk refuses; no temporary file is left.
    """
    temporary: dict[str, Path] = {}
    try:
        for name, content in contents.items():
            handle, path = tempfile.mkstemp(dir=folder, prefix=f".{name}.")
            temporary[name] = Path(path)
            with os.fdopen(handle, "wb") as stream:
                stream.write(content)
            temporary[name].chmod(0o644)
        (folder / NAMES["summary"]).unlink(missing_ok=True)
        for name in contents:
            temporary[name].replace(folder / name)
            del temporary[name]
    except OSError as error:
        raise FileError(
            f"{folder}: cannot be written to ({error.strerror}); choose another place for the products"
        ) from None
    finally:
        for left in temporary.values():
            left.unlink(missing_ok=True)
