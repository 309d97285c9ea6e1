"""A spectral component: its kind, its parameters, and how it is bound to an energy grid."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor

from xrayflow.models.edges import EnergyBins
from xrayflow.models.parameter import Parameter

Kind = Literal["additive", "multiplicative", "convolution"]
Bound = Callable[..., Tensor]
Binding = Callable[[EnergyBins, str], Bound]


@dataclass(frozen=True, eq=False)
class OnGrid:
    """A component on a grid that also states derivatives, where that is cheaper than two more calls of it.

    Attributes:
        function: The component.
        slopes: By the place of an argument, its derivative as a function of the value and of all arguments.
    """

    function: Bound
    slopes: Mapping[int, Bound] = field(repr=False)

    def __call__(self, *arguments: Any) -> Tensor:
        """The component itself."""
        return self.function(*arguments)


@dataclass(frozen=True)
class Component:
    """One of XSPEC's components.

    `bind(bins, abund)` computes what depends on the grid alone and returns a pure function of tensors. The function
    takes one tensor `(*batch,)` per parameter, in the order of the table (a switch is a plain float), and returns
    `(*batch, energy)`: photons/cm^2/s per bin (additive), a factor per bin (multiplicative). That of a convolution
    takes the photons per bin `(*batch, energy)` first.

    Attributes:
        name: XSPEC's name.
        kind: Its place in XSPEC's algebra.
        title: What it is, in a few words.
        parameters: The table; the norm of an additive component is its last.
        bind: See above.
        formula: One line for people.
        source: Paper or manual page.
        uses_abund: Whether the abundances matter.
    """

    name: str
    kind: Kind
    title: str
    parameters: tuple[Parameter, ...]
    bind: Binding
    formula: str
    source: str
    uses_abund: bool = False


def without_abund(bind: Callable[[EnergyBins], Bound]) -> Binding:
    """The binding of a component that knows no abundances.

    Args:
        bind: Takes the bins alone.

    Returns:
        A binding that ignores its second argument.
    """

    def bind_anyway(bins: EnergyBins, abund: str) -> Bound:
        return bind(bins)

    return bind_anyway


def column(value: Any) -> Any:
    """A parameter as a column against the energies.

    Args:
        value: A tensor `(*batch,)`, or a float.

    Returns:
        A tensor `(*batch, 1)`, or the float.
    """
    return value.unsqueeze(-1) if isinstance(value, Tensor) else value
