"""Tables of the guides, from the measurements in `benchmarks/results`, as lines of Markdown for `make_reference.py`."""

from __future__ import annotations

import json
import re
import textwrap
from pathlib import Path
from statistics import quantiles
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
SHIPPED = ROOT / "src" / "xrayflow" / "data"
BACKGROUND_MODES = {"none": "none", "modelled": "modelled, off"}
IRON = 6.1, 7.2
"""keV"""

DECADES = (0.0, 1e5), (1e5, 1e6), (1e6, 3e6), (3e6, 1e7), (1e7, 1e9)


def table(headings: list[str], rows: list[list[str]]) -> list[str]:
    """A Markdown table."""
    return [f"| {' | '.join(row)} |" for row in (headings, ["---"] * len(headings), *rows)]


def number(value: float) -> str:
    """Two digits."""
    return f"{value:.2g}" if value < 99.5 else f"{float(f'{value:.2g}'):.0f}"


def paragraph(text: str) -> str:
    """Text in lines of 120 characters."""
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False)


def component_tables(components: list[dict[str, Any]], results: dict[str, Any]) -> dict[str, list[str]]:
    """The tables of the guide, by name."""
    rows = []
    for c in components:
        row = results["components"][c["name"]]
        sizes = [number(row["float64"][name]) for name in ("median", "p99", "max")]
        link = f"[{c['name']}](../reference/components/{c['name']}.md)"
        rows.append([link, *sizes, number(row["float32_from_float64"]["max"]), row["who_is_right"]])
    headings = ["component", "median", "99 %", "largest", "single precision", "who is right"]
    folded = [[f"`{text}`", *map(number, row.values())] for text, row in results["folded"].items()]
    return {"components": table(headings, rows), "folded": table(["model", "median", "99 %", "largest"], folded)}


def grid_table() -> list[str]:
    """The energy grids of `benchmarks/energy_grid.py`, without the variants of ours."""
    measured = json.loads((RESULTS / "energy-grid.json").read_text(encoding="utf-8"))["grids"]
    rows = [
        [
            "ours" if name == "default" else name,
            str(grid["bins"]),
            *(number(grid["relative_error"][share]) for share in ("0.5", "0.99")),
            *(number(grid["chi2_shift"][share]) for share in ("0.5", "0.9")),
        ]
        for name, grid in measured.items()
        if not name.startswith("default,")
    ]
    headings = ["grid", "bins", "error, median", "error, 99 %", "chi^2 shift, median", "chi^2 shift, 90 %"]
    return table(headings, rows)


def grouping_table() -> list[str]:
    """The groupings of `benchmarks/groupings.py`."""
    measured = json.loads((RESULTS / "groupings.json").read_text(encoding="utf-8"))["counts"]
    rows = [
        [
            counts,
            name,
            *(f"{100.0 * found['coverage']['90'][of][0]:.1f} %" for of in ("powerlaw.PhoIndex", "powerlaw.norm")),
            number(found["p_value"]["mean"]),
            number(found["p_value"]["ks_p"]),
        ]
        for counts, groupings in measured.items()
        for name, found in groupings.items()
    ]
    return table(["counts", "grouping", "Gamma in 90 %", "norm in 90 %", "p, mean", "p uniform"], rows)


def background_table() -> list[str]:
    """The backgrounds of `benchmarks/backgrounds.py`."""
    measured = json.loads((RESULTS / "backgrounds.json").read_text(encoding="utf-8"))["cases"]
    rows = []
    for name, case in measured.items():
        cells = []
        for treatment in ("marginalised", "known", "profile"):
            found = case[treatment]
            covered = [f"{100.0 * share:.0f}" for share in found["coverage"]["68"].values()]
            cells += [" / ".join(covered), " / ".join(f"{bias:+.1f}" for bias in found["bias_in_sd"].values())]
        spectra = f"{case['marginalised']['spectra']}, {case['known']['spectra']}"
        rows.append([name, spectra, *cells, number(case["marginalised"]["p_value_ks"])])
    headings = ["source + background per channel", "spectra", "integrated: 68 %", "bias", "known: 68 %", "bias"]
    return table([*headings, "W or PGStat: 68 %", "bias", "p uniform"], rows)


