"""Log-time quantities of the study, written from its formulas (specs/adana.md 1.1 and 1.3)."""


def newest_weight(t, delta=8.0):
    beta = t / (delta + t)
    return 1.0 - beta
