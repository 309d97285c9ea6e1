"""OGIP files: spectra, responses, areas, backgrounds; XSPEC's bins of them. No torch here."""

from xrayflow.ogip.arf import ARF, read_arf
from xrayflow.ogip.blank import blank_pha
from xrayflow.ogip.companions import read_observation
from xrayflow.ogip.description import Description, describe
from xrayflow.ogip.grouping import Bins, form_bins
from xrayflow.ogip.locate import how_found
from xrayflow.ogip.observation import DEFAULT_BAND, Observation, Spectrum
from xrayflow.ogip.oddities import Oddity
from xrayflow.ogip.packed import PackedMatrix
from xrayflow.ogip.pha import PHA, read_pha
from xrayflow.ogip.regroup import resolved_energies
from xrayflow.ogip.rewrite import GroupedFile, group_file
from xrayflow.ogip.rmf import RMF, read_rmf
from xrayflow.ogip.write import Origin, write_pha
from xrayflow.ogip.write_response import write_arf, write_rmf

__all__ = [
    "ARF",
    "DEFAULT_BAND",
    "PHA",
    "RMF",
    "Bins",
    "Description",
    "GroupedFile",
    "Observation",
    "Oddity",
    "Origin",
    "PackedMatrix",
    "Spectrum",
    "blank_pha",
    "describe",
    "form_bins",
    "group_file",
    "how_found",
    "read_arf",
    "read_observation",
    "read_pha",
    "read_rmf",
    "resolved_energies",
    "write_arf",
    "write_pha",
    "write_rmf",
]
