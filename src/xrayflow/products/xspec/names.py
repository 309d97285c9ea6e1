"""What XSPEC calls our parameters: number, unit and step; and our statistics.

XSPEC numbers the parameters of a model from 1, frozen and linked ones included. Its units are those of its `model.dat`,
which has one for a norm no more than for a photon index. A loaded chain counts for `error` and `flux err` only if each
of its columns has number, name and unit of a free parameter.

Source: XSPEC manual, "chain", "statistic", "newpar"; `spectral/manager/model.dat` of HEASoft 6.35.1.
"""

from __future__ import annotations

from collections.abc import Sequence

from xrayflow.models import Model, Parameter

UNITS = {"10^22 cm^-2": "10^22"}
"""XSPEC's, where ours says more."""

STEPS = {
    "TBabs.nH": 0.001,
    "phabs.nH": 0.001,
    "vphabs.nH": 0.001,
    "pcfabs.nH": 0.001,
    "TBpcf.nH": 0.001,
    "simpl.Gamma": 0.05,
    "simpl.FracSctr": 0.005,
    "nthComp.kT_e": 0.1,
    "nthComp.kT_bb": 1.0,
    "gaussian.LineE": 0.05,
    "gaussian.Sigma": 0.05,
    "edge.edgeE": 0.05,
    "gabs.LineE": 0.05,
    "gabs.Sigma": 0.05,
    "gabs.Strength": 0.05,
}
STEP = 0.01
"""`delta` of a parameter, and of all that are not named."""

COMMANDS = {"cstat": "cstat", "wstat": "cstat", "pstat": "pstat", "pgstat": "pgstat", "pgstat-xspec": "pgstat"}
COMMANDS["chi2"] = "chi"
"""What follows `statistic`; XSPEC's cstat is W where there is a background."""

FULL_NAMES = {"cstat": "C-Statistic", "pstat": "P-Statistic", "pgstat": "PG-Statistic", "chi": "Chi-Squared"}
"""As XSPEC prints them, and notes them in a chain."""

SEVERAL = "Total_Stat"
"""Where spectra have different ones."""

LOCAL = ("simplcutx",)
"""Components that XSPEC has only with a package of local models."""


def unit(parameter: Parameter) -> str:
    """XSPEC's unit of a parameter."""
    return "" if parameter.is_norm else UNITS.get(parameter.unit, parameter.unit)


def own_name(parameter: Parameter) -> str:
    """Without the component's: `nH`."""
    return parameter.name.rpartition(".")[2]


def step(parameter: Parameter) -> float:
    """XSPEC's `delta`: how far a fit tries first."""
    component = parameter.component.rpartition("_")[0] if parameter.component[-1].isdigit() else parameter.component
    return STEPS.get(f"{component}.{own_name(parameter)}", STEP)


def numbers(model: Model) -> dict[str, int]:
    """The number of each parameter, by its name."""
    return {parameter.name: number for number, parameter in enumerate(model.parameters, start=1)}


def commands(statistic: str) -> list[str]:
    """XSPEC's names of a statistic, of each spectrum where they differ.

    Args:
        statistic: Ours, those of several spectra joined by `+`.
    """
    return [COMMANDS[name] for name in statistic.split("+")]


def full_name(names: Sequence[str]) -> str:
    """What XSPEC prints for a statistic.

    Args:
        names: Of `commands`.
    """
    different = list(dict.fromkeys(names))
    return FULL_NAMES[different[0]] if len(different) == 1 else SEVERAL
