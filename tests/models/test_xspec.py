"""The bridge to the compiled XSPEC models."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from xrayflow.errors import MissingExtraError, ModelError, XrayflowError
from xrayflow.models import xspec
from xrayflow.models.names import XSPEC
from xrayflow.models.xspec import COMPONENTS, XspecLibrary, disc_photon_flux

EDGES = np.geomspace(0.01, 100.0, 401)


@pytest.fixture(scope="module")
def library() -> Iterator[XspecLibrary]:
    pytest.importorskip("xspectrampoline")
    with XspecLibrary() as opened:
        yield opened


def wheel_models() -> dict[str, tuple[str, list[tuple[str, float]]]]:
    """XSPEC's own list of components in the wheel: kind, and name and default of each parameter."""
    package = Path(pytest.importorskip("xspectrampoline").__file__).parent
    text = next(package.glob("LibXSPEC*/spectral/manager/model.dat")).read_text()
    models = {}
    for block in re.split(r"\n\s*\n", text):
        lines = [re.sub(r'"[^"]*"', "unit", line).split() for line in block.splitlines() if line.strip()]
        if lines:
            head, *parameters = lines
            values = [(words[0].lstrip("*$"), words[2 if len(words) > 3 else -1]) for words in parameters]
            models[head[0].lower()] = (head[5], [(name, float(value)) for name, value in values])
    return models


def test_names_are_looked_for_in_the_order_of_the_library() -> None:
    package = Path(pytest.importorskip("xspectrampoline").__file__).parent
    found: list[str] = []
    for file in ("model.dat", "mixmodel.dat"):
        blocks = re.split(r"\n\s*\n", next(package.glob(f"LibXSPEC*/spectral/manager/{file}")).read_text())
        found += [block.split()[0] for block in blocks if block.strip()]
    assert found == list(XSPEC)


def test_a_power_law_has_its_closed_form(library: XspecLibrary) -> None:
    flux = library.call("powerlaw", [[2.0], [1.0], [0.5]], EDGES)
    assert_allclose(flux[0], 1 / EDGES[:-1] - 1 / EDGES[1:], rtol=1e-12)
    assert_allclose(flux[1], np.log(EDGES[1:] / EDGES[:-1]), rtol=1e-12)
    assert_allclose(flux[2], 2 * np.diff(np.sqrt(EDGES)), rtol=1e-12)


def test_the_table_of_components_is_that_of_the_library(library: XspecLibrary) -> None:
    kinds = {"additive": "add", "multiplicative": "mul", "convolution": "con"}
    models = wheel_models()
    for name, component in COMPONENTS.items():
        kind, parameters = models[name.lower()]
        assert (kinds[component.kind], list(component.parameters)) == (kind, [key for key, _ in parameters]), name


def test_every_component_answers_at_its_defaults(library: XspecLibrary) -> None:
    seed = library.call("powerlaw", [[2.0]], EDGES)[0]
    for name, component in COMPONENTS.items():
        defaults = [[value for _, value in wheel_models()[name.lower()][1]]]
        answer = library.call(name, defaults, EDGES, seed if component.kind == "convolution" else None)
        assert answer.shape == (1, 400)
        assert np.all(answer >= 0), name


def test_ezdiskbb_is_the_integral_over_the_disc(library: XspecLibrary) -> None:
    edges = np.geomspace(0.001, 20.0, 401)
    node, weight = np.polynomial.legendre.leggauss(4)
    energy = edges[:-1, None] + np.diff(edges)[:, None] * (node + 1) / 2
    for t_max in (0.05, 0.5, 3.0):
        density = t_max**2 * disc_photon_flux((energy / t_max).ravel()).reshape(energy.shape)
        expected = density @ weight / 2 * np.diff(edges)
        here = edges[1:] < 20 * t_max
        assert_allclose(library.call("ezdiskbb", [[t_max]], edges)[0, here], expected[here], rtol=1e-4)


