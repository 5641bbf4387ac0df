import pytest
import torch

from logclock.train.device import autocast, choose_device, choose_precision, peak_memory_bytes, torch_settings

CPU = torch.device("cpu")


def test_auto_takes_what_is_there():
    assert choose_device("cpu") == CPU
    if not torch.cuda.is_available() and not torch.backends.mps.is_available():
        assert choose_device("auto") == CPU


def test_a_device_that_is_not_here_is_an_error():
    missing = "mps" if torch.cuda.is_available() else "cuda"

    with pytest.raises(ValueError, match=rf"execution.device is '{missing}', this machine has .*cpu. Use 'auto'"):
        choose_device(missing)


@pytest.mark.parametrize(("name", "precision"), [("auto", "float32"), ("float32", "float32"), ("bfloat16", "bfloat16")])
def test_a_cpu_is_float32_unless_asked(name, precision):
    assert choose_precision(name, CPU) == precision


def test_autocast_follows_the_precision():
    matrix = torch.ones(2, 2)

    with autocast(CPU, "float32"):
        assert (matrix @ matrix).dtype == torch.float32
    with autocast(CPU, "bfloat16"):
        assert (matrix @ matrix).dtype == torch.bfloat16


def test_torch_is_left_as_it_was(tiny_run):
    threads, state = torch.get_num_threads(), torch.get_rng_state()

    with torch_settings(tiny_run("execution.num_threads=3", "seed=5")):
        assert torch.get_num_threads() == 3
        assert torch.initial_seed() == 5
        torch.rand(10)

    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)


def test_peak_memory_is_that_of_a_process_with_torch():
    assert 50e6 < peak_memory_bytes(CPU) < 1e12
