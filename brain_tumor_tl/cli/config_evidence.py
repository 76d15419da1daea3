"""Config of the evidence: the typed schema of what a run leaves for TensorBoard beside its curves."""

from __future__ import annotations

from dataclasses import dataclass

from brain_tumor_tl.cli.option import option


@dataclass
class EvidenceConfig:
    """What TensorBoard shows of a run beside its curves; no result depends on it."""

    confusion: bool = option("confusion matrices, at the end and every confusion_every epochs")
    curves: bool = option("ROC, precision-recall and reliability of the test split")
    texts: bool = option("configuration, protocol and environment, and the charts of the tab Custom Scalars")
    training_images: int = option("training images as the network gets them, augmented; 0 for none", low=0)
    highest_loss: int = option("test images with the highest loss; 0 for none", low=0)
    confident_right: int = option("test images whose class was predicted with the highest probability", low=0)
    gradcam: bool = option("Grad-CAM beside these test images")
    projector: int = option("most test images whose features and thumbnails the tab Projector gets", low=0, high=10000)
