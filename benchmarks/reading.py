"""Large responses: how long does reading take, in how much memory, beside astropy and beside the file's own size?

    OMP_NUM_THREADS=1 PYTHONPATH=tests python benchmarks/reading.py [--data FOLDER] [--repeats 5] [--sherpa PYTHON]

Five responses: NICER's (the real one with `--data` or XRAYFLOW_TEST_DATA, else the bundled), and four of the sizes of
others, made here: NuSTAR (4096 x 4096, half of it filled, as its rows reach down to the lowest channel), HRC-I (16 921
energies, 63 % of 1024 channels filled), XRISM's Resolve (60 000 x 60 000, a Gaussian of 5 eV; and its largest form,
a core and an electron loss continuum, two matrices of 133 million elements together). Each is read in a
process of its own, in turn with astropy, which only loads the columns of MATRIX (its variable arrays are Python
objects, and nothing is unpacked), and with Sherpa's reader (astropy, then compiled code) where `--sherpa` names a
Python that has it; of a file of two matrices Sherpa reads one, so that is left out. Seconds are the least of the
repeats, memory is the peak over what the imports take. All ratios come from this one run. Then each is fitted, a power
law of some thousand counts, as `xrayflow fit` does it: seconds and the peak of the whole process.

Writes benchmarks/results/reading.json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from provenance import provenance
from xrayflow.data import bundled_rmf
from xrayflow.ogip import ARF, RMF, Origin, read_rmf, write_arf, write_pha, write_rmf

RESULTS = Path(__file__).resolve().parent / "results" / "reading.json"
COUNTS, EXPOSURE = 20_000, 1e4
BLOCK = 2880
"""Bytes of an empty first unit of a FITS file."""

PEAK = """
import json, sys, time
def peak():
    with open("/proc/self/status") as stream:
        return next(int(line.split()[1]) for line in stream if line.startswith("VmHWM")) / 1024
"""
"""What a process has used at most [MB]; resource.getrusage would count what its parent did."""

OURS = """
from xrayflow.ogip import read_rmf
before, begin = peak(), time.perf_counter()
found = read_rmf(sys.argv[1])
seconds = time.perf_counter() - begin
print(json.dumps({"seconds": seconds, "megabytes": peak() - before, "elements": found.elements}))
"""
ASTROPY = """
import numpy as np
from astropy.io import fits
before, begin = peak(), time.perf_counter()
with fits.open(sys.argv[1]) as units:
    table = next(unit for unit in units if unit.name in ("MATRIX", "SPECRESP MATRIX"))
    held = [[np.asarray(value) for value in table.data[name]] for name in ("F_CHAN", "N_CHAN", "MATRIX")]
seconds = time.perf_counter() - begin
print(json.dumps({"seconds": seconds, "megabytes": peak() - before}))
"""
SHERPA = """
import sherpa, sherpa.astro.io
before, begin = peak(), time.perf_counter()
sherpa.astro.io.read_rmf(sys.argv[1])
seconds = time.perf_counter() - begin
print(json.dumps({"seconds": seconds, "megabytes": peak() - before, "version": sherpa.__version__}))
"""
FIT = """
from xrayflow.memory import keep_freed_memory
keep_freed_memory()
import xrayflow as xf
begin = time.perf_counter()
answer = xf.infer(xf.read_observation(sys.argv[1]), model="TBabs*powerlaw", network="none")
bins = int(answer.summary()["observations"][0]["bins"])
told = {"seconds": time.perf_counter() - begin, "megabytes": peak(), "bins": bins, "verdict": answer.verdict}
print(json.dumps(told))
"""


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, default=os.environ.get("XRAYFLOW_TEST_DATA"))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--sherpa", help="a Python in which sherpa can be imported")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    made = provenance(__file__)
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name, path in responses(Path(scratch), arguments.data).items():
            compiled = arguments.sherpa if "comb" not in path.name else None
            turns = [
                (_run(OURS, path), _run(ASTROPY, path), _run(SHERPA, path, compiled) if compiled else {})
                for _ in range(arguments.repeats)
            ]
            ours, theirs, sherpa = ([turn[which] for turn in turns] for which in (0, 1, 2))
            one = {"file_megabytes": round(path.stat().st_size / 2**20, 1), "elements": ours[0]["elements"]}
            one |= {"seconds": round(min(each["seconds"] for each in ours), 3)}
            one |= {"megabytes": round(max(each["megabytes"] for each in ours))}
            astropy = min(each["seconds"] for each in theirs)
            one |= {"astropy_seconds": round(astropy, 3), "time_over_astropy": round(one["seconds"] / astropy, 3)}
            if compiled:
                least = min(each["seconds"] for each in sherpa)
                one |= {"sherpa": sherpa[0]["version"], "sherpa_seconds": round(least, 3)}
                one |= {"time_over_sherpa": round(one["seconds"] / least, 3)}
                one |= {"sherpa_megabytes": round(max(each["megabytes"] for each in sherpa))}
            least = 12 * one["elements"] / 2**20  # 8 bytes of value and 4 of channel
            one |= {"memory_over_matrix": round(one["megabytes"] / least, 2)}
            fit = _run(FIT, spectrum(path))
            one["fit"] = {key: round(value, 1) if isinstance(value, float) else value for key, value in fit.items()}
            found[name] = one
            print(name, json.dumps(one), flush=True)
    arguments.out.write_text(json.dumps(made | {"responses": found}, indent=2) + "\n")


def responses(folder: Path, data: str | Path | None) -> dict[str, Path]:
    """The files by name."""
    real = None if data is None else Path(data) / "nicer_response" / "nicer.rmf.gz"
    found = {"NICER": real if real is not None and real.is_file() else bundled_rmf()}
    for name, rmf in (("NuSTAR size", triangle()), ("HRC-I size", broad()), ("Resolve size", narrow())):
        found[name] = write_rmf(folder / f"{name.split()[0].lower()}.rmf", rmf)
    found["Resolve with its continuum"] = in_parts(folder)
    return found


def in_parts(folder: Path) -> Path:
    """Resolve's largest response as `rslmkrmf splitrmf=yes elcbinfac=16 splitcomb=yes` lays it out.

    A core on 60 000 energies (here 340 channels a row), its EBOUNDS, then the electron loss continuum on energies 16
    times wider, every channel below the energy's own filled, and the same EBOUNDS again.
    """
    core, elc = write_rmf(folder / "core.rmf", narrow(reach=170, whole=0.98)), folder / "elc.rmf"
    edges = narrow(1).energy_edges[0] * np.arange(1, 60_002)
    wide = edges[::16]
    filled = np.searchsorted(edges, wide[1:]) - 1
    value = np.float32(0.02) / filled.astype(np.float32)
    indptr = np.concatenate([[0], np.cumsum(filled)])
    column = np.concatenate([np.arange(number, dtype=np.int32) for number in filled])
    matrix = csr_array((np.repeat(value.astype(np.float64), filled), column, indptr), shape=(len(filled), 60_000))
    write_rmf(elc, RMF(Path("made.rmf"), wide, matrix, np.arange(60_000), edges[:-1], edges[1:], False, ""))
    both = folder / "resolve_comb.rmf"
    both.write_bytes(core.read_bytes() + elc.read_bytes()[BLOCK:])
    for one in (core, elc):
        one.unlink()
    return both


def triangle() -> RMF:
    """4096 x 4096, every channel below the energy's own filled."""
    size, edges = 4096, np.linspace(1.6, 165.4, 4097)
    values = np.tril(np.random.default_rng(1).random((size, size), dtype=np.float32))
    values[np.arange(size), np.arange(size)] += np.arange(size) / 2.0
    return _matrix(edges, edges, csr_array(values / values.sum(1, keepdims=True)))


