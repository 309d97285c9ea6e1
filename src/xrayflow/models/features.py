"""Lines and edges of a model: which parameters say where one stands, and how strong it is."""

from __future__ import annotations

from dataclasses import dataclass

from xrayflow.models.model import Model
from xrayflow.models.parameter import Parameter


@dataclass(frozen=True)
class Feature:
    """A line or an edge that may stand anywhere, and be gone.

    Attributes:
        columns: Numbers of its free parameters.
        strength: Number of the one at 0 of which it is gone.
        place: Number of the one that says where it stands; None where that is linked to others.
    """

    columns: tuple[int, ...]
    strength: int
    place: int | None

    @property
    def shape(self) -> tuple[int, ...]:
        """Its other parameters: the width of a line."""
        return tuple(column for column in self.columns if column not in (self.place, self.strength))


def features_of(model: Model) -> tuple[Feature, ...]:
    """Those of a model whose place is not frozen and whose strength is free.

    Args:
        model: Its expression.
    """
    found = []
    for place in (one for one in model.parameters if one.is_place and not one.frozen):
        columns = tuple(i for i, one in enumerate(model.free) if one.component == place.component)
        strength = [i for i in columns if _is_strength(model.free[i])]
        if len(strength) == 1:
            at = [i for i in columns if model.free[i].is_place]
            found.append(Feature(columns, strength[0], at[0] if at else None))
    return tuple(found)


def _is_strength(parameter: Parameter) -> bool:
    return parameter.is_norm or parameter.is_depth
