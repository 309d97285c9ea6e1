"""The table of `docs/guides/networks.md`, between its marks, from the passport that ships with `nicer-bhb`.

python docs/make_passport_table.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PASSPORT = HERE.parent / "src" / "xrayflow" / "data" / "nicer-bhb.passport.json"
PAGE = HERE / "guides" / "networks.md"
BEGIN, END = "<!-- passport: made by docs/make_passport_table.py -->", "<!-- end of passport -->"
KINDS = {"none": "none", "modelled": "modelled, off"}


def row_of(counts: str, background: str, cell: dict[str, Any]) -> str:
    """A line of the table."""
    low, middle, high = cell["final_efficiency_10_50_90"]
    good = f"{low:.2f} / {middle:.2f} / {high:.2f}"
    who = f"| {counts} | {background} | {cell['spectra']} |"
    return f"{who} {cell['certified']:.0%} | {good} | {cell['width_ratio_median']:.1f} |"


def table_of(passport: dict[str, Any]) -> str:
    """The table and what stands around it."""
    exact, alone = passport["exact"], passport["network_alone"]
    lines = [
        f"`nicer-bhb`, {passport['spectra']} fresh spectra ({passport['date']}; [all of it]"
        "(../../src/xrayflow/data/nicer-bhb.passport.json)):",
        "",
        "| counts | background | spectra | certified | draws that count, 10 / 50 / 90 % | network's width / exact |",
        "|---|---|---|---|---|---|",
        *(
            row_of(f"1e{cell['decade']} ..", KINDS[cell["background"]], cell)
            for cell in passport["cells"]
            if "width_ratio_median" in cell
        ),
        row_of("all", "both", passport["all"]),
        "",
    ]
    for name, found in (("The exact answers'", exact), ("The network's own", alone)):
        lines.append(
            f"{name} coverage is off by {max(found['coverage_off_by'].values()):.3f} at most (a right system: "
            f"{found['coverage_limit']:.3f} once in a hundred), TARP by {found['tarp_off_by']:.3f} "
            f"({found['tarp_limit']:.3f})."
        )
    return "\n".join(lines)


def main() -> None:
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    after = rest.split(END)[1]
    table = table_of(json.loads(PASSPORT.read_text(encoding="utf-8")))
    PAGE.write_text(f"{before}{BEGIN}\n\n{table}\n\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