def test_a_cold_disc_has_no_photons_where_the_table_ends(library: XspecLibrary) -> None:
    edges = np.geomspace(0.001, 1000.0, 1001)
    flux = library.call("ezdiskbb", [[0.025]] * 20, edges)
    assert np.all(flux[:, edges[1:] > 250.0] == 0)
    assert_array_equal(flux, flux[:1].repeat(20, axis=0))


def test_simpl_keeps_the_number_of_photons(library: XspecLibrary) -> None:
    edges = np.geomspace(0.001, 1000.0, 1001)
    seed = library.call("ezdiskbb", [[0.3]], edges)
    scattered = library.call("simpl", [[2.5, 0.0, 1.0], [2.5, 0.4, 1.0]], edges, seed[0])
    assert_allclose(scattered[0], seed[0], rtol=1e-12)
    assert_allclose(scattered.sum(axis=1), seed.sum(), rtol=1e-4)
    assert scattered[1, edges[:-1] > 5].sum() > 10 * seed[0, edges[:-1] > 5].sum()


def test_a_product_is_its_components_in_turn(library: XspecLibrary) -> None:
    flux = library.evaluate("TBabs*simpl*ezdiskbb", [[0.5, 2.5, 0.1, 1, 0.5, 7.0], [3.0, 1.5, 0.9, 1, 2.0, 1.0]], EDGES)
    disc = library.call("ezdiskbb", [[0.5], [2.0]], EDGES)
    scattered = library.call("simpl", [[2.5, 0.1, 1], [1.5, 0.9, 1]], EDGES, disc)
    absorbed = library.call("tbabs", [[0.5], [3.0]], EDGES) * scattered
    assert_allclose(flux, absorbed * np.array([[7.0], [1.0]]), rtol=1e-14)


def test_abundances_and_cross_sections_are_those_of_the_library_asked(library: XspecLibrary) -> None:
    with XspecLibrary(abund="angr") as angr, XspecLibrary(xsect="bcmc") as bcmc:
        reference = library.call("TBabs", [[1.0]], EDGES)
        assert np.abs(angr.call("TBabs", [[1.0]], EDGES) - reference).max() > 0.01
        # TBabs has cross-sections of its own; phabs follows the setting.
        assert_array_equal(bcmc.call("TBabs", [[1.0]], EDGES), reference)
        assert np.abs(bcmc.call("phabs", [[1.0]], EDGES) - library.call("phabs", [[1.0]], EDGES)).max() > 1e-4


def test_two_libraries_give_bit_identical_answers(library: XspecLibrary) -> None:
    theta = [[0.5, 2.5, 0.1, 1, 0.5, 7.0]]
    with XspecLibrary() as other:
        assert_array_equal(
            other.evaluate("TBabs*simpl*ezdiskbb", theta, EDGES), library.evaluate("TBabs*simpl*ezdiskbb", theta, EDGES)
        )


def test_the_library_prints_nothing(library: XspecLibrary, capfd: pytest.CaptureFixture[str]) -> None:
    with XspecLibrary() as other:
        other.call("TBabs", [[1.0]], EDGES)
    assert capfd.readouterr() == ("", "")


def test_an_answer_of_zeros_is_refused(library: XspecLibrary) -> None:
    with pytest.raises(ModelError, match=r"bbody at 0\.001: zero in every bin; widen the energy grid"):
        library.call("bbody", [[1.0], [0.001]], [5.0, 6.0, 7.0])
    assert library.call("powerlaw", [[2.0]], EDGES).shape == (1, 400)


def test_an_answer_that_is_not_finite_is_refused(library: XspecLibrary) -> None:
    with pytest.raises(ModelError, match=r"powerlaw at -400: not finite in .* of 400 bins; stay inside"):
        library.call("powerlaw", [[-400.0]], EDGES)


