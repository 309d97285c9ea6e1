"""Intervals of any level, of an answer and of the same under another prior."""

from __future__ import annotations

from typing import Any

from xrayflow.inference import Posterior
from xrayflow.products.numbers import with_uncertainty


def central(posterior: Posterior, level: float) -> dict[str, dict[str, Any]]:
    """Median and central interval of each parameter, nuisances last.

    Args:
        posterior: The answer.
        level: In per cent.
    """
    outside = (100.0 - level) / 200.0  # 0.05 of 90, to the last bit
    quantiles = posterior.quantile([outside, 0.5, 1.0 - outside]).T.tolist()
    return {
        name: {"lower": low, "median": median, "upper": high}
        for name, (low, median, high) in zip(posterior.names, quantiles, strict=True)
    }


def level_lines(before: Posterior, after: Posterior, level: float) -> list[str]:
    """Both side by side, for a terminal.

    Args:
        before, after: The answer, and the same under another prior.
        level: In per cent.
    """
    lines = ["", f"{'':<20} {f'before, {level:g} %':<30} after"]
    both = central(before, level), central(after, level)
    for name in both[0]:
        told = []
        for rows in both:
            row = rows[name]
            ends = row["lower"], row["upper"]
            median, low, high = with_uncertainty((row["median"], *ends), *ends)
            told.append(f"{median} [{low}, {high}]")
        lines.append(f"{name:<20} {told[0]:<30} {told[1]}")
    gained = after.log_evidence - before.log_evidence
    lines.append(f"{'ln evidence':<20} {before.log_evidence:<30.2f} {after.log_evidence:.2f} ({gained:+.2f})")
    return lines
