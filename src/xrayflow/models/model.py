"""A spectral model: an expression with its parameters, as a function from theta to photons per bin."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from xrayflow.errors import ModelError, nearest
from xrayflow.models import linked
from xrayflow.models.absorption import ABUNDANCES
from xrayflow.models.component import Bound
from xrayflow.models.edges import TOLERANCE, EnergyBins
from xrayflow.models.expression import Leaf, Node, Product, kind_of, leaves, parse_expression, to_text
from xrayflow.models.link import Range, parse_link
from xrayflow.models.names import shown
from xrayflow.models.parameter import Parameter

Value = TypeVar("Value")

CHUNK_ELEMENTS = 400_000
"""Rows x bins evaluated at once: the temporaries then stay in the processor's cache (measured: 1.3 to 2 x faster)."""
OTHER_CROSS_SECTIONS = ("bcmc", "obcm")
"""XSPEC has them; we have not."""


@dataclass(frozen=True)
class Model:
    """A spectral model.

    Attributes:
        text: The expression in canonical form: structure only, `parse_model(text)` has the same.
        parameters: All parameters, frozen and linked ones included, in XSPEC's order.
        abund: Abundances, XSPEC's name.
        xsect: Cross-sections, always `vern`.
    """

    text: str
    parameters: tuple[Parameter, ...]
    abund: str = "wilm"
    xsect: str = "vern"
    tree: Node = field(repr=False, kw_only=True, compare=False)

    @property
    def identity(self) -> str:
        """All that decides what the components compute: two models of one identity differ in their parameters alone."""
        return f"{self.text} (abund {self.abund}, xsect {self.xsect})"

    @property
    def free(self) -> tuple[Parameter, ...]:
        """The free parameters: the columns of theta."""
        return tuple(parameter for parameter in self.parameters if parameter.is_free)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the free parameters."""
        return tuple(parameter.name for parameter in self.free)

    @property
    def has_convolution(self) -> bool:
        """Whether photons outside the band matter."""
        return any(leaf.component.kind == "convolution" for leaf in leaves(self.tree))

    def freeze(self, values: Mapping[str, float]) -> Model:
        """The same model with some parameters fixed, whatever they were.

        Args:
            values: Value by name (`"TBabs.nH"`, in any case), in the parameter's unit.

        Returns:
            The new model.

        Raises:
            ModelError: A name does not exist or comes twice, or a value or what is linked to it is outside the hard
                limits.

        >>> parse_model("TBabs*powerlaw").freeze({"tbabs.nh": 0.3}).names
        ('powerlaw.PhoIndex', 'powerlaw.norm')
        """
        by_name = self._by_name(values)
        return self._with(p.frozen_at(by_name[p.name]) if p.name in by_name else p for p in self.parameters)

    def thaw(self, *names: str) -> Model:
        """The same model with some parameters free, whatever they were.

        Args:
            names: Which.

        Returns:
            The new model.

        Raises:
            ModelError: A name does not exist, or is that of a switch.
        """
        wanted = {self._find(name).name for name in names}
        return self._with(p.thawed() if p.name in wanted else p for p in self.parameters)

    def link(self, expressions: Mapping[str, str]) -> Model:
        """The same model with some parameters given by others.

        Args:
            expressions: Arithmetic of parameter names and numbers, by the name of the linked parameter.

        Returns:
            The new model.

        Raises:
            ModelError: A name does not exist or is that of a switch, an expression cannot be read, links form a
                circle, or a link gives a value outside the hard limits at the values of the others.

        Source: XSPEC manual, "newpar".

        >>> parse_model("gaussian+gaussian").link({"gaussian_2.Sigma": "gaussian.Sigma"}).names
        ('gaussian.LineE', 'gaussian.Sigma', 'gaussian.norm', 'gaussian_2.LineE', 'gaussian_2.norm')
        """
        known = [p.name for p in self.parameters]
        links = self._by_name(expressions)
        return self._with(
            p.linked_to(parse_link(p.name, links[p.name], known)) if p.name in links else p for p in self.parameters
        )

    def check_links(self, ranges: Mapping[str, Range] | None = None) -> None:
        """Refuses links that can leave the hard limits of a linked parameter, and ranges that cross a gap.

        Evaluating a model neither checks nor clips a value: ask here, once, before theta is drawn.

        Args:
            ranges: Where the free parameters are drawn from, by name; the boxes of those that are not named.

        Raises:
            ModelError: A linked parameter can get outside its hard limits, or a parameter into its gap.
        """
        linked.check_ranges(self.parameters, ranges or {})

    def values(self, theta: Float[Tensor, "*batch parameter"]) -> Float[Tensor, "*batch all"]:
        """The values of all parameters: for tables of results.

        Args:
            theta: Free parameters, in the order of `names`, physical units.

        Returns:
            One column for each of `parameters`, what links give included.
        """
        found = [torch.as_tensor(value, dtype=theta.dtype) for value in linked.values(self.parameters, theta)]
        return torch.stack([value.expand(theta.shape[:-1]) for value in found], dim=-1)

    def on(
        self,
        energy_edges: Float[Tensor, " edge"],
        dtype: torch.dtype = torch.float64,
        tolerance: float = TOLERANCE,
    ) -> PhotonFlux:
        """The model on one energy grid, with all that depends on the grid alone computed.

        Args:
            energy_edges: Edges, positive and increasing [keV].
            dtype: Precision of theta and of the result.
            tolerance: Relative error allowed in the integral over a bin.

        Returns:
            A function of theta.

        Raises:
            ModelError: The edges are not a grid, or the model is multiplicative.
        """
        if kind_of(self.tree) != "additive":
            raise ModelError(f"{self.text} has no additive component, so it makes no photons; add one, as powerlaw")
        bins = EnergyBins(torch.as_tensor(energy_edges), dtype, tolerance)
        bound = tuple(leaf.component.bind(bins, self.abund) for leaf in leaves(self.tree))
        return PhotonFlux(self, bins, bound)

    def photon_flux(
        self, theta: Float[Tensor, "*batch parameter"], energy_edges: Float[Tensor, " edge"]
    ) -> Float[Tensor, "*batch edge-1"]:
        """Photons per bin. For repeated calls on one grid, keep `on(energy_edges)`.

        Args:
            theta: Free parameters, in the order of `names`, physical units.
            energy_edges: Edges [keV].

        Returns:
            Photons/cm^2/s per bin, in the precision of theta.

        Raises:
            ModelError: As `on`, and a theta with another number of columns.
        """
        return self.on(energy_edges, theta.dtype)(theta)

    def __reduce__(self) -> tuple[Callable[..., Model], tuple[Any, ...]]:
        """Pickled as its text and parameters: components hold functions of their own."""
        return _from_text, (self.text, self.parameters, self.abund, self.xsect)

    def _find(self, name: str) -> Parameter:
        for parameter in self.parameters:
            if parameter.name.lower() == name.strip().lower():
                return parameter
        known = [parameter.name for parameter in self.parameters]
        raise ModelError(f"{self.text} has no parameter '{shown(name)}'{nearest(name, known)}")

    def _by_name(self, values: Mapping[str, Value]) -> dict[str, Value]:
        found: dict[str, Value] = {}
        for typed, value in values.items():
            name = self._find(typed).name
            if name in found:
                raise ModelError(f"{name} is given twice, {found[name]} and {value}; give it once")
            found[name] = value
        return found

    def _with(self, parameters: Iterable[Parameter]) -> Model:
        return replace(self, parameters=linked.with_linked_values(tuple(parameters)))


@dataclass(frozen=True, eq=False)
class PhotonFlux:
    """A model bound to an energy grid: a pure function of theta.

    Attributes:
        model: The model.
        bins: The grid.
        bound: The components on the grid, in the order of the text.
    """

    model: Model
    bins: EnergyBins
    bound: tuple[Bound, ...] = field(repr=False)

    def __call__(self, theta: Float[Tensor, "*batch parameter"]) -> Float[Tensor, "*batch energy"]:
        """Photons per bin.

        Args:
            theta: Free parameters, in the order of `model.names`, physical units.

        Returns:
            Photons/cm^2/s per bin.

        Raises:
            ModelError: theta has another number of columns or another precision than this function.
        """
        count = len(self.model.names)
        if theta.shape[-1] != count:
            raise ModelError(f"theta has {theta.shape[-1]} columns, {self.model.text} has {count} free parameters")
        if theta.dtype != self.bins.dtype:
            raise ModelError(f"theta is {theta.dtype}, the model was bound in {self.bins.dtype}; bind it with dtype")
        if theta.ndim == 1:
            return self._evaluate(theta)
        rows = theta.reshape(math.prod(theta.shape[:-1]), count)
        size = max(1, CHUNK_ELEMENTS // self.bins.low.numel())
        if rows.shape[0] <= size:
            return self._evaluate(theta)
        photons = torch.cat([self._evaluate(part) for part in torch.split(rows, size)])
        return photons.reshape(*theta.shape[:-1], -1)

    def _evaluate(self, theta: Tensor) -> Tensor:
        values = iter(linked.values(self.model.parameters, theta))
        arguments: dict[int, tuple[Tensor | float, ...]] = {}
        functions: dict[int, Callable[..., Tensor]] = {}
        for leaf, function in zip(leaves(self.model.tree), self.bound, strict=True):
            arguments[leaf.number] = tuple(next(values) for _ in leaf.component.parameters)
            functions[leaf.number] = function
        photons = self._photons(self.model.tree, functions, arguments)
        return photons.expand(*theta.shape[:-1], photons.shape[-1])

    def _photons(
        self,
        node: Node,
        functions: Mapping[int, Callable[..., Tensor]],
        arguments: Mapping[int, tuple[Tensor | float, ...]],
    ) -> Tensor:
        if isinstance(node, Leaf):
            return functions[node.number](*arguments[node.number])
        if isinstance(node, Product):
            result = self._photons(node.factors[-1], functions, arguments)
            for factor in reversed(node.factors[:-1]):
                if isinstance(factor, Leaf) and factor.component.kind == "convolution":
                    result = functions[factor.number](result, *arguments[factor.number])
                else:
                    result = self._photons(factor, functions, arguments) * result
            return result
        terms = [self._photons(term, functions, arguments) for term in node.terms]
        total = terms[0]
        for term in terms[1:]:
            total = total + term
        return total


def _from_text(text: str, parameters: tuple[Parameter, ...], abund: str, xsect: str) -> Model:
    """A model again."""
    return replace(parse_model(text, abund, xsect), parameters=parameters)


def parse_model(text: str, abund: str = "wilm", xsect: str = "vern") -> Model:
    """A model from its expression, all parameters at XSPEC's defaults and free (switches excepted).

    Args:
        text: As in XSPEC's `model` command: `TBabs*simpl*ezdiskbb`, `tbabs(simpl(ezdisk))`.
        abund: Abundances of the absorbers: `wilm`, `angr`, `aspl`, `grsa` or `lodd`.
        xsect: Photoelectric cross-sections: `vern` alone.

    Returns:
        The model.

    Raises:
        ModelError: The expression, the abundances or the cross-sections cannot be.

    Source: XSPEC manual, "The model command", "abund", "xsect".

    >>> parse_model("tbabs*simpl*ezdiskbb").names
    ('TBabs.nH', 'simpl.Gamma', 'simpl.FracSctr', 'ezdiskbb.T_max', 'ezdiskbb.norm')
    """
    if abund not in ABUNDANCES:
        raise ModelError(f"unknown abundances '{abund}'{nearest(abund, ABUNDANCES)}")
    if xsect in OTHER_CROSS_SECTIONS:
        raise ModelError(f"cross-sections '{xsect}' are not implemented; use vern, or fit with xsect {xsect} in XSPEC")
    if xsect != "vern":
        raise ModelError(f"unknown cross-sections '{xsect}'; use vern")
    tree = parse_expression(text)
    parameters = tuple(p.in_component(leaf.label) for leaf in leaves(tree) for p in leaf.component.parameters)
    return Model(to_text(tree), parameters, abund, xsect, tree=tree)
