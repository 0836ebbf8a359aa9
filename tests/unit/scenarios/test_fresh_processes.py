"""Tasks on fresh processes: results, deaths, time limits, plain scripts."""

import os
import subprocess
import sys
import time

import pytest

from scenarios.fresh_processes import outcomes, processors

HERE = __name__
EXIT, SLEEP = -1, -2


def work(task):
    """Twice the number; two numbers end or stop the process."""
    if task == EXIT:
        os._exit(3)
    if task == SLEEP:
        time.sleep(600)
    return 2 * task


def test_every_task_has_its_outcome():
    found = {outcome.task: outcome.value for outcome in outcomes(f"{HERE}:work", iter(range(30)), 2, 60.0)}
    assert found == {number: 2 * number for number in range(30)}
    assert not list(outcomes(f"{HERE}:work", (), 2, 60.0))


@pytest.mark.parametrize(("bad", "how"), [(EXIT, "exit code 3"), (SLEEP, "longer than 1 s")])
def test_a_process_that_dies_or_hangs_costs_its_task_alone(bad, how):
    found = list(outcomes(f"{HERE}:work", [1, bad, 2, 3, 4], 1, 1.0 if bad == SLEEP else 60.0))
    assert {outcome.task: outcome.value for outcome in found if not outcome.failure} == {n: 2 * n for n in range(1, 5)}
    (lost,) = [outcome for outcome in found if outcome.failure]
    assert (lost.task, lost.value) == (bad, None)
    assert how in lost.failure


def test_processes_that_cannot_begin_are_an_error():
    with pytest.raises(OSError, match="ended at once"):
        next(outcomes("no.such.module:work", [1], 1, 60.0))


def test_a_plain_script_needs_no_guard(tmp_path):
    script = tmp_path / "plain.py"
    script.write_text(
        "from scenarios.fresh_processes import outcomes\n"
        f"print(sorted(outcome.value for outcome in outcomes('{HERE}:work', [1, 2], 2, 60.0)))\n"
    )
    path = os.pathsep.join(sys.path)
    done = subprocess.run(
        [sys.executable, script], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[2, 4]\n"


def test_there_is_a_processor():
    assert processors() >= 1
