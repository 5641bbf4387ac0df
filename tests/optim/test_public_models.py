"""Groups of models that transformers and peft build from configurations, nothing downloaded."""

import re
import warnings

import pytest
import torch
import transformers as hf
from torch import nn

from logclock.optim import ADANA, assign_groups, assign_matrices, matrix_param_groups, param_groups

VOCAB, WIDTH = 96, 16

DECODER = {
    "vocab_size": VOCAB,
    "hidden_size": WIDTH,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 20,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
ENCODER = {key: size for key, size in DECODER.items() if key not in ("num_key_value_heads", "num_hidden_layers")}
MIXTURE = DECODER | {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 8}
GPT2 = {"vocab_size": VOCAB, "n_positions": 20, "n_embd": WIDTH, "n_layer": 2, "n_head": 2}
GPT2 |= {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
IMAGE = {"hidden_size": WIDTH, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
IMAGE |= {"image_size": 8, "patch_size": 4}


def bert(kind, **settings):
    return kind(hf.BertConfig(**ENCODER, num_hidden_layers=1, **settings))


def patterns(names):
    return {re.sub(r"(?<=\.)\d+(?=\.)", "*", name) for name in names}


def prefixed(prefix, text):
    return {f"{prefix}{name}" for name in text.split()}


LLAMA_BLOCK = prefixed("model.layers.*.self_attn.", "q_proj.weight k_proj.weight v_proj.weight o_proj.weight")
LLAMA_MLP = prefixed("model.layers.*.mlp.", "gate_proj.weight up_proj.weight down_proj.weight")
LLAMA_KEPT = prefixed("model.", "norm.weight embed_tokens.weight") | prefixed(
    "model.layers.*.", "input_layernorm.weight post_attention_layernorm.weight"
)
QK_NORMS = prefixed("model.layers.*.self_attn.", "q_norm.weight k_norm.weight")
QKV_BIASES = prefixed("model.layers.*.self_attn.", "q_proj.bias k_proj.bias v_proj.bias")
GEMMA_NORMS = prefixed("model.layers.*.", "pre_feedforward_layernorm.weight post_feedforward_layernorm.weight")
EXPERTS = prefixed("model.layers.*.mlp.experts.", "gate_up_proj down_proj")
ROUTER = {"model.layers.*.mlp.gate.weight"}
SHARED = prefixed("model.layers.*.mlp.shared_expert.", "gate_proj.weight up_proj.weight down_proj.weight")
GPT2_MATRICES = prefixed("transformer.h.*.", "attn.c_attn.weight attn.c_proj.weight mlp.c_fc.weight mlp.c_proj.weight")
BERT_LAYER = prefixed(
    "bert.encoder.layer.*.",
    "attention.self.query.weight attention.self.key.weight attention.self.value.weight attention.output.dense.weight "
    "intermediate.dense.weight output.dense.weight",
)
VIT_MATRICES = prefixed(
    "vit.layers.*.",
    "attention.q_proj.weight attention.k_proj.weight attention.v_proj.weight attention.o_proj.weight "
    "mlp.fc1.weight mlp.fc2.weight",
)

# Model, matrices, other decayed parameters, and some or (for the decoders) all of those that are not decayed.
MODELS = {
    "gpt2": (lambda: hf.GPT2LMHeadModel(hf.GPT2Config(**GPT2)), GPT2_MATRICES, set(), {"transformer.wte.weight"}),
    "gpt2, classifier": (
        lambda: hf.GPT2ForSequenceClassification(hf.GPT2Config(**GPT2, num_labels=3)),
        GPT2_MATRICES,
        {"score.weight"},
        prefixed("transformer.", "wte.weight wpe.weight h.*.ln_1.weight h.*.ln_2.bias h.*.attn.c_attn.bias ln_f.bias"),
    ),
    "llama": (
        lambda: hf.LlamaForCausalLM(hf.LlamaConfig(**DECODER)),
        LLAMA_BLOCK | LLAMA_MLP,
        {"lm_head.weight"},
        LLAMA_KEPT,
    ),
    "llama, tied": (
        lambda: hf.LlamaForCausalLM(hf.LlamaConfig(**DECODER, tie_word_embeddings=True)),
        LLAMA_BLOCK | LLAMA_MLP,
        set(),
        LLAMA_KEPT,
    ),
    "llama, classifier": (
        lambda: hf.LlamaForSequenceClassification(hf.LlamaConfig(**DECODER, num_labels=5)),
        LLAMA_BLOCK | LLAMA_MLP,
        {"score.weight"},
        LLAMA_KEPT,
    ),
    "qwen2": (
        lambda: hf.Qwen2ForCausalLM(hf.Qwen2Config(**DECODER)),
        LLAMA_BLOCK | LLAMA_MLP,
        {"lm_head.weight"},
        LLAMA_KEPT | QKV_BIASES,
    ),
    "qwen3": (
        lambda: hf.Qwen3ForCausalLM(hf.Qwen3Config(**DECODER, head_dim=8)),
        LLAMA_BLOCK | LLAMA_MLP,
        {"lm_head.weight"},
        LLAMA_KEPT | QK_NORMS,
    ),
    "gemma3": (
        lambda: hf.Gemma3ForCausalLM(hf.Gemma3TextConfig(**DECODER, head_dim=8)),
        LLAMA_BLOCK | LLAMA_MLP,
        set(),
        LLAMA_KEPT | QK_NORMS | GEMMA_NORMS,
    ),
    "mixtral": (
        lambda: hf.MixtralForCausalLM(hf.MixtralConfig(**DECODER, num_local_experts=4)),
        LLAMA_BLOCK | EXPERTS,
        ROUTER | {"lm_head.weight"},
        LLAMA_KEPT,
    ),
    "qwen2 moe": (
        lambda: hf.Qwen2MoeForCausalLM(hf.Qwen2MoeConfig(**MIXTURE, shared_expert_intermediate_size=8)),
        LLAMA_BLOCK | SHARED | EXPERTS,
        ROUTER | {"lm_head.weight", "model.layers.*.mlp.shared_expert_gate.weight"},
        LLAMA_KEPT | QKV_BIASES,
    ),
    "qwen3 moe": (
        lambda: hf.Qwen3MoeForCausalLM(hf.Qwen3MoeConfig(**MIXTURE, head_dim=8)),
        LLAMA_BLOCK | EXPERTS,
        ROUTER | {"lm_head.weight"},
        LLAMA_KEPT | QK_NORMS,
    ),
    "bert, masked tokens": (
        lambda: bert(hf.BertForMaskedLM),
        BERT_LAYER | {"cls.predictions.transform.dense.weight"},
        set(),
        {"cls.predictions.bias", "bert.embeddings.word_embeddings.weight", "bert.embeddings.LayerNorm.weight"},
    ),
    "bert, pretraining": (
        lambda: bert(hf.BertForPreTraining),
        BERT_LAYER | {"cls.predictions.transform.dense.weight", "bert.pooler.dense.weight"},
        {"cls.seq_relationship.weight"},
        {"cls.predictions.bias", "bert.embeddings.word_embeddings.weight"},
    ),
    "bert, untied": (
        lambda: bert(hf.BertForMaskedLM, tie_word_embeddings=False),
        BERT_LAYER | {"cls.predictions.transform.dense.weight"},
        {"cls.predictions.decoder.weight"},
        {"bert.embeddings.word_embeddings.weight"},
    ),
    "bert, classifier": (
        lambda: bert(hf.BertForSequenceClassification, num_labels=3),
        BERT_LAYER | {"bert.pooler.dense.weight"},
        {"classifier.weight"},
        {"bert.embeddings.token_type_embeddings.weight", "classifier.bias", "bert.pooler.dense.bias"},
    ),
    "vit": (
        lambda: hf.ViTForImageClassification(hf.ViTConfig(**IMAGE, num_labels=10)),
        VIT_MATRICES,
        {"classifier.weight", "vit.embeddings.patch_embeddings.projection.weight"},
        {"vit.embeddings.cls_token", "vit.embeddings.position_embeddings"},
    ),
}


@pytest.mark.parametrize("case", MODELS)
def test_public_models_are_divided_without_overrides_and_without_guessing_the_head(case):
    build, matrices, decayed, kept = MODELS[case]
    model = build()

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        matrix_param_groups(model, matrices={"algorithm": "muon"}, rest={})
        decayed_group, *_ = param_groups(model)
    assignment = assign_matrices(model)

    assert patterns(assignment.names("matrix")) == matrices
    assert patterns(assignment.names("decay")) == decayed
    assert patterns(assignment.names("no_decay")) >= kept
    stacks = {name for name in assignment.names("matrix") if assignment.params[name].dim() == 3}
    assert patterns(stacks) == matrices & EXPERTS
    assert not any(assignment.params[name].dim() != 2 for name in {*assignment.names("matrix")} - stacks)
    assert patterns(assign_matrices(model, algorithm="soap").names("matrix")) == matrices - EXPERTS
    assert patterns(name for name, _ in decayed_group["params"]) == matrices | decayed
    assert set(assignment.groups) == {name for name, _ in model.named_parameters()}


@pytest.mark.parametrize("case", ["llama", "qwen3", "gemma3", "mixtral"])
def test_nothing_else_of_a_decoder_is_kept_from_decay(case):
    build, *_, kept = MODELS[case]

    assert patterns(assign_matrices(build()).names("no_decay")) == kept


def test_reasons_name_what_matters_to_a_matrix_optimizer():
    gpt2 = assign_matrices(MODELS["gpt2"][0]()).reasons
    mixtral = assign_matrices(MODELS["mixtral"][0]()).reasons
    modern = hf.ModernBertConfig(**ENCODER, num_hidden_layers=1, cls_token_id=1, sep_token_id=2)
    phi = hf.Phi3ForCausalLM(hf.Phi3Config(**DECODER))
    neox = hf.GPTNeoXForCausalLM(hf.GPTNeoXConfig(**ENCODER, num_hidden_layers=1))

    assert gpt2["transformer.wte.weight"] == "embedding, tied"
    assert "stored as (in, out)" in gpt2["transformer.h.0.mlp.c_fc.weight"]
    assert "fused in its columns, which row_blocks cannot cut" in gpt2["transformer.h.1.attn.c_attn.weight"]
    assert mixtral["lm_head.weight"] == "head: get_output_embeddings() returns it"
    assert mixtral["model.layers.0.mlp.gate.weight"] == "router: its rows score experts, like a head"
    assert mixtral["model.layers.1.mlp.experts.down_proj"] == "hidden: experts: a stack of 4 matrices"
    assert mixtral["model.layers.1.mlp.experts.gate_up_proj"] == (
        'hidden: experts: a stack of 4 matrices; fused: row_blocks={"*gate_up_proj*": 2} if the outputs are its rows'
    )
    assert assign_matrices(MODELS["mixtral"][0](), algorithm="soap").reasons[
        "model.layers.1.mlp.experts.down_proj"
    ] == ("experts: a stack of 4 matrices; 3-D, and matrix rules take 2-D parameters")
    assert (
        'row_blocks={"*Wqkv*": 3}'
        in assign_matrices(hf.ModernBertForMaskedLM(modern)).reasons["model.layers.0.attn.Wqkv.weight"]
    )
    # One key and value head for two query heads: the parts of the fused projection differ in size.
    assert "may differ in size" in assign_matrices(phi).reasons["model.layers.0.self_attn.qkv_proj.weight"]
    assert 'row_blocks={"*gate_up_proj*": 2}' in assign_matrices(phi).reasons["model.layers.0.mlp.gate_up_proj.weight"]
    assert "head by head" in assign_matrices(neox).reasons["gpt_neox.layers.0.attention.query_key_value.weight"]


def test_rows_of_a_transposed_matrix_are_not_cut():
    message = r"row_blocks\['\*c_attn\*'\] cuts rows of 'transformer\.h\.0\.attn\.c_attn\.weight'.*lies in its columns"
    with pytest.raises(ValueError, match=message):
        matrix_param_groups(MODELS["gpt2"][0](), matrices={}, rest={}, row_blocks={"*c_attn*": 3})


def test_an_encoder_without_a_head_is_told_so():
    with pytest.warns(UserWarning, match="no output head was found in BertModel"):
        matrix_param_groups(bert(hf.BertModel), matrices={}, rest={})


def test_a_step_of_two_algorithms_moves_every_parameter_of_a_public_model():
    torch.manual_seed(0)
    model = MODELS["gpt2"][0]()
    optimizer = ADANA(matrix_param_groups(model, matrices={"algorithm": "muon", "lr": 0.02}, rest={}), lr=1e-3)
    before = {name: param.detach().clone() for name, param in model.named_parameters()}

    tokens = torch.arange(40).reshape(2, 20)
    model(input_ids=tokens, labels=tokens).loss.backward()
    optimizer.step()

    assert all(not torch.equal(before[name], param) for name, param in model.named_parameters())


# ----- adapters


def adapted(model, **settings):
    import peft

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about names that transformers deprecates, and about tied targets
        return peft.get_peft_model(model, peft.LoraConfig(r=2, **settings))


def test_lora_factors_are_matrices_and_frozen_weights_are_left_out():
    assignment = assign_matrices(adapted(MODELS["llama"][0](), target_modules=["q_proj", "down_proj"]))

    assert {name.split(".lora_")[1] for name in assignment.groups} == {"A.default.weight", "B.default.weight"}
    assert set(assignment.reasons.values()) == {"hidden: LoRA factor"}
    assert len(assignment.groups) == 8
    assert assignment.notes == ()


def test_lora_factors_of_head_and_embedding_belong_to_them():
    model = adapted(MODELS["llama"][0](), target_modules=["q_proj", "lm_head", "embed_tokens"])

    groups = {re.sub(r"^base_model\.model\.", "", name): group for name, group in assign_matrices(model).groups.items()}

    assert groups["lm_head.lora_A.default.weight"] == groups["lm_head.lora_B.default.weight"] == "decay"
    assert groups["model.embed_tokens.lora_embedding_A.default"] == "no_decay"
    assert groups["model.embed_tokens.lora_embedding_B.default"] == "no_decay"
    assert groups["model.layers.0.self_attn.q_proj.lora_B.default.weight"] == "matrix"


def test_lora_factors_of_a_head_that_is_known_by_its_size_belong_to_it():
    model = nn.Sequential(nn.Embedding(VOCAB, WIDTH), nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, VOCAB))

    groups = assign_matrices(adapted(model, target_modules=["1", "2"])).groups

    assert {name for name, group in groups.items() if group == "decay"} == {
        "base_model.model.2.lora_A.default.weight",
        "base_model.model.2.lora_B.default.weight",
    }


def test_dora_magnitudes_are_not_decayed_and_a_saved_head_stays_a_head():
    model = adapted(MODELS["llama"][0](), target_modules=["q_proj"], use_dora=True, modules_to_save=["lm_head"])

    assignment = assign_matrices(model)

    magnitudes = [name for name in assignment.groups if "magnitude" in name]
    assert len(magnitudes) == 2
    assert assignment.names("no_decay") == magnitudes
    assert {assignment.reasons[name] for name in magnitudes} == {"DoRA magnitude"}
    assert assignment.names("decay") == ["base_model.model.lm_head.modules_to_save.default.weight"]
    assert patterns(assign_groups(model).names("no_decay")) == patterns(magnitudes)


def test_the_classifier_that_is_trained_beside_adapters_is_a_head():
    model = adapted(MODELS["bert, classifier"][0](), target_modules=["query"], task_type="SEQ_CLS")

    assert assign_matrices(model).names("decay") == ["base_model.model.classifier.modules_to_save.default.weight"]


def test_adapters_of_convolutions_stored_as_in_out_are_plain_matrices():
    model = adapted(MODELS["gpt2"][0](), target_modules=["c_attn"], fan_in_fan_out=True)

    assert set(assign_matrices(model).reasons.values()) == {"hidden: LoRA factor"}


# ----- a model as nanoGPT has it


class LayerNorm(nn.Module):
    """A norm of one's own with an optional bias."""

    def __init__(self, width, *, bias):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width)) if bias else None


