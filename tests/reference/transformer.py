"""One sequence through a decoder in float64 without torch, written from specs/adana.md 3 and adaptive-warmup.md 4."""

import math

import numpy as np


def layer_norm(x, gain):
    return gain * (x - x.mean()) / np.sqrt(x.var() + 1e-5)


def rms_norm(x, gain):
    return gain * x / np.sqrt((x**2).mean() + 1e-5)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def rotated(x, position, theta=10000.0):
    """Turn adjacent channels, read as one complex number each."""
    z = x[0::2] + 1j * x[1::2]
    z = z * np.exp(1j * position * theta ** (-2 * np.arange(len(z)) / len(x)))
    return np.stack([z.real, z.imag], axis=1).ravel()


def attend(queries, keys, values):
    """Return what one head reads: queries and keys are rotated, then each position looks at itself and those before."""
    queries = [rotated(q, i) for i, q in enumerate(queries)]
    keys = [rotated(k, i) for i, k in enumerate(keys)]
    mixed = []
    for i, query in enumerate(queries):
        scores = np.exp([query @ keys[j] / math.sqrt(len(query)) for j in range(i + 1)])
        mixed.append((scores / scores.sum()) @ values[: i + 1])
    return np.array(mixed)


def enoki_attention(x, weights, prefix, heads):
    """Fused projection, LayerNorm on queries and keys."""
    parts = np.split(x @ weights[prefix + "qkv.weight"].T, 3, axis=1)
    mixed = []
    for queries, keys, values in zip(*(np.split(part, heads, axis=1) for part in parts), strict=True):
        queries = [layer_norm(q, weights[prefix + "query_norm.weight"]) for q in queries]
        keys = [layer_norm(k, weights[prefix + "key_norm.weight"]) for k in keys]
        mixed.append(attend(queries, keys, values))
    return np.hstack(mixed) @ weights[prefix + "out.weight"].T


def llama_attention(x, weights, prefix, heads):
    """Fused projection, no norms inside."""
    parts = np.split(x @ weights[prefix + "qkv.weight"].T, 3, axis=1)
    by_head = zip(*(np.split(part, heads, axis=1) for part in parts), strict=True)
    return np.hstack([attend(*head) for head in by_head]) @ weights[prefix + "out.weight"].T


def qwen3_attention(x, weights, prefix, heads):
    """Queries and gates of a head side by side, RMSNorm on queries and keys, gated output."""
    query_gates = np.split(x @ weights[prefix + "query_gate.weight"].T, heads, axis=1)
    all_keys = np.split(x @ weights[prefix + "key.weight"].T, heads, axis=1)
    all_values = np.split(x @ weights[prefix + "value.weight"].T, heads, axis=1)
    gated = []
    for query_gate, keys, values in zip(query_gates, all_keys, all_values, strict=True):
        queries, gates = query_gate[:, : keys.shape[1]], query_gate[:, keys.shape[1] :]
        queries = [rms_norm(q, weights[prefix + "query_norm.weight"]) for q in queries]
        keys = [rms_norm(k, weights[prefix + "key_norm.weight"]) for k in keys]
        gated.append(attend(queries, keys, values) * sigmoid(gates))
    return np.hstack(gated) @ weights[prefix + "out.weight"].T


def gelu_mlp(x, weights, prefix):
    hidden = x @ weights[prefix + "into.weight"].T
    return hidden * 0.5 * (1 + np.vectorize(math.erf)(hidden / math.sqrt(2))) @ weights[prefix + "out.weight"].T


def swiglu_mlp(x, weights, prefix):
    gate = x @ weights[prefix + "gate.weight"].T
    return (gate * sigmoid(gate) * (x @ weights[prefix + "into.weight"].T)) @ weights[prefix + "out.weight"].T


PARTS = {
    "enoki": (layer_norm, enoki_attention, gelu_mlp),
    "qwen3": (rms_norm, qwen3_attention, swiglu_mlp),
    "llama": (rms_norm, llama_attention, swiglu_mlp),
}


def logits(kind, weights, tokens, *, heads, num_layers):
    """Return the logits of one sequence; a model without a head of its own reads them off its embedding."""
    norm, attention, mlp = PARTS[kind]
    x = weights["embedding.weight"][tokens]
    for layer in range(num_layers):
        prefix = f"blocks.{layer}."
        normed = np.array([norm(row, weights[prefix + "attention_norm.weight"]) for row in x])
        x = x + attention(normed, weights, prefix + "attention.", heads)
        normed = np.array([norm(row, weights[prefix + "feed_forward_norm.weight"]) for row in x])
        x = x + mlp(normed, weights, prefix + "feed_forward.")
    head = weights.get("head.weight", weights["embedding.weight"])
    return np.array([norm(row, weights["final_norm.weight"]) for row in x]) @ head.T
