#!/usr/bin/env bash
# load_from_checkpoint drops every hyperparameter that the class doesn't take, without a word: once an argument is renamed,
# old checkpoints load with its default value. Arguments given by hand are dropped in the same way, so a misspelled one is
# ignored, where Python would raise a TypeError. Weights that don't fit raise. Seen with Lightning 2.6.6.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check lightning==2.6.6 torch==2.13.0
cd "$folder" && venv/bin/python - 2>/dev/null <<'PY'
import lightning as L
import torch


class Before(L.LightningModule):
    def __init__(self, lr=0.1):
        super().__init__()
        self.save_hyperparameters()
        self.layer = torch.nn.Linear(1, 1)


class After(L.LightningModule):
    def __init__(self, learning_rate=0.1):
        super().__init__()
        self.save_hyperparameters()
        self.layer = torch.nn.Linear(1, 1)


trainer = L.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
trainer.strategy.connect(Before(lr=0.5))
trainer.save_checkpoint("before.ckpt")
loaded = dict(After.load_from_checkpoint("before.ckpt").hparams)
print(f"Lightning {L.__version__}: saved with lr=0.5, loaded with {loaded}")
assert loaded == {"learning_rate": 0.1}, "it isn't dropped without a word now"
misspelled = dict(After.load_from_checkpoint("before.ckpt", learnig_rate=0.5).hparams)
print(f"loaded by hand with learnig_rate=0.5: {misspelled}")
assert misspelled == {"learning_rate": 0.1}, "a misspelled argument isn't dropped without a word now"
PY