def faint_tables() -> dict[str, list[str]]:
    """What `benchmarks/faint_on_background.py` tried: overall, and the drawn slopes by slope."""
    measured = json.loads((RESULTS / "faint-on-background.json").read_text(encoding="utf-8"))["cases"]
    rows, parts = [], []
    for case, treatments in measured.items():
        for name, one in treatments.items():
            covered = [
                " / ".join(f"{100.0 * share:.0f}" for share in one["coverage"][level].values())
                for level in ("68", "90")
            ]
            bias, scatter = (
                " / ".join(f"{value:{form}}" for value in one[key].values())
                for key, form in (("bias_in_sd", "+.1f"), ("scatter_in_sd", ".2f"))
            )
            rows.append([case, name, str(one["spectra"]), *covered, bias, scatter])
        for slopes, first in treatments["now"].get("by_slope", {}).items():
            cells = []
            for one in treatments.values():
                covered, bias = (
                    value["powerlaw.PhoIndex"]
                    for value in (one["by_slope"][slopes]["coverage"]["68"], one["by_slope"][slopes]["bias_in_sd"])
                )
                cells.append(f"{100.0 * covered:.0f}, {bias:+.1f}")
            parts.append([case.split(", ")[1], slopes, str(first["spectra"]), *cells])
    names = next(treatments for treatments in measured.values() if "by_slope" in treatments["now"])
    headings = ["source + background per channel", "believed", "spectra", "68 % hold Gamma / norm", "90 %", "bias"]
    return {
        "faint": table([*headings, "scatter"], rows),
        "slopes": table(["background", "Gamma", "spectra", *names], parts),
    }


def calibration_tables() -> dict[str, list[str]]:
    """Bright spectra: coverage, what is seen, real ones before and after, exactness."""
    measured = json.loads((RESULTS / "calibration.json").read_text(encoding="utf-8"))
    rows = []
    for kind, treatments in measured["coverage"].items():
        for treatment, one in treatments.items():
            covered = [
                " / ".join(f"{100.0 * share:.0f}" for share in one["coverage"][level].values())
                for level in ("68", "90")
            ]
            fits = f"{100.0 * one['fit'].get('acceptable', 0) / one['spectra']:.0f} %"
            rows.append([kind, f"`{treatment}`", str(one["spectra"]), *covered, number(one["deviance_per_dof"]), fits])
    names = " / ".join(name.split(".")[1] for name in measured["parameters"])
    headings = ["detectors", "`--systematic`", "spectra", f"68 % hold {names}", "90 %", "deviance / dof", "acceptable"]
    coverage = table(headings, rows)
    seen = [
        [
            kind,
            str(one["spectra"]),
            *(
                f"{100.0 * one[name]:.0f} %"
                for name in ("p_below_0.01", "line_suspected", "continuum_suspected", "gain")
            ),
            f"{100.0 * (1.0 - one['fit'].get('acceptable', 0) / one['spectra']):.0f} %",
            f"{measured['area_under_roc'][kind]:.2f}" if kind in measured["area_under_roc"] else "",
        ]
        for kind, one in measured["seen"].items()
    ]
    misfits = table(
        [
            "what is there",
            "spectra",
            "p < 0.01",
            "line",
            "continuum suspected",
            "energy scale",
            "not acceptable",
            "AUC",
        ],
        seen,
    )
    before, after = (
        {row["path"]: row for row in json.loads((RESULTS / name).read_text(encoding="utf-8"))["rows"]}
        for name in ("real-spectra.json", "bright-spectra.json")
    )
    verdicts = []
    for lo, hi in DECADES:
        paths = [path for path, row in after.items() if lo <= row["counts"] < hi]
        cells = [
            " / ".join(
                str(sum(rows[path]["fit"] == status for path in paths)) for status in ("acceptable", "poor", "bad")
            )
            for rows in (before, after)
        ]
        certified = sum(after[path]["computation"] == "certified" for path in paths)
        usual = sum(after[path]["p_value"] >= 0.01 for path in paths)
        lines = [sum(is_line(after[path]["fit_reasons"], *ends) for path in paths) for ends in (IRON, (0.0, 1e3))]
        level = f"{lo:.0e} - {hi:.0e}" if lo else f"below {hi:.0e}"
        verdicts.append([level, str(len(paths)), *cells, str(certified), str(usual), " / ".join(map(str, lines))])
    headings = ["counts", "spectra", "`0`: acceptable / poor / bad", "`modes`", "certified", "p >= 0.01"]
    headings.append("a line suspected: at 6.1-7.2 keV / anywhere")
    exact = json.loads((RESULTS / "calibration-likelihood.json").read_text(encoding="utf-8"))
    modes = [
        [
            f"{row['counts']:.0e}",
            str(row["bins"]),
            str(row["modes"]),
            number(row["ms_per_draw"]["modes"]),
            f"{row['price']:.2f}",
            number(row["error_mean_sd_max"][1]),
            number(row["error_mean_sd_max"][2]),
            number(max(abs(one) for one in row["laplace"])),
        ]
        for row in exact["rows"]
    ]
    costs = ["ms per draw", "whole likelihood / without", "ln L off: sd", "the most", "Laplace off, at most"]
    return {
        "calibration": coverage,
        "misfits": misfits,
        "bright": table(headings, verdicts),
        "published": published_table(),
        "modes": table(["counts", "bins", "modes", *costs], modes),
    }


