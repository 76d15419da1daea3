"""Parts: a backbone in two, a frozen part and the part that learns, at any place where a single tensor passes.

The places are those of the traced graph, not a list for each network: before the first operation of a module, if only
one value is alive there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor, fx, nn

from brain_tumor_tl.names import nearest


class Place(NamedTuple):
    """A place where a backbone can be cut: before a module.

    Attributes:
        name: The outermost module that begins there, such as `layer3`.
        names: All modules that begin there.
        depth: Share of the backbone's layers with weights that lie before it.
    """

    name: str
    names: tuple[str, ...]
    depth: float


@dataclass(frozen=True)
class Parts:
    """A backbone in two parts, `learning(frozen(images))` being equal to its output.

    Attributes:
        backbone: The whole backbone, whose modules and parameters both parts share.
        modules: Those of the frozen part.
        parameters: Those of the frozen part.
        keys: Their names, and those of their buffers, in the backbone's state dict.
        place: Where the backbone is cut; None if all of it is frozen.
        before: The operations before that place; None if all of it is frozen.
        after: The operations after it, for each mode of the backbone.
    """

    backbone: nn.Module
    modules: tuple[nn.Module, ...]
    parameters: tuple[nn.Parameter, ...]
    keys: frozenset[str]
    place: Place | None = None
    before: fx.Graph | None = None
    after: Mapping[bool, fx.Graph] = field(default_factory=dict)

    def freeze(self) -> None:
        """Take the gradients from the frozen part, and put it in eval mode."""
        for parameter in self.parameters:
            parameter.requires_grad_(False)
        self.hold()

    def hold(self) -> None:
        """Keep the frozen part in eval mode, whatever mode the backbone was put in."""
        for module in self.modules:
            module.eval()

    def module(self) -> nn.Module:
        """Return the frozen part as a network for one pass, with the parameters where they are now."""
        return self.backbone if self.before is None else fx.GraphModule(self.backbone, self.before)

    def frozen(self, images: Tensor) -> Tensor:
        """Return of images `(B, 3, H, W)` the one tensor that passes the cut, `(B, ...)`."""
        output: Tensor = self.backbone(images) if self.before is None else self._run(self.before, images)
        return output

    def learning(self, kept: Tensor) -> Tensor:
        """Return features `(B, D)` of what `frozen` returns."""
        return self._run(self.after[self.backbone.training], kept) if self.after else kept

    def _run(self, graph: fx.Graph, value: Tensor) -> Tensor:
        """Run operations with the modules and parameters as the backbone has them now, on whatever device."""
        output: Tensor = fx.Interpreter(self.backbone, graph=graph).run(value)
        return output


class _Tracer(fx.Tracer):
    """Traces into a network's own modules, but not into the layers that torch and torchvision offer."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return m.__module__.startswith("torchvision.ops") or super().is_leaf_module(m, module_qualified_name)


class _Graph:
    """The operations of a backbone in one mode, in order.

    Args:
        backbone: Any network of torchvision.
        training: The mode, which some operations depend on, such as Swin's dropout.

    Raises:
        ValueError: Its code can't be traced.
    """

    def __init__(self, backbone: nn.Module, training: bool) -> None:
        mode = backbone.training
        try:
            self.graph = _Tracer().trace(backbone.train(training))
        except Exception as error:  # whatever a network's own code raises when it is given no real images
            raise ValueError(
                f"{type(backbone).__name__} can't be traced, so there is no place to cut it but before its head, with "
                f"method=frozen: {error}"
            ) from error
        finally:
            backbone.train(mode)
        self.backbone, self.modules = backbone, dict(backbone.named_modules())
        self.nodes = list(self.graph.nodes)
        order = {node: position for position, node in enumerate(self.nodes)}
        self.last_use = [max((order[user] for user in node.users), default=-1) for node in self.nodes]
        self.starts: dict[str, int] = {}  # of each module its first operation
        self.spans: dict[str, tuple[int, int]] = {}  # of each module or parameter its first and last operation
        self.layers = [0]  # how many layers with weights are before each position
        for position, node in enumerate(self.nodes):
            for name, _ in node.meta.get("nn_module_stack", {}).values():
                self.starts.setdefault(name, position)
            target, new = str(node.target), 0
            if node.op == "call_module":
                new = 0 if target in self.spans else weighted_layers(backbone.get_submodule(target))
            if node.op in ("call_module", "get_attr"):
                self.spans[target] = (self.spans.get(target, (position, 0))[0], position)
            self.layers.append(self.layers[-1] + new)

    def places(self) -> list[Place]:
        """Return the places where the backbone can be cut, in order."""
        found = []
        for position in sorted(set(self.starts.values())):
            names = [name for name, start in self.starts.items() if start == position and name]
            weighted = [name for name in names if has_parameters(self.backbone.get_submodule(name))]
            if weighted and self.layers[position] and len(self.alive(position)) == 1 and not self.shares(position):
                depth = self.layers[position] / self.layers[-1]
                found.append(Place(min(weighted, key=len), tuple(names), depth))
        return found

    def alive(self, position: int) -> list[fx.Node]:
        """Return the values, but parameters and buffers, that operations before a position hand to those after it."""
        before = zip(self.nodes[:position], self.last_use[:position], strict=True)
        return [node for node, last in before if last >= position and node.op != "get_attr"]

    def shares(self, position: int) -> bool:
        """Tell whether a module with parameters, or a parameter, is used on both sides of a position."""
        across = [name for name, (first, last) in self.spans.items() if first < position <= last]
        return any(name not in self.modules or has_parameters(self.modules[name]) for name in across)

    def split(self, name: str) -> tuple[fx.Graph, fx.Graph]:
        """Return the graphs of the operations before and from the beginning of a module, where one value is alive."""
        position = self.starts[name]
        (passing,) = self.alive(position)
        before, after = fx.Graph(), fx.Graph()
        copies: dict[fx.Node, fx.Node] = {}
        for node in self.nodes[:position]:
            copies[node] = before.node_copy(node, copies.__getitem__)
        before.output(copies[passing])
        copies = {passing: after.placeholder("kept")}
        second = self.nodes[position:]
        needed = {used for node in second for used in node.all_input_nodes}
        for node in [n for n in self.nodes[:position] if n.op == "get_attr" and n in needed] + second:
            copies[node] = after.node_copy(node, copies.__getitem__)
        return before, after


