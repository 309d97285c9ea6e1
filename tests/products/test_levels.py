"""Intervals of any level, before and after."""

from __future__ import annotations

import numpy as np
import pytest

from answer_zoo import altered, toy_posterior
from xrayflow.products import central, level_lines


def test_a_central_interval_leaves_the_same_on_either_side() -> None:
    posterior = toy_posterior()
    summary = posterior.summary()["parameters"]["powerlaw.PhoIndex"]
    row = central(posterior, 90.0)["powerlaw.PhoIndex"]
    assert (row["lower"], row["median"], row["upper"]) == (summary["lower90"], summary["median"], summary["upper90"])
    wide = central(posterior, 99.0)["powerlaw.PhoIndex"]
    assert wide["lower"] < row["lower"] < row["upper"] < wide["upper"]


def test_both_stand_side_by_side_with_what_the_evidence_gained() -> None:
    posterior = toy_posterior()
    shifted = altered(
        posterior, draws=posterior.draws + np.array([0.0, 1.0, 0.0]), log_evidence=posterior.log_evidence + 2
    )
    lines = level_lines(posterior, shifted, 95.0)
    assert lines[1].split() == ["before,", "95", "%", "after"]
    assert len(lines) == 2 + 3 + 1
    before, after = (float(text) for text in (lines[3].split()[1], lines[3].split("]")[1].split()[0]))
    assert after == pytest.approx(before + 1.0, abs=1e-3)
    assert lines[-1].endswith("(+2.00)")
