"""Model: a torchvision network cut at its head, a new head, metrics, and the LightningModule that trains them."""
