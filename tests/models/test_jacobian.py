"""The derivatives through the structure of a model are those of forward mode through all of it."""

from __future__ import annotations

import pytest
import torch

from xrayflow.models import Model, parse_model
from xrayflow.models.jacobian import flux_and_jacobian

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")
EDGES = torch.logspace(-2, 2, 101, dtype=torch.float64)
MODELS = (
    parse_model("TBabs*simpl*ezdiskbb"),
    parse_model("TBabs*simpl*ezdiskbb").freeze({"TBabs.nH": 0.3, "ezdiskbb.T_max": 0.5}),
    parse_model("constant*TBabs*(powerlaw+simpl*(diskbb+bbodyrad)+gaussian)"),
    parse_model("phabs*edge*powerlaw"),
    parse_model("simpl*powerlaw").freeze({"simpl.UpScOnly": 0.0}),
    parse_model("TBabs*simplcutx*ezdiskbb"),
    parse_model("simplcutx*powerlaw").freeze({"simplcutx.kT_e": -30.0}),
    parse_model("simplcutx*bbody").thaw("simplcutx.kT_e"),
)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.text)
def test_photons_and_derivatives_agree_with_forward_mode(model: Model) -> None:
    generator = torch.Generator().manual_seed(1)
    values = torch.tensor([parameter.value for parameter in model.free], dtype=torch.float64)
    theta = values * (0.8 + 0.4 * torch.rand(3, len(values), generator=generator, dtype=torch.float64))
    flux = model.on(EDGES)
    photons, jacobian = flux_and_jacobian(flux, theta)
    torch.testing.assert_close(photons, flux(theta))
    expected = torch.func.vmap(torch.func.jacfwd(flux))(theta)
    for ours, exact in zip(jacobian, expected.movedim(-1, 0), strict=True):
        torch.testing.assert_close(ours, exact, rtol=1e-5, atol=1e-9 * float(exact.abs().max()))


@pytest.mark.parametrize("model", MODELS[:4], ids=lambda model: model.text)
def test_derivatives_in_single_precision_are_good_to_1e_3_of_the_largest(model: Model) -> None:
    theta = torch.tensor([[parameter.value for parameter in model.free]], dtype=torch.float64)
    exact = flux_and_jacobian(model.on(EDGES), theta)[1]
    rough = flux_and_jacobian(model.on(EDGES, torch.float32), theta.float())[1].double()
    for ours, best in zip(rough, exact, strict=True):
        torch.testing.assert_close(ours, best, rtol=2e-3, atol=1e-3 * float(best.abs().max()))