def is_line(reasons: list[str], lo: float, hi: float) -> bool:
    """Whether a line between two energies [keV] is among the reasons of a verdict."""
    found = [re.match(r"a (?:line|dip) at ([\d.]+) keV", reason) for reason in reasons]
    return any(one is not None and lo < float(one[1]) < hi for one in found)


def published_table() -> list[str]:
    """MAXI J1535-571: XSPEC's logged fits beside ours."""
    measured = json.loads((RESULTS / "real-agreement.json").read_text(encoding="utf-8"))
    rows = []
    for treatment, apart in measured["apart_from_xspec"].items():
        fits = measured["fit"][treatment]
        cells = [
            f"{number(one['median_difference'])} ({one['in_half_widths_median']:.1f} half widths)"
            for one in apart.values()
        ]
        rows.append(
            [f"`{treatment}`", *cells, " / ".join(str(fits[status]) for status in ("acceptable", "poor", "bad"))]
        )
    names = [f"{name}: median difference" for name in next(iter(measured["apart_from_xspec"].values()))]
    note = (
        f"{measured['spectra']} spectra of MAXI J1535-571 with the settings of their logged XSPEC fits "
        "(`tbabs*(simpl*diskbb)`, angr, nH 3.21 frozen, PGStat): how far XSPEC's best fits are from our medians, in "
        "half widths of our 68 % intervals too."
    )
    return [paragraph(note), "", *table(["`--systematic`", *names, "acceptable / poor / bad"], rows)]


def hostile_table() -> list[str]:
    """What became of damaged files, by the kind of damage."""
    measured = json.loads((RESULTS / "hostile.json").read_text(encoding="utf-8"))
    good = measured["handled"]["answer"], measured["handled"]["refused"]
    rows = []
    for damage, ends in measured["by_damage"].items():
        total = sum(ends.values())
        handled = [ends.get(end, 0) for end in good]
        rows.append([damage, *(str(count) for count in (total, *handled, total - sum(handled)))])
    limits, seconds = measured["limits"], measured["seconds"]
    largest, median = measured["megabytes"]["largest"], measured["megabytes"]["median"]
    note = (
        f"{measured['mutants']} damaged files, {len(measured['findings'])} findings. An answer is a likelihood that "
        f"gives a number. The slowest took {seconds['largest']:.1f} s of CPU (99 %: {seconds['99 %']:.1f} s; allowed "
        f"are {limits['cpu_seconds']} s), the largest {largest} MB, of which {median} MB are the program (allowed are "
        f"{limits['megabytes']} MB)."
    )
    return [paragraph(note), "", *table(["damage", "files", "an answer", "one line", "anything else"], rows)]


def reading_table() -> list[str]:
    """What large responses cost to read and to fit."""
    measured = json.loads((RESULTS / "reading.json").read_text(encoding="utf-8"))
    rows = [
        [
            name,
            f"{one['file_megabytes']:.0f}",
            f"{one['elements'] / 1e6:.1f}",
            f"{one['time_over_astropy']:.2f}",
            f"{one['time_over_sherpa']:.2f}" if "time_over_sherpa" in one else "",
            str(one["megabytes"]),
            str(one["fit"]["bins"]),
            f"{one['fit']['megabytes']:.0f}",
        ]
        for name, one in measured["responses"].items()
    ]
    slowest = max(one["seconds"] for one in measured["responses"].values())
    note = (
        "Time over that of astropy, which loads the columns and unpacks nothing, and over that of Sherpa's reader; "
        "memory over what the imports take; and the peak of a whole fit of a power law, bin by bin. On a busy machine "
        f"none took more than {slowest:.1f} s to read."
    )
    headings = ["response", "file, MB", "elements, millions", "time / astropy's", "time / Sherpa's", "memory, MB"]
    headings += ["bins", "fit, MB"]
    return [paragraph(note), "", *table(headings, rows)]


