#!/usr/bin/env bash
# torch.fx keeps the mode that a network was traced in. Traced in eval mode, the graph has training=False as a constant in
# every function that torchvision's networks hand `self.training` to, such as stochastic depth. `train()` of the traced
# network sets its flag and the mode of BatchNorm and Dropout layers, but never brings these functions back: ConvNeXt and
# Swin then train without stochastic depth, without a warning, and two passes of the same batch are equal to the bit. A
# network that is to train must be traced in training mode, and a second time for evaluation. Seen with torch 2.14.1 and
# torchvision 0.29.1.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.14.1 torchvision==0.29.1
cd "$folder" && venv/bin/python - 2>/dev/null <<'PY'
import torch
import torchvision
from torch import fx
from torchvision.models import convnext_tiny, swin_t  # Swin has stochastic depth by default


def passes(network, images):
    """Return the outputs of two passes of the same images."""
    torch.manual_seed(0)
    with torch.no_grad():
        return network(images), network(images)


images = torch.rand(4, 3, 32, 32)
print(f"torch {torch.__version__}, torchvision {torchvision.__version__}")
for build in (convnext_tiny, swin_t):
    torch.manual_seed(0)
    network = build(**({"stochastic_depth_prob": 0.5} if build is convnext_tiny else {}))
    found = {}
    for traced_in in ("train", "eval"):
        traced = fx.symbolic_trace(network.train(traced_in == "train"))
        traced.train()
        assert traced.training
        found[traced_in] = not torch.equal(*passes(traced, images))
    own = not torch.equal(*passes(network.train(), images))
    print(f"{build.__name__} in training mode: random by itself {own}, traced in training {found['train']}, "
          f"traced in eval mode and then train(): {found['eval']}")
    assert own and found == {"train": True, "eval": False}, "the traced graph follows the mode now"
PY
