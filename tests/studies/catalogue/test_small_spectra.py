"""Small spectra of the page: what they keep of the counts, and whose model goes through them."""

from __future__ import annotations

import base64
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.table import Table
from numpy.typing import NDArray

from catalogue_zoo import QUICK, Here
from ogip_zoo import toy_files
from xrayflow.inference import SamplingBudget
from xrayflow.ogip import Origin, read_observation, write_pha
from xrayflow.setup import FitSetup
from xrayflow.studies.catalogue import Question, Running, SpectrumReader, manifest_path, read_catalogue, run_catalogue
from xrayflow.studies.catalogue.small_spectra import BINS, LEVEL, small_spectrum
from xrayflow.studies.running import hash_of, make_listing
from xrayflow.studies.running.sources import Source

Numbers = NDArray[np.float64]


def unpacked(text: str) -> Numbers:
    """Levels, 0 .. LEVEL."""
    return np.frombuffer(base64.b64decode(text), "<u2").astype(float)


def rates(spectrum: dict[str, Any], what: str, ends: str) -> Numbers:
    """(bin,) counts/s/keV; NaN where there is none."""
    level, low, high = unpacked(spectrum[what]), spectrum[f"{ends}0"], spectrum[f"{ends}1"]
    return np.where(level > 0, 10.0 ** (low + (level - 1) / (LEVEL - 1) * (high - low)), np.nan)


def table_of(folder: Path, norms: dict[str, float]) -> Path:
    """A catalogue of toy spectra, as if the truth had been fitted."""
    hashes = [hash_of(read_observation(folder / name)) for name in norms]
    table = Table({"path": list(norms), "verdict": ["certified"] * len(norms), "hash": hashes})
    for name, values in (("powerlaw.PhoIndex", [1.7] * len(norms)), ("powerlaw.norm", list(norms.values()))):
        table[f"{name}_best"] = table[f"{name}_median"] = values
    table.write(folder / "table.ecsv")
    prior = {"powerlaw.PhoIndex": ["powerlaw.PhoIndex=lin:-1:5"], "powerlaw.norm": ["powerlaw.norm=log:1e-5:10"]}
    document = {
        "schema_version": 1,
        "model": {"expression": "powerlaw", "abund": "wilm", "held": {}},
        "prior": prior,
        "settings": {"energies": [[1.0, 6.0]]},
    }
    manifest_path(folder / "table.ecsv").write_text(json.dumps(document))
    return folder / "table.ecsv"


def test_a_small_spectrum_keeps_counts_and_errors() -> None:
    edges = np.linspace(0.3, 10.0, 971)
    energies = np.stack([edges[:-1], edges[1:]], axis=-1)
    counts = np.random.default_rng(2).poisson(50.0, 970).astype(float)
    found = small_spectrum(energies, counts, 100.0, 2.0 * counts)["spectrum"]
    rate, model = rates(found, "rate", "r"), rates(found, "model", "m")
    assert rate.size == BINS
    good = np.isfinite(rate)
    assert good.sum() > 0.6 * BINS  # below 1 keV, channels of 10 eV are wider than a bin
    np.testing.assert_allclose(rate[good], 50.0, rtol=0.5)  # 50 counts of 10 eV in 100 s are 50 counts/s/keV
    np.testing.assert_allclose(model[good], 2.0 * rate[good], rtol=1e-3)
    chi = np.log(rate[good] / 50.0) / (unpacked(found["error"])[good] / LEVEL)
    assert 0.6 < chi.std() < 1.4
    assert found["e0"] == pytest.approx(math.log10(0.3))
    assert found["e1"] == pytest.approx(1.0)
    assert small_spectrum(energies, 0 * counts, 100.0) == {"why": "no counts in the band"}
    assert "model" not in small_spectrum(energies, counts, 100.0)["spectrum"]


