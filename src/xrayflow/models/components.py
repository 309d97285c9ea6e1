"""All components that there are, in the order in which they are listed."""

from __future__ import annotations

from xrayflow.models import additive, convolution, covering, multiplicative, nthcomp, simplcutx, vphabs
from xrayflow.models.component import Component

COMPONENTS: tuple[Component, ...] = (
    *additive.COMPONENTS,
    *nthcomp.COMPONENTS,
    *multiplicative.COMPONENTS,
    *vphabs.COMPONENTS,
    *covering.COMPONENTS,
    *convolution.COMPONENTS,
    *simplcutx.COMPONENTS,
)
