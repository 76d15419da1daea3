"""Fusion: batch normalisation worked into the convolution before it, for a network that no longer learns."""

from __future__ import annotations

import logging
from collections import Counter
from typing import TypeGuard

from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

log = logging.getLogger("brain_tumor_tl")


def fuse_norms(network: nn.Module) -> nn.Module:
    """Return a network that computes the same with fewer passes over its feature maps.

    In eval mode batch normalisation is a fixed scale and shift of each channel (Ioffe, Szegedy 2015, algorithm 2),
    which weights and bias of the convolution before it can take over. In float32 outputs agree to rounding.

    Args:
        network: In eval mode; it stays as it is, and shares all other weights with what is returned.

    Returns:
        The fused network, or `network` itself where its code can't be traced.
    """
    try:
        traced = fx.symbolic_trace(network)
    except Exception as error:  # whatever a network's own code raises when it is given no real images
        name = type(network).__name__
        log.warning(f"Features take longer, with batch normalisation as it is: {name} can't be traced: {error}")
        return network
    calls = Counter(node.target for node in traced.graph.nodes if node.op == "call_module")
    for node in list(traced.graph.nodes):
        norm, before = called(traced, node), node.args[0] if node.args else None
        convolution = called(traced, before)
        if not isinstance(convolution, nn.Conv2d) or convolution.training or not stands_still(norm):
            continue
        assert isinstance(before, fx.Node)
        if len(before.users) > 1 or calls[before.target] > 1:
            continue  # somebody needs the convolution as it is
        parent, _, name = str(before.target).rpartition(".")
        setattr(traced.get_submodule(parent), name, fuse_conv_bn_eval(convolution, norm))
        node.replace_all_uses_with(before)
        traced.graph.erase_node(node)
    traced.recompile()
    return traced


def called(traced: fx.GraphModule, node: object) -> nn.Module | None:
    """Return the submodule that a node of the graph calls, None for any other node or argument."""
    if not isinstance(node, fx.Node) or node.op != "call_module":
        return None
    return traced.get_submodule(str(node.target))


def stands_still(module: nn.Module | None) -> TypeGuard[nn.BatchNorm2d]:
    """Tell whether a module is a batch normalisation by statistics that no longer change."""
    return isinstance(module, nn.BatchNorm2d) and module.running_mean is not None and not module.training
