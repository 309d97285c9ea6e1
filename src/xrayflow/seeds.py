"""Random numbers from a run's seed: a generator of its own for every source and every purpose."""

from __future__ import annotations

import hashlib

import torch


def generator_for(seed: int, purpose: str) -> torch.Generator:
    """A generator for one purpose of a run, independent of those for others.

    Args:
        seed: Of the run.
        purpose: Any words; the hash of a source's file, for what is drawn for that source.
    """
    digest = hashlib.sha256(f"{seed}:{purpose}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
