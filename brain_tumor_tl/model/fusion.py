"""Fusion: batch normalisation merged into the convolution before it, for a frozen network."""

from __future__ import annotations

import logging
from collections import Counter

from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

log = logging.getLogger("brain_tumor_tl")


def fuse_norms(network: nn.Module) -> nn.Module:
    """Return a network that computes the same with fewer passes over its feature maps.

    In eval mode batch normalisation is a fixed scale and shift of each channel (Ioffe, Szegedy 2015, algorithm 2),
    which weights and bias of the convolution before it can include. In float32 outputs agree up to rounding.
    torch.fx.experimental.optimization.fuse is experimental, and wrong for a convolution that is called twice.

    Args:
        network: In eval mode; it is not changed, and shares all other weights with the result.

    Returns:
        The fused network, or `network` itself if its code can't be traced.
    """
    try:
        traced = fx.symbolic_trace(network)
    except Exception as error:  # whatever a network's own code raises when it is given no real images
        name = type(network).__name__
        log.warning(f"{name} can't be traced, so batch normalisation is not fused and features take longer: {error}")
        return network
    calls = Counter(node.target for node in traced.graph.nodes if node.op == "call_module")
    for node in list(traced.graph.nodes):
        norm, before = called(traced, node), node.args[0] if node.args else None
        convolution = called(traced, before)
        if not isinstance(norm, nn.BatchNorm2d) or norm.training or norm.running_mean is None:
            continue
        if not isinstance(before, fx.Node) or not isinstance(convolution, nn.Conv2d) or convolution.training:
            continue
        if len(before.users) > 1 or calls[before.target] > 1:
            continue  # the convolution's own output is used elsewhere
        traced.set_submodule(str(before.target), fuse_conv_bn_eval(convolution, norm))
        node.replace_all_uses_with(before)
        traced.graph.erase_node(node)
    traced.recompile()
    return traced


def called(traced: fx.GraphModule, node: object) -> nn.Module | None:
    """Return the submodule that a node of the graph calls, None for any other node or argument."""
    return traced.get_submodule(str(node.target)) if isinstance(node, fx.Node) and node.op == "call_module" else None
