"""Makes emcee_reference.json: posteriors of four NICER spectra by emcee on the compiled XSPEC models.

Nothing of xrayflow is under it but the bridge to the compiled library (`xrayflow.models.xspec`): files, grouping, fold,
likelihood and prior are written here again, in numpy and scipy, so that an agreement means something.

* Model TBabs*simpl*ezdiskbb, simpl's UpScOnly = 1, abundances wilm, cross-sections vern. TBabs is exactly linear in nH
  in the logarithm: its cross-section is tabulated once from the library and compared with it on 100 random nH.
* Photon grid: the RMF's own edges, continued by 200 logarithmic bins per decade down to 1 eV and by 20 up to 1 MeV
  (scattering is upwards only: no photon from above the RMF's range reaches it). Photons of the RMF's bins x ARF x RMF.
* Likelihood: scipy.stats.poisson with mean exposure x rate + known background (background counts scaled by exposure).
* Prior: uniform in the coordinates of the draws, log10 of nH, FracSctr, T_max, norm, and Gamma itself, in the box.
* Sampler: emcee, 256 walkers, whose target is the likelihood of the compiled library. A step is 25 steps (KDE,
  differential evolution, stretch) of the same ensemble under a fast numpy copy of the model (equal to the library to
  1e-5), then one Metropolis test of the whole ensemble with the library's likelihood: delayed acceptance, exact
  whatever the copy is worth (Christen & Fox 2005). In place of log10 norm the walkers have log10 of the expected
  counts/s: a shear of unit Jacobian, without which the chain does not mix (tau of hundreds of steps).
  Two ensembles a spectrum, one from a small ball about the best fit, one from the best of 4000 prior draws; they must
  agree, and are pooled.

Each spectrum was chosen to have one connected mode: with a small second one (a cold disc that scattering turns into a
power law fits many faint or hard spectra) the sd hangs on its mass, which no chain of this length knows to 10 %.

Run (about 20 minutes on two free cores; the entry of each spectrum is replaced as it is done):
    OMP_NUM_THREADS=1 python tests/reference/make_emcee_reference.py [--only NAME] [--chains DIR]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import re
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import emcee
import numpy as np
from astropy.io import fits
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.optimize import minimize
from scipy.stats import poisson

from xrayflow.models.xspec import XspecLibrary, disc_photon_flux

Array = NDArray[np.float64]

HERE = Path(__file__).resolve()
DATA = Path(os.environ.get("XRAYFLOW_TEST_DATA", HERE.parents[3] / "shared" / "data"))
RMF, ARF = "nicer_response/nicer.rmf.gz", "nicer_response/nicer.arf"

NAMES = ("TBabs.nH", "simpl.Gamma", "simpl.FracSctr", "ezdiskbb.T_max", "ezdiskbb.norm")
BOX = np.array([[5e-3, 75.0], [1.3, 4.0], [1e-3, 1.0], [0.025, 4.0], [1e-2, 1e10]])
LOGARITHMIC = np.array([True, False, True, True, True])
LOW, HIGH = np.where(LOGARITHMIC[:, None], np.log10(BOX), BOX).T

WALKERS, INNER, WARM_UP, BLOCK, MOST_STEPS, START_DRAWS = 256, 25, 300, 25, 600, 4000
TAUS, EFFECTIVE, PARAMETERS = 60, 8000, 5
PERCENTILES = (5, 16, 50, 84, 95)

# theta, exposure [s], seed
SIMULATED: dict[str, tuple[tuple[float, ...], float, int]] = {
    "faint": ((0.02, 2.5, 0.05, 0.3, 6.0), 200.0, 1),
    "absorbed": ((7.0, 2.5, 0.05, 1.0, 4.0), 1000.0, 2),
    "bright": ((0.5, 2.5, 0.15, 0.8, 71.0), 1000.0, 3),
}
REAL = {
    "pha": "nicer_MAXIJ1535-571/1130360184/js_ni1130360184_0mpu7_silver_GTI14.jsgrp.gz",
    "background": "nicer_MAXIJ1535-571/1130360184/js_ni1130360184_0mpu7_silver_GTI14.bg.gz",
    "rmf": RMF,
    "arf": "nicer_MAXIJ1535-571/nicer_d49_55575341.arf",
}
BAND = (0.3, 10.0)


@dataclass(frozen=True)
class Data:
    """A binned spectrum: channels of each bin (both ends kept), counts, known background counts, exposure, ARF."""

    first: NDArray[np.int64]
    last: NDArray[np.int64]
    counts: Array
    background: Array
    exposure: float
    arf: str


def paper_bins() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First and last channel of the paper's 240 bins, 30 to 50 eV wide, channels 29 to 994."""
    first = np.concatenate([np.arange(29, 248, 3), np.arange(248, 600, 4), np.arange(600, 995, 5)])
    return first, np.append(first[1:], 995) - 1


