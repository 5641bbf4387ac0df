"""Runs on a Ray cluster of two workers with one core each, started by the test on loopback and stopped by it."""

import os
import signal
import socket
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from logclock.sweep import Job, RayExecutor, run_jobs
from logclock.train import run_directory, train
from logclock.train.progress import QuietDisplay


class Listener(QuietDisplay):
    """Keeps messages, and calls a function at the first reading of a run."""

    def __init__(self, act):
        self.act, self.messages = act, []

    def show(self, name, reading):
        act, self.act = self.act, lambda name: None
        act(name)

    def message(self, text):
        self.messages.append(text)


@pytest.fixture
def cluster_address():
    pytest.importorskip("ray")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")  # which would ask the network
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))  # workers import this logclock
        from ray.cluster_utils import Cluster

        # Ray replaces 127.0.0.1 by an address that other machines reach; here it stays.
        patch.setattr("ray._private.services.node_ip_address_from_perspective", lambda address=None: "127.0.0.1")
        one_core = {"num_cpus": 1, "num_gpus": 0, "node_ip_address": "127.0.0.1", "object_store_memory": 80 * 2**20}
        cluster = Cluster(initialize_head=True, head_node_args=one_core | {"include_dashboard": False})
        try:
            cluster.add_node(**one_core)
            yield cluster.address
        finally:
            cluster.shutdown()


def parent_of(pid):
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").exists(), reason="finds a process's parent in /proc")
def test_runs_on_a_cluster_are_the_same_runs_and_survive_a_lost_worker(
    cluster_address, tiny_run, tiny_data_root, tmp_path
):
    settings = ("log_interval=1", "evaluation.interval=500")
    lost = tiny_run("execution.checkpoint_interval=1", *settings, steps=200)
    plain = tiny_run(optimizer="adamw", steps=20)
    directory = run_directory(tmp_path / "out", lost)

    def kill_the_actor(name):
        while not list((directory / "checkpoints").glob("step-*.pt")):
            time.sleep(0.001)
        os.kill(parent_of(int((directory / "lock").read_text())), signal.SIGKILL)

    display = Listener(kill_the_actor)
    jobs = [Job(config=lost, label="lost", tags={}), Job(config=plain, label="plain", tags={})]
    with RayExecutor(cluster_address) as executor:
        assert executor.default_num_jobs([lost, plain]) == 2
        with pytest.raises(ValueError, match=r"a run needs .*'CPU': 2.* on one machine.* Give the run fewer threads"):
            executor.default_num_jobs([tiny_run("execution.num_threads=2")])
        records = run_jobs(
            jobs, out=tmp_path / "out", display=display, data_root=tiny_data_root, executor=executor, command="test"
        )

    assert [(record.label, record.status) for record in records] == [("lost", "finished"), ("plain", "finished")]
    assert any("was lost with its Ray actor" in text and "(1 of 2)" in text for text in display.messages)
    for record, config in zip(records, (lost, plain), strict=True):
        here = train(config, out=tmp_path / "here", data_root=tiny_data_root)
        assert (record.train, record.validation) == (here.train, here.validation)
        assert record.provenance["num_threads"] == 1


def test_without_a_cluster_the_error_says_how_to_start_one(monkeypatch):
    def init(**settings):
        raise ConnectionError("Could not find any running Ray instance.")

    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(init=init))

    with pytest.raises(RuntimeError, match=r"no Ray cluster answers at 'auto'\. Start one with `ray start --head`"):
        RayExecutor("auto")


@pytest.mark.parametrize("form", ["127.0.0.1:{}", "ray://127.0.0.1:{}", "ray://[::1]:{}"])
def test_an_address_without_a_listener_is_refused_before_ray_waits_for_it(form, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(init=lambda **settings: pytest.fail("ray would wait")))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening, so nobody else can take it
        address = form.format(taken.getsockname()[1])

        with pytest.raises(RuntimeError, match=r"no Ray cluster answers at '.*(127\.0\.0\.1|::1)"):
            RayExecutor(address)


def test_an_address_with_a_listener_is_rays(monkeypatch):
    addresses = []
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(init=lambda address, **settings: addresses.append(address)))
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"

        RayExecutor(address)

    assert addresses == [address]


def test_without_ray_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)

    with pytest.raises(
        ModuleNotFoundError, match=r"runs on a Ray cluster need ray. Run: pip install 'logclock\[ray\]'"
    ):
        RayExecutor("auto")
