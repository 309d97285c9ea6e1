"""What another observation would say: spectra simulated from the draws of an answer, each answered as a spectrum is.

An answer of several data sets is foretold with all of them, their exposures in proportion.

Nothing is assumed of the shape of a posterior: limits, degeneracies and backgrounds are in the forecast as they will be
in the fit. Each spectrum has parameters of its own, drawn from the answer, and noise of its own, so the widths scatter
by what is not known yet and by chance. The model is taken to be right: what it lacks, a longer exposure will show.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from xrayflow.dataset import ObservedData
from xrayflow.errors import DataError, XrayflowError
from xrayflow.inference import NoAnswer, Posterior, infer_batch, infer_problem
from xrayflow.ogip import Observation
from xrayflow.prior import Prior
from xrayflow.products.numbers import significant
from xrayflow.setup import FitSetup, joint_problem
from xrayflow.simulate import Instrument, simulate

GROUPING = "optimal"
"""Of simulated spectra: groups of a file were made for other counts. Where chi2 has a SYS_ERR, they stay: that is the
error of a bin, and fewer bins would know less."""

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Plan:
    """Another observation of the same source.

    Attributes:
        exposure: s, of the first data set; others are longer by the same factor. None: as long as the answer's.
        rmf, arf, background: Of another instrument; None: the answer's.
        energies: [(lo, hi)] keV; None: the answer's.
        spectra: That are simulated.
        seed: Of parameters and noise.
    """

    exposure: float | None = None
    rmf: str | None = None
    arf: str | None = None
    background: str | None = None
    energies: Sequence[tuple[float, float]] | None = None
    spectra: int = 8
    seed: int = 0

    def exposure_after(self, posterior: Posterior) -> float:
        """The exposure [s], of the first data set.

        Args:
            posterior: What is known now.
        """
        return self.exposure or posterior.data[0].exposure


@dataclass(frozen=True)
class Forecast:
    """What another observation is expected to say.

    Attributes:
        posterior: What is known now.
        exposure: s, of the observation; of the first data set.
        truths: (spectrum, parameter) what each was simulated with.
        lower, median, upper: (spectrum, parameter) of each answer, the ends of its 90 % interval.
        counts: (spectrum,) in the band.
        verdicts: (spectrum,) of the answers.
        failed: Why a spectrum had no answer, one entry each.
    """

    posterior: Posterior
    exposure: float
    truths: FloatArray
    lower: FloatArray
    median: FloatArray
    upper: FloatArray
    counts: FloatArray
    verdicts: tuple[str, ...]
    failed: tuple[str, ...]

    def rows(self) -> list[dict[str, Any]]:
        """Per parameter of the model the widths of its 90 % intervals: now, and then (median and range)."""
        now = np.diff(self.posterior.quantile([0.05, 0.95]), axis=0)[0]
        found = []
        for i, name in enumerate(self.posterior.model.names):
            width = self.upper[:, i] - self.lower[:, i]
            inside = (self.lower[:, i] <= self.truths[:, i]) & (self.truths[:, i] <= self.upper[:, i])
            found.append(
                {
                    "name": name,
                    "unit": self.posterior.prior.marginals[i].unit,
                    "width90_now": float(now[i]),
                    "width90": float(np.median(width)),
                    "width90_least": float(width.min()),
                    "width90_most": float(width.max()),
                    "narrower_by": float(now[i] / np.median(width)),
                    "truth_inside": int(inside.sum()),
                }
            )
        return found

    def report(self) -> dict[str, Any]:
        """As plain numbers and words."""
        return {
            "exposure": self.exposure,
            "spectra": len(self.verdicts),
            "failed": list(self.failed),
            "counts": float(np.median(self.counts)),
            "method": "spectra simulated from posterior draws, each answered by its own posterior",
            "parameters": self.rows(),
        }


def forecast(posterior: Posterior, plan: Plan, progress: Callable[[str, float], None] | None = None) -> Forecast:
    """Widths to expect of another observation; files of the answer's response are read again unless others are given.

    Args:
        posterior: What is known now.
        plan: The observation.
        progress: Called with (step, fraction).

    Raises:
        DataError: The exposure is not above 0, another instrument is given for several data sets, or no simulated
            spectrum has an answer.
        FileError: A file cannot be read.
    """
    names, exposure = posterior.model.names, plan.exposure_after(posterior)
    truths = posterior.resample(plan.spectra, plan.seed)[:, : len(names)]
    faked, setups = planned(posterior, plan, truths)
    if len(setups) == 1:
        together = [one for (one,) in faked]
        answers = infer_batch(together, setups[0], "none", seed=plan.seed, progress=progress, on_error="row")
    else:
        answers = [_jointly(each, setups, plan.seed) for each in _told(faked, progress)]
    kept = [(one, truth) for one, truth in zip(answers, truths, strict=True) if isinstance(one, Posterior)]
    failed = tuple(one.reason for one in answers if isinstance(one, NoAnswer))
    if not kept:
        raise DataError(f"no simulated spectrum has an answer: {failed[0]}")
    ends = np.stack([one.quantile([0.05, 0.5, 0.95])[:, : len(names)] for one, _ in kept])
    return Forecast(
        posterior=posterior,
        exposure=exposure,
        truths=np.stack([truth for _, truth in kept]),
        lower=ends[:, 0],
        median=ends[:, 1],
        upper=ends[:, 2],
        counts=np.array([sum(data.counts.sum() for data in one.data) for one, _ in kept]),
        verdicts=tuple(one.verdict for one, _ in kept),
        failed=failed,
    )


def planned(posterior: Posterior, plan: Plan, truths: FloatArray) -> tuple[list[list[Observation]], list[FitSetup]]:
    """Simulated spectra of another observation, and what is asked of them.

    Args:
        posterior: What is known now.
        plan: The observation.
        truths: (spectrum, parameter) what each is simulated with.

    Returns:
        A spectrum of each data set for each truth, and the setup of each data set.

    Raises:
        DataError, FileError: As `forecast`.
    """
    if len(posterior.data) > 1 and (plan.rmf or plan.arf or plan.background):
        raise DataError(
            f"an answer of {len(posterior.data)} data sets: --rmf, --arf and --background do not say of which; give "
            "--exposure and --energies alone"
        )
    if plan.exposure is not None and not plan.exposure > 0:
        raise DataError(f"exposure {plan.exposure:g} s: give a time above 0")
    exposure = plan.exposure_after(posterior)
    detectors = [_detector(posterior, data, plan) for data in posterior.data]
    faked = [_faked(posterior, detectors, theta, exposure, plan.seed, number) for number, theta in enumerate(truths)]
    setups = [
        _setup(posterior, data, template, believed, plan.energies)
        for data, (template, believed) in zip(posterior.data, detectors, strict=True)
    ]
    return faked, setups


def _faked(
    posterior: Posterior,
    detectors: Sequence[tuple[Observation, float | str]],
    theta: FloatArray,
    exposure: float,
    seed: int,
    number: int,
) -> list[Observation]:
    """A spectrum of each data set, of one source."""
    values = dict(zip(posterior.model.names, map(float, theta), strict=True))
    longer, several = exposure / posterior.data[0].exposure, len(detectors)
    found = [
        simulate(
            template,
            posterior.model,
            values,
            longer * data.exposure,
            seed + number * several + place,
            f"forecast-{number}.pha" if several == 1 else f"forecast-{number}-{place}.pha",
            background=template.background,
            systematic=believed,
            background_scale=posterior.likelihood.background.scale,
        )
        for place, (data, (template, believed)) in enumerate(zip(posterior.data, detectors, strict=True))
    ]
    return [
        replace(one, pha=replace(one.pha, sys_err=template.pha.sys_err)) if _has_errors(posterior, template) else one
        for one, (template, _) in zip(found, detectors, strict=True)
    ]


def _has_errors(posterior: Posterior, detector: Observation) -> bool:
    """Whether the answer rests on the SYS_ERR of a file, which no exposure makes smaller."""
    return posterior.statistic.name == "chi2" and detector.pha.sys_err is not None


def _setup(
    posterior: Posterior,
    data: ObservedData,
    detector: Observation,
    believed: float | str,
    energies: Sequence[tuple[float, float]] | None,
) -> FitSetup:
    """What is asked of a simulated spectrum."""
    by_chi2 = _has_errors(posterior, detector)
    return FitSetup(
        model=posterior.model,
        prior=Prior(posterior.prior.marginals[: len(posterior.model.names)]),
        systematic=believed,
        energies=data.energies if energies is None else energies,
        grouping=data.grouping if by_chi2 else GROUPING,
        statistic="chi2" if by_chi2 else "auto",
        likelihood=posterior.likelihood.background.kind,
        background_scale=posterior.likelihood.background.scale,
    )


def _jointly(observations: Sequence[Observation], setups: Sequence[FitSetup], seed: int) -> Posterior | NoAnswer:
    """The answer of several data sets of one source."""
    try:
        return infer_problem(joint_problem(observations, setups), seed=seed)[0]
    except XrayflowError as error:
        return NoAnswer(observations[0].pha.path, error)


def _told(
    faked: Sequence[list[Observation]], progress: Callable[[str, float], None] | None
) -> Iterator[list[Observation]]:
    """Each in turn, and how far it is."""
    for number, one in enumerate(faked):
        if progress is not None:
            progress("answering", number / len(faked))
        yield one


def _detector(posterior: Posterior, data: ObservedData, plan: Plan) -> tuple[Observation, float | str]:
    """The instrument without counts, and what is believed of its errors: those of modes are one instrument's own."""
    if plan.rmf is not None:
        fraction = 0.0 if posterior.likelihood.calibration is not None else posterior.likelihood.systematic
        return Instrument(plan.rmf, plan.arf, plan.background).read(), fraction
    background = plan.background or (None if data.background is None else str(data.background))
    arf = plan.arf or (None if data.arf is None else str(data.arf))
    found = Instrument(str(data.rmf), arf or "none", background, str(data.pha)).read()
    if _has_errors(posterior, found):
        return found, posterior.likelihood.asked
    none = np.zeros_like(found.pha.grouping)
    return replace(found, pha=replace(found.pha, grouping=none)), posterior.likelihood.asked