def passport_table(network: str) -> list[str]:
    """What the passport of a shipped network says, by decade of counts and background."""
    path = SHIPPED / f"{network}.passport.json"
    passport = json.loads(path.read_text(encoding="utf-8"))

    def row_of(counts: str, background: str, cell: dict[str, Any]) -> list[str]:
        good = " / ".join(f"{value:.2f}" for value in cell["final_efficiency_10_50_90"])
        own = [str(cell["spectra"]), f"{100.0 * cell['certified']:.3g} %", good, f"{cell['width_ratio_median']:.1f}"]
        return [counts, background, *own]

    rows = [
        row_of(f"1e{cell['decade']} ..", BACKGROUND_MODES[cell["background"]], cell)
        for cell in passport["cells"]
        if "width_ratio_median" in cell
    ]
    rows.append(row_of("all", "both", passport["all"]))
    note = f"`{network}`, {passport['spectra']} fresh spectra ({passport['date']}; [all of it]"
    lines = [
        f"{note}(../../src/xrayflow/data/{path.name})):",
        "",
        *table(
            [
                "counts",
                "background",
                "spectra",
                "certified",
                "draws that count, 10 / 50 / 90 %",
                "network's width / exact",
            ],
            rows,
        ),
        "",
    ]
    for name, key in (("The exact answers'", "exact"), ("The network's own", "network_alone")):
        found = passport[key]
        lines.append(
            f"{name} coverage is off by {max(found['coverage_off_by'].values()):.3f} at most (a right system: "
            f"{found['coverage_limit']:.3f} once in a hundred), TARP by {found['tarp_off_by']:.3f} "
            f"({found['tarp_limit']:.3f})."
        )
    if (found := passport.get("evidence")) is not None:  # of benchmarks/evidence.py
        lines += [
            "",
            paragraph(
                f"Evidences of {found['spectra']} spectra against {found['sampler']}'s nested sampling: ln Z is off by "
                f"{found['rms_in_errors']:.1f} of its error (root of the mean square; {found['largest_in_errors']:.1f} "
                f"at most; the median error is {found['median_error']:.2f})."
            ),
        ]
    return lines


def beside_table() -> list[str]:
    """The same fresh spectra answered with a network and without, of `benchmarks/network.py`."""
    measured = json.loads((RESULTS / "network-nicer-bhb-cutoff.json").read_text(encoding="utf-8"))
    ways = {measured["settings"]["network"]: measured} | measured["beside"]
    rows = [
        [f"`{name}`", mode, *beside_cells([row for row in way["rows"] if row["background"] == chosen])]
        for chosen, mode in ((False, "none"), (True, "modelled, off"))
        for name, way in ways.items()
    ]
    deciles = "10 / 50 / 90 %"
    headings = ["`--network`", "background", "certified", f"draws that count, {deciles}", f"efficiency, {deciles}"]
    return [
        f"`benchmarks/network.py`, {measured['date']}, {measured['machine']}.",
        "",
        *table([*headings, "CPU s per certified spectrum"], rows),
    ]


def beside_cells(rows: list[dict[str, Any]]) -> list[str]:
    """Some answers of one network."""
    certified = sum(row["computation"] == "certified" for row in rows)
    spent = sum(row["cpu_seconds"] for row in rows)
    shares = [deciles([row[name] for row in rows]) for name in ("final_efficiency", "efficiency")]
    cells = [" / ".join(f"{value:.2f}" for value in one) for one in shares]
    return [f"{certified} of {len(rows)}", *cells, f"{spent / certified:.1f}" if certified else "-"]


def deciles(values: list[float]) -> list[float]:
    """The first, the fifth and the ninth."""
    found = quantiles(values, n=10, method="inclusive")
    return [found[0], found[4], found[8]]
