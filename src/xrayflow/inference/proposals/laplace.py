"""The first guess: a Student-t at every distinct mode, the inverse information as its scale, with a wider twin."""

from __future__ import annotations

import math

import torch

from xrayflow.fitting import Modes
from xrayflow.inference.proposals.student import StudentMixture, root_of_inverse

TWIN_SHARE = 0.15


def laplace_mixture(modes: Modes) -> StudentMixture:
    """Student-t components at the distinct modes, each with a twin twice as wide; shares by Laplace's evidence."""
    chosen = modes.distinct()
    most = max(max(index.numel() for index in chosen), 1)
    sources, _, parameters = modes.v.shape
    log_share = torch.full((sources, most), -torch.inf, dtype=torch.float64)
    mean = torch.zeros((sources, most, parameters), dtype=torch.float64)
    scale = torch.eye(parameters, dtype=torch.float64).expand(sources, most, -1, -1).clone()
    for source, index in enumerate(chosen):
        if index.numel() == 0:  # no start reached a finite likelihood: the prior is all we know
            log_share[source, 0] = 0.0
            continue
        information = modes.information[source, index]
        log_evidence = modes.log_evidence(source, index)
        # none below 5 % of the largest: Laplace's evidence is a guess
        log_evidence = torch.maximum(log_evidence, log_evidence.max() + math.log(0.05))
        log_share[source, : index.numel()] = torch.log_softmax(log_evidence, 0)
        mean[source, : index.numel()] = modes.v[source, index]
        scale[source, : index.numel()] = root_of_inverse(information)
    core = StudentMixture(log_share, mean, scale)
    return core.joined(StudentMixture(log_share, mean, 2.0 * scale), share=TWIN_SHARE)
