"""Makes emcee_reference.json: posteriors of four NICER spectra by emcee on the compiled XSPEC models.

Nothing of xrayflow is under it but the bridge to the compiled library (`xrayflow.models.xspec`): files, grouping, fold,
likelihood and prior are written here again, in numpy and scipy, so that an agreement means something.

* Model TBabs*simpl*ezdiskbb, simpl's UpScOnly = 1, abundances wilm, cross-sections vern. TBabs is exactly linear in nH
  in the logarithm: its cross-section is tabulated once from the library and compared with it on 100 random nH.
* Photon grid: the RMF's own edges, continued by 200 logarithmic bins per decade down to 1 eV and by 20 up to 1 MeV
  (scattering is upwards only: no photon from above the RMF's range reaches it). Photons of the RMF's bins x ARF x RMF.
* Likelihood: scipy.stats.poisson with mean exposure x rate + known background (background counts scaled by exposure).
* Prior: uniform in the coordinates of the draws, log10 of nH, FracSctr, T_max, norm, and Gamma itself, in the box.
* Sampler: emcee, 128 walkers, whose target is the likelihood of the compiled library. A step is 25 steps (KDE,
  differential evolution, stretch) of the same ensemble under a fast numpy copy of the model (equal to the library to
  1e-5), then one Metropolis test of the whole ensemble with the library's likelihood: delayed acceptance, exact
  whatever the copy is worth (Christen & Fox 2005). Two ensembles a spectrum, one from a small ball about the best fit,
  one from the best of 4000 prior draws; they must agree, and are pooled.

Run:
    OMP_NUM_THREADS=1 python tests/reference/make_emcee_reference.py [--only NAME] [--chains DIR]
It takes about half an hour on two cores and replaces the entry of each spectrum as it is done.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
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

WALKERS, INNER, WARM_UP, BLOCK, MOST_STEPS, START_DRAWS = 128, 25, 600, 30, 900, 4000
TAUS, EFFECTIVE = 60, 5000
PERCENTILES = (5, 16, 50, 84, 95)

# theta, exposure [s], seed
SIMULATED: dict[str, tuple[tuple[float, ...], float, int]] = {
    "faint": ((0.1, 2.5, 0.05, 0.3, 7.0), 200.0, 1),
    "absorbed": ((7.0, 2.3, 0.2, 1.0, 3.5), 1000.0, 2),
    "bright": ((0.5, 2.5, 0.15, 0.8, 71.0), 1000.0, 3),
}
REAL = {
    "pha": "nicer_MAXIJ1535-571/1130360199/js_ni1130360199_0mpu7_silver_GTI2.jsgrp.gz",
    "background": "nicer_MAXIJ1535-571/1130360199/js_ni1130360199_0mpu7_silver_GTI2.bg.gz",
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


def ebounds() -> tuple[Array, Array]:
    with fits.open(DATA / RMF) as file:
        table = file["EBOUNDS"].data
        return table["E_MIN"].astype(float), table["E_MAX"].astype(float)


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
    e_min, e_max = ebounds()
    below = np.flatnonzero((e_min[first] < BAND[0]) & (e_max[last] >= BAND[0]))[0]
    above = np.flatnonzero((e_min[first] < BAND[1]) & (e_max[last] >= BAND[1]))[0]
    keep = np.zeros(first.size, dtype=bool)
    keep[below + 1 : above] = True
    keep &= np.maximum.reduceat(quality, first) == 0
    grouped = np.add.reduceat(counts, first)[keep], np.add.reduceat(background, first)[keep]
    return Data(first[keep], last[keep], *grouped, exposure, REAL["arf"])


class Fold:
    """theta -> expected counts of the source, by the compiled models and our own fold."""

    def __init__(self, library: XspecLibrary, data: Data, split: int = 1) -> None:
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
        inner = np.append(lo, hi[-1])
        fine = (inner[:-1, None] + np.diff(inner)[:, None] * np.arange(split) / split).ravel()
        below = np.geomspace(1e-3, inner[0], 401)[:-1]
        above = np.geomspace(inner[-1], 1e3, 35)
        self.edges = np.concatenate([below, fine, above])
        self.inner = slice(below.size, below.size + fine.size)
        self.split, self.library = split, library
        log_x = np.linspace(np.log(1e-5), np.log(600.0), 8001)
        fine_x = np.linspace(log_x[0], log_x[-1], 40001)
        self.disc = fine_x, CubicSpline(log_x, np.log(disc_photon_flux(np.exp(log_x))))(fine_x)
        self.sigma = self._tabulate()
        self._prove_the_table()

    def _tabulate(self) -> Array:
        """TBabs optical depth at nH = 1, from the largest nH that leaves a factor above 1e-4."""
        sigma = np.zeros(self.edges.size - 1)
        for nh in 10.0 ** np.arange(-6, 3):
            factor = self.library.call("TBabs", [[nh]], self.edges)[0]
            sigma = np.where(factor > 1e-4, -np.log(np.maximum(factor, 1e-4)) / nh, sigma)
        return sigma[self.inner]

    def _prove_the_table(self) -> None:
        nh = 10 ** np.random.default_rng(0).uniform(LOW[0], HIGH[0], 100)
        factor = self.library.call("TBabs", nh[:, None], self.edges)[:, self.inner]
        error = np.abs(np.exp(-nh[:, None] * self.sigma) - factor)
        worst = float(np.max(error / np.maximum(factor, 1e-12)))
        if worst > 1e-8:
            raise ValueError(f"TBabs: the table of the cross-section is off by {worst:g}")

    def rate(self, theta: Array, fast: bool = False) -> Array:
        """(n, 5) physical parameters -> (n, bin) counts/s."""
        nh, gamma, fraction, t_max, norm = theta.T
        if fast:
            flux = self.scattered_disc(gamma, fraction, t_max)[:, self.inner] * norm[:, None]
        else:
            seed = np.stack([gamma, fraction, np.ones_like(nh), t_max, norm], axis=1)
            flux = self.library.evaluate("simpl*ezdiskbb", seed, self.edges)[:, self.inner]
        flux = flux * np.exp(-nh[:, None] * self.sigma)
        return np.asarray(flux.reshape(len(theta), -1, self.split).sum(axis=2) @ self.response)

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


def physical(x: Array) -> Array:
    return np.where(LOGARITHMIC, 10.0 ** np.where(LOGARITHMIC, x, 0.0), x)


class LogPosterior:
    """Log-likelihood inside the box, -inf outside, of a batch of points in the scale coordinates."""

    def __init__(self, fold: Fold, data: Data, fast: bool = False) -> None:
        self.fold, self.data, self.fast, self.evaluations = fold, data, fast, 0

    def __call__(self, x: Array) -> Array:
        inside = np.all((x >= LOW) & (x <= HIGH), axis=1)
        value = np.full(len(x), -np.inf)
        if inside.any():
            rate = self.fold.rate(physical(x[inside]), self.fast)
            value[inside] = poisson.logpmf(self.data.counts, self.data.exposure * rate + self.data.background).sum(1)
            self.evaluations += int(inside.sum())
        return value


class DelayedAcceptance(emcee.moves.Move):
    """INNER steps of the ensemble under a fast target, then one test against the true one.

    Each inner move draws its halves and partners at random and is reversible for the product of the walkers' fast
    targets, and so is a row of them drawn independently; the ratio of the true to the fast product is what is left
    for the test.
    """

    def __init__(self, fast: LogPosterior, seed: int) -> None:
        moves = [(emcee.moves.KDEMove(), 0.5), (emcee.moves.DEMove(), 0.25), (emcee.moves.StretchMove(), 0.25)]
        self.inner = emcee.EnsembleSampler(WALKERS, len(NAMES), fast, moves=moves, vectorize=True)
        self.inner.random_state = np.random.RandomState(seed).get_state()

    def forward(self, coordinates: Array, steps: int) -> emcee.State:
        return self.inner.run_mcmc(coordinates.copy(), steps, store=False, skip_initial_state_check=True)

    def propose(self, model: Any, state: emcee.State) -> tuple[emcee.State, NDArray[np.bool_]]:
        fast_before = self.inner.compute_log_prob(state.coords)[0]
        end = self.forward(state.coords, INNER)
        after, _ = model.compute_log_prob_fn(end.coords)
        log_ratio = np.sum(after - end.log_prob) - np.sum(state.log_prob - fast_before)
        accepted = np.full(WALKERS, np.log(model.random.rand()) < log_ratio)
        return self.update(state, emcee.State(end.coords, log_prob=after), accepted), accepted


def best_fit(log_posterior: LogPosterior, starts: Array) -> Array:
    def objective(x: Array) -> float:
        return float(min(-log_posterior(x[None])[0], 1e30))

    tries = [minimize(objective, start, method="Nelder-Mead", options={"maxfev": 3000}) for start in starts]
    return np.asarray(min(tries, key=lambda fit: float(fit.fun)).x)


def run_ensemble(
    log_posterior: LogPosterior, fast: LogPosterior, start: Array, seed: int, report: Callable[[str], None]
) -> dict[str, Any]:
    """Warms up under the fast target, then runs until the kept part (all but the first fifth) is long enough."""
    move = DelayedAcceptance(fast, seed)
    state = move.forward(start, WARM_UP).coords
    sampler = emcee.EnsembleSampler(WALKERS, len(NAMES), log_posterior, moves=move, vectorize=True)
    sampler.random_state = np.random.RandomState(seed + 100).get_state()
    for steps in range(BLOCK, MOST_STEPS + 1, BLOCK):
        state = sampler.run_mcmc(state, BLOCK, skip_initial_state_check=True)
        burn = steps // 5
        chain, log_like = sampler.get_chain(discard=burn), sampler.get_log_prob(discard=burn)
        tau = emcee.autocorr.integrated_time(chain, quiet=True, tol=0)
        # The spread needs its own: the square mixes at another pace than the value.
        square = emcee.autocorr.integrated_time((chain - chain.mean(axis=(0, 1))) ** 2, quiet=True, tol=0)
        effective = WALKERS * len(chain) / np.maximum(np.maximum(tau, square), 1)
        report(f"{steps} steps, tau {tau.round(2)}, of squares {square.round(2)}, effective {effective.round()}")
        if len(chain) >= TAUS * max(tau.max(), square.max()) and effective.min() >= EFFECTIVE:
            break
    else:
        raise RuntimeError(f"the chain is too short after {MOST_STEPS} steps: tau {tau}")
    return {
        "chain": chain.reshape(-1, len(NAMES)),
        "log_likelihood": log_like.ravel(),
        "steps": steps,
        "burn": burn,
        "tau": tau,
        "tau_of_squares": square,
        "effective": effective,
        "acceptance": float(sampler.acceptance_fraction.mean()),
    }


def grid_shift(library: XspecLibrary, data: Data, draws: Array, log_likelihood: Array) -> dict[str, Any]:
    """How far the means would move, in sd, if each bin of the RMF were split in 4: importance weights on 300 draws."""
    finer = LogPosterior(Fold(library, data, split=4), data)
    difference = finer(draws) - log_likelihood
    weight = np.exp(difference - difference.max())
    weight /= weight.sum()
    shift = (weight @ draws - draws.mean(axis=0)) / draws.std(axis=0)
    return {
        "mean_shift_in_sd": dict(zip(NAMES, rounded(shift, 3), strict=True)),
        "log_likelihood_shift_mean": rounded(difference.mean(), 4),
        "log_likelihood_shift_sd": rounded(difference.std(), 4),
    }


def rounded(value: Any, digits: int = 7) -> Any:
    return [float(f"{v:.{digits}g}") for v in value] if np.ndim(value) else float(f"{value:.{digits}g}")


def summary(chain: Array) -> dict[str, Any]:
    quantile = np.percentile(chain, PERCENTILES, axis=0)
    return {
        name: {
            "median": rounded(quantile[2, i]),
            "mean": rounded(chain[:, i].mean()),
            "sd": rounded(chain[:, i].std()),
            "percentiles": dict(zip(map(str, PERCENTILES), rounded(quantile[:, i]), strict=True)),
        }
        for i, name in enumerate(NAMES)
    }


def analyse(name: str, chains: Path | None) -> dict[str, Any]:
    """One spectrum: its data (simulated ones), two ensembles, their summaries."""
    began = time.monotonic()

    def report(text: str) -> None:
        print(f"{name} {time.monotonic() - began:.0f} s: {text}", flush=True)

    with XspecLibrary(abund="wilm", xsect="vern") as library:
        entry: dict[str, Any]
        if name == "real":
            data = read_real()
            entry = {**REAL, "energies": [list(BAND)], "grouping": "file", "bins": data.counts.size}
        else:
            theta, exposure, seed = SIMULATED[name]
            first, last = paper_bins()
            nothing = np.zeros(first.size)
            data = Data(first, last, nothing, nothing, exposure, ARF)
            mean = exposure * Fold(library, data).rate(np.array([theta]))[0]
            data = Data(first, last, np.random.default_rng(seed).poisson(mean).astype(float), nothing, exposure, ARF)
            entry = {"theta": dict(zip(NAMES, theta, strict=True)), "rmf": RMF, "arf": ARF, "seed": seed}
            entry |= {"first_channel": first.tolist(), "last_channel": last.tolist()}
            entry["counts"] = data.counts.astype(int).tolist()
        entry |= {"exposure": data.exposure, "total_counts": float(data.counts.sum())}
        entry["background_counts"] = rounded(data.background.sum())
        fold = Fold(library, data)
        log_posterior, fast = LogPosterior(fold, data), LogPosterior(fold, data, fast=True)
        report(f"{data.counts.sum():.0f} counts in {data.counts.size} bins, {fold.edges.size - 1} energies")
        random = np.random.default_rng(10)
        prior = random.uniform(LOW, HIGH, (START_DRAWS, len(NAMES)))
        value = np.concatenate([fast(part) for part in np.split(prior, START_DRAWS // 100)])
        prior = prior[np.argsort(-value)]
        best = best_fit(fast, prior[:6])
        best_value = float(log_posterior(best[None])[0])
        report(f"best {best.round(4)} {best_value:.3f}")
        ball = np.clip(best + 1e-3 * (HIGH - LOW) * random.normal(size=(WALKERS, len(NAMES))), LOW, HIGH)
        starts = (ball, prior[:WALKERS])
        ensembles = [run_ensemble(log_posterior, fast, start, 7 * i, report) for i, start in enumerate(starts)]
        seconds = time.monotonic() - began
        pooled = np.concatenate([ensemble["chain"] for ensemble in ensembles])
        log_like = np.concatenate([ensemble["log_likelihood"] for ensemble in ensembles])
        some = random.choice(len(pooled), 300, replace=False)
        entry["grid"] = grid_shift(library, data, pooled[some], log_like[some])
    if chains is not None:
        chains.mkdir(parents=True, exist_ok=True)
        np.savez(chains / f"{name}.npz", chain=pooled[::20], log_likelihood=log_like[::20])
    peak = int(log_like.argmax())
    best, best_value = max(((best, best_value), (pooled[peak], float(log_like[peak]))), key=lambda pair: pair[1])
    entry["posterior"] = summary(pooled)
    entry["best"] = {"log_likelihood": rounded(best_value, 10), "coordinates": rounded(best)}
    entry["ensembles"] = [describe(ensemble) for ensemble in ensembles]
    entry["effective_samples"] = rounded(np.sum([ensemble["effective"] for ensemble in ensembles], axis=0), 5)
    entry |= {"seconds": round(seconds), "evaluations": log_posterior.evaluations, "fast_evaluations": fast.evaluations}
    report(f"done, {seconds:.0f} s")
    return entry


def describe(ensemble: dict[str, Any]) -> dict[str, Any]:
    chain = ensemble["chain"]
    return {
        "steps": ensemble["steps"],
        "burn": ensemble["burn"],
        "acceptance": rounded(ensemble["acceptance"], 3),
        "tau": rounded(ensemble["tau"], 4),
        "tau_of_squares": rounded(ensemble["tau_of_squares"], 4),
        "effective_samples": rounded(ensemble["effective"], 5),
        "median": rounded(np.median(chain, axis=0)),
        "sd": rounded(chain.std(axis=0)),
    }


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
        "walkers": WALKERS,
        "moves": f"{INNER} steps (KDE .5, DE .25, stretch .25) under a fast copy, then delayed acceptance",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--only", nargs="+", choices=[*SIMULATED, "real"], default=["bright", "real", "absorbed", "faint"]
    )
    parser.add_argument("--chains", type=Path, help="a folder for thinned chains, outside of the repository")
    arguments = parser.parse_args()
    target = HERE.with_name("emcee_reference.json")
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        futures = {pool.submit(analyse, name, arguments.chains): name for name in arguments.only}
        for future in as_completed(futures):
            document = json.loads(target.read_text()) if target.exists() else {"spectra": {}}
            entry = {"date": datetime.now(UTC).date().isoformat(), **future.result()}
            document = {**settings(), "spectra": {**document["spectra"], futures[future]: entry}}
            target.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
