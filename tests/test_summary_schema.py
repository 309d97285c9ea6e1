"""`summary.json`, `fit --json` and the demo's fits hold to schema_version 1, field by field."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from answer_zoo import TRUTH, carried_by_few, first_parameters, toy_posterior
from xrayflow.files import to_json
from xrayflow.inference import Posterior
from xrayflow.products import located_summary, write_products

Check = Callable[[Any], bool]


def number(lo: float = -1e300, hi: float = 1e300) -> Check:
    """A finite number in a range."""
    return lambda value: isinstance(value, int | float) and not isinstance(value, bool) and lo <= value <= hi


def whole(lo: int = 0) -> Check:
    """A whole number, not below `lo`."""
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= lo


def text(value: Any) -> bool:
    """Words, some."""
    return isinstance(value, str) and value != ""


def one_of(*values: Any) -> Check:
    """One of these."""
    return lambda value: value in values


def or_null(check: Check) -> Check:
    """The same or null."""
    return lambda value: value is None or check(value)


def each(check: Check) -> Check:
    """A list whose items all pass."""
    return lambda value: isinstance(value, list) and all(check(item) for item in value)


def named(check: Check) -> Check:
    """An object of any names whose values all pass."""
    return lambda value: isinstance(value, dict) and all(text(name) and check(item) for name, item in value.items())


def pair(value: Any) -> bool:
    """[lo, hi]."""
    return isinstance(value, list) and len(value) == 2 and all(map(number(), value)) and value[0] < value[1]


def fields(**checks: Check) -> Check:
    """An object with exactly these fields."""
    return lambda value: isinstance(value, dict) and not problems(value, checks)


def problems(found: dict[str, Any], checks: dict[str, Check]) -> list[str]:
    """What is missing, too much, or wrong in an object."""
    wrong = [f"{name} is missing" for name in checks if name not in found]
    wrong += [f"{name} is not in the schema" for name in found if name not in checks]
    return wrong + [
        f"{name}: {found[name]!r}" for name, check in checks.items() if name in found and not check(found[name])
    ]


def ordered(value: Any) -> bool:
    """A parameter's numbers, in the order of its quantiles."""
    check = fields(
        unit=lambda unit: isinstance(unit, str),
        frozen=one_of(True, False),
        **{name: number() for name in ("best", "median", "lower68", "upper68", "lower90", "upper90")},
    )
    levels = ("lower90", "lower68", "median", "upper68", "upper90")
    return check(value) and [value[name] for name in levels] == sorted(value[name] for name in levels)


LINE = fields(
    energy=number(lo=0.0),
    width=number(lo=0.0),
    significance=number(),
    p_value=number(0.0, 1.0),
    equivalent_width=number(),
)


def quantiles(value: Any) -> bool:
    """The numbers of what follows from the parameters, in the order of its quantiles."""
    return ordered(value | {"frozen": False}) if isinstance(value, dict) and "frozen" not in value else False


FLUX = fields(energy=quantiles, photons=quantiles)

