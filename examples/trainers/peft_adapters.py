"""LoRA adapters of peft under ADANA, and with Muon for their factors."""

import peft
import torch
from logclock import OptimizerFactory, log_time_decay
from transformers import LlamaConfig, LlamaForCausalLM

STEPS = 8
SIZE = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2}
DECAY = log_time_decay(4.0, total_steps=STEPS)

CHOICES = {
    "adana": {"lr": 1e-3, "weight_decay": DECAY},
    "muon": {"lr": 1e-3, "matrices": {"algorithm": "muon", "lr": 0.02}},
}


def adapted():
    """Return a tiny Llama whose queries and values have adapters."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(vocab_size=64, num_hidden_layers=1, **SIZE)
    )
    targets = ["q_proj", "v_proj"]
    return peft.get_peft_model(model, peft.LoraConfig(r=4, target_modules=targets))


def train(choice="adana", *, steps=STEPS, model=None, state=None):
    """Train adapters, or go on with a model and the state of an optimizer."""
    model = adapted() if model is None else model
    optimizer = OptimizerFactory()(
        model, **CHOICES[choice]
    )  # what is frozen stays out
    if state is not None:
        optimizer.load_state_dict(state)
    tokens = torch.randint(64, (8, 16), generator=torch.Generator().manual_seed(1))
    for _ in range(steps):
        optimizer.zero_grad()
        model(input_ids=tokens, labels=tokens).loss.backward()
        optimizer.step()
    return model, optimizer


if __name__ == "__main__":
    train()[0].print_trainable_parameters()
