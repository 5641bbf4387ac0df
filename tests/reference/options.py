"""Apply stages and wrappers, one tensor at a time in float64, composed over directions that are written anew too.

From the equations in specs/zoo.md 3.14, 3.22, 4.12, 4.15, 4.16 and specs/zoo-additions.md A3, A4, B1, in their form:
decay before or after the step as two lines, schedule-free with its average x and Magnitude-Direction with its factors.
"""

import numpy as np
from reference.muon import newton_schulz


class Adamw:
    def __init__(self, beta1=0.9, beta2=0.98, eps=1e-8):
        self.beta1, self.beta2, self.eps, self.m, self.v = beta1, beta2, eps, 0.0, 0.0

    def __call__(self, g, t):
        self.m = self.beta1 * self.m + (1 - self.beta1) * g
        self.v = self.beta2 * self.v + (1 - self.beta2) * g**2
        m_hat, v_hat = self.m / (1 - self.beta1**t), self.v / (1 - self.beta2**t)
        return m_hat / (np.sqrt(v_hat) + self.eps)


class Adana:
    def __init__(self, kappa=0.8, delta=6.0, eps=1e-8):
        self.kappa, self.delta, self.eps, self.m, self.v = kappa, delta, eps, 0.0, 0.0

    def __call__(self, g, t):
        d = self.delta / (self.delta + t)
        self.m, self.v = (1 - d) * self.m + d * g, (1 - d) * self.v + d * g**2
        return (g + (1 + t) ** (1 - self.kappa) * self.m) / (np.sqrt(self.v) + self.eps)


class Muon:
    def __init__(self, mu=0.9):
        self.mu, self.b = mu, 0.0

    def __call__(self, g, t):
        self.b = self.mu * self.b + (1 - self.mu) * g
        return np.sqrt(max(1, g.shape[0] / g.shape[1])) * newton_schulz(self.mu * self.b + (1 - self.mu) * g)


# ----- how an update meets the weights: (theta, u, lr, decay, is_after)


def decay(theta, u, lr, k, is_after):
    if is_after:
        theta = theta - lr * u
        return theta - k * theta
    return theta - k * theta - lr * u


def cautious_decay(theta, u, lr, k, is_after):
    mask = (u * theta >= 0).astype(float)
    if is_after:
        theta = theta - lr * u
        return theta - k * mask * theta
    return theta - k * mask * theta - lr * u


def huber_decay(theta, u, lr, k, is_after, *, bound=0.1):
    if is_after:
        theta = theta - lr * u
        return theta - k * np.clip(theta, -bound, bound)
    return theta - k * np.clip(theta, -bound, bound) - lr * u


def hyperball(theta, u, lr, k, is_after, *, eps=1e-10):
    radius = np.linalg.norm(theta)
    moved = theta - lr * u * radius / max(np.linalg.norm(u), eps)
    return moved * radius / max(np.linalg.norm(moved), eps)


class InitialDecay:
    """SODA: k counts from 0, and the pull toward the start is a line of its own before the base step."""

    def __init__(self, theta, c=1.0):
        self.start, self.c, self.k = theta, c, 0

    def __call__(self, theta, u, lr, k, is_after):
        pull = self.c / (self.k + 2)
        self.k += 1
        return (1 - pull) * theta + pull * self.start - lr * u


# ----- what changes the update: (u, g, theta, decay / lr)


def cautious(u, g, theta, k_per_lr):
    mask = (u * g > 0).astype(float)
    return u * mask / max(mask.mean(), 1e-3)


def grams(u, g, theta, k_per_lr):
    return np.sign(g) * np.abs(u)


def clip_rms(u, g, theta, k_per_lr, *, bound=1.0):
    return u / max(1.0, np.sqrt((u**2).mean()) / bound)


def trust_ratio(u, g, theta, k_per_lr, *, largest=np.inf):
    w = u + k_per_lr * theta
    sizes = np.linalg.norm(theta), np.linalg.norm(w)
    return min(sizes[0] / sizes[1] if min(sizes) > 0 else 1.0, largest) * w


