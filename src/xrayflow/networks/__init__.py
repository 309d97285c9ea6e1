"""LEARNED: spectrum -> amortised posterior, trained from a run file, stored with everything that made it.

    inputs, recipe <- nn, level <- densities, response, network, store, posterior, listing <- training

`nn` is what has weights, `training` moves them; an arrow points to what imports.
"""

from xrayflow.networks.densities import AmortisedPosterior, FlowDensity, LocalPosterior, draws_of, log_densities_of
from xrayflow.networks.inputs import ModeFeatures, NetworkInput, mode_numbers
from xrayflow.networks.level import Level
from xrayflow.networks.listing import describe_networks, list_network_lines
from xrayflow.networks.network import Network, prepare, read_response
from xrayflow.networks.posterior import NeuralPosterior, Reconstruction
from xrayflow.networks.recipe import Recipe, parse_recipe, read_recipe
from xrayflow.networks.store import (
    HEADER,
    load_network,
    open_tensors,
    read_header,
    read_json,
    save_network,
    shipped_networks,
)
from xrayflow.networks.training import Progress, train

__all__ = [
    "HEADER",
    "AmortisedPosterior",
    "FlowDensity",
    "Level",
    "LocalPosterior",
    "ModeFeatures",
    "Network",
    "NetworkInput",
    "NeuralPosterior",
    "Progress",
    "Recipe",
    "Reconstruction",
    "describe_networks",
    "draws_of",
    "list_network_lines",
    "load_network",
    "log_densities_of",
    "mode_numbers",
    "open_tensors",
    "parse_recipe",
    "prepare",
    "read_header",
    "read_json",
    "read_recipe",
    "read_response",
    "save_network",
    "shipped_networks",
    "train",
]
