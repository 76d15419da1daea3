"""Graph: a run's whole network as one graph, written to a file and opened again in two formats."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.export import ExportedProgram

from brain_tumor_tl.data.decode import Pixels
from brain_tumor_tl.inference.trained_run import TrainedRun
from brain_tumor_tl.model.fusion import fuse_norms
from brain_tumor_tl.model.weights import first_line
from brain_tumor_tl.reporting.notice import NOTICE

Outputs = tuple[NDArray[np.float32], NDArray[np.float32]]  # logits and probabilities, (N, K)
Compute = Callable[[Pixels], Outputs]


class WholeNetwork(nn.Module):
    """All of a run's arithmetic: decoded images to logits and probabilities.

    Args:
        run: A run in float32 on the CPU; layers are shared, but batch normalisation is fused into convolutions.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, run: TrainedRun) -> None:
        super().__init__()
        self.backbone, self.head, self.temperature = fuse_norms(run.backbone), run.head, run.temperature or 1.0
        self.register_buffer("scale", run.normalize.scale[:, None, None])
        self.register_buffer("shift", run.normalize.shift[:, None, None])

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits and probabilities, `(B, K)`, of images, uint8 `(B, 3, H, W)`."""
        inputs = images.to(torch.float32) * self.scale + self.shift
        # In this layout PyTorch computes convolutions in half the time on a CPU; ONNX has no layouts.
        logits = self.head(self.backbone(inputs.contiguous(memory_format=torch.channels_last)))
        return logits, (logits / self.temperature).softmax(1)


def traced(run: TrainedRun) -> ExportedProgram:
    """Return a run's whole network as a graph that takes any number of images.

    Raises:
        ValueError: PyTorch can't trace the network.
    """
    images = torch.zeros(2, 3, run.preprocessing.image_size, run.preprocessing.image_size, dtype=torch.uint8)
    network = WholeNetwork(run).eval().to(memory_format=torch.contiguous_format)  # the layout of weights in files
    try:
        program = torch.export.export(network, (images,), dynamic_shapes=({0: torch.export.Dim("batch", min=1)},))
    except Exception as error:  # whatever a network's own code raises when it is traced
        raise ValueError(f"PyTorch can't export {run.results['model']}: {first_line(error)}") from error
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # names folders of this machine
    return program


def write_onnx(program: ExportedProgram, known: Mapping[str, str], path: Path) -> None:
    """Write an exported program as ONNX, with metadata.

    Raises:
        ValueError: The network has an operation that ONNX lacks.
    """
    names: dict[str, Any] = {"input_names": ["images"], "output_names": ["logits", "probabilities"]}
    try:
        written = torch.onnx.export(program, dynamic_shapes=({0: "batch"},), verbose=False, dynamo=True, **names)
    except torch.onnx.OnnxExporterError as error:
        raise ValueError(f"PyTorch can't write this network as ONNX: {first_line(error)}") from error
    if written is None:
        raise ValueError("PyTorch can't write this network as ONNX.")
    written.model.metadata_props.update(known)
    written.model.doc_string = NOTICE
    written.save(path, external_data=False)


def write_program(program: ExportedProgram, known: Mapping[str, str], path: Path) -> None:
    """Write an exported program in PyTorch's format, with metadata as the extra file metadata.json."""
    with path.open("wb") as file:
        torch.export.save(program, file, extra_files={"metadata.json": json.dumps(known, indent=2)})


def open_onnx(path: Path) -> Compute:
    """Return the function that an ONNX file computes, by ONNX Runtime on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def compute(images: Pixels) -> Outputs:
        logits, probabilities = session.run(None, {"images": images})
        return logits, probabilities

    return compute


def open_program(path: Path) -> Compute:
    """Return the function that an exported program computes."""
    module = torch.export.load(io.BytesIO(path.read_bytes())).module()

    def compute(images: Pixels) -> Outputs:
        with torch.inference_mode():
            logits, probabilities = module(torch.from_numpy(images))
        return logits.numpy(), probabilities.numpy()

    return compute


class Format(NamedTuple):
    """A format of files.

    Attributes:
        title: Its name in a sentence.
        file: Name of the file in a run's folder.
        write: Writes a graph with metadata.
        open: Returns what a file computes.
    """

    title: str
    file: str
    write: Callable[[ExportedProgram, Mapping[str, str], Path], None]
    open: Callable[[Path], Compute]


FORMATS = {
    "onnx": Format("ONNX", "model.onnx", write_onnx, open_onnx),
    "torch_export": Format("an exported program of PyTorch", "model.pt2", write_program, open_program),
}
