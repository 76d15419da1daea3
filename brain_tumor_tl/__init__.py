"""Transfer learning on brain MRI slices: torchvision CNNs, Lightning, Hydra.

The parts for use from Python are `brain_tumor_tl.data.TumorData`, a LightningDataModule, and
`brain_tumor_tl.model.TumorClassifier`, a LightningModule; the rest is reached by `brain-tumor-tl VERB`.
"""

__version__ = "0.1.0"
