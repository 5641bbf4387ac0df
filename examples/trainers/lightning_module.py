"""Lightning with ADANA: a schedule of the learning rate, its monitor, resuming."""

import sys

import lightning
import torch
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from logclock import ADANA, log_time_decay, param_groups
from torch.optim.lr_scheduler import LinearLR

STEPS = 8


class Network(lightning.LightningModule):
    """A linear map."""

    def __init__(self):
        super().__init__()
        self.body = torch.nn.Linear(8, 1)

    def training_step(self, batch, index):
        return (self.body(batch) - batch.sum(1, keepdim=True)).square().mean()

    def configure_optimizers(self):
        """Build the optimizer with its peak rate, and a schedule by updates."""
        decay = log_time_decay(4.0, total_steps=STEPS)
        optimizer = ADANA(param_groups(self.body, weight_decay=decay), lr=1e-2)
        schedule = LinearLR(optimizer, 1.0, 0.1, total_iters=STEPS)
        by_update = {"scheduler": schedule, "interval": "step"}
        return {"optimizer": optimizer, "lr_scheduler": by_update}


class Monitor(LearningRateMonitor):
    """Lightning's, with the decay of every group as a number, not the schedule."""

    def on_train_batch_start(self, trainer, *args, **kwargs):
        super().on_train_batch_start(trainer, *args, **kwargs)
        groups = enumerate(trainer.optimizers[0].current_hyperparameters(), 1)
        decays = {f"decay/pg{i}": group["weight_decay"] for i, group in groups}
        trainer.logger.log_metrics(decays, trainer.global_step)


def train(folder, *, epochs=2, checkpoint=None):
    """Train some epochs of four updates, from a checkpoint if one is given."""
    lightning.seed_everything(0)
    batches = torch.randn(4, 4, 8, generator=torch.Generator().manual_seed(0))
    seen = {"logger": CSVLogger(folder), "log_every_n_steps": 1}
    callbacks = [Monitor(), ModelCheckpoint(folder, save_last=True)]
    trainer = lightning.Trainer(max_epochs=epochs, callbacks=callbacks, **seen)
    loader = torch.utils.data.DataLoader(batches, batch_size=None)
    trainer.fit(Network(), loader, ckpt_path=checkpoint)
    return trainer


if __name__ == "__main__":
    train(*sys.argv[1:])
