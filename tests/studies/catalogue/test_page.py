"""The page of small spectra and corner plots: what it holds, what ten thousand sources cost, and what it escapes."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.table import Table
from numpy.typing import NDArray

from population_zoo import INDEX, NORM, planted, priors, write_catalogue
from xrayflow.studies.catalogue import catalogue_page, read_catalogue, read_draws
from xrayflow.studies.catalogue.page import DRAWS, TOGETHER, small_corner
from xrayflow.studies.catalogue.small_spectra import LEVEL, small_spectrum

Numbers = NDArray[np.float64]


def unpacked(text: str) -> Numbers:
    """Parts of an axis, 0 .. 1."""
    return np.frombuffer(base64.b64decode(text), "<u2") / LEVEL


def scripts(page: bytes) -> dict[str, Any]:
    """The numbers of a page, by the name of their piece."""
    found = re.findall(r'<script type="application/json" id="(\w+)">(.*?)</script>', page.decode(), re.DOTALL)
    return {name: json.loads(text) for name, text in found}


def small_catalogue(folder: Path, number: int, source: str = "source") -> Path:
    generator = np.random.default_rng(1)
    truth = np.array([1.7, -2.0]) + 0.2 * generator.standard_normal((number, 2))
    found = planted(truth, np.full((number, 2), 0.1), 200, generator)
    table = write_catalogue(folder, found, verdicts=("certified", "certified", "failed"), batch=100)
    read = Table.read(table)
    read["source"] = [f"{source} {i}" for i in range(number)]
    read.write(table, overwrite=True)
    return table


def test_a_small_corner_is_drawn_by_weight_in_the_scale_of_the_prior() -> None:
    generator = np.random.default_rng(3)
    theta = np.stack([generator.normal(1.0, 0.1, 5000), 10.0 ** generator.normal(-2.0, 0.3, 5000)], axis=-1)
    log_weight = np.where(theta[:, 0] > 1.0, 0.0, -np.inf)
    found = small_corner(theta, log_weight, [False, True])
    assert [len(unpacked(one)) for one in found["draws"]] == [DRAWS, DRAWS]
    (lo, hi, linear), (low, high, log) = found["ranges"]
    assert (linear, log) == (0, 1)
    assert 1.0 < lo < 1.01
    assert 1.2 < hi < 1.5
    places = low + (high - low) * unpacked(found["draws"][1])
    assert places.mean() == pytest.approx(-2.0, abs=0.12)
    assert small_corner(np.ones((3, 1)), np.zeros(3), [True])["ranges"] == [[0.0, 0.0, 1]]


def test_a_page_holds_every_source_once_in_pieces(tmp_path: Path) -> None:
    table = read_catalogue(small_catalogue(tmp_path, 130))
    draws = {path: (theta, weight) for path, theta, weight in read_draws(table, [INDEX, NORM])}
    told: list[float] = []
    page = catalogue_page(
        table, priors(), lambda rows: [{"why": str(row)} for row in rows], draws, lambda step, part: told.append(part)
    )
    found = scripts(page)
    assert set(found) == {"head", "piece0", "piece1", "piece2"}
    assert [len(found[f"piece{i}"]) for i in range(3)] == [TOGETHER, TOGETHER, 130 - 2 * TOGETHER]
    assert told[-1] == 1.0
    head = found["head"]
    assert head["parameters"] == [{"name": INDEX, "unit": ""}, {"name": NORM, "unit": "ph/cm^2/s/keV"}]
    assert len(head["rows"]["path"]) == len(head["rows"]["medians"][1]) == 130
    assert found["piece0"][2] == {}  # failed
    assert [one.get("why") for one in found["piece2"][:3]] == ["100", None, "102"]  # 101 has failed
    assert len(found["piece1"][1]["draws"]) == 2
    assert head["draws"] is True
    assert b"http" not in re.sub(rb"http-equiv", b"", page)


def test_what_a_file_says_is_never_html(tmp_path: Path) -> None:
    table = read_catalogue(small_catalogue(tmp_path, 3, source="</script><script>alert(1)</script>"))
    page = catalogue_page(table, {}, lambda rows: [{"why": "<b>"}] * len(rows), {})
    assert scripts(page)["head"]["draws"] is False  # cards are lower then, and say how to have corner plots
    assert page.count(b"<script") == 3  # head, one piece, the page's own
    assert scripts(page)["head"]["rows"]["source"][0].startswith("</script><script>alert(1)")
    assert b"innerHTML" not in page


def test_a_page_of_ten_thousand_sources_is_a_few_megabytes(tmp_path: Path) -> None:
    table = read_catalogue(small_catalogue(tmp_path, 300))
    draws = {path: (theta, weight) for path, theta, weight in read_draws(table, [INDEX, NORM])}
    energies = np.stack([np.linspace(0.3, 9.9, 100), np.linspace(0.4, 10.0, 100)], axis=-1)
    one = small_spectrum(energies, np.arange(100.0), 1.0, np.arange(100.0))
    page = catalogue_page(table, priors(), lambda rows: [one] * len(rows), draws)
    assert len(page) / 300 < 2000  # bytes of a source with two parameters: 20 MB of ten thousand
