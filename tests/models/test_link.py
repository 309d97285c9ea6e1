"""Links: their grammar, their values, derivatives and bounds, and models that hold them."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from xrayflow.errors import ModelError
from xrayflow.models import Model, flux_and_jacobian, parse_model
from xrayflow.models.link import Name, Number, Operation, Term, bounds, differentiate, evaluate, parse_link

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")
EDGES = torch.logspace(-2, 2, 101, dtype=torch.float64)
NAMES = ("a.x", "a.y", "b_2.z")

TERMS = st.recursive(
    st.sampled_from([Name(name) for name in NAMES]) | st.floats(0.1, 9.0).map(lambda value: Number(round(value, 3))),
    lambda inner: st.builds(Operation, st.sampled_from("+-*/"), inner, inner),
    max_leaves=8,
)
VALUES = st.fixed_dictionaries({name: st.floats(0.5, 2.0) for name in NAMES})


def written(term: Term) -> str:
    """A term with all its brackets, as Python reads it too."""
    if isinstance(term, Operation):
        return f"({written(term.left)} {term.sign} {written(term.right)})"
    return term.name if isinstance(term, Name) else repr(term.value)


def as_python(text: str, values: dict[str, float]) -> float:
    """The oracle: Python's own arithmetic."""
    for name, value in values.items():
        text = text.replace(name, f"({value!r})")
    return float(eval(text))


@given(term=TERMS, values=VALUES)
@settings(deadline=None)
def test_a_link_means_what_python_means_by_it(term: Term, values: dict[str, float]) -> None:
    text = written(term)
    try:
        expected = as_python(text, values)
    except ZeroDivisionError:
        return
    assert evaluate(parse_link("c.w", text, NAMES).term, values) == expected


@pytest.mark.parametrize(
    "text",
    ["1-2-3", "8/4/2", "2*a.x-a.y/4+1", "-a.x*-a.y", "--a.x", "2*(a.x-(a.y+1.5e-1))", "1E+1*a.x", ".5*a.x", "3.-a.y"],
)
def test_signs_bind_as_in_arithmetic(text: str) -> None:
    values = {"a.x": 1.7, "a.y": 0.3, "b_2.z": 1.0}
    assert evaluate(parse_link("c.w", text, NAMES).term, values) == pytest.approx(as_python(text, values), rel=1e-15)


@given(term=TERMS, values=VALUES)
@settings(deadline=None)
def test_the_derivative_is_that_of_torch(term: Term, values: dict[str, float]) -> None:
    tensors = {name: torch.tensor(value, dtype=torch.float64, requires_grad=True) for name, value in values.items()}
    try:
        value = torch.as_tensor(evaluate(term, tensors), dtype=torch.float64)
        slopes = {name: evaluate(differentiate(term, name), values) for name in values}
    except ZeroDivisionError:
        return
    if not value.requires_grad or not abs(float(value.detach())) < 1e6:
        return
    exact = torch.autograd.grad(value, list(tensors.values()), allow_unused=True)
    for name, slope in zip(values, exact, strict=True):
        expected = 0.0 if slope is None else float(slope)
        if math.isfinite(expected) and abs(expected) < 1e6:
            assert slopes[name] == pytest.approx(expected, rel=1e-6, abs=1e-6)


@given(term=TERMS, values=VALUES)
@settings(deadline=None)
def test_a_value_lies_within_the_bounds(term: Term, values: dict[str, float]) -> None:
    low, high = bounds(term, dict.fromkeys(NAMES, (0.5, 2.0)))
    if math.isnan(low) or math.isnan(high):
        return
    try:
        value = evaluate(term, values)
    except ZeroDivisionError:
        return
    slack = 1e-9 * (1.0 + abs(value))
    assert low - slack <= value <= high + slack


