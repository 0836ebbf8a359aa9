"""Jobs on workers: in this process, in processes of this machine, or on a Ray cluster.

A worker is built once (`WorkerSetup`) and then takes job after job; so each may hold what is costly, such as the one
simulator that a process can have.
"""

from harness.executors.crew import JobResult, WorkerSetup
from harness.executors.schedule import EXECUTORS, Executor, JobStream, open_stream, run_jobs

__all__ = ["EXECUTORS", "Executor", "JobResult", "JobStream", "WorkerSetup", "open_stream", "run_jobs"]