@pytest.mark.parametrize("background", [False, True])
def test_the_model_goes_through_counts_that_are_what_it_expects(tmp_path: Path, background: bool) -> None:
    """Counts without noise, from the file zoo's own sum over its response; the background's are in them."""
    for name, norm in (("a", 0.05), ("b", 0.2)):
        (tmp_path / name).mkdir()
        toy_files(tmp_path / name, norm=norm, seed=None, background=background)
    table = read_catalogue(table_of(tmp_path, {"a/toy.pha": 0.05, "b/toy.pha": 0.2}))
    for found in SpectrumReader(table)([0, 1]):
        rate, model = (rates(found["spectrum"], *which) for which in (("rate", "r"), ("model", "m")))
        assert np.isfinite(rate).sum() > 20
        np.testing.assert_allclose(model, rate, rtol=5e-3)


@pytest.mark.parametrize(("scale", "ratio"), [(0.5, 1.0), (0.0, 1.9)])
def test_a_modelled_background_is_shown_at_the_level_that_the_counts_say(
    tmp_path: Path, scale: float, ratio: float
) -> None:
    """A file of a model that says twice the background, which is most of the counts of a faint source."""
    toy_files(tmp_path, norm=1e-4, exposure=1e5, background=True)
    twice, kind = np.full(120, 2.0 * 4.0 * 2000.0), Origin(kind="BKG")
    write_pha(tmp_path / "toy.bkg", np.arange(120), twice + 0.5, 1e5, backscal=4.0, origin=kind, stat_err=0.05 * twice)
    place = table_of(tmp_path, {"toy.pha": 1e-4})
    document = json.loads(manifest_path(place).read_text())
    document["settings"] |= {"likelihood": "marginalised", "background_scale": scale}
    manifest_path(place).write_text(json.dumps(document))
    found = SpectrumReader(read_catalogue(place))([0])[0]["spectrum"]
    rate, model = (rates(found, *which) for which in (("rate", "r"), ("model", "m")))
    assert np.nanmedian(model / rate) == pytest.approx(ratio, abs=0.1)


def test_files_that_are_not_those_of_the_fit_have_no_model_and_say_what_they_are(tmp_path: Path) -> None:
    toy_files(tmp_path, background=True)
    table = read_catalogue(table_of(tmp_path, {"toy.pha": 0.05}))
    assert "model" in SpectrumReader(table)([0])[0]["spectrum"]
    (tmp_path / "toy.bkg").unlink()
    assert "model" not in SpectrumReader(table)([0])[0]["spectrum"]
    toy_files(tmp_path, background=True, seed=7)
    assert "model" not in SpectrumReader(table)([0])[0]["spectrum"]
    (tmp_path / "toy.pha").unlink()
    assert "no such file" in SpectrumReader(table)([0])[0]["why"]


def test_a_table_without_a_manifest_shows_data_alone(tmp_path: Path) -> None:
    toy_files(tmp_path)
    place = table_of(tmp_path, {"toy.pha": 0.05})
    manifest_path(place).unlink()
    assert set(SpectrumReader(read_catalogue(place))([0])[0]["spectrum"]) == {
        *("e0", "e1", "r0", "r1", "rate", "error", "edges")
    }


def test_what_was_given_for_the_fit_is_found_in_its_ledger(tmp_path: Path) -> None:
    """A spectrum whose header names files of another name: without the ledger it has no response."""
    toy_files(tmp_path)
    for name in ("toy.rmf", "toy.arf"):
        (tmp_path / name).rename(tmp_path / f"other{name[3:]}")
    out = tmp_path / "table.fits"
    given = Source(tmp_path / "toy.pha", str(tmp_path / "other.arf"), None, str(tmp_path / "other.rmf"))
    words = {name: value for name, value in QUICK.items() if name not in ("draws", "ess", "network")}
    question = Question.of(FitSetup(**words), "none", False, 0, SamplingBudget(200, 60.0), None, False)
    run_catalogue(make_listing([given]), question, out, Running(), workers=Here())
    table = read_catalogue(out)
    assert "model" in SpectrumReader(table)([0])[0]["spectrum"]
    out.with_name("table.fits.ledger").unlink()
    assert "RESPFILE" in SpectrumReader(table)([0])[0]["why"]
    with_matrix = SpectrumReader(table, str(tmp_path / "other.rmf"))([0])[0]
    assert "why" in with_matrix or "model" not in with_matrix["spectrum"]