def test_a_link_keeps_its_text_in_the_names_of_the_model() -> None:
    link = parse_link("c.w", " 2 * A.X - b_2.Z ", NAMES)
    assert (link.text, link.names) == ("2*a.x-b_2.z", ("a.x", "b_2.z"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "found the end, expected a parameter, a number or \\("),
        ("2*", "found the end, expected a parameter"),
        ("2**a.x", r"found '\*', expected a parameter"),
        ("(a.x", r"found the end, expected \+, -, \*, / or \)"),
        ("a.x)", r"found '\)', expected \+, -, \*, / or the end"),
        ("a.x a.y", "found 'a.y', expected"),
        ("a.x^2", r"found '\^', expected"),
        ("a.xx", "link 'c.w=a.xx': no parameter 'a.xx'; did you mean 'a.x'"),
        ("exp(a.x)", "no parameter 'exp'"),
        ("__import__('os')", "no parameter '__import__'"),
        ("²", "link 'c.w=²': found '²', expected a parameter, a number or"),
        ("a.x*\u0663", "found '\u0663', expected a parameter, a number or"),
        ("1e999", "found '1e999', expected a number that is not so large"),
        ("9" * 5000, "expected a number that is not so large"),
        ("(" * 500 + "a.x" + ")" * 500, "more than 30 brackets and signs within each other"),
        ("-" * 500 + "a.x", "more than 30 brackets and signs within each other"),
        ("+".join(["a.x"] * 1000), "more than 100 names and numbers; leave some out"),
        ("(" * 100_000, "100000 characters; give at most 10000"),
    ],
)
def test_what_is_no_link_is_refused_in_words(text: str, message: str) -> None:
    with pytest.raises(ModelError, match=message) as found:
        parse_link("c.w", text, NAMES)
    assert len(str(found.value)) < 1000


def test_the_largest_link_is_read_and_differentiated() -> None:
    values = {"a.x": 0.5, "a.y": 2.0}
    link = parse_link("c.w", "(" * 30 + "/".join(["a.x", *["a.y"] * 99]) + ")" * 30, NAMES)
    assert evaluate(link.term, values) == 0.5 * 2.0**-99
    assert evaluate(differentiate(link.term, "a.x"), values) == 2.0**-99
    assert bounds(link.term, dict.fromkeys(NAMES, (0.5, 1.0))) == (0.5, 2.0**99)


LINKED = (
    parse_model("TBabs*(gaussian+gaussian)").link({"gaussian_3.Sigma": "gaussian.Sigma"}),
    parse_model("TBabs*simpl*(diskbb+bbodyrad)").link(
        {"bbodyrad.kT": "2*diskbb.Tin + 0.1", "bbodyrad.norm": "diskbb.norm/(1 + simpl.FracSctr)"}
    ),
    # a chain through every kind of component, a frozen link, and two links to one parameter
    parse_model("constant*phabs*(powerlaw+simpl*bbody+constant*powerlaw)")
    .freeze({"bbody.norm": 0.3})
    .link(
        {
            "constant.factor": "phabs.nH*2",
            "powerlaw_7.PhoIndex": "simpl.Gamma - 0.5",
            "simpl.Gamma": "powerlaw.PhoIndex + 1",
            "constant_6.factor": "2*bbody.norm",
            "powerlaw_7.norm": "powerlaw.norm*powerlaw.PhoIndex",
        }
    ),
)


