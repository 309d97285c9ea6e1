"""The files that come with xrayflow: one real spectrum, its response, and a script for XSPEC.

`README.md` in this folder says what they are and where they come from; `benchmarks/make_bundled_data.py` makes them.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path


def _bundled(name: str) -> Path:
    return Path(str(resources.files(__name__).joinpath(name)))


def bundled_pha() -> Path:
    """The NICER spectrum of MAXI J1820+070, 9.6e7 counts; its header names the two responses.

    >>> bundled_pha().name
    'maxij1820_nicer.pha'
    """
    return _bundled("maxij1820_nicer.pha")


def bundled_rmf() -> Path:
    """The NICER redistribution matrix, 3451 energies x 1501 channels, within 1e-6 of each row's maximum."""
    return _bundled("nicer.rmf.gz")


def bundled_arf() -> Path:
    """The NICER effective area [cm^2] on the energies of `bundled_rmf`."""
    return _bundled("nicer.arf.gz")


def bundled_tcl() -> Path:
    """The script that runs xrayflow from XSPEC's prompt."""
    return _bundled("xrayflow.tcl")


def bundled_page() -> Path:
    """The page of a catalogue, without its numbers."""
    return _bundled("catalogue.html")
