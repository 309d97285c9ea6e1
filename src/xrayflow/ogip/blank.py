"""An empty spectrum of a detector, where there is no file to take it from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xrayflow.ogip.pha import PHA
from xrayflow.ogip.rmf import RMF


def blank_pha(rmf: RMF, grouping: NDArray[np.int64] | None = None) -> PHA:
    """A spectrum of all channels of a matrix, one second long, all channels good, AREASCAL and BACKSCAL 1.

    Args:
        rmf: The matrix.
        grouping: (channel,) OGIP grouping; None: not grouped.
    """
    size = rmf.channel.size
    none = np.zeros(size, dtype=np.int64)
    return PHA(
        path=Path("blank.pha"),
        channel=rmf.channel,
        counts=np.zeros(size),
        stat_err=None,
        sys_err=None,
        quality=none,
        grouping=none if grouping is None else grouping,
        exposure=1.0,
        areascal=np.ones(size),
        backscal=np.ones(size),
        poisserr=True,
        is_rate=False,
        detchans=size,
        background_file=None,
        response_file=None,
        arf_file=None,
        telescope="UNKNOWN",
        instrument="UNKNOWN",
        object="simulated",
        sha256="",
        first_channel=int(rmf.channel[0]),
        where="blank spectrum",
    )
