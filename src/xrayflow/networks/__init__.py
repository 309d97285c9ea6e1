"""LEARNED: spectrum -> amortised posterior, trained from a run file, stored with everything that made it."""

from xrayflow.networks.amortised import Amortised, Reconstruction
from xrayflow.networks.homes import Homes, home_numbers
from xrayflow.networks.network import Network
from xrayflow.networks.recipe import Recipe, read_recipe
from xrayflow.networks.storage import load_network, save_network, shipped_networks
from xrayflow.networks.tensors import read_header
from xrayflow.networks.training import Progress, train

__all__ = [
    "Amortised",
    "Homes",
    "Network",
    "Progress",
    "Recipe",
    "Reconstruction",
    "home_numbers",
    "load_network",
    "read_header",
    "read_recipe",
    "save_network",
    "shipped_networks",
    "train",
]