def whole(backbone: nn.Module) -> Parts:
    """Return a backbone that is frozen as a whole, so that only the head learns."""
    return Parts(backbone, (backbone,), tuple(backbone.parameters()), frozenset(backbone.state_dict()))


def divide(backbone: nn.Module, train_from: str | float) -> Parts:
    """Divide a backbone at a place.

    Args:
        backbone: Any network of torchvision without its head.
        train_from: The first module that learns, by its name, or the share of the layers with weights that are frozen.

    Raises:
        ValueError: It can't be cut there; the message has the places where it can.
    """
    graphs = {mode: _Graph(backbone, mode) for mode in (False, True)}
    place = find_place(graphs[False].places(), train_from)
    before, _ = graphs[False].split(place.name)
    used = {op: {str(node.target) for node in before.nodes if node.op == op} for op in ("call_module", "get_attr")}
    state = [*backbone.state_dict(), *(name for name, _ in backbone.named_parameters())]
    inside = tuple(f"{name}." for name in used["call_module"])
    keys = frozenset(key for key in state if key in used["get_attr"] or key.startswith(inside))
    return Parts(
        backbone,
        tuple(backbone.get_submodule(name) for name in sorted(used["call_module"])),
        tuple(parameter for name, parameter in backbone.named_parameters() if name in keys),
        keys,
        place,
        before,
        {mode: graph.split(place.name)[1] for mode, graph in graphs.items()},
    )


def places(backbone: nn.Module) -> list[Place]:
    """Return all places where a backbone can be cut, from its first layer to its last.

    Raises:
        ValueError: Its code can't be traced.
    """
    return _Graph(backbone, training=False).places()


def has_parameters(module: nn.Module) -> bool:
    """Tell whether a module or one inside it has parameters."""
    return any(True for _ in module.parameters())


def weighted_layers(module: nn.Module) -> int:
    """Return how many layers with weights a module consists of; normalisation is none."""
    return sum(any(p.ndim >= 2 for p in m.parameters(recurse=False)) for m in module.modules())


def find_place(known: Sequence[Place], train_from: str | float) -> Place:
    """Return the place of a module, or the one nearest to a share of the layers.

    Args:
        known: As `places` returns them.
        train_from: The first module that learns, or the share of the layers with weights that are frozen.

    Raises:
        ValueError: There is no such place.
    """
    if isinstance(train_from, int | float) and not isinstance(train_from, bool):
        if not 0 < train_from < 1:
            raise ValueError(
                f"Expected a share of the layers between 0 and 1 for `method.train_from`, got {train_from:g}."
            )
        return min(known, key=lambda place: abs(place.depth - train_from))
    for place in known:
        if train_from in place.names:
            return place
    names = [name for place in known for name in place.names]
    raise ValueError(
        f"Expected `method.train_from` to be a module where this network can be cut, got {train_from!r}."
        f"{nearest(str(train_from), names)} Its places are {', '.join(place.name for place in outline(known))}, places "
        "inside these, or a share of its layers between 0 and 1. Before its first layer is method=finetune, after "
        "its last method=frozen."
    )


def outline(known: Sequence[Place], enough: int = 4) -> list[Place]:
    """Return the places at the beginnings of a network's stages and blocks: the outermost level with enough of them."""
    levels = sorted({place.name.count(".") for place in known})
    shown = [[place for place in known if place.name.count(".") <= level] for level in levels]
    return next((found for found in shown if len(found) >= enough), list(known))
