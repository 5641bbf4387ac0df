"""logclock: optimizers, schedules and evidence for logarithmic-time training."""