def some_theta(model: Model, seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    values = torch.tensor([parameter.value for parameter in model.free], dtype=torch.float64)
    return values * (0.8 + 0.4 * torch.rand(3, len(values), generator=generator, dtype=torch.float64))


@pytest.mark.parametrize("model", LINKED, ids=lambda model: model.text)
def test_a_linked_parameter_is_what_its_expression_gives(model: Model) -> None:
    theta = some_theta(model)
    values = model.values(theta)
    plain = parse_model(model.text)
    thawed = values[:, [not parameter.is_switch for parameter in plain.parameters]]
    torch.testing.assert_close(model.photon_flux(theta, EDGES), plain.photon_flux(thawed, EDGES))
    by_name = {parameter.name: values[:, i] for i, parameter in enumerate(model.parameters)}
    for parameter in model.parameters:
        if parameter.link is not None:
            assert parameter.name not in model.names
            torch.testing.assert_close(by_name[parameter.name] + 0.0, evaluate(parameter.link.term, by_name) + 0.0)


@pytest.mark.parametrize("model", LINKED, ids=lambda model: model.text)
def test_derivatives_through_links_agree_with_finite_differences(model: Model) -> None:
    flux, theta = model.on(EDGES), some_theta(model)
    photons, jacobian = flux_and_jacobian(flux, theta)
    torch.testing.assert_close(photons, flux(theta))
    for i in range(theta.shape[1]):
        step = torch.zeros_like(theta)
        step[:, i] = 1e-5 * theta[:, i]
        difference = (flux(theta + step) - flux(theta - step)) / (2.0 * step[:, i : i + 1])
        torch.testing.assert_close(jacobian[i], difference, rtol=1e-5, atol=1e-8 * float(difference.abs().max()))


def test_values_follow_what_they_are_linked_to() -> None:
    model = parse_model("gaussian+gaussian").link({"gaussian_2.LineE": "1.5*gaussian.LineE"})
    value = {p.name: p.value for p in model.freeze({"gaussian.LineE": 4.0}).parameters}["gaussian_2.LineE"]
    assert value == 6.0


def test_freezing_or_thawing_a_linked_parameter_cuts_its_link() -> None:
    model = parse_model("gaussian+gaussian").link({"gaussian_2.Sigma": "gaussian.Sigma"})
    assert "gaussian_2.Sigma" in model.thaw("gaussian_2.Sigma").names
    frozen = model.freeze({"gaussian_2.Sigma": 0.2})
    assert all(parameter.link is None for parameter in frozen.parameters)
    assert "gaussian_2.Sigma" not in frozen.names


@pytest.mark.parametrize(
    ("links", "message"),
    [
        ({"gaussian.Sigma": "gaussian.Sigma"}, "leads into a circle: gaussian.Sigma -> gaussian.Sigma; cut one link"),
        (
            {"gaussian.Sigma": "gaussian_4.Sigma/2", "gaussian_4.Sigma": "2*gaussian.Sigma"},
            "circle: gaussian.Sigma -> gaussian_4.Sigma -> gaussian.Sigma",
        ),
        ({"gaussian.Sgma": "1"}, "has no parameter 'gaussian.Sgma'; did you mean 'gaussian.Sigma'"),
        ({"simpl.UpScOnly": "1"}, "simpl.UpScOnly selects a formula and cannot be linked"),
        (
            {"gaussian.Sigma": "-gaussian_4.Sigma"},
            r"at gaussian_4.Sigma=0\.1: gaussian.Sigma: -0\.1 is outside",
        ),
        ({"gaussian.Sigma": "1/(gaussian_4.Sigma-0.1)"}, r"divides by 0 at gaussian_4.Sigma=0\.1; change"),
        ({"gaussian.Sigma": "30"}, r"at any theta: gaussian.Sigma: 30 is outside its limits 0 \.\. 20"),
    ],
)
def test_links_that_cannot_be_are_refused(links: dict[str, str], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        parse_model("simpl*(powerlaw+gaussian+gaussian)").link(links)


def test_a_link_that_can_leave_the_limits_is_refused_for_the_prior_it_has() -> None:
    model = parse_model("gaussian+gaussian").link({"gaussian_2.Sigma": "3*gaussian.Sigma"})
    with pytest.raises(ModelError, match=r"gives 0\.003 \.\. 30 for gaussian.Sigma=0\.001:10, beyond its limits"):
        model.check_links()
    model.check_links({"gaussian.Sigma": (0.001, 6.0)})


def test_limits_are_followed_through_a_chain_and_through_frozen_values() -> None:
    model = parse_model("gaussian+gaussian+gaussian").freeze({"gaussian.Sigma": 5.0})
    chain = {"gaussian_2.Sigma": "2*gaussian.Sigma", "gaussian_3.Sigma": "gaussian_2.Sigma+gaussian.LineE"}
    with pytest.raises(ModelError, match=r"gaussian_3.Sigma=.* gives 10\.1 \.\. 30 for"):
        model.link(chain).check_links()
    model.link(chain).check_links({"gaussian.LineE": (1.0, 10.0)})


def test_a_prior_that_crosses_a_gap_is_refused() -> None:
    model = parse_model("simplcutx*powerlaw").thaw("simplcutx.kT_e")
    model.check_links()
    with pytest.raises(
        ModelError, match=r"simplcutx.kT_e: -10 \.\. 10 reaches into -1 \.\. 1, where its formula changes"
    ):
        model.check_links({"simplcutx.kT_e": (-10.0, 10.0)})
