"""Makes `statistics.npz`: fit statistics by brute force, and a loop through the compiled XSPEC library.

    python tests/reference/make_statistic_tables.py         (needs `pip install 'xrayflow[xspec]'`, about a minute)

`bins *`: 400 random bins, up to 1e9 counts; W and both PGStats as the least value over the background, found by golden
section in 40 digits from the plain formulas of the XSPEC manual, appendix B.
`loop *`: what the logs of MAXI J1535-571 test, without those files, which we may not ship: expected counts of
TBabs*simpl*diskbb (angr) of the compiled library on 1000 logarithmic bins of 0.01-200 keV, folded through the bundled
NICER response by plain numpy; counts and background drawn from them; chi^2 and PGStat by the plain formulas.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import sys
from collections.abc import Callable
from pathlib import Path

import mpmath
import numpy as np

from xrayflow.data import bundled_arf, bundled_rmf
from xrayflow.models.xspec import XspecLibrary
from xrayflow.ogip import read_arf, read_rmf

TARGET = Path(__file__).resolve().with_name("statistics.npz")
BINS = 400
GOLDEN = (mpmath.sqrt(5) - 1) / 2
# Gamma, FracSctr, Tin, norm as the logs have them
LOOP_THETA = ((2.34, 0.117, 0.2, 1.8e7), (2.1, 0.05, 0.35, 4e5), (2.8, 0.3, 0.25, 2e6), (1.9, 0.02, 0.6, 3e4))
LOOP_EXPOSURE, LOOP_BACKGROUND_EXPOSURE, LOOP_NH = 220.0, 300.0, 3.2107
LOOP_BANDS = ((0.5, 1.5), (2.3, 10.0))


def random_bins(seed: int, bins: int) -> dict[str, np.ndarray]:
    """Bins of every kind: few and many counts, none, no background, no error."""
    random = np.random.default_rng(seed)
    expected = 10.0 ** random.uniform(-2, 9, bins)
    times = 10.0 ** random.uniform(0, 4, (2, bins))
    ratio = times[0] / times[1]
    in_source = expected * 10.0 ** random.uniform(-3, 2, bins)
    background = random.poisson(np.minimum(in_source / ratio, 1e9)).astype(np.float64)
    background[random.uniform(size=bins) < 0.1] = 0.0
    err = np.where(random.uniform(size=bins) < 0.9, background * random.uniform(0.01, 0.6, bins) + 0.1, 0.0)
    total = expected + background * ratio
    counts = np.maximum(np.round(total + random.normal(size=bins) * 3.0 * np.sqrt(total)), 0.0)
    counts[random.uniform(size=bins) < 0.1] = 0.0
    keys = ("counts", "expected", "source_exposure", "background", "background_err", "background_exposure")
    return dict(zip(keys, (counts, expected, times[0], background, err, times[1]), strict=True))


def poisson_part(counts: mpmath.mpf, mean: mpmath.mpf) -> mpmath.mpf:
    """Twice the Poisson log-likelihood that is missing to the saturated model."""
    if counts == 0:
        return 2 * mean
    return 2 * (mean - counts * mpmath.log(mean) - counts * (1 - mpmath.log(counts)))


def least(function: Callable[[mpmath.mpf], mpmath.mpf], lo: mpmath.mpf, hi: mpmath.mpf) -> mpmath.mpf:
    """The least value of a convex function, by golden section."""
    a, b = hi - GOLDEN * (hi - lo), lo + GOLDEN * (hi - lo)
    at_a, at_b = function(a), function(b)
    for _ in range(110):
        if at_a < at_b:
            hi, b, at_b = b, a, at_a
            a = hi - GOLDEN * (hi - lo)
            at_a = function(a)
        else:
            lo, a, at_a = a, b, at_b
            b = lo + GOLDEN * (hi - lo)
            at_b = function(b)
    return min(at_a, at_b)


def brute_force(row: dict[str, float]) -> list[float]:
    """W, PGStat and PGStat as XSPEC computes it, of one bin."""
    s, mu, ts, b, err, tb = (mpmath.mpf(float(row[name])) for name in row)
    tiny = mpmath.mpf(10) ** -30

    def w(total: mpmath.mpf) -> mpmath.mpf:
        return poisson_part(s, total) + poisson_part(b, (total - mu) * tb / ts)

    def pg(total: mpmath.mpf) -> mpmath.mpf:
        return poisson_part(s, total) + (b - (total - mu) * tb / ts) ** 2 / variance

    largest = mu + s + b * ts / tb + 1
    values = [least(w, mu + tiny * (1 + mu), mu + s + b * ts / tb + 1)]
    for variance in (err**2, err**2 / tb):
        if variance == 0:
            values.append(poisson_part(s, mu + b * ts / tb))
        elif s == 0:
            # the background is not held positive: the least value over all totals
            values.append(least(pg, -largest - 2 * variance * (ts / tb) ** 2, largest))
        else:
            values.append(least(pg, tiny, largest))
    return [float(value) for value in values]


def loop(library: XspecLibrary) -> dict[str, np.ndarray]:
    """Synthetic NICER spectra of the logs' model, with their statistics."""
    rmf, area = read_rmf(bundled_rmf()), read_arf(bundled_arf()).area
    edges = np.geomspace(0.01, 200.0, 1001)
    kept = np.zeros(rmf.channel.size, dtype=bool)
    for lo, hi in LOOP_BANDS:
        kept |= (rmf.e_min >= lo) & (rmf.e_max <= hi)
    bin_of_channel = np.where(kept, np.arange(kept.size) // 6, -1)
    bin_of_channel[kept] = np.unique(bin_of_channel[kept], return_inverse=True)[1]
    bins = bin_of_channel.max() + 1
    lo = np.maximum(edges[:-1, None], rmf.energy_edges[None, :-1])
    hi = np.minimum(edges[1:, None], rmf.energy_edges[None, 1:])
    share = np.clip(hi - lo, 0.0, None) / np.diff(edges)[:, None]
    columns = (rmf.matrix.toarray() * area[:, None])[:, kept]
    random = np.random.default_rng(1535)
    grouping = np.eye(bins)[bin_of_channel[kept]]
    counts, background, err, values = [], [], [], []
    for gamma, fraction, temperature, norm in LOOP_THETA:
        parameters = [[LOOP_NH, gamma, fraction, 1.0, temperature, norm]]
        photons = library.evaluate("TBabs*simpl*diskbb", parameters, edges)[0]
        expected = LOOP_EXPOSURE * (photons @ share) @ columns @ grouping
        behind = 0.02 * expected.mean() * np.geomspace(2.0, 0.5, bins)
        sigma = 0.3 * behind
        seen = random.poisson(expected * (1 + 0.02 * random.normal(size=bins)) + behind).astype(np.float64)
        b = behind * LOOP_BACKGROUND_EXPOSURE / LOOP_EXPOSURE
        scaled = sigma * LOOP_BACKGROUND_EXPOSURE / LOOP_EXPOSURE
        chi2 = ((seen - behind - expected) ** 2 / (seen + sigma**2)).sum()
        rows = [
            dict(zip("abcdef", one, strict=True))
            for one in np.broadcast(seen, expected, LOOP_EXPOSURE, b, scaled, LOOP_BACKGROUND_EXPOSURE)
        ]
        with mpmath.workdps(25):
            pgstat = [brute_force(row)[1:] for row in rows]
        values.append([chi2, *np.sum(pgstat, axis=0)])
        counts.append(seen)
        background.append(b)
        err.append(scaled)
    return {
        "loop bin_of_channel": bin_of_channel.astype(np.int16),
        "loop counts": np.array(counts),
        "loop background": np.array(background),
        "loop background_err": np.array(err),
        "loop chi2 pgstat pgstat-xspec": np.array(values),
    }


def main() -> None:
    rows = random_bins(0, BINS)
    mpmath.mp.dps = 40
    statistic = [brute_force({name: column[i] for name, column in rows.items()}) for i in range(BINS)]
    table = {f"bins {name}": column for name, column in rows.items()}
    table["bins wstat pgstat pgstat-xspec"] = np.array(statistic)
    with XspecLibrary(abund="angr", xsect="vern") as library:
        table |= loop(library)
    about = {
        "command": "python tests/reference/make_statistic_tables.py",
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "python": sys.version.split()[0],
        "library": "LibXSPEC 6.35.1",
        "versions": {name: importlib.metadata.version(name) for name in ("xspectrampoline", "mpmath", "numpy")},
    }
    np.savez_compressed(TARGET, **table, about=np.array(json.dumps(about)))
    print(f"{TARGET}: {TARGET.stat().st_size / 1024:.0f} kB")


if __name__ == "__main__":
    main()