class NanoBlock(nn.Module):
    def __init__(self, *, bias):
        super().__init__()
        self.ln_1 = LayerNorm(WIDTH, bias=bias)
        self.attn = nn.ModuleDict(
            {"c_attn": nn.Linear(WIDTH, 3 * WIDTH, bias=bias), "c_proj": nn.Linear(WIDTH, WIDTH, bias=bias)}
        )


class Nano(nn.Module):
    def __init__(self, *, bias):
        super().__init__()
        self.transformer = nn.ModuleDict(
            {
                "wte": nn.Embedding(VOCAB, WIDTH),
                "wpe": nn.Embedding(20, WIDTH),
                "h": nn.ModuleList([NanoBlock(bias=bias) for _ in range(2)]),
                "ln_f": LayerNorm(WIDTH, bias=bias),
            }
        )
        self.lm_head = nn.Linear(WIDTH, VOCAB, bias=False)
        self.transformer.wte.weight = self.lm_head.weight


@pytest.mark.parametrize("bias", [False, True])
def test_a_model_like_nanogpt_is_divided_as_its_authors_do_but_for_embeddings(bias):
    assignment = assign_matrices(Nano(bias=bias))

    matrices = prefixed("transformer.h.*.attn.", "c_attn.weight c_proj.weight")
    assert patterns(assignment.names("matrix")) == matrices
    assert assignment.names("decay") == []
    assert assignment.notes == ()
    assert assignment.reasons["transformer.wte.weight"] == "embedding, tied"
    assert assignment.reasons["transformer.ln_f.weight"] == "LayerNorm gain"
    assert assignment.reasons["transformer.h.0.attn.c_attn.weight"] == 'hidden; fused: row_blocks={"*c_attn*": 3}'
    assert patterns(assign_groups(Nano(bias=bias)).names("decay")) == matrices
