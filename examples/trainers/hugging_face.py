"""Hugging Face's Trainer: `python hugging_face.py FOLDER`, once or again."""

import sys

import torch
from logclock import Lion, OptimizerFactory, log_time_decay
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint, set_seed

STEPS = 8
SIZE = {"hidden_size": 32, "intermediate_size": 64, "vocab_size": 64}
SHAPE = {"num_hidden_layers": 1, "num_attention_heads": 2}
DECAY = log_time_decay(4.0, total_steps=STEPS)
MUON = {"algorithm": "muon", "lr": 0.02, "weight_decay": 0.1}

CHOICES = {
    # A class gets the Trainer's groups, with args.weight_decay: for coupled decay.
    "lion": (Lion, {"lr": 1e-3}),
    # A factory gets the model. args.learning_rate reaches neither: say lr here.
    "adana": (OptimizerFactory, {"lr": 1e-3, "weight_decay": DECAY}),
    "muon": (
        OptimizerFactory,
        {"lr": 1e-3, "weight_decay": DECAY, "matrices": MUON},
    ),
}


class DecayLoggingTrainer(Trainer):
    """Logs the weight decay of the moment, that of the first group, beside lr."""

    def log(self, logs, *args, **kwargs):
        # Accelerate has put its own around ours
        ours = getattr(self.optimizer, "optimizer", self.optimizer)
        decay = ours.current_hyperparameters()[0]["weight_decay"]
        super().log({**logs, "weight_decay": decay}, *args, **kwargs)


def train(folder, choice="adana"):
    """Train a tiny Llama, from the folder's last checkpoint if it has one."""
    set_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**SIZE, **SHAPE))
    texts = torch.randint(64, (64, 16), generator=torch.Generator().manual_seed(0))
    data = [{"input_ids": text, "labels": text} for text in texts]
    arguments = TrainingArguments(
        folder,
        max_steps=STEPS,
        warmup_steps=2,
        weight_decay=0.1 if choice == "lion" else 0.0,
        save_steps=4,
        logging_steps=1,
    )
    chosen = {"optimizer_cls_and_kwargs": CHOICES[choice]}
    trainer = DecayLoggingTrainer(model, arguments, train_dataset=data, **chosen)
    trainer.train(resume_from_checkpoint=get_last_checkpoint(folder))
    return trainer


if __name__ == "__main__":
    train(*sys.argv[1:])
