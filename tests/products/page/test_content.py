"""What the page says, beside the words that terminal and summary share."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from answer_zoo import altered, toy_posterior
from xrayflow.products.page.content import FLAGS, content
from xrayflow.products.tables import in_words
from xrayflow.statistics import BackgroundTreatment

SOURCE = Path(__file__).resolve().parents[3] / "src" / "xrayflow"


def test_parameters_are_those_of_the_summary_with_their_priors() -> None:
    posterior = toy_posterior()
    rows = content(posterior)["parameters"]
    assert [row["name"].rstrip("*") for row in rows] == list(posterior.names)
    summary = posterior.summary()
    for row in rows:
        assert row["prior"] == summary["prior"][row["name"].rstrip("*")]
        assert float(row["median"]) == pytest.approx(summary["parameters"][row["name"].rstrip("*")]["median"], rel=0.05)


def test_frozen_linked_and_limited_parameters_say_so() -> None:
    posterior = toy_posterior()
    model = posterior.model.link({"powerlaw.norm": "0.03*powerlaw.PhoIndex"}).freeze({"TBabs.nH": 0.2})
    rest = replace(posterior.prior, marginals=posterior.prior.marginals[1:2])
    held = altered(posterior, model=model, prior=rest, draws=posterior.draws[:, 1:2], best=posterior.best[1:2])
    held = replace(held, flags=("lower_limit:powerlaw.PhoIndex", "prior_dominated:powerlaw.PhoIndex"))
    rows = {row["name"]: row for row in content(held)["parameters"]}
    assert rows["TBabs.nH"]["outer"] == "frozen"
    assert rows["powerlaw.PhoIndex*"]["outer"].startswith("> ")
    assert rows["powerlaw.norm"]["prior"] == "= 0.03*powerlaw.PhoIndex"
    assert rows["powerlaw.norm"]["outer"]


def test_every_flag_has_words() -> None:
    text = "\n".join(
        (SOURCE / "inference" / "checks" / name).read_text() for name in ("verdict.py", "misfit.py", "findings.py")
    )
    kinds = set(re.findall(r'f"(\w+):\{', text)) | set(re.findall(r'"((?:\w+_)+(?:modes|suspected|degenerate))"', text))
    assert {"upper_limit", "several_modes", "line_suspected", "misfit_gain_degenerate"} <= kinds <= set(FLAGS)


def test_advice_is_given_where_there_is_something_to_do() -> None:
    posterior = toy_posterior()
    told = content(replace(posterior, fit=replace(posterior.fit, status="poor")))
    assert "look at the residuals" in told["advice"]
    assert told["in_words"] == "the numbers are computed exactly, but the model describes the data poorly"
    assert content(posterior)["in_words"] == in_words(posterior)
    assert content(posterior)["advice"] == ""


def test_settings_say_what_was_believed() -> None:
    posterior = altered(toy_posterior(), background=BackgroundTreatment("known", 0.0), systematic=0.02)
    settings = dict(content(posterior)["settings"])
    assert settings["systematic error"] == "0.02"
    assert settings["background"] == "known, scale 0"
    assert settings["seed"] == "0"