def read_real() -> Data:
    """The MAXI J1535-571 spectrum in its own grouping, `ignore **-0.3 10.0-**`, `ignore bad`."""
    with fits.open(DATA / REAL["pha"]) as file:
        table, exposure = file["SPECTRUM"].data, float(file["SPECTRUM"].header["EXPOSURE"])
        counts, quality = table["COUNTS"].astype(float), table["QUALITY"].astype(int)
        starts = table["GROUPING"] != -1
    with fits.open(DATA / REAL["background"]) as file:
        scale = exposure / float(file["SPECTRUM"].header["EXPOSURE"])
        background = scale * file["SPECTRUM"].data["COUNTS"].astype(float)
    # A run of channels of equal bad quality starts a bin, and so does the first good channel after it.
    starts[1:] |= (quality[1:] != quality[:-1]) & (np.maximum(quality[1:], quality[:-1]) > 0)
    starts[0] = True
    first = np.flatnonzero(starts)
    last = np.append(first[1:], counts.size) - 1
    with fits.open(DATA / RMF) as file:
        e_min, e_max = (file["EBOUNDS"].data[key].astype(float) for key in ("E_MIN", "E_MAX"))
    below, above = (np.flatnonzero((e_min[first] < energy) & (e_max[last] >= energy))[0] for energy in BAND)
    number = np.arange(first.size)
    keep = (number > below) & (number < above) & (np.maximum.reduceat(quality, first) == 0)
    grouped = np.add.reduceat(counts, first)[keep], np.add.reduceat(background, first)[keep]
    return Data(first[keep], last[keep], *grouped, exposure, REAL["arf"])


