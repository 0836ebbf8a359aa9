"""One worker of a benchmark: what it keeps from unit to unit."""

from types import SimpleNamespace

from harness.benchmarking.config import BenchmarkConfig
from harness.benchmarking.worker import BenchmarkWorker


class Closable:
    """A system that can be closed."""

    def __init__(self, observation):
        self.observation, self.closed = observation, False

    def close(self):
        self.closed = True


class Simulated:
    """A simulator that only knows its options."""

    def __init__(self, source, config):
        self.options, self.closed = SimpleNamespace(observation=config.observation), False

    def close(self):
        self.closed = True


def test_another_simulator_closes_no_system():
    worker = object.__new__(BenchmarkWorker)
    first, second = Closable("cat"), Closable("metadrive")
    worker._config, worker._source, worker._simulator, worker._env = BenchmarkConfig(), None, Simulated, None
    worker._policies = {"first": first, "second": second}
    one, other = worker._environment(first), worker._environment(second)
    assert one.closed
    assert not any(thing.closed for thing in (other, first, second))
    worker.close()
    assert other.closed
    assert first.closed
    assert second.closed
