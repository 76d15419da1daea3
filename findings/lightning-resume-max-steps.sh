#!/usr/bin/env bash
# Lightning resumes a run with max_steps otherwise than one with max_epochs, from the same kind of checkpoint: one that a
# callback writes in on_train_epoch_end. With max_epochs the next epoch begins, as in a run that was never cut. With
# max_steps the epoch that had ended is entered again for one batch and ends a second time, so epoch-end hooks are called
# twice for it, a scheduler that steps by epochs steps once too often for the batches after it, and the next epoch lacks
# that batch. Seen with 2.6.6.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check lightning==2.6.6 torch==2.13.0
cd "$folder" && venv/bin/python - 2>/dev/null <<'PY'
import lightning as L
import torch
from torch.utils.data import DataLoader, TensorDataset


class Line(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def training_step(self, batch, index):
        return self.layer(batch[0]).square().mean()

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        return {"optimizer": optimizer, "lr_scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)}


class Diary(L.Callback):
    def __init__(self):
        self.epochs, self.batches = [], 0

    def on_train_epoch_start(self, trainer, module):
        self.batches = 0

    def on_train_batch_end(self, trainer, module, *_):
        self.batches += 1

    def on_train_epoch_end(self, trainer, module):
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        self.epochs.append((trainer.current_epoch, self.batches, rate))
        trainer.save_checkpoint(f"epoch{trainer.current_epoch}.ckpt")


def train(start=None, **limit):
    torch.manual_seed(0)
    diary = Diary()
    trainer = L.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=[diary], **limit,
    )
    trainer.fit(Line(), DataLoader(TensorDataset(torch.arange(8.0)[:, None]), batch_size=2), ckpt_path=start)
    return diary.epochs


whole = [(0, 4, 0.05), (1, 4, 0.025), (2, 4, 0.0125)]
for limits in ({"max_epochs": 2}, {"max_epochs": 3}), ({"max_steps": 8}, {"max_steps": 12}):
    assert train(**limits[1]) == whole
    assert train(**limits[0]) == whole[:2]
    resumed = train("epoch1.ckpt", **limits[1])
    print(f"Lightning {L.__version__}, {next(iter(limits[1]))}: resumed (epoch, batches, learning rate) {resumed}")
    expected = whole[2:] if "max_epochs" in limits[0] else [(1, 1, 0.0125), (2, 3, 0.0125)]
    assert resumed == expected, "it resumes otherwise now"
PY
