"""Log-time quantities of the study, written from its formulas (specs/adana.md 1.1 and 1.3)."""


def newest_weight(t, delta=8.0):
    beta = t / (delta + t)
    return 1.0 - beta


def cooled_weight(t, weight, *, total, start, left):
    """Shrink the memory 1 / weight geometrically from t = start on until a share `left` of it is left at t = total."""
    if t <= start:
        return weight
    memory = 1 / weight * left ** ((min(t, total) - start) / (total - start))
    return 1 / max(memory, 1.0)
