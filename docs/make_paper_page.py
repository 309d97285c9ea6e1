"""Fills the tables of docs/discussion/paper.md from the measurements, and draws the curves of its long training.

python docs/make_paper_page.py [LOG.csv of the run "long-1" of benchmarks/paper_ablation.py, and of the real set]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from statistics import median
from typing import Any

from make_network_page import table

from xrayflow.products.figures import png
from xrayflow.products.figures.learning_plot import learning_figure
from xrayflow.products.learning import read_curves

DOCS = Path(__file__).resolve().parent
RESULTS = DOCS.parent / "benchmarks" / "results"
PAGE = DOCS / "discussion" / "paper.md"
IMAGES = DOCS / "discussion" / "images"
SHORT = {"TBabs.nH": "N_H", "simplcutx.Gamma": "Gamma", "simplcutx.FracSctr": "f_sc", "ezdiskbb.T_max": "kT"}
SHORT["ezdiskbb.norm"] = "norm"


def number(value: float | None, digits: int = 3) -> str:
    """For a table; a dash where there is none."""
    return "–" if value is None else f"{value:.{digits}g}"


def seconds(row: dict[str, Any], key: str) -> str:
    """A time with its deviation."""
    value, spread = row.get(key), row.get(f"{key}_sd")
    if value is None:
        return "–"
    shown = f"{value:,.0f}".replace(",", " ") if value >= 100 else f"{value:.3g}"
    if spread is None:
        return shown
    return f"{shown} ± {spread:.0f}" if spread >= 1 else f"{shown} ± {spread:.1g}"


def header(found: dict[str, Any]) -> str:
    """When, where, of which commit."""
    return f"{found['date']}, {found['machine']}, commit {found['commit']}, `{found['made_by']}`."


def certified_row(measured: dict[str, Any], whole: int, exact: int) -> list[str]:
    """Our answers with their own network, of the table's first spectra; times are CPU seconds, extrapolated to all.

    Args:
        measured: By benchmarks/paper_certified.py.
        whole: Spectra of the table.
        exact: Those of its column beside the targets.
    """
    network, own = next(iter(measured["networks"].items()))
    values = [row["reduced_pgstat"] for row in own["rows"]]
    name = f"certified, {network} ({own['certified']} of {own['spectra']} spectra)"
    same = median(values[:exact]) if len(values) >= exact else None
    time = seconds({"all": own["cpu_seconds_per_spectrum"] * whole}, "all")
    return [name, number(own["reduced_pgstat_median"], 4), number(same, 4), time, time]


def table_one(found: dict[str, Any], measured: dict[str, Any]) -> list[str]:
    """The paper's Table 1 of each set."""
    lines = [header(found), ""]
    for label, one in found["sets"].items():
        exact = one["exact"]["spectra"]
        lines += [f"**{label}**: {one['spectra']} spectra of {one['groups']} groups", ""]
        rows = []
        for row in one["rows"]:
            if row["name"] == "exact":
                same = row["reduced_pgstat_median"]
            elif "of_exact_spectra" in row:
                same = row["of_exact_spectra"]["reduced_pgstat_median"]
            else:
                same = None
            whole = row["reduced_pgstat_median"]
            few = row["name"] == "exact" or "fitted" in row
            times = [seconds(row, "seconds_1"), seconds(row, "seconds_1000")]
            name = f"{row['name']} ({row['fitted']} spectra)" if "fitted" in row else row["name"]
            rows.append([name, "–" if few and "fitted" not in row else number(whole, 4), number(same, 4), *times])
            if label == measured["set"] and row["name"] == "exact":
                rows.append(certified_row(measured, one["spectra"], exact))
        headings = ["", "PGStat / dof, median", f"of {exact} with exact posteriors", "1 draw of all [s]"]
        lines += [*table([*headings, "1000 draws of all [s]"], rows), ""]
        if "ratios" in one:
            told = [f"{name}: {value:.0f}" for name, value in one["ratios"].items()]
            lines += [f"Ratios of time, fits and chains over the flow in the autoencoder: {'; '.join(told)}.", ""]
    return lines


def recovery(found: dict[str, Any]) -> list[str]:
    """Correlation and coverage of each set."""
    lines = []
    for label, one in found["sets"].items():
        lines += [f"**{label}**", ""]
        rows = []
        for row in one["rows"]:
            for parameter, values in row.get("parameters", {}).items():
                same = row.get("of_exact_spectra", {}).get("parameters", row["parameters"])[parameter]["pearson_r"]
                slope = f"{values['slope']:.2f} ± {values['slope_sd']:.2f}"
                numbers = [f"{values['pearson_r']:.2f}", f"{same:.2f}", slope, f"{values['coverage_deviation']:.2f}"]
                if row["name"] in ("exact", "NF in AE", "NF without decoder"):
                    rows.append([row["name"], SHORT[parameter], *numbers])
        headings = ["", "parameter", "r", "r, spectra with exact posteriors", "slope", "coverage off by"]
        lines += [*table(headings, rows), ""]
    return lines


