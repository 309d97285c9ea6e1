"""Numbers that no one here wrote: published fits of other missions, through our reader.

EXOSAT, 4U 1820-30 and MAXI J1535-571 are in tests/statistics/test_known_answers.py.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from xrayflow.errors import XrayflowWarning
from xrayflow.inference import infer
from xrayflow.models import parse_model
from xrayflow.ogip import read_observation
from xrayflow.statistics import background_in_source, choose
from xrayflow.statistics.auto import gaussian_variance

PHOTONS = Path(__file__).resolve().parents[1] / "reference" / "grs1915.npz"
"""Of the published parameters; reference/make_grs1915.py."""


@pytest.mark.parametrize(
    ("obsid", "last", "chi2"),
    [
        ("10258-01-02-00", 56, 51.78),
        ("10408-01-42-00", 57, 16.97),
        ("20402-01-15-00", 57, 25.03),
        ("50125-01-03-00", 52, 10.81),
    ],
)
@pytest.mark.filterwarnings("ignore::xrayflow.errors.XrayflowWarning")
def test_grs_1915_has_the_chi2_of_its_published_fits(data_folder: Path, obsid: str, last: int, chi2: float) -> None:
    """RXTE: a response with its area, a background of another exposure, SYS_ERR of 0.6 % of the gross counts."""
    observation = read_observation(data_folder / f"rxte_pca_GRS1915+105_{obsid}/src_pcu2.pha")
    spectrum = observation.bin(channels=(3, last - 1))  # XSPEC's bins 4 to `last`
    assert (spectrum.number[0], spectrum.number[-1]) == (4, last)
    assert choose(spectrum).name == "chi2"
    with np.load(PHOTONS) as table:
        expected = observation.pha.exposure * (table[obsid] @ observation.rmf.matrix)[observation.channel_row]
    used = spectrum.bin_of_channel >= 0
    expected = np.bincount(spectrum.bin_of_channel[used], expected[used])
    residual = spectrum.counts - background_in_source(spectrum) - expected
    assert float((residual**2 / gaussian_variance(spectrum)).sum()) == pytest.approx(chi2, abs=0.006)


def test_the_posterior_of_an_ultraluminous_source_is_the_published_one(data_folder: Path) -> None:
    """NGC 7793 ULX-4, XMM pn: medians of a nested sampler's published posterior, each within 0.4 of our spread."""
    path = data_folder / "xmm_pn_NGC7793-ULX4_0693760101/PN_spectrum_grp20.fits"
    model = parse_model("tbabs*(bbodyrad+powerlaw)", abund="angr")
    observation = read_observation(path, background="none")
    posterior = infer(observation, model=model, energies=[(0.5, 10.0)], grouping="none", draws=500)
    published = {
        "TBabs.nH": 0.094,
        "bbodyrad.kT": 0.766,
        "bbodyrad.norm": 0.169,
        "powerlaw.PhoIndex": 2.110,
        "powerlaw.norm": 2.96e-4,
    }
    assert posterior.computation.status == "certified"
    summary = posterior.summary()["parameters"]
    assert set(summary) == set(published)
    for name, median in published.items():
        spread = (summary[name]["upper90"] - summary[name]["lower90"]) / 3.29
        assert abs(summary[name]["median"] - median) < 0.4 * spread, (name, summary[name])


def test_the_response_of_a_published_fit_is_warned_of_nothing(data_folder: Path) -> None:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("error", XrayflowWarning)
        read_observation(data_folder / "rxte_pca_GRS1915+105_10258-01-02-00/src_pcu2.pha")
