"""The first thing that a new user runs: two spectra of one instrument, fitted end to end.

The real one, MAXI J1820+070, is so bright that the model fails and the verdict says where. The simulated one has a
known truth, is written as a genuine file, read back, and comes out certified.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from shutil import copyfile

from xrayflow.data import bundled_arf, bundled_pha, bundled_rmf
from xrayflow.errors import FileError
from xrayflow.inference import Posterior, Progress, infer
from xrayflow.models import parse_model
from xrayflow.ogip import Observation, Origin, read_observation, write_pha
from xrayflow.products import products_folder, write_products
from xrayflow.setup import DEFAULT_MODEL
from xrayflow.simulate import simulate

FOLDER = "xrayflow-demo"
TRUTH = {
    "TBabs.nH": 0.2,
    "simpl.Gamma": 2.1,
    "simpl.FracSctr": 0.25,
    "ezdiskbb.T_max": 0.4,
    "ezdiskbb.norm": 1200.0,
}
EXPOSURE = 110.0
"""s; about 2e5 counts in 0.3-10 keV, which tell all five parameters."""

SEED = 1820


@dataclass(frozen=True)
class Fit:
    """One fitted example.

    Attributes:
        name: real or simulated.
        title: For people.
        posterior: The answer; the simulated one holds its truth.
        products: Path of each product by name, below the folder that the user gave.
    """

    name: str
    title: str
    posterior: Posterior
    products: dict[str, Path]


def run(folder: Path, progress: Progress | None = None) -> Iterator[Fit]:
    """Fit the examples one after the other.

    Args:
        folder: Gets `real/` and `simulated/`.
        progress: Called with (step, fraction of this fit).

    Yields:
        Each fit when its products are written.

    Raises:
        FileError: The folder cannot be written.
    """
    homes = {name: products_folder(folder / name) for name in ("real", "simulated")}
    real = read_observation(bundled_pha())
    posterior = infer(real, progress=progress)
    yield Fit("real", "a real spectrum: MAXI J1820+070, NICER", posterior, write_products(posterior, homes["real"]))
    simulated = simulated_observation(real, homes["simulated"])
    # its detector is what the response says
    posterior = replace(infer(simulated, systematic=0.0, progress=progress), truth=dict(TRUTH))
    yield Fit(
        "simulated", "a simulated spectrum, truth known", posterior, write_products(posterior, homes["simulated"])
    )


def simulated_observation(template: Observation, folder: Path) -> Observation:
    """Simulate, write `simulated.pha` with copies of its responses, and read it back.

    Args:
        template: The bundled observation, whose instrument and grouping the simulation has.
        folder: Where the files go.

    Raises:
        FileError: The folder cannot be written.
    """
    faked = simulate(template, parse_model(DEFAULT_MODEL), TRUTH, EXPOSURE, SEED).pha
    try:
        for response in (bundled_rmf(), bundled_arf()):
            copyfile(response, folder / response.name)
    except OSError as error:
        raise FileError(f"{folder}: cannot be written to ({error.strerror}); choose another --out") from None
    path = write_pha(
        folder / "simulated.pha",
        faked.channel,
        faked.counts,
        EXPOSURE,
        grouping=faked.grouping,
        detchans=faked.detchans,
        first_channel=faked.first_channel,
        origin=Origin(
            telescope=faked.telescope,
            instrument=faked.instrument,
            object="simulated",
            response_file=bundled_rmf().name,
            arf_file=bundled_arf().name,
        ),
    )
    # the copies are the template's responses to the byte: reading the matrix again would cost a second
    return read_observation(path, rmf=template.rmf, arf=template.arf)
