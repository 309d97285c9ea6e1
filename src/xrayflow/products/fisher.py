"""What another observation would say, in about a second: the curvature of its posterior instead of its draws.

A few spectra are simulated at the medians of the answer. There Fisher's information F of their likelihood, the
background and the calibration in it, is taken in the prior's probit coordinates v, where the prior is a standard
normal; it is their mean, since the noise of a background moves it by some per cent:

    C = (F + 1)^-1,      90 % interval of parameter i: theta_i(v_i -+ 1.645 sqrt(C_ii)).

That is a posterior only where the logarithm of the target is a parabola, which is looked at: 1.645 standard deviations
up and down the ridge of each parameter it has to fall by 1.645^2 / 2, once the slope that the noise gave is taken off.
Where it does not (few counts, a bent degeneracy, an edge of the prior), and where the prior says more than the data,
that is said of the parameter and of all beside it, and `forecasting`, which assumes no shape, is to be asked.

Source: Fisher 1922, Phil. Trans. A 222, 309; Tegmark, Taylor & Heavens 1997, ApJ 480, 22 (forecasts).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from xrayflow.errors import DataError
from xrayflow.inference import Posterior
from xrayflow.problem import Problem
from xrayflow.products.forecasting import Plan, planned
from xrayflow.products.numbers import significant
from xrayflow.setup import joint_problem

REACH = 1.6448536269514722
"""Standard deviations from the middle to the ends of a 90 % interval."""

SPECTRA = 4
"""Of which the mean of the information is taken."""

BENT = 0.25
"""By this part may the fall differ from a parabola's: widths are off by half of it, a tenth, at most."""

MOSTLY_PRIOR = 0.5
"""Of the prior's variance that is left: above it the data say less than the prior."""

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class FisherForecast:
    """What another observation is expected to say, by the curvature of its posterior.

    Attributes:
        posterior: What is known now.
        exposure: s, of the observation; of the first data set.
        counts: In the band.
        truth: (parameter,) the medians of the answer, where the curvature is taken.
        lower, upper: (parameter,) ends of the 90 % intervals.
        doubts: (parameter,) why an interval is not to be trusted; "" where it is.
    """

    posterior: Posterior
    exposure: float
    counts: float
    truth: FloatArray
    lower: FloatArray
    upper: FloatArray
    doubts: tuple[str, ...]

    def rows(self) -> list[dict[str, Any]]:
        """Per parameter of the model: the width of its 90 % interval now and then, its error, and what is in doubt."""
        now = np.diff(self.posterior.quantile([0.05, 0.95]), axis=0)[0]
        found = []
        for i, name in enumerate(self.posterior.model.names):
            width = float(self.upper[i] - self.lower[i])
            found.append(
                {
                    "name": name,
                    "unit": self.posterior.prior.marginals[i].unit,
                    "width90_now": float(now[i]),
                    "width90": width,
                    "standard_deviation": width / (2.0 * REACH),
                    "narrower_by": float(now[i]) / width,
                    "doubt": self.doubts[i],
                }
            )
        return found

    def report(self) -> dict[str, Any]:
        """As plain numbers and words."""
        return {
            "exposure": self.exposure,
            "counts": self.counts,
            "method": "Fisher's information of simulated spectra at the medians of the answer, and the prior",
            "parameters": self.rows(),
        }


