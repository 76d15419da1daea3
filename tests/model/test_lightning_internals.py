"""Lightning internals: they do in this version what the model takes them for."""

from __future__ import annotations

import lightning as L
import pytest
from lightning.pytorch.demos.boring_classes import BoringModel

from brain_tumor_tl.model.lightning_internals import count_steps


class Manual(BoringModel):
    """Takes no optimizer step that Lightning sees, but three of its own in each batch."""

    automatic_optimization = False

    def training_step(self, batch: object, batch_idx: int) -> None:
        count_steps(self.trainer, 3)


@pytest.mark.filterwarnings("ignore")
def test_count_steps__global_step_counts_them_in_lightning_2_6() -> None:
    assert L.__version__.startswith("2.6."), "count_steps uses internals: look at them, then name the new version"
    trainer = L.Trainer(
        accelerator="cpu", max_epochs=2, limit_train_batches=4, limit_val_batches=0, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(Manual())
    assert trainer.global_step == 2 * 4 * 3
