"""Folding the batch normalisation of a trained net leaves its logits as they are."""

import torch

from model.digit_net import DigitNet
from train.normalised_net import NormalisedNet, fold


def used_net() -> NormalisedNet:
    """Return a net whose normalisations have statistics and weights that are not the initial ones."""
    torch.manual_seed(0)
    net = NormalisedNet()
    for norm in (net.norm1, net.norm2, net.norm3):
        torch.nn.init.normal_(norm.bias)
    torch.nn.init.uniform_(net.norm3.weight, -1, 2)
    net.train()
    for _ in range(20):
        net(torch.rand(64, 1, 28, 28) * 255)
    return net.eval()


def test_folding_changes_no_logit() -> None:
    net = used_net()
    pixels = torch.rand(32, 1, 28, 28) * 255
    with torch.inference_mode():
        trained, folded = net(pixels), fold(net)(pixels)
    assert trained.std() > 0.1
    assert torch.allclose(trained, folded, atol=1e-4)


def test_a_folded_net_has_the_layers_that_are_served() -> None:
    folded = fold(used_net())
    assert isinstance(folded, DigitNet)
    assert not folded.training
    assert sum(parameter.numel() for parameter in folded.parameters()) == 3_274_634