class Fold:
    """theta -> expected counts of the source, by the compiled models and our own fold."""

    def __init__(self, library: XspecLibrary, data: Data) -> None:
        with fits.open(DATA / RMF) as file:
            table, header = file["MATRIX"].data, file["MATRIX"].header
            lo, hi = table["ENERG_LO"].astype(float), table["ENERG_HI"].astype(float)
            if not np.all(table["N_GRP"] == 1):
                raise ValueError(f"{RMF}: a row has several channel groups; this reader takes one")
            matrix = np.zeros((lo.size, int(header["DETCHANS"])))
            for row, entry in enumerate(table):
                start = int(entry["F_CHAN"]) - int(header["TLMIN4"])
                matrix[row, start : start + int(entry["N_CHAN"])] = entry["MATRIX"][: int(entry["N_CHAN"])]
        with fits.open(DATA / data.arf) as file:
            area = file["SPECRESP"].data["SPECRESP"].astype(float)
        grouped = np.stack([matrix[:, a : b + 1].sum(axis=1) for a, b in zip(data.first, data.last, strict=True)], 1)
        self.response = area[:, None] * grouped
        self.edges = np.concatenate([np.geomspace(1e-3, lo[0], 401)[:-1], lo, np.geomspace(hi[-1], 1e3, 35)])
        self.library, self.inner = library, slice(400, 400 + lo.size)
        log_x = np.linspace(np.log(1e-5), np.log(600.0), 8001)
        fine_x = np.linspace(log_x[0], log_x[-1], 40001)
        self.disc = fine_x, CubicSpline(log_x, np.log(disc_photon_flux(np.exp(log_x))))(fine_x)
        self.sigma = self._tabulate()

    def _tabulate(self) -> Array:
        """TBabs optical depth at nH = 1, from the largest nH that leaves a factor above 1e-4; and the proof of it."""
        sigma = np.zeros(self.edges.size - 1)
        for nh in 10.0 ** np.arange(-6, 3):
            factor = self.library.call("TBabs", [[nh]], self.edges)[0]
            sigma = np.where(factor > 1e-4, -np.log(np.maximum(factor, 1e-4)) / nh, sigma)
        nh = 10 ** np.random.default_rng(0).uniform(LOW[0], HIGH[0], 100)
        factor = self.library.call("TBabs", nh[:, None], self.edges)[:, self.inner]
        error = np.abs(np.exp(-nh[:, None] * sigma[self.inner]) - factor) / np.maximum(factor, 1e-12)
        if error.max() > 1e-8:
            raise ValueError(f"TBabs: the table of the cross-section is off by {error.max():g}")
        return sigma[self.inner]

    def rate(self, theta: Array, fast: bool = False) -> Array:
        """(n, 4 or 5) physical parameters, norm 1 where there is none -> (n, bin) counts/s."""
        nh, gamma, fraction, t_max, *norm = theta.T
        if fast:
            flux = self.scattered_disc(gamma, fraction, t_max)
        else:
            seed = np.stack([gamma, fraction, np.ones_like(nh), t_max, np.ones_like(nh)], axis=1)
            flux = self.library.evaluate("simpl*ezdiskbb", seed, self.edges)
        flux = flux[:, self.inner] * np.exp(-nh[:, None] * self.sigma) * (norm[0][:, None] if norm else 1.0)
        return np.asarray(flux @ self.response)

    def scattered_disc(self, gamma: Array, fraction: Array, t_max: Array) -> Array:
        """The fast copy of simpl*ezdiskbb at norm 1: Simpson's rule on a table, then one cumulative sum.

        Photons of bin i leave its middle E_i as (g-1) (E/E_i)^-g / E_i upwards, so bin j > i takes
        n_i E_i^(g-1) (E_j^(1-g) - E_j+1^(1-g)), and bin i keeps n_i (1 - (E_i+1/E_i)^(1-g)) of its own.
        """
        log_x, log_density = self.disc
        log_e = np.empty(2 * self.edges.size - 1)
        log_e[::2], log_e[1::2] = np.log(self.edges), np.log((self.edges[1:] + self.edges[:-1]) / 2)
        density = np.exp(np.interp(log_e - np.log(t_max)[:, None], log_x, log_density, right=-np.inf))
        seed = (density[:, :-1:2] + 4 * density[:, 1::2] + density[:, 2::2]) * (t_max[:, None] ** 2 / 6)
        seed = seed * np.diff(self.edges)
        up = np.exp((gamma - 1)[:, None] * log_e[1::2])
        down = np.exp((1 - gamma)[:, None] * log_e[::2])
        below = np.cumsum(seed * up, axis=1) - seed * up
        scattered = (down[:, :-1] - down[:, 1:]) * below + seed * (1 - up * down[:, 1:])
        return np.asarray((1 - fraction)[:, None] * seed + fraction[:, None] * scattered)


