"""Run an optax optimizer in float64, in a process of its own: jax keeps threads, and warns at every later fork.

    python optax_run.py NAME SETTINGS IN OUT

SETTINGS is a JSON object; the rows of the array in the file IN are the parameter and the gradients of every update; the
rows of OUT are the parameter after every update.
"""

import json
import operator
import sys

import jax
import numpy as np
import optax


def run(name, settings, param, grads):
    optimizer = operator.attrgetter(name)(optax)(**settings)
    state = optimizer.init(param)
    for grad in grads:
        updates, state = optimizer.update(grad, state, param)
        param = optax.apply_updates(param, updates)
        yield np.asarray(param)


if __name__ == "__main__":
    name, settings, source, target = sys.argv[1:]
    jax.config.update("jax_enable_x64", True)
    param, *grads = jax.numpy.asarray(np.load(source))
    np.save(target, np.stack(list(run(name, json.loads(settings), param, grads))))
