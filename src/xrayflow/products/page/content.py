"""What a page says of an answer, as plain words and numbers in the order in which they are read."""

from __future__ import annotations

from typing import Any

from xrayflow.inference import Posterior
from xrayflow.products.commands import command_text, fit_words
from xrayflow.products.numbers import significant, with_uncertainty
from xrayflow.products.page.citation import CITATION
from xrayflow.products.tables import SPARSE_DATA, advice, data_rows, in_words, interval, marks, quality_rows

FLAGS = {
    "upper_limit": "an upper limit: the posterior reaches the lower edge of the prior",
    "lower_limit": "a lower limit: the posterior reaches the upper edge of the prior",
    "prior_dominated": "the data say little: the posterior is mostly the prior",
    "far_from_prior": "lies far from what was believed of it",
    "several_modes": "the posterior has several modes",
    "line_suspected": "the data want a line that the model lacks",
    "continuum_suspected": "the data want a broad component that the model lacks",
    "gain_suspected": "the data want another energy scale than the response has",
    "misfit_gain_degenerate": "what the model lacks and an energy scale that is off cannot be told apart",
    "outside_training": "outside of what the network was trained on",
}
"""Facts, in words."""


def content(posterior: Posterior) -> dict[str, Any]:
    """All that the templates show.

    Args:
        posterior: The answer.
    """
    data = posterior.data[0]
    return {
        "title": data.source or data.pha.name,
        "file": data.pha.name,
        "model": posterior.model.text,
        "verdict": posterior.verdict,
        "computation": posterior.computation.status,
        "fit": posterior.fit.status,
        "in_words": in_words(posterior),
        "reasons": list(posterior.reasons),
        "flags": [_flag(flag) for flag in posterior.flags],
        "advice": "" if posterior.verdict == "certified" else advice(posterior, {}),
        "data_rows": data_rows(posterior),
        "quality_rows": quality_rows(posterior),
        "parameters": _parameters(posterior),
        "marks": marks(posterior),
        "fluxes": _fluxes(posterior),
        "settings": _settings(posterior),
        "files": _files(posterior),
        "versions": dict(posterior.provenance.versions),
        "command": command_text(fit_words(posterior)),
        "citation": CITATION,
    }


def _flag(flag: str) -> str:
    """A fact in words, with the parameter that it is of."""
    kind, _, name = flag.partition(":")
    words = FLAGS.get(kind, kind)
    return f"{name}: {words}" if name else words


def _parameters(posterior: Posterior) -> list[dict[str, str]]:
    """A row for each parameter, nuisances last."""
    summary, rows = posterior.summary(), []
    for name, row in (summary["parameters"] | summary["nuisances"]).items():
        told = {"name": name, "unit": row["unit"], "prior": summary["prior"].get(name, "")}
        if row["frozen"]:
            rows.append(told | dict.fromkeys(("median", "inner"), "") | {"best": f"{row['best']:g}", "outer": "frozen"})
            continue
        ends = row["lower90"], row["upper90"]
        values = [row[key] for key in ("best", "median", "lower68", "upper68")]
        best, median, low68, high68, low, high = with_uncertainty((*values, *ends), *ends)
        if f"prior_dominated:{name}" in posterior.flags:
            told["name"] += SPARSE_DATA
        if "link" in row:
            told["prior"] = f"= {row['link']}"
        inner, outer = f"{low68} .. {high68}", interval(posterior, name, low, high)
        rows.append(told | {"best": best, "median": median, "inner": inner, "outer": outer})
    return rows


def _fluxes(posterior: Posterior) -> list[dict[str, str]]:
    """A row for each band, as it arrives and without the absorbers."""
    rows = []
    for one in posterior.fluxes:
        for kind in ("absorbed", "unabsorbed"):
            row = one[kind]["energy"]
            ends = row["lower90"], row["upper90"]
            median, low, high = with_uncertainty((row["median"], *ends), *ends)
            lo, hi = one["band"]
            beyond = " (beyond the data)" if one["extrapolated"] else ""
            band = f"{significant(lo)}–{significant(hi)} keV{beyond}"
            told = {"band": band, "kind": kind, "unit": row["unit"]}
            rows.append(told | {"median": median, "outer": f"{low} .. {high}"})
    return rows


def _settings(posterior: Posterior) -> list[tuple[str, str]]:
    """What was asked for and chosen."""
    provenance, seconds = posterior.provenance, posterior.provenance.seconds
    evaluations = ", ".join(f"{count} {name}" for name, count in posterior.weighing.evaluations.items())
    rows = [
        ("answered by", "exact weights" if posterior.mode == "exact" else f"the network {posterior.network} alone"),
        ("energy grid", provenance.grid),
        ("systematic error", str(posterior.likelihood.asked)),
        ("background", f"{posterior.likelihood.background.kind}, scale {posterior.likelihood.background.scale:g}"),
        ("seed", str(posterior.seed)),
        ("evaluations", evaluations),
    ]
    if seconds:
        rows.append(("seconds", ", ".join(f"{name} {value:.2f}" for name, value in seconds.items())))
    return rows


def _files(posterior: Posterior) -> list[tuple[str, str, str]]:
    """What each file is, its name, and its hash."""
    found = []
    for data in posterior.data:
        for name in ("pha", "rmf", "arf", "background"):
            path = getattr(data, name)
            if path is not None:
                found.append((name, str(path), data.sha256.get(name, "")))
    modes = posterior.likelihood.calibration
    return found if modes is None else [*found, ("calibration modes", modes.name, modes.sha256)]