class LogPosterior:
    """Log-likelihood where the prior is not zero, -inf elsewhere, and log10 norm, of a batch of walkers.

    Coordinates of a walker: log10 nH, Gamma, log10 FracSctr, log10 T_max, log10 of the source's counts/s in all bins.
    """

    def __init__(self, fold: Fold, data: Data, fast: bool = False) -> None:
        self.fold, self.data, self.fast, self.evaluations = fold, data, fast, 0

    def __call__(self, x: Array) -> Array:
        inside = np.all((x[:, :4] >= LOW[:4]) & (x[:, :4] <= HIGH[:4]), axis=1)
        answer = np.column_stack([np.full(len(x), -np.inf), np.zeros(len(x))])
        if inside.any():
            shape = x[inside, :4]
            unit = self.fold.rate(np.where(LOGARITHMIC[:4], 10.0**shape, shape), self.fast)
            # A source without a photon in the band has no norm that makes one.
            with np.errstate(divide="ignore"):
                log_norm = x[inside, 4] - np.log10(unit.sum(axis=1))
            allowed = (log_norm >= LOW[4]) & (log_norm <= HIGH[4])
            expected = self.data.exposure * unit[allowed] * 10 ** log_norm[allowed, None] + self.data.background
            rows = np.flatnonzero(inside)[allowed]
            answer[rows, 0] = poisson.logpmf(self.data.counts, expected).sum(axis=1)
            answer[rows, 1] = log_norm[allowed]
            self.evaluations += int(inside.sum())
        return answer


class DelayedAcceptance(emcee.moves.Move):
    """INNER steps of the ensemble under a fast target, then one test against the true one.

    Each inner move draws its halves and partners at random and is reversible for the product of the walkers' fast
    targets, and so is a row of them drawn independently; the ratio of the true to the fast product is what is left
    for the test.
    """

    def __init__(self, fast: LogPosterior, seed: int) -> None:
        moves = [
            (emcee.moves.KDEMove(bw_method=0.3), 0.5),
            (emcee.moves.DEMove(), 0.25),
            (emcee.moves.StretchMove(), 0.25),
        ]
        self.inner = emcee.EnsembleSampler(WALKERS, PARAMETERS, fast, moves=moves, vectorize=True)
        self.inner.random_state = np.random.RandomState(seed).get_state()

    def forward(self, coordinates: Array, steps: int) -> emcee.State:
        return self.inner.run_mcmc(coordinates.copy(), steps, store=False, skip_initial_state_check=True)

    def propose(self, model: Any, state: emcee.State) -> tuple[emcee.State, NDArray[np.bool_]]:
        fast_before = self.inner.compute_log_prob(state.coords)[0]
        end = self.forward(state.coords, INNER)
        after, blobs = model.compute_log_prob_fn(end.coords)
        log_ratio = np.sum(after - end.log_prob) - np.sum(state.log_prob - fast_before)
        accepted = np.full(WALKERS, np.log(model.random.rand()) < log_ratio)
        return self.update(state, emcee.State(end.coords, log_prob=after, blobs=blobs), accepted), accepted


def best_fit(log_posterior: LogPosterior, starts: Array) -> Array:
    def objective(x: Array) -> float:
        return float(min(-log_posterior(x[None])[0, 0], 1e30))

    tries = [minimize(objective, start, method="Nelder-Mead", options={"maxfev": 3000}) for start in starts]
    return np.asarray(min(tries, key=lambda fit: float(fit.fun)).x)


