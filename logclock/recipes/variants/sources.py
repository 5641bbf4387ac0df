"""Where were the learning rates of variants measured?"""

DEMO_LOG = "minimum of a parabola in ln(lr) through three runs, experiments/LOG.md, learning rates for the demo"
SMALL_SWEEP = "best of four rates at P = 12 k and 20 tokens per parameter, times (98 k / 12 k)^-0.6"
HORIZON_LOG = "centre of the sweeps at width 32, experiments/LOG.md, who gains from a longer run"
WARMUP_LOG = "centre of the sweeps at width 32, experiments/LOG.md, adaptive and manual warm-ups"
COMPONENTS_LOG = "centre of the sweeps at width 64, experiments/LOG.md, decay and parts of ADANA"
STABILITY_LOG = "centre of the sweeps at width 32, experiments/LOG.md, how much damping"
SHORT_SWEEP = "best of four or five rates, a factor 4 apart, in 300 updates at width 32, times (98 k / 12 k)^-0.6"
