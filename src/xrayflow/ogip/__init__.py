"""OGIP files: spectra, responses, areas, backgrounds; XSPEC's bins of them. No torch here."""

from xrayflow.ogip.arf import ARF, read_arf
from xrayflow.ogip.blank import blank_pha
from xrayflow.ogip.grouping import Bins, form_bins
from xrayflow.ogip.observation import DEFAULT_BAND, Observation, Spectrum, read_observation
from xrayflow.ogip.pha import PHA, read_pha
from xrayflow.ogip.rmf import RMF, read_rmf
from xrayflow.ogip.write import Origin, write_pha

__all__ = [
    "ARF",
    "DEFAULT_BAND",
    "PHA",
    "RMF",
    "Bins",
    "Observation",
    "Origin",
    "Spectrum",
    "blank_pha",
    "form_bins",
    "read_arf",
    "read_observation",
    "read_pha",
    "read_rmf",
    "write_pha",
]
