"""Models: parameters, freezing, algebra in numbers, batches, derivatives."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch

from xrayflow.errors import ModelError
from xrayflow.models import Model, parse_model
from xrayflow.models import model as model_module

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")
EDGES = torch.logspace(-2, 2, 301, dtype=torch.float64)
TEXT = "TBabs*simpl*ezdiskbb"
THETA = torch.tensor([[0.3, 2.2, 0.1, 0.4, 2e4], [1.0, 1.5, 0.02, 1.2, 30.0], [6.0, 3.0, 0.9, 0.1, 1e6]]).double()


def test_parameters_have_xspecs_names_and_the_switch_is_frozen() -> None:
    model = parse_model(TEXT)
    assert model.names == ("TBabs.nH", "simpl.Gamma", "simpl.FracSctr", "ezdiskbb.T_max", "ezdiskbb.norm")
    assert [parameter.name for parameter in model.parameters if parameter.frozen] == ["simpl.UpScOnly"]
    assert model.has_convolution
    assert not parse_model("TBabs*powerlaw").has_convolution


def test_the_text_is_the_structure_and_gives_the_model_back() -> None:
    assert parse_model(parse_model("tb(simpl(ezdisk))").text) == parse_model(TEXT)


def test_the_prior_box_is_that_of_the_paper() -> None:
    boxes = {parameter.name: (parameter.box, parameter.scale) for parameter in parse_model(TEXT).free}
    assert boxes == {
        "TBabs.nH": ((5e-3, 75.0), "log"),
        "simpl.Gamma": ((1.3, 4.0), "linear"),
        "simpl.FracSctr": ((1e-3, 1.0), "log"),
        "ezdiskbb.T_max": ((0.025, 4.0), "log"),
        "ezdiskbb.norm": ((1e-2, 1e10), "log"),
    }


def test_a_frozen_parameter_leaves_theta_and_changes_nothing_else() -> None:
    model = parse_model(TEXT)
    frozen = model.freeze({"tbabs.nh": 0.3, "ezdiskbb.T_max": 0.4})
    assert frozen.names == ("simpl.Gamma", "simpl.FracSctr", "ezdiskbb.norm")
    expected = model.photon_flux(THETA[:1], EDGES)
    torch.testing.assert_close(frozen.photon_flux(THETA[:1, [1, 2, 4]], EDGES), expected)
    assert frozen.thaw("TBabs.nH", "ezdiskbb.T_max").names == model.names


def test_with_everything_frozen_each_row_has_the_same_photons() -> None:
    model = parse_model("TBabs*powerlaw").freeze({"TBabs.nH": 1.0, "powerlaw.PhoIndex": 2.0, "powerlaw.norm": 1.0})
    assert model.photon_flux(torch.empty(4, 0, dtype=torch.float64), EDGES).shape == (4, 300)


def test_a_sum_adds_and_a_product_acts_on_all_of_it() -> None:
    both = parse_model("TBabs*(powerlaw+diskbb)")
    theta = torch.tensor([0.4, 1.7, 0.5, 0.9, 20.0], dtype=torch.float64)
    parts = parse_model("TBabs*powerlaw").photon_flux(theta[:3], EDGES)
    parts = parts + parse_model("TBabs*diskbb").photon_flux(theta[[0, 3, 4]], EDGES)
    torch.testing.assert_close(both.photon_flux(theta, EDGES), parts)


def test_repeated_components_have_parameters_of_their_own() -> None:
    model = parse_model("phabs*(gaussian+gaussian)")
    assert "gaussian_3.LineE" in model.names
    assert len(set(model.names)) == len(model.names) == 7


def test_a_convolution_acts_on_everything_to_its_right() -> None:
    theta = torch.tensor([2.0, 0.3, 0.5, 1.0, 0.4], dtype=torch.float64)
    inside = parse_model("simpl*TBabs*ezdiskbb")
    outside = parse_model("TBabs*simpl*ezdiskbb")
    assert inside.names[:2] == ("simpl.Gamma", "simpl.FracSctr")
    first = inside.photon_flux(theta[[0, 1, 4, 2, 3]], EDGES)
    second = outside.photon_flux(theta[[4, 0, 1, 2, 3]], EDGES)
    assert float((first / second)[100]) != pytest.approx(1.0, rel=1e-3)


def test_rows_do_not_know_of_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    flux = parse_model(TEXT).on(EDGES)
    whole = flux(THETA)
    monkeypatch.setattr(model_module, "CHUNK_ELEMENTS", 600)
    torch.testing.assert_close(flux(THETA), whole, rtol=1e-13, atol=0.0)
    torch.testing.assert_close(flux(THETA[1]), whole[1], rtol=1e-13, atol=0.0)
    torch.testing.assert_close(flux(THETA.reshape(3, 1, 5)), whole.reshape(3, 1, 300), rtol=1e-13, atol=0.0)


def test_forward_reverse_and_vmapped_derivatives_agree() -> None:
    flux = parse_model(TEXT).on(EDGES)
    forward = torch.func.vmap(torch.func.jacfwd(flux))(THETA)
    reverse = torch.func.vmap(torch.func.jacrev(flux))(THETA)
    torch.testing.assert_close(forward, reverse, rtol=1e-9, atol=1e-30)
    direction = torch.zeros_like(THETA).index_fill_(1, torch.tensor([3]), 1.0)
    torch.testing.assert_close(torch.func.jvp(flux, (THETA,), (direction,))[1], forward[..., 3])
    torch.testing.assert_close(torch.func.vmap(flux)(THETA), flux(THETA))


def test_the_gradient_is_right() -> None:
    flux = parse_model(TEXT).on(torch.logspace(-1, 1, 8, dtype=torch.float64))
    theta = torch.tensor([[0.3, 2.2, 0.1, 0.8, 2.0]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(flux, (theta,), check_forward_ad=True)


def test_single_precision_is_good_to_1e_4() -> None:
    rough = parse_model(TEXT).photon_flux(THETA.float(), EDGES)
    exact = parse_model(TEXT).photon_flux(THETA, EDGES)
    assert rough.dtype == torch.float32
    seen = exact > 1e-12 * exact.amax(dim=-1, keepdim=True)
    assert float((rough / exact - 1.0).abs()[seen].max()) < 1e-4


@pytest.mark.parametrize("name", ["TBabs.nh2", "nH"])
def test_an_unknown_parameter_is_refused_with_the_nearest_name(name: str) -> None:
    with pytest.raises(ModelError, match=r"TBabs\*powerlaw has no parameter '.*'; (did you mean 'TBabs.nH'|known)"):
        parse_model("TBabs*powerlaw").freeze({name: 1.0})


def test_unknown_abundances_are_refused() -> None:
    with pytest.raises(ModelError, match="unknown abundances 'wilms'; did you mean 'wilm'"):
        parse_model("TBabs*powerlaw", abund="wilms")


@pytest.mark.parametrize(
    ("xsect", "message"),
    [
        ("bcmc", "cross-sections 'bcmc' are not implemented; use vern, or fit with xsect bcmc in XSPEC"),
        ("verne", "unknown cross-sections 'verne'; use vern"),
    ],
)
def test_other_cross_sections_are_refused(xsect: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        parse_model("TBabs*powerlaw", xsect=xsect)


def test_a_model_without_an_additive_component_makes_no_photons() -> None:
    with pytest.raises(ModelError, match=r"TBabs\*constant has no additive component"):
        parse_model("TBabs*constant").on(EDGES)


def test_a_theta_of_the_wrong_width_or_precision_is_refused() -> None:
    flux = parse_model("TBabs*powerlaw").on(EDGES)
    with pytest.raises(ModelError, match=r"theta has 2 columns, TBabs\*powerlaw has 3 free parameters"):
        flux(torch.ones(2, dtype=torch.float64))
    with pytest.raises(ModelError, match=r"theta is torch\.float32, the model was bound in torch\.float64"):
        flux(torch.ones(3))


@pytest.mark.parametrize("change", [Model.freeze, Model.link], ids=["freeze", "link"])
def test_a_parameter_that_is_named_twice_is_refused(change: Callable[[Model, dict[str, Any]], Model]) -> None:
    with pytest.raises(ModelError, match=r"TBabs\.nH is given twice, 1 and 2; give it once"):
        change(parse_model("TBabs*powerlaw"), {"TBabs.nH": "1", "tbabs.nh": "2"})


def test_the_identity_tells_all_that_the_components_compute_from() -> None:
    model = parse_model("tb*po")
    assert model.identity == "TBabs*powerlaw (abund wilm, xsect vern)"
    assert model.freeze({"TBabs.nH": 1.0}).identity == model.identity
    assert len({model.identity, parse_model("tb*po", "angr").identity, parse_model("pha*po").identity}) == 3


def test_a_model_travels_as_a_pickle_with_what_is_frozen_and_linked() -> None:
    model = parse_model("TBabs*(simpl*ezdiskbb+gaussian+gaussian)", "angr").freeze({"TBabs.nH": 0.3})
    model = model.link({"gaussian_5.Sigma": "2*gaussian.Sigma"}).thaw("simpl.Gamma")
    again = pickle.loads(pickle.dumps(model))
    assert again == model
    assert again.names == model.names
    theta = torch.tensor([2.0, 0.2, 0.8, 100.0, 6.4, 0.1, 1e-3, 6.9, 1e-3], dtype=torch.float64)
    edges = torch.linspace(0.5, 10.0, 50, dtype=torch.float64)
    assert torch.equal(again.photon_flux(theta, edges), model.photon_flux(theta, edges))