SCHEMA: dict[str, Check] = {
    "schema_version": one_of(1),
    "source": lambda value: isinstance(value, str),
    "observations": lambda value: (
        len(value) == 1
        and each(
            fields(
                pha=text,
                rmf=text,
                arf=or_null(text),
                background=or_null(text),
                sha256=named(lambda digest: text(digest) and len(digest) == 64),
                exposure=number(lo=1e-9),
                counts=number(),
                bins=whole(1),
            )
        )(value)
    ),
    "model": text,
    "abund": text,
    "xsect": text,
    "network": or_null(text),
    "mode": one_of("exact", "amortised"),
    "energies": lambda value: value != [] and each(pair)(value),
    "energy_grid": text,
    "grouping": text,
    "statistic": fields(name=text, value=number(), dof=whole(), reason=text),
    "likelihood": fields(name=text, kind=one_of("exact", "approximate", "profile")),
    "deviance": fields(value=number(), dof=whole()),
    "systematic": number(0.0, 0.5),
    "calibration": or_null(fields(name=text, sha256=text, amplitude=number(lo=0.0))),
    "parameters": lambda value: value != {} and named(ordered)(value),
    "nuisances": named(ordered),
    "fluxes": lambda value: (
        value != [] and each(fields(band=pair, extrapolated=one_of(True, False), absorbed=FLUX, unabsorbed=FLUX))(value)
    ),
    "prior": named(text),
    "draws": whole(1),
    "ess": number(lo=1.0),
    "efficiency": number(0.0, 1.0),
    "pareto_k": or_null(number()),
    "log_evidence": or_null(number()),
    "log_evidence_error": or_null(number(lo=0.0)),
    "computation": fields(status=one_of("certified", "approximate", "failed"), reasons=each(text)),
    "fit": fields(
        status=one_of("acceptable", "poor", "bad"),
        p_value=number(0.0, 1.0),
        worst_energies=each(pair),
        reasons=each(text),
    ),
    "misfit": or_null(
        fields(
            line=LINE,
            iron=or_null(LINE),
            gain_evidence=number(),
            gain_offset=number(),
            gain_slope=number(),
            gain_sd=number(lo=0.0),
            continuum=or_null(
                fields(
                    temperature=number(lo=0.0), significance=number(), p_value=number(0.0, 1.0), share=number(0.0, 1.0)
                )
            ),
        )
    ),
    "flags": each(text),
    "verdict": one_of("certified", "approximate", "do-not-trust"),
    "reasons": lambda value: value != [] and each(text)(value),
    "seed": whole(),
    "seconds": fields(**{step: number(lo=0.0) for step in ("read", "propose", "optimise", "certify", "total")}),
    "evaluations": fields(draws=whole(1), tails=whole(0), optimise=whole(1)),
    "versions": named(text),
    "products": named(text),
}


def validate(summary: dict[str, Any], truth: bool = False) -> list[str]:
    """What a summary has wrong."""
    return problems(summary, SCHEMA | ({"truth": named(number())} if truth else {}))


def as_read(posterior: Posterior) -> dict[str, Any]:
    """The summary after its way through JSON."""
    summary: dict[str, Any] = json.loads(to_json(located_summary(posterior, {"corner": Path("a", "corner.png")})))
    return summary


@pytest.mark.parametrize("background", [False, True])
def test_the_summary_of_a_fit_holds_to_the_schema(background: bool) -> None:
    assert validate(as_read(toy_posterior(background=background))) == []


def test_a_known_truth_comes_with_the_summary() -> None:
    assert validate(as_read(replace(toy_posterior(), truth=TRUTH)), truth=True) == []


def test_frozen_parameters_are_in_the_summary() -> None:
    summary = as_read(first_parameters(toy_posterior(), 1))
    assert validate(summary) == []
    assert summary["parameters"]["powerlaw.PhoIndex"]["frozen"] is True


def test_a_failed_answer_holds_to_the_schema() -> None:
    assert validate(as_read(carried_by_few(toy_posterior()))) == []


def test_the_written_file_holds_to_the_schema_and_leads_to_its_neighbours(tmp_path: Path) -> None:
    products = write_products(toy_posterior(), tmp_path)
    summary = json.loads(products["summary"].read_text(encoding="utf-8"))
    assert validate(summary) == []
    assert set(summary["products"]) == {
        "summary",
        "draws",
        "answer",
        "chain",
        "xcm",
        "corner",
        "spectrum",
        "bins",
        "report",
    }
    assert all((tmp_path / name).is_file() for name in summary["products"].values())


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"verdict": "fine"}, "verdict: 'fine'"),
        ({"ess": None}, "ess: None"),
        ({"extra": 1}, "extra is not in the schema"),
        ({"parameters": {}}, "parameters: {}"),
        ({"seconds": {"total": 1.0}}, "seconds: {'total': 1.0}"),
    ],
)
def test_the_validator_sees_what_is_wrong(change: dict[str, Any], complaint: str) -> None:
    assert validate(as_read(toy_posterior()) | change) == [complaint]


def test_the_validator_sees_what_is_missing() -> None:
    summary = as_read(toy_posterior())
    del summary["deviance"]
    assert validate(summary) == ["deviance is missing"]
