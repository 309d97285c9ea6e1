"""All components that there are, in the order in which they are listed."""

from __future__ import annotations

from xrayflow.models import additive, convolution, covering, multiplicative, simplcutx
from xrayflow.models.component import Component

COMPONENTS: tuple[Component, ...] = (
    *additive.COMPONENTS,
    *multiplicative.COMPONENTS,
    *covering.COMPONENTS,
    *convolution.COMPONENTS,
    *simplcutx.COMPONENTS,
)
