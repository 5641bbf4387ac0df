"""Which peak learning rates did the ADANA paper fit?

The rules a (b + P)^d of its Enoki and Qwen3-like ladders, as the released code has them "from the paper's appendix".
"""

from collections.abc import Mapping

from logclock.suggestions.lr_rule import LrRule

__all__ = ["ENOKI", "ENOKI_LARGE_BATCH", "QWEN3", "Fits"]

Fits = Mapping[str, Mapping[float | None, LrRule]]
"""Rules by optimizer (a name that recipes know) and kappa; None for an optimizer without one."""


def _fits(**rules: Mapping[float | None, tuple[float, float, float]]) -> Fits:
    return {
        name.replace("_", "-"): {kappa: LrRule(a=a, b=b, d=d) for kappa, (a, b, d) in fitted.items()}
        for name, fitted in rules.items()
    }


ENOKI = _fits(
    adamw={None: (12.8, 1.67e4, -0.515)},
    adamw_log_time_decay={None: (65.7, 9.83e3, -0.608)},
    adana={
        0.75: (12.7, 9.55e3, -0.624),
        0.80: (17.6, 3.66e4, -0.624),
        0.85: (22.5, 1.22e5, -0.618),
        0.90: (68.9, 2.95e4, -0.667),
    },
    dana_mk4={0.75: (56.0, 5.71e3, -0.708), 0.85: (23.0, 1.46e4, -0.627)},
    dana_star={0.75: (41.0, 3.03e4, -0.661), 0.85: (223.0, 2.40e6, -0.724)},
    dana_star_mk4={0.75: (41.0, 3.03e4, -0.661), 0.85: (223.0, 2.40e6, -0.724)},
    ademamix={0.75: (4.51, 6.71e3, -0.503)},
    ademamix_log_time_decay={0.75: (7.28, 8.43e3, -0.525)},
    muon={None: (2.19, 5.64e4, -0.417)},
)
"""Enoki at batches of 32 x 2048 tokens, 20 tokens per total parameter."""

ENOKI_LARGE_BATCH = _fits(
    adamw={None: (16.7, 1.58e7, -0.464)},
    adana={0.85: (85.3, 3.04e4, -0.654)},
    dana_mk4={0.85: (2470.0, 2.24e7, -0.826)},
    dana_star_mk4={0.85: (310.0, 1.40e4, -0.701)},
)
"""Enoki at batches of 512 x 2048 tokens."""

QWEN3 = _fits(
    adamw={None: (2.16e4, 7.20e4, -0.873)},
    adana={0.85: (3.17, 3.99e4, -0.553)},
    dana_mk4={0.85: (1.20, 3.44e4, -0.501)},
    dana_star_mk4={0.85: (93.9, 1.71e4, -0.701)},
)
"""The Qwen3-like ladder at batches of 32 x 2048 tokens."""