def forecast_table(found: Forecast) -> RenderableType:
    """For a terminal.

    Args:
        found: Of `forecast`.
    """
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1), header_style="bold")
    for title, side in (("parameter", "left"), ("now", "right"), ("then", "right"), ("range", "left")):
        table.add_column(title, justify=side, no_wrap=True)  # type: ignore[arg-type]
    table.add_column("gain", justify="right", no_wrap=True)
    table.add_column("unit", overflow="fold")
    for row in found.rows():
        ends = f"{significant(row['width90_least'])} .. {significant(row['width90_most'])}"
        now, then, gain = (significant(row[name]) for name in ("width90_now", "width90", "narrower_by"))
        table.add_row(*(Text(cell) for cell in (row["name"], now, then, ends, gain, row["unit"])))
    posterior, number = found.posterior, len(found.verdicts)
    certified = sum(one == "certified" for one in found.verdicts)
    files = " + ".join(data.pha.name for data in posterior.data)
    words = [
        f"{files}: {posterior.model.text}; widths of 90 % intervals, now and with "
        f"{significant(found.exposure, 4)} s (about {np.median(found.counts):.4g} counts)",
        f"from {number} spectra simulated with draws of the answer and answered like any other; {certified} certified",
    ]
    if found.failed:
        words.append(f"{len(found.failed)} more had no answer: {found.failed[0]}")
    if posterior.fit.status != "acceptable":
        words.append("the model does not describe the data well, and the forecast is one of the model")
    return Group(Text(words[0]), Text(""), table, Text(""), *(Text(line) for line in words[1:]))