def run_ensemble(
    log_posterior: LogPosterior, fast: LogPosterior, start: Array, seed: int, report: Callable[[str], None]
) -> tuple[Array, Array, dict[str, Any]]:
    """Warms up under the fast target, then runs until the kept part (all but the first fifth) is long enough."""
    move = DelayedAcceptance(fast, seed)
    warm = move.forward(start, WARM_UP)
    # A walker on a hill 15 nats below the best (the chance of a proper draw: 1e-5) would stay: it starts from another.
    stuck = warm.log_prob < warm.log_prob.max() - 15
    warm.coords[stuck] = warm.coords[np.random.default_rng(seed).choice(np.flatnonzero(~stuck), stuck.sum())]
    report(f"{stuck.sum()} walkers were stuck")
    state = move.forward(warm.coords, WARM_UP).coords
    sampler = emcee.EnsembleSampler(WALKERS, PARAMETERS, log_posterior, moves=move, vectorize=True)
    sampler.random_state = np.random.RandomState(seed + 100).get_state()
    for steps in range(BLOCK, MOST_STEPS + 1, BLOCK):
        state = sampler.run_mcmc(state, BLOCK, skip_initial_state_check=True)
        burn = steps // 5
        chain, log_like = sampler.get_chain(discard=burn).copy(), sampler.get_log_prob(discard=burn)
        chain[..., 4] = sampler.get_blobs(discard=burn).reshape(log_like.shape)
        tau = emcee.autocorr.integrated_time(chain, quiet=True, tol=0)
        # The spread needs its own: the square mixes at another pace than the value.
        square = emcee.autocorr.integrated_time((chain - chain.mean(axis=(0, 1))) ** 2, quiet=True, tol=0)
        effective = WALKERS * len(chain) / np.maximum(np.maximum(tau, square), 1)
        report(f"{steps} steps, tau {tau.round(2)}, of squares {square.round(2)}, effective {effective.round()}")
        if len(chain) >= TAUS * max(tau.max(), square.max()) and effective.min() >= EFFECTIVE:
            break
    else:
        raise RuntimeError(f"the chain is too short after {MOST_STEPS} steps: tau {tau}")
    chain, acceptance = chain.reshape(-1, PARAMETERS), sampler.acceptance_fraction.mean()
    description = {"steps": steps, "burn": burn, "acceptance": rounded(acceptance, 3), "tau": rounded(tau, 4)}
    description |= {"tau_of_squares": rounded(square, 4), "effective_samples": rounded(effective, 5)}
    description |= {"median": rounded(np.median(chain, axis=0)), "sd": rounded(chain.std(axis=0))}
    return chain, log_like.ravel(), description


def rounded(value: Any, digits: int = 7) -> Any:
    return [float(f"{v:.{digits}g}") for v in value] if np.ndim(value) else float(f"{value:.{digits}g}")


def summary(chain: Array) -> dict[str, Any]:
    quantile = np.percentile(chain, PERCENTILES, axis=0)
    entries = {}
    for name, draws, values in zip(NAMES, chain.T, quantile.T, strict=True):
        entries[name] = {"median": rounded(values[2]), "mean": rounded(draws.mean()), "sd": rounded(draws.std())}
        entries[name]["percentiles"] = dict(zip(map(str, PERCENTILES), rounded(values), strict=True))
    return entries


def simulate(library: XspecLibrary, name: str) -> tuple[Data, dict[str, Any]]:
    theta, exposure, seed = SIMULATED[name]
    first, last = paper_bins()
    nothing = np.zeros(first.size)
    mean = exposure * Fold(library, Data(first, last, nothing, nothing, exposure, ARF)).rate(np.array([theta]))[0]
    counts = np.random.default_rng(seed).poisson(mean)
    entry = {"theta": dict(zip(NAMES, theta, strict=True)), "seed": seed, "rmf": RMF, "arf": ARF}
    entry |= {"first_channel": first.tolist(), "last_channel": last.tolist(), "counts": counts.tolist()}
    return Data(first, last, counts.astype(float), nothing, exposure, ARF), entry