# ----- what averages the path: called with the parameter and where the rule moves it


class ScheduleFree:
    def __init__(self, theta, beta=0.9):
        self.beta, self.z, self.x, self.sum, self.largest = beta, theta, theta, 0.0, 0.0

    def __call__(self, y, moved, lr, t):
        self.largest = max(self.largest, lr)
        self.sum += self.largest**2
        c = self.largest**2 / self.sum
        self.z = self.z + (moved - y)
        self.x = (1 - c) * self.x + c * self.z
        return (1 - self.beta) * self.z + self.beta * self.x

    def evaluated(self):
        return self.x


class EmaNesterov:
    def __init__(self, theta, gamma=0.9, lookahead=lambda t: 0.6):
        self.gamma, self.lookahead, self.theta, self.d = gamma, lookahead, theta, np.zeros_like(theta)

    def __call__(self, ahead, moved, lr, t):
        self.d = self.gamma * self.d + (1 - self.gamma) * (moved - self.theta)
        self.theta = moved
        return self.theta + self.lookahead(t) * self.d

    def evaluated(self):
        return self.theta


def softplus(x):
    return np.log1p(np.exp(x))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


class MagnitudeDirection:
    """W = diag(a) D diag(b); keeps the factors, where the package keeps W and recovers D from it."""

    def __init__(self, theta, gain_lr=1e-2, beta1=0.9, beta2=0.999, eps=1e-8):
        self.p, self.q = (np.full(n, np.log(np.e - 1)) for n in theta.shape)
        self.d, self.c = theta, np.linalg.norm(theta)
        self.adam_p, self.adam_q = Adamw(beta1, beta2, eps), Adamw(beta1, beta2, eps)
        self.gain_lr = gain_lr

    def seen(self, g):
        return softplus(self.p)[:, None] * g * softplus(self.q)[None, :]

    def __call__(self, g, u, lr, multiplier, t):
        a, b = softplus(self.p), softplus(self.q)
        grad_p = (self.d * g * b[None, :]).sum(1) * sigmoid(self.p)
        grad_q = (a[:, None] * self.d * g).sum(0) * sigmoid(self.q)
        moved = self.d - lr * u
        self.d = moved * self.c / np.linalg.norm(moved)
        self.p = self.p - self.gain_lr * multiplier * self.adam_p(grad_p, t)
        self.q = self.q - self.gain_lr * multiplier * self.adam_q(grad_q, t)
        return self.seen(self.d)


def composed(theta, grads, *, direction, lr, multiplier, k, k_per_lr, is_after, apply=decay, update=(), path=None):
    """Return the parameter after the updates, and the weights to evaluate.

    Args:
        theta: Start.
        grads: Gradient of each update.
        direction: Called with a gradient and t.
        lr, multiplier, k, k_per_lr: Functions of t: learning rate, lr / peak, fraction that decay removes, that / lr.
        is_after: Whether decay comes after the step.
        apply: One of the functions above, or an object of `MagnitudeDirection`.
        update: Functions that change the update.
        path: An object of `ScheduleFree` or `EmaNesterov`, or None.
    """
    absorbs = any(getattr(wrapper, "func", wrapper) is trust_ratio for wrapper in update)
    for t, g in enumerate(grads, start=1):
        factored = isinstance(apply, MagnitudeDirection)
        seen = apply.seen(g) if factored else g
        u = direction(seen, t)
        for wrapper in update:
            u = wrapper(u, seen, theta, k_per_lr(t))
        if factored:
            moved = apply(g, u, lr(t), multiplier(t), t)
        else:
            moved = apply(theta, u, lr(t), 0.0 if absorbs else k(t), is_after)
        theta = moved if path is None else path(theta, moved, lr(t), t)
    return theta, theta if path is None else path.evaluated()