def claims(found: dict[str, Any]) -> list[str]:
    """Errors against rate, Gamma's corners, and the pair of kT and norm, archive-like."""
    lines = []
    for name in ("NF in AE", "NF without decoder", "exact"):
        row = next(one for one in found["sets"]["archive-like"]["rows"] if one["name"] == name)
        told = row["claims"]
        headings = [f"{name}: rms error", "spectra", *SHORT.values()]
        rows = [
            [label, str(one["spectra"]), *(number(one[parameter], 2) for parameter in SHORT)]
            for label, one in told["rms_error_by_rate"].items()
        ]
        lines += [*table(headings, rows), ""]
        corners = "; ".join(
            f"{label}: {one['rms']:.2f} ({one['spectra']})" for label, one in told["gamma_rms_error"].items()
        )
        pair = told["kT_and_norm"]
        lines += [
            f"Gamma's rms error by corner (spectra): {corners}. kT and norm: {pair['rms_kT_dex']:.3f} and "
            f"{pair['rms_norm_dex']:.3f} dex, correlation {pair['correlation']:.2f}, joint error "
            f"{pair['joint_error_dex2']:.4f} dex².",
            "",
        ]
    return lines


def ablation(found: dict[str, Any]) -> list[str]:
    """A row for each cell."""
    rows = []
    for row in found["rows"]:
        cells = [row["name"], row.get("about", "best fits"), number(row["reduced_pgstat_median"], 4)]
        if "parameters" in row:
            values = row["parameters"]
            cells += [f"{values[name]['pearson_r']:.2f}" for name in SHORT]
            cells += [f"{max(one['coverage_deviation'] for one in values.values()):.2f}"]
            cells += [number(row["claims"]["kT_and_norm"]["joint_error_dex2"], 3)]
            cells += [number(row["validation"].get("validation_flow"), 4)]
        rows.append(cells + ["–"] * (10 - len(cells)))
    headings = ["cell", "what is changed", "PGStat / dof", *(f"r {name}" for name in SHORT.values())]
    return [header(found), "", *table([*headings, "coverage off by, worst", "kT-norm error [dex²]", "−ln q"], rows), ""]


def hours(found: dict[str, Any]) -> list[str]:
    """What training buys, by counts."""
    decades = sorted({label for row in found["rows"].values() for label in row["by_counts"]}, key=float)
    rows = []
    for name, row in found["rows"].items():
        minutes = number(row.get("cpu_minutes"), 3)
        cells = [name, minutes, number(row["reduced_pgstat_median"], 4), number(row["of_exact_spectra"], 4)]
        rows.append([*cells, number(row["over_exact"]), *(number(row["by_counts"].get(one)) for one in decades)])
    headings = ["", "CPU minutes of its last training", "PGStat / dof, median"]
    headings += [f"of {found['settings']['exact']} with exact posteriors", "over exact"]
    return [header(found), "", *table([*headings, *(f"{one} counts and more" for one in decades)], rows), ""]


def fill(text: str, name: str, lines: list[str]) -> str:
    """Put lines between the marks of a name."""
    begin, end = f"<!-- {name}: made by docs/make_paper_page.py -->", f"<!-- end of {name} -->"
    before, rest = text.split(begin)
    return before + begin + "\n\n" + "\n".join(lines).rstrip() + "\n\n" + end + rest.split(end)[1]


def main() -> None:
    """Fill and draw."""
    found = json.loads((RESULTS / "paper-table.json").read_text(encoding="utf-8"))
    certified = json.loads((RESULTS / "paper-certified.json").read_text(encoding="utf-8"))
    cells = json.loads((RESULTS / "paper-ablation.json").read_text(encoding="utf-8"))
    text = PAGE.read_text(encoding="utf-8")
    parts = {
        "table": table_one(found, certified),
        "recovery": recovery(found),
        "claims": claims(found),
        "ablation": ablation(cells),
        "hours": hours(json.loads((RESULTS / "paper-hours.json").read_text(encoding="utf-8"))),
    }
    for name, lines in parts.items():
        text = fill(text, name, lines)
    PAGE.write_text(text, encoding="utf-8")
    for path in map(Path, sys.argv[1:]):
        name = path.parent.name
        (IMAGES / f"paper-{name}-learning.png").write_bytes(png(learning_figure(read_curves(path), name)))


if __name__ == "__main__":
    main()
