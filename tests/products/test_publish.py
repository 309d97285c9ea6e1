"""Tables for papers and machines."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from astropy import units
from astropy.table import Table
from numpy.testing import assert_allclose

from answer_zoo import altered, first_parameters, toy_posterior
from xrayflow.errors import DataError
from xrayflow.models.components import COMPONENTS
from xrayflow.products import draws_table, latex_table, machine_table, results_table
from xrayflow.products.publish import LATEX_UNITS, UNITS, described, escaped


def test_draws_come_with_units() -> None:
    posterior = toy_posterior()
    table = draws_table(posterior)
    assert table.colnames == [*posterior.names, "weight", "log_likelihood"]
    assert_allclose(table["TBabs.nH"].to_value("cm-2"), posterior.draws[:, 0] * 1e22)
    assert table["powerlaw.norm"].unit == units.Unit("ph cm-2 s-1 keV-1")
    assert table["weight"].sum() == pytest.approx(1.0)
    assert table.meta["verdict"] == posterior.verdict


def test_every_unit_is_known_to_astropy_and_to_latex() -> None:
    for component in COMPONENTS:
        for parameter in component.parameters:
            units.Unit(UNITS.get(parameter.unit, parameter.unit))
            assert not re.search(r"[\^_]", parameter.unit) or parameter.unit in LATEX_UNITS
    assert units.Unit(UNITS["(km/10kpc)^2"]).to("km2 kpc-2") == pytest.approx(0.01)
    assert units.Unit(UNITS["1e39erg/s/(10kpc)^2"]).to("erg s-1 kpc-2") == pytest.approx(1e37)


def test_a_row_of_latex_has_each_free_parameter_with_its_errors() -> None:
    posterior = toy_posterior()
    lines = latex_table([posterior, posterior]).splitlines()
    assert lines[0].startswith("% TBabs*powerlaw: medians and 90 % intervals")
    assert lines[1] == r"\begin{tabular}{lcccc}"
    head, unit, first, second = lines[3], lines[4], lines[6], lines[7]
    assert (
        head == r"Source & $N_\mathrm{H}$ (TBabs) & $\Gamma$ (powerlaw) & $\mathrm{norm}$ (powerlaw) & cstat / dof \\"
    )
    assert unit == r" & $10^{22}$ cm$^{-2}$ &  & ph cm$^{-2}$ s$^{-1}$ keV$^{-1}$ &  \\"
    assert first == second
    cells = first.removesuffix(r" \\").split(" & ")
    assert re.fullmatch(r"\$<0\.\d+\$", cells[1])
    match = re.fullmatch(r"\$(\d\.\d+)\^\{\+(0\.\d+)\}_\{-(0\.\d+)\}\$", cells[2])
    assert match is not None
    row = posterior.summary()["parameters"]["powerlaw.PhoIndex"]
    middle, above, below = map(float, match.groups())
    assert middle == pytest.approx(row["median"], abs=1e-3)
    assert middle + above == pytest.approx(row["upper90"], abs=2e-3)
    assert middle - below == pytest.approx(row["lower90"], abs=2e-3)
    assert cells[4] == f"{posterior.statistic.value:.1f} / {posterior.statistic.dof}"
    assert "\n".join(lines).count("{") == "\n".join(lines).count("}")


def test_large_numbers_have_a_power_of_ten() -> None:
    posterior = toy_posterior()
    bent = altered(posterior, draws=posterior.draws * np.array([1.0, 1.0, 1e9]), best=posterior.best)
    cell = latex_table([bent]).splitlines()[6].split(" & ")[3]
    assert re.fullmatch(r"\$\(\d\.\d+\^\{\+\d\.\d+\}_\{-\d\.\d+\}\)\\times10\^\{7\}\$", cell)


def test_held_parameters_are_told_above_the_table() -> None:
    text = latex_table([first_parameters(toy_posterior(), 1)])
    assert "% held: powerlaw.PhoIndex = 1.6" in text
    assert "(powerlaw)" not in text


def test_names_from_files_do_no_harm() -> None:
    assert escaped(r"a_b & 50% #1 $x^2$ \input{x} ~") == (
        r"a\_b \& 50\% \#1 \$x\textasciicircum{}2\$ \textbackslash{}input\{x\} \textasciitilde{}"
    )
    assert escaped("a\nb") == "a b"
    toy = toy_posterior()
    bent = replace(toy, data=(replace(toy.data[0], source="4U_1820 & co"),))
    assert r"4U\_1820 \& co & " in latex_table([bent])


@pytest.mark.parametrize("kind", ["ecsv", "csv", "mrt"])
def test_machines_read_what_is_written(kind: str) -> None:
    posterior = toy_posterior()
    text = machine_table([posterior, posterior], kind, "68")
    table = Table.read(text.splitlines(), format={"ecsv": "ascii.ecsv", "csv": "ascii.csv", "mrt": "ascii.mrt"}[kind])
    row = posterior.summary()["parameters"]["powerlaw.PhoIndex"]
    assert len(table) == 2
    assert table["powerlaw_PhoIndex"][1] == pytest.approx(row["median"], rel=1e-5)
    assert table["powerlaw_PhoIndex_lower"][0] == pytest.approx(row["lower68"], rel=1e-5)
    assert table["verdict"][0] == posterior.verdict
    if kind != "csv":
        assert units.Unit(table["TBabs_nH"].unit).to("cm-2") == pytest.approx(1e22)


def test_columns_say_what_they_are() -> None:
    table = results_table([toy_posterior()])
    assert table["TBabs_nH"].description == "Median of TBabs.nH"
    assert table["powerlaw_norm_upper"].description == "Upper end of the 90% interval of powerlaw.norm"
    assert described("gaussian_3_LineE_lower", "68") == "Lower end of the 68% interval of gaussian_3.LineE"
    assert described("ezdiskbb_T_max", "68") == "Median of ezdiskbb.T_max"


def test_answers_of_different_models_are_no_table() -> None:
    with pytest.raises(DataError, match=r"TBabs\*powerlaw with free TBabs.nH does not stand in one table"):
        latex_table([toy_posterior(), first_parameters(toy_posterior(), 1)])
    with pytest.raises(DataError, match="no answers; give at least one"):
        results_table([])
