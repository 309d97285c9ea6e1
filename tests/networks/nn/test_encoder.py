"""Encoders have the shapes that they say, and refuse bins that they would use up."""

from __future__ import annotations

import pytest
import torch

from xrayflow.errors import RecipeError
from xrayflow.networks.nn.encoder import Convolutional, Residual


def test_both_encoders_see_all_features_and_numbers() -> None:
    features, numbers = torch.randn(3, 2, 20), torch.randn(3, 4)
    for encoder in (Residual(2, 20, 4, 8, 2), Convolutional(2, 20, 4, [(2, 2, 4), (3, 1, 5)], 8)):
        one, two = features.clone().requires_grad_(True), numbers.clone().requires_grad_(True)
        context = encoder(one, two)
        assert context.shape == (3, encoder.context) == (3, 8)
        context.square().sum().backward()
        assert one.grad is not None
        assert two.grad is not None
        assert bool((one.grad != 0).all(0).any())
        assert bool((one.grad.abs().sum((0, 1)) > 0).all())
        assert bool((two.grad.abs().sum(0) > 0).all())


def test_convolutions_wider_than_what_is_left_are_refused() -> None:
    with pytest.raises(RecipeError, match="number 3 is 3 wide, and 2 bins are left; give fewer"):
        Convolutional(2, 9, 0, [(2, 2, 4), (2, 2, 4), (3, 1, 4)], 8)
