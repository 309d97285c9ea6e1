"""POPULATION: how a parameter is distributed over the sources of a catalogue."""

from xrayflow.studies.population.draws import Axis, SourceDraws
from xrayflow.studies.population.likelihood import PopulationLikelihood
from xrayflow.studies.population.pictures import FIGURES, SUMMARY, population_lines, write_population
from xrayflow.studies.population.population import (
    IGNORED,
    SHAPES,
    Population,
    PopulationConfig,
    axis_of,
    find_population,
)
from xrayflow.studies.population.selection import Selection, read_selection
from xrayflow.studies.population.shapes import shape_named

__all__ = [
    "FIGURES",
    "IGNORED",
    "SHAPES",
    "SUMMARY",
    "Axis",
    "Population",
    "PopulationConfig",
    "PopulationLikelihood",
    "Selection",
    "SourceDraws",
    "axis_of",
    "find_population",
    "population_lines",
    "read_selection",
    "shape_named",
    "write_population",
]