@pytest.mark.parametrize(
    ("component", "parameters", "edges", "flux_in", "message"),
    [
        ("tbasb", [[1.0]], EDGES, None, "tbasb: not a component that the bridge offers; did you mean 'TBabs'"),
        ("apec", [[1.0]], EDGES, None, "apec: it needs XSPEC's modelData"),
        ("powerlaw", [[1.0, 2.0]], EDGES, None, r"powerlaw: parameters of shape \(1, 2\); give \(n, 1\): PhoIndex"),
        ("powerlaw", [1.0], EDGES, None, r"powerlaw: parameters of shape \(1,\)"),
        ("powerlaw", [[np.nan]], EDGES, None, "powerlaw: PhoIndex is nan in row 0; give a finite value"),
        ("powerlaw", [[1.0]], EDGES[::-1], None, "powerlaw: energy_edges must be finite, increasing"),
        ("powerlaw", [[1.0]], [0.0, 1.0], None, r"powerlaw: energy_edges start at 0\.0 keV; start above 0"),
        ("powerlaw", [[1.0]], EDGES, np.ones(400), "powerlaw: it is additive; flux_in goes with convolutions"),
        ("simpl", [[2.0, 0.1, 1.0]], EDGES, None, "simpl: it is convolution; flux_in goes with convolutions"),
        ("simpl", [[2.0, 0.1, 1.0]], EDGES, np.ones(3), r"simpl: flux_in has shape \(3,\); give \(1, 400\)"),
    ],
)
def test_wrong_arguments_are_named(
    library: XspecLibrary, component: str, parameters: object, edges: object, flux_in: object, message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        library.call(component, parameters, edges, flux_in)


@pytest.mark.parametrize("text", ["TBabs", "powerlaw*TBabs", "powerlaw*bbody"])
def test_an_expression_that_is_no_product_is_refused(library: XspecLibrary, text: str) -> None:
    with pytest.raises(ModelError, match="with one additive component, last"):
        library.evaluate(text, [[1.0, 1.0, 1.0]], EDGES)


@pytest.mark.parametrize(
    ("setting", "message"), [({"abund": "wlm"}, "abund 'wlm'.*'wilm'"), ({"xsect": "x"}, "xsect 'x'")]
)
def test_an_unknown_table_is_refused(setting: dict[str, str], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        XspecLibrary(**setting)


def test_a_missing_extra_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xspectrampoline", None)
    with pytest.raises(MissingExtraError, match=re.escape("pip install 'xrayflow[xspec]'")):
        XspecLibrary()


def test_the_death_of_the_process_is_reported() -> None:
    pytest.importorskip("xspectrampoline")
    with XspecLibrary() as library:
        os.kill(library.pid, signal.SIGKILL)
        with pytest.raises(XrayflowError, match="ended with signal 9; open a new XspecLibrary"):
            library.call("powerlaw", [[2.0]], EDGES)


def test_an_interrupted_request_leaves_no_answer_for_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("xspectrampoline")

    def interrupt(connection: object) -> bytes:
        raise KeyboardInterrupt

    with XspecLibrary() as library:
        with monkeypatch.context() as patch:
            patch.setattr(Connection, "recv_bytes", interrupt)
            with pytest.raises(KeyboardInterrupt):
                library.call("powerlaw", [[2.0]], EDGES)
        with pytest.raises(XrayflowError, match="ended with signal 9"):
            library.call("powerlaw", [[1.0]], EDGES)


def test_a_library_that_does_not_start_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("xspectrampoline")
    monkeypatch.setattr(xspec, "_make_headas", lambda folder, wheel: None)
    with pytest.raises(XrayflowError, match=r"ended with exit code 1 \(.*NoLibXSPEC"):
        XspecLibrary()


def test_a_closed_library_says_so() -> None:
    pytest.importorskip("xspectrampoline")
    with XspecLibrary() as library:
        folder = library._folder.name
    with pytest.raises(XrayflowError, match="it is closed"):
        library.call("powerlaw", [[2.0]], EDGES)
    assert not Path(folder).exists()
