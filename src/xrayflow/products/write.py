"""All products of one answer in a folder: summary and draws, all else for `load_result`, XSPEC's files, figures.

Everything is made in memory, then written beside its place, then renamed; `summary.json` comes last and an old one goes
first. So a folder with a `summary.json` is whole, whatever happened.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from xrayflow.errors import FileError
from xrayflow.files import OTHER_OUT, make_folder, to_json, write_folder
from xrayflow.inference import Posterior
from xrayflow.products.store import ANSWER, DRAWS, answer_file, draws_file
from xrayflow.products.xspec import CHAIN, SCRIPT, chain_file, script

NAMES = {
    "draws": DRAWS,
    "answer": ANSWER,
    "chain": CHAIN,
    "xcm": SCRIPT,
    "corner": "corner.png",
    "spectrum": "spectrum.png",
    "bins": "spectrum.ecsv",
    "summary": "summary.json",
}
"""File name of each product, in the order of writing."""


def write_products(posterior: Posterior, folder: str | Path) -> dict[str, Path]:
    """Write everything about one answer into a folder; other files of the folder are left alone.

    Args:
        posterior: The answer.
        folder: Made where it is missing.

    Returns:
        The path of each product by its name, as `NAMES` has them.

    Raises:
        FileError: The folder or a file in it cannot be written.
    """
    from xrayflow.products.figures import corner_figure, png, spectrum_figure, spectrum_numbers

    folder = products_folder(folder)
    summary = posterior.summary() | {"products": dict(NAMES)}
    contents = {
        "draws": draws_file(posterior),
        "answer": answer_file(posterior),
        "chain": chain_file(posterior),
        "xcm": script(posterior).encode(),
        "corner": png(corner_figure(posterior)),
        "spectrum": png(spectrum_figure(posterior)),
        "bins": spectrum_numbers(posterior),
        "summary": to_json(summary).encode() + b"\n",
    }
    write_folder(
        folder,
        {NAMES[name]: content for name, content in contents.items()},
        "choose another place for the products",
    )
    return {name: folder / NAMES[name] for name in contents}


def products_folder(folder: str | Path) -> Path:
    """The folder of one answer's products, made where it is missing, found writable.

    Raises:
        FileError: It cannot be made or written to, or a product's name is taken by a folder.
    """
    return make_folder(folder, tuple(NAMES.values()))


def spare_products(paths: Iterable[Path], own: Iterable[str] = ()) -> None:
    """Stop before a product of an answer is replaced by something else.

    Args:
        paths: What would be written.
        own: Names of products that may be made again, as they are the same.

    Raises:
        FileError: One is a product's name in a folder that holds an answer.
    """
    for path in paths:
        if path.name in set(NAMES.values()) - set(own) and (path.parent / ANSWER).is_file():
            raise FileError(f"{path}: is one of the files that fit --out wrote there; {OTHER_OUT}")


def located_summary(posterior: Posterior, products: Mapping[str, Path]) -> dict[str, Any]:
    """The summary for those who stand elsewhere: paths of the products as the user's own folder leads to them.

    `summary.json` itself names its neighbours by file name alone, so that a folder can be moved.
    """
    return posterior.summary() | {"products": {name: str(path) for name, path in products.items()}}
