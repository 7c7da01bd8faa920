"""Folding the batch normalisation of a trained net leaves its answers as they are."""

import pytest
import torch
from torch import nn

from model.digit_net import DigitNet
from model.ink_net import InkNet
from train.training_net import NormalisedNet, fold, normalise


@pytest.mark.parametrize("served", [DigitNet, InkNet])
def test_folding_changes_no_answer(served: type[DigitNet | InkNet]) -> None:
    torch.manual_seed(0)
    plain, is_digit = served(), served is DigitNet
    net = NormalisedNet() if is_digit else normalise(InkNet())
    inputs = torch.rand(64, 1, 28, 28) * 255 if is_digit else torch.randn(2, 2, 160, 160)
    for norm in net.modules():
        if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.normal_(norm.bias)
            if norm.weight.requires_grad:
                nn.init.uniform_(norm.weight, -1, 2)
    with torch.no_grad():
        for _ in range(3):
            net.train()(inputs)
        trained, folded = net.eval()(inputs), fold(net, plain)(inputs)
    assert not plain.training
    assert trained.std() > 0.1
    assert torch.allclose(folded, trained, atol=1e-4 * trained.abs().max().item())