def broad() -> RMF:
    """16 921 energies x 1024 channels of hardly any resolution."""
    edges, bounds = np.linspace(0.06, 10.0, 16_922), np.linspace(0.0, 15.0, 1025)
    centre, middle = (edges[1:] + edges[:-1])[:, None] / 2, (bounds[1:] + bounds[:-1]) / 2
    values = np.exp(-(((middle - centre) / (0.4 * np.sqrt(centre) + 0.2)) ** 2) / 2).astype(np.float32)
    values[values < 1e-5] = 0.0
    return _matrix(edges, bounds, csr_array(values / values.sum(1, keepdims=True)))


def narrow(
    size: int = 60_000, width: float = 0.0005, fwhm: float = 0.005, reach: int | None = None, whole: float = 1.0
) -> RMF:
    """60 000 x 60 000, 70 channels filled in each row; further than a Gaussian `reach`es it, a hundred-thousandth."""
    edges = width * np.arange(1, size + 2)
    sd, reach = fwhm / 2.355, reach or int(np.ceil(8 * fwhm / 2.355 / width))
    column = np.arange(size)[:, None] + np.arange(-reach, reach + 1)
    value = np.exp(-((np.arange(-reach, reach + 1) * width / sd) ** 2) / 2).clip(min=1e-5 if reach > 100 else 0.0)
    value = np.broadcast_to(whole * value / value.sum(), column.shape)
    inside = (column >= 0) & (column < size)
    row = np.broadcast_to(np.arange(size)[:, None], column.shape)
    return _matrix(edges, edges, csr_array((value[inside], (row[inside], column[inside])), shape=(size, size)))


def _matrix(edges: np.ndarray, bounds: np.ndarray, matrix: csr_array) -> RMF:
    matrix = csr_array(matrix.astype(np.float32).astype(np.float64))
    channel = np.arange(matrix.shape[1])
    return RMF(Path("made.rmf"), edges, matrix, channel, bounds[:-1], bounds[1:], False, "")


def spectrum(path: Path) -> Path:
    """A power law of `COUNTS` counts seen through a response, with an area of 200 cm^2, beside it."""
    folder = Path(tempfile.mkdtemp(dir=os.environ.get("TMPDIR", tempfile.gettempdir())))
    rmf = read_rmf(path)
    edges = rmf.energy_edges
    centre = np.maximum((edges[1:] + edges[:-1]) / 2, 1e-3)
    area = 200.0 * np.exp(-(np.log(centre / 3.0) ** 2))
    write_arf(folder / "made.arf", ARF(Path("made.arf"), edges, area, ""))
    expected = rmf.seen(centre**-1.8 * np.diff(edges) * area)
    expected *= COUNTS / expected[(rmf.e_min > 0.3) & (rmf.e_max < 10.0)].sum()
    origin = Origin("MADE", "MADE", "power law", str(path), "made.arf")
    counts = np.random.default_rng(0).poisson(expected)
    return write_pha(folder / "made.pha", rmf.channel, counts, EXPOSURE, origin=origin)


def _run(code: str, path: Path, python: str = sys.executable) -> dict[str, Any]:
    """What a piece of code prints, in a process of its own."""
    finished = subprocess.run([python, "-c", PEAK + code, str(path)], capture_output=True, text=True, check=False)
    if finished.returncode:
        raise SystemExit(finished.stderr)
    found: dict[str, Any] = json.loads(finished.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    main()