def fisher_forecast(posterior: Posterior, plan: Plan) -> FisherForecast:
    """Widths to expect of another observation, by the curvature of its posterior.

    Args:
        posterior: What is known now.
        plan: The observation; `SPECTRA` are simulated, whatever it says.

    Raises:
        DataError: The exposure is not above 0, another instrument is given for several data sets, or the simulated
            spectrum has no counts.
        FileError: A file cannot be read.
    """
    number = len(posterior.model.names)
    truth = posterior.quantile([0.5])[0, :number]
    faked, setups = planned(posterior, plan, np.repeat(truth[None], SPECTRA, axis=0))
    exposure = plan.exposure_after(posterior)
    empty = sum(not all(one.pha.counts.any() for one in each) for each in faked)
    if empty:
        raise DataError(
            f"exposure {exposure:g} s: {empty} of {SPECTRA} simulated spectra have no counts; give a longer --exposure"
        )
    problems = [joint_problem(one, setups) for one in faked]
    # nuisances at the middle of what is believed of them
    v = torch.zeros((1, 1, problems[0].parameters), dtype=torch.float64)
    v[..., :number] = problems[0].model_prior.to_probit(torch.from_numpy(truth)[None, None])
    problems = [one.centred(one.prior.to_theta(v)) for one in problems]
    curved = [one.target_curvature(v) for one in problems]
    covariance = torch.linalg.inv(torch.stack([one.information[0, 0] for one in curved]).mean(0))
    sd = covariance.diagonal().sqrt()
    ends = problems[0].prior.to_theta(v + REACH * torch.tensor([[-1.0], [1.0]], dtype=torch.float64) * sd)
    bent = _bent(problems[0], v, curved[0].gradient[0, 0], covariance[:, :number] / sd[:number])
    return FisherForecast(
        posterior=posterior,
        exposure=exposure,
        counts=float(np.mean([float(one.data.facts.counts.sum()) for one in problems])),
        truth=truth,
        lower=ends[0, 0, :number].numpy(),
        upper=ends[0, 1, :number].numpy(),
        doubts=_doubts(posterior.model.names, sd[:number].tolist(), bent.tolist()),
    )


def _bent(problem: Problem, v: torch.Tensor, gradient: torch.Tensor, ridges: torch.Tensor) -> torch.Tensor:
    """(parameter,) by which part the target differs from its parabola at the ends of the intervals, at most.

    Args:
        problem: The target.
        v: (1, 1, parameter) where the curvature was taken.
        gradient: (parameter,) there.
        ridges: (parameter, parameter of the model) a standard deviation of each along its ridge, in columns.
    """
    steps = REACH * torch.cat([ridges, -ridges], dim=1).T
    values = problem.log_target(torch.cat([v[0], v[0] + steps])[None])[0]
    fall = values[0] + steps @ gradient - values[1:]
    return (fall / (0.5 * REACH**2) - 1.0).abs().reshape(2, -1).amax(0)


def _doubts(names: Sequence[str], sd: Sequence[float], bent: Sequence[float]) -> tuple[str, ...]:
    """Why an interval is not to be trusted; one in doubt leaves none beside it, since they may hang together."""
    own = ["the prior says more" if one**2 > MOSTLY_PRIOR else "" for one in sd]
    own = [said or ("" if by <= BENT else "no parabola") for said, by in zip(own, bent, strict=True)]
    first = next((name for name, said in zip(names, own, strict=True) if said), "")
    return tuple(said or (f"beside {first}" if first else "") for said in own)


def fisher_table(found: FisherForecast) -> RenderableType:
    """For a terminal.

    Args:
        found: Of `fisher_forecast`.
    """
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1), header_style="bold")
    for title, side in (("parameter", "left"), ("now", "right"), ("then", "right"), ("gain", "right")):
        table.add_column(title, justify=side, no_wrap=True)  # type: ignore[arg-type]
    table.add_column("unit", overflow="fold")
    table.add_column("not to be trusted", overflow="fold")
    for row in found.rows():
        now, then, gain = (significant(row[name]) for name in ("width90_now", "width90", "narrower_by"))
        table.add_row(*(Text(cell) for cell in (row["name"], now, then, gain, row["unit"], row["doubt"])))
    posterior = found.posterior
    files = " + ".join(data.pha.name for data in posterior.data)
    words = [
        f"{files}: {posterior.model.text}; widths of 90 % intervals, now and with {significant(found.exposure, 4)} s "
        f"(about {found.counts:.4g} counts)",
        "by Fisher's information at the medians of the answer, and the prior; the shape of the posterior is assumed",
    ]
    if any(found.doubts):
        words.append(
            "not to be trusted: ln of the posterior is no parabola (few counts, a bent ridge, an edge of the prior), "
            "or the prior says more than these data; the same command without --fisher simulates"
        )
    if posterior.fit.status != "acceptable":
        words.append("the model does not describe the data well, and the forecast is one of the model")
    return Group(Text(words[0]), Text(""), table, Text(""), *(Text(line) for line in words[1:]))