def starts(fast: LogPosterior, report: Callable[[str], None]) -> tuple[Array, Array]:
    """A small ball about the best fit; the best prior draws (at the counts/s of the data, within 2 %)."""
    random, data = np.random.default_rng(10), fast.data
    prior = random.uniform(LOW, HIGH, (START_DRAWS, PARAMETERS))
    log_rate = np.log10(np.sum(data.counts - data.background) / data.exposure)
    prior[:, 4] = random.normal(log_rate, 0.01, START_DRAWS)
    value = np.concatenate([fast(part)[:, 0] for part in np.split(prior, START_DRAWS // 100)])
    prior = prior[np.argsort(-value)]
    best = best_fit(fast, prior[:6])
    report(f"best fit {best.round(4)} {fast(best[None])[0].round(4)}")
    ball = best + 1e-3 * random.normal(size=(WALKERS, PARAMETERS))
    ball[:, :4] = np.clip(ball[:, :4], LOW[:4], HIGH[:4])
    return ball, prior[:WALKERS]


def analyse(name: str, chains: Path | None) -> dict[str, Any]:
    """One spectrum: its data (simulated ones), two ensembles, their summaries."""
    began = time.monotonic()

    def report(text: str) -> None:
        print(f"{name} {time.monotonic() - began:.0f} s: {text}", flush=True)

    with XspecLibrary(abund="wilm", xsect="vern") as library:
        if name == "real":
            data, entry = read_real(), {**REAL, "energies": [BAND], "grouping": "file"}
        else:
            data, entry = simulate(library, name)
        entry |= {"exposure": data.exposure, "bins": data.counts.size, "total_counts": int(data.counts.sum())}
        entry |= {"background_counts": rounded(data.background.sum())}
        fold = Fold(library, data)
        log_posterior, fast = LogPosterior(fold, data), LogPosterior(fold, data, fast=True)
        report(f"{data.counts.sum():.0f} counts in {data.counts.size} bins, {fold.edges.size - 1} energies")
        pair = starts(fast, report)
        ensembles = [run_ensemble(log_posterior, fast, start, 7 * i, report) for i, start in enumerate(pair)]
    parts, log_likes, descriptions = zip(*ensembles, strict=True)
    pooled, log_like = np.concatenate(parts), np.concatenate(log_likes)
    if chains is not None:
        chains.mkdir(parents=True, exist_ok=True)
        np.savez(chains / f"{name}.npz", chain=pooled, log_likelihood=log_like)
    peak, entry["posterior"] = log_like.argmax(), summary(pooled)
    entry["best_draw"] = {"log_likelihood": rounded(log_like[peak], 10), "coordinates": rounded(pooled[peak])}
    entry["effective_samples"] = rounded(np.sum([one["effective_samples"] for one in descriptions], axis=0), 5)
    entry["ensembles"] = list(descriptions)
    (median, other), (sd, other_sd) = ([np.array(one[key]) for one in descriptions] for key in ("median", "sd"))
    if np.any(np.abs(median - other) > 0.1 * sd) or np.any(np.abs(np.log(sd / other_sd)) > 0.1):
        raise RuntimeError(f"{name}: the two ensembles disagree: {descriptions}")
    entry |= {"evaluations": log_posterior.evaluations, "fast_evaluations": fast.evaluations}
    entry |= {"seconds": round(time.monotonic() - began), "date": datetime.now(UTC).date().isoformat()}
    return entry


def settings() -> dict[str, Any]:
    return {
        "command": "OMP_NUM_THREADS=1 python tests/reference/make_emcee_reference.py",
        "versions": {name: version(name) for name in ("xspectrampoline", "emcee", "numpy", "scipy", "astropy")},
        "library": "LibXSPEC 6.35.1",
        "model": "TBabs*simpl*ezdiskbb",
        "frozen": {"simpl.UpScOnly": 1},
        "abund": "wilm",
        "xsect": "vern",
        "names": NAMES,
        "box": BOX.tolist(),
        "scale": ["log10" if log else "linear" for log in LOGARITHMIC],
        "energy_grid": "400 logarithmic bins 1 eV - 0.1 keV, the RMF's own bins, 34 logarithmic bins 20 keV - 1 MeV",
        "likelihood": "Poisson(exposure x rate + known background), every constant kept",
        "sampler": f"{WALKERS} walkers, {INNER} steps (KDE .5, DE .25, stretch .25) between delayed acceptances",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=[*SIMULATED, "real"], default=["real", *SIMULATED])
    parser.add_argument("--chains", type=Path, help="a folder for the chains, outside of the repository")
    arguments = parser.parse_args()
    target = HERE.with_name("emcee_reference.json")
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        futures = {pool.submit(analyse, name, arguments.chains): name for name in arguments.only}
        for future in as_completed(futures):
            document = json.loads(target.read_text()) if target.exists() else {"spectra": {}}
            document = {**settings(), "spectra": {**document["spectra"], futures[future]: future.result()}}
            # Lists of numbers on one line.
            text = re.sub(r"\[[^][{}]*\]", lambda found: " ".join(found[0].split()), json.dumps(document, indent=1))
            target.write_text(text + "\n")


if __name__ == "__main__":
    main()
