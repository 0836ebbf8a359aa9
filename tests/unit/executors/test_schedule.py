"""The contract of workers, and the schedule over a crew whose news is written down beforehand."""

import logging
import os

import pytest

from harness.errors import WorkerError
from harness.executors import schedule
from harness.executors.crew import Event, WorkerSetup, attempt, describe, finish, one_thread
from harness.executors.processes import ProcessCrew
from harness.executors.ray import RayCrew
from scenarios.children import THREADS
from scenarios.fresh_processes import processors

SQUARE = WorkerSetup("tests.unit.executors.worker_targets:square", {"offset": 1})


class ScriptedCrew:
    """Workers that do what `answer(worker, job)` says: an event kind with its payload."""

    def __init__(self, answer):
        self.answer, self.news, self.fired, self.closed = answer, [], [], False
        self.hired = 0

    def hire(self, worker, setup):
        self.hired += 1
        self.news.append(Event(worker, *self.answer(worker, None)))

    def give(self, worker, job):
        self.news.append(Event(worker, *self.answer(worker, job)))

    def wait(self, timeout):
        news, self.news = self.news, []
        return news

    def fire(self, worker):
        self.fired.append(worker)

    def close(self):
        self.closed = True


def run(monkeypatch, answer, jobs, **options):
    crew = ScriptedCrew(answer)
    monkeypatch.setattr("harness.executors.processes.ProcessCrew", lambda: crew)
    return list(schedule.run_jobs(jobs, SQUARE, "process", workers=2, **options)), crew


def test_good_workers_keep_their_place(monkeypatch):
    def answer(worker, job):
        return ("ready", None) if job is None else ("done", job * 10)

    results, crew = run(monkeypatch, answer, [1, 2, 3])
    assert {result.job: result.value for result in results} == {1: 10, 2: 20, 3: 30}
    assert crew.hired == 2
    assert (crew.fired, crew.closed) == ([], True)


def test_a_failed_job_is_tried_again_on_another_worker_and_then_given_up(monkeypatch):
    tried = []

    def answer(worker, job):
        if job is None:
            return "ready", None
        tried.append((job, worker))
        return ("raised", "no") if job == "bad" else ("done", "fine")

    results, crew = run(monkeypatch, answer, ["bad", "good"], retries=2)
    found = {result.job: result for result in results}
    assert (found["bad"].error, found["bad"].attempts, found["bad"].value) == ("no", 3, None)
    assert found["good"].value == "fine"
    workers = [worker for job, worker in tried if job == "bad"]
    assert len(set(workers)) == 3
    assert set(workers) <= set(crew.fired)


def test_workers_that_never_start_end_the_run(monkeypatch):
    with pytest.raises(WorkerError, match="cannot be started: out of memory"):
        run(monkeypatch, lambda worker, job: ("died", "out of memory"), [1, 2])


def test_an_unfit_worker_ends_the_run_at_once(monkeypatch):
    with pytest.raises(WorkerError, match="no such weights"):
        run(monkeypatch, lambda worker, job: ("unfit", "no such weights"), [1])


def test_a_target_that_does_not_exist_is_named():
    with pytest.raises(WorkerError, match="'os:nothing' cannot be loaded"):
        WorkerSetup("os:nothing").build()


def test_threads_are_limited_within_only(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    with one_thread():
        assert {os.environ[name] for name in THREADS} == {"1"}
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "MKL_NUM_THREADS" not in os.environ


def test_what_a_job_raises_says_what_and_where():
    with pytest.raises(WorkerError, match=r"^ZeroDivisionError: division by zero \(test_schedule\.py:\d+\)$"):
        attempt(lambda job: 1 / job, 0)
    assert describe(ValueError("never raised")) == "ValueError: never raised"


def test_workers_without_close_need_none():
    finish(len)
    assert processors() >= 1


def test_a_process_crew_without_workers_has_no_news(caplog):
    with caplog.at_level(logging.WARNING):
        crew = ProcessCrew()
        assert crew.wait(0.0) == []
        crew.fire(3)
        crew.close()
    assert not caplog.records


def test_ray_and_processes_keep_the_same_contract():
    assert {"hire", "give", "wait", "fire", "close"} <= set(dir(RayCrew)) & set(dir(ProcessCrew))


def test_a_stream_takes_jobs_that_depend_on_results(monkeypatch):
    crew = ScriptedCrew(lambda worker, job: ("ready", None) if job is None else ("done", job + 1))
    monkeypatch.setattr("harness.executors.processes.ProcessCrew", lambda: crew)
    with schedule.open_stream(SQUARE, workers=2) as stream:
        assert list(stream.results(0.0)) == []
        assert crew.hired == 0, "nobody waits for jobs that may never come"
        stream.give(0)
        found = []
        while stream.unfinished:
            for result in stream.results():
                found.append(result.value)
                if result.value < 5:
                    stream.give(result.value)
        assert not crew.closed
    assert (found, crew.hired, crew.closed) == ([1, 2, 3, 4, 5], 1, True)


def test_a_stream_that_waits_gives_up_after_its_time(monkeypatch):
    waited = []
    crew = ScriptedCrew(lambda worker, job: ("ready", None))
    crew.wait = lambda timeout: waited.append(timeout) or []
    monkeypatch.setattr("harness.executors.processes.ProcessCrew", lambda: crew)
    with schedule.open_stream(SQUARE, workers=1) as stream:
        stream.give(1)
        assert list(stream.results(0.5)) == []
    assert waited == [0.5]
