"""All products of one answer in a folder: summary and draws, all else for `load_result`, XSPEC's files, figures.

Everything is made in memory, then written beside its place, then renamed; `summary.json` comes last and an old one goes
first. So a folder with a `summary.json` is whole, whatever happened.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from xrayflow.errors import FileError
from xrayflow.files import OTHER_OUT, make_folder, to_json, write_file, write_folder
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
    "report": "report.html",
    "summary": "summary.json",
}
"""File name of each product, in the order of writing."""

REPORT = "report"
OTHER_PLACE = "choose another place for the products"


def write_products(posterior: Posterior, folder: str | Path, report: bool = True) -> dict[str, Path]:
    """Write everything about one answer into a folder; other files of the folder are left alone.

    Args:
        posterior: The answer.
        folder: Made where it is missing.
        report: Whether to write the report, which is ten times as large as all the rest; without it an old one goes.

    Returns:
        The path of each product by its name, as `NAMES` has them.

    Raises:
        FileError: The folder or a file in it cannot be written.
    """
    from xrayflow.products.figures import corner_figure, png, spectrum_figure, spectrum_numbers
    from xrayflow.products.page import report_page

    folder = products_folder(folder)
    names = {name: file for name, file in NAMES.items() if report or name != REPORT}
    corner = png(corner_figure(posterior))
    contents = {
        "draws": draws_file(posterior),
        "answer": answer_file(posterior),
        "chain": chain_file(posterior),
        "xcm": script(posterior).encode(),
        "corner": corner,
        "spectrum": png(spectrum_figure(posterior)),
        "bins": spectrum_numbers(posterior),
        **({REPORT: report_page(posterior, corner)} if report else {}),
        "summary": to_json(posterior.summary() | {"products": names}).encode() + b"\n",
    }
    gone = () if report else (NAMES[REPORT],)
    write_folder(folder, {names[name]: content for name, content in contents.items()}, OTHER_PLACE, gone)
    return {name: folder / names[name] for name in contents}


def write_report(posterior: Posterior, path: str | Path) -> Path:
    """Write the report of an answer alone.

    Args:
        posterior: The answer.
        path: The file; its folder exists.

    Raises:
        FileError: It cannot be written, or is another product of an answer.
    """
    from xrayflow.products.figures import corner_figure, png
    from xrayflow.products.page import report_page

    path = Path(path)
    spare_products([path], [NAMES[REPORT]])
    write_file(path, report_page(posterior, png(corner_figure(posterior))), OTHER_OUT)
    return path


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
