"""Transfer learning on brain MRI slices: torchvision CNNs, Lightning, Hydra.

From Python, use `TumorData`, a LightningDataModule, `TumorClassifier`, a LightningModule, and `load`, which opens
finished runs. Everything else is reached by `brain-tumor-tl VERB`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from brain_tumor_tl.data.module import TumorData as TumorData
    from brain_tumor_tl.inference.ensemble import load as load
    from brain_tumor_tl.model.classifier import TumorClassifier as TumorClassifier

__version__ = "0.1.0"
__all__ = ["TumorClassifier", "TumorData", "__version__", "load"]


def __getattr__(name: str) -> Any:
    """Import a public class on first use, since it brings torch.

    Raises:
        AttributeError: The package has no such name.
    """
    if name == "TumorData":
        from brain_tumor_tl.data.module import TumorData

        return TumorData
    if name == "TumorClassifier":
        from brain_tumor_tl.model.classifier import TumorClassifier

        return TumorClassifier
    if name == "load":
        from brain_tumor_tl.inference.ensemble import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
