"""What a file holds is said as the reader reads it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ogip_zoo import CHANNEL_EDGES, ENERGY_EDGES, redistribution, toy_files, write_arf, write_parts, write_spectrum
from xrayflow.errors import FileError, FormatError, XrayflowError
from xrayflow.ogip import describe, read_pha, read_rmf, write_pha
from xrayflow.ogip import description as file


def test_a_spectrum_is_told_as_it_is_read(tmp_path: Path) -> None:
    pha = read_pha(toy_files(tmp_path, quality=np.where(np.arange(120) < 3, 1, 0), background=True))
    found = describe(tmp_path / "toy.pha")
    assert (found.kind, found.sha256) == ("PHA", pha.sha256)
    assert found.facts["counts"] == pha.counts.sum()
    assert found.facts["channels"] == [0, 119]
    assert found.facts["quality"] == {"0": 117, "1": 3}
    assert (found.facts["bins"], found.facts["good_bins"]) == (117, 117)
    assert (found.facts["respfile"], found.facts["backfile"]) == ("toy.rmf", "toy.bkg")
    assert found.pha is not None
    assert [one.what for one in found.oddities] == ["3 channels of QUALITY 1"]


def test_a_matrix_is_told_with_its_resolution(tmp_path: Path) -> None:
    toy_files(tmp_path)
    rmf, found = read_rmf(tmp_path / "toy.rmf"), describe(tmp_path / "toy.rmf")
    assert (found.kind, found.facts["elements"]) == ("RMF", rmf.matrix.nnz)
    assert found.facts["energies"] == [ENERGY_EDGES[0], ENERGY_EDGES[-1]]
    assert found.facts["channel_energies"] == [CHANNEL_EDGES[0], CHANNEL_EDGES[-1]]
    one = next(one for one in found.facts["resolution"] if one["energy"] == 1.0)
    assert one["fwhm"] == pytest.approx(2.355 * 0.06, rel=0.3)  # in channels of 0.1 keV
    assert [one.what for one in found.oddities] == ["rows sum to 0.585 .. 0.95"]


def test_an_area_is_told_with_its_peak(tmp_path: Path) -> None:
    found = describe(write_arf(tmp_path / "a.arf", HDUCLASS="OGIP"))
    assert found.kind == "ARF"
    assert found.facts["largest_area"] == pytest.approx(600.0, rel=0.01)
    assert found.facts["largest_at"] == pytest.approx(1.5, abs=0.1)
    assert found.oddities == ()


def test_the_spectra_of_a_file_are_listed_until_one_is_chosen(tmp_path: Path) -> None:
    counts = np.arange(24.0).reshape(3, 8)
    columns = {"COUNTS": counts, "TG_M": np.array([-1, 1, 2]), "OBJECT": np.array(["a", "b", "c"])}
    path = write_spectrum(tmp_path / "two.pha", columns, HDUCLASS="OGIP")
    found = describe(path)
    assert [(one["row"], one["counts"], one["tg_m"], one["object"]) for one in found.spectra] == [
        (1, 28.0, -1.0, "a"),
        (2, 92.0, 1.0, "b"),
        (3, 156.0, 2.0, "c"),
    ]
    assert found.pha is None
    for chosen in (describe(path, row=2), describe(f"{path}{{2}}")):
        assert (chosen.facts["counts"], chosen.facts["row"], chosen.spectra) == (92.0, 2, ())


def test_a_long_list_of_spectra_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file, "MOST_LISTED", 2)
    found = describe(write_spectrum(tmp_path / "two.pha", {"COUNTS": np.ones((5, 8))}))
    assert (len(found.spectra), found.facts["spectra"]) == (2, 5)


def test_one_matrix_of_several_can_be_described(tmp_path: Path) -> None:
    whole = redistribution()
    path = write_parts(tmp_path / "two.rmf", [(ENERGY_EDGES, 0.6 * whole), (ENERGY_EDGES, 0.4 * whole)])
    both, second = describe(path), describe(f"{path}{{2}}")
    assert (both.facts["matrices"], second.facts["matrices"]) == (2, 1)
    assert second.facts["row_sums"][1] == pytest.approx(0.4 * both.facts["row_sums"][1], rel=1e-6)
    assert "2 matrices" in [one.what for one in both.oddities]


def test_what_is_no_file_of_ours_is_refused(tmp_path: Path) -> None:
    path = write_spectrum(tmp_path / "gti.fits", {"START": np.arange(3)}, EXTNAME="GTI", HDUCLAS1="GTI")
    with pytest.raises(FileError, match="neither spectrum nor response nor area, it holds GTI; give a PHA, RMF or ARF"):
        describe(path)


def test_what_a_fit_would_refuse_is_refused(tmp_path: Path) -> None:
    path = write_pha(tmp_path / "a.pha", np.arange(3), np.ones(3), 1.0)
    path.write_bytes(path.read_bytes().replace(b"EXPOSURE=                  1.0", b"EXPOSURE=                  'x'"))
    with pytest.raises(FormatError, match="EXPOSURE"):
        describe(path)


def test_every_real_file_is_described(data_folder: Path) -> None:
    kinds: dict[str, int] = {}
    refused: list[str] = []
    for path in sorted(data_folder.glob("*/*")):
        if path.is_file() and path.suffix not in {".csv", ".md", ".txt", ".log", ".xcm", ".json"}:
            try:
                found = describe(path)
            except XrayflowError as error:
                refused.append(str(error))
                continue
            kinds[found.kind] = kinds.get(found.kind, 0) + 1
            assert all(one.what and one.meaning for one in found.oddities), (path, found.oddities)
    assert [line for line in refused if "neither spectrum nor response" not in line and "not a FITS" not in line] == []
    assert kinds["PHA"] > 50
    assert min(kinds[kind] for kind in ("RMF", "RSP", "ARF")) >= 5
