"""Kernels are compiled anew when anything that they are made of changes, not only their own file."""

import runpy
import subprocess
import sys

import numba
import numpy as np

import harness.kernels as compiled
from harness.kernels import kernel, kernel_cache

PROGRAM = """
import sys
from pathlib import Path
import harness.kernels as compiled
compiled._ROOT = Path(sys.argv[1])
sys.path.insert(0, sys.argv[1])
from fast.reader import read
print(read(), compiled.kernel_cache())
"""


def test_a_changed_constant_of_another_file_is_seen(tmp_path):
    folder = tmp_path / "house" / "fast"
    folder.mkdir(parents=True)
    (folder / "columns.py").write_text("COLUMN = 1\n")
    (folder / "reader.py").write_text(
        "from fast.columns import COLUMN\nfrom harness.kernels import kernel\n\n"
        "@kernel\ndef read():\n    return COLUMN\n"
    )

    def run():
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(tmp_path / "house")],
            env={"NUMBA_CACHE_DIR": str(tmp_path / "cache"), "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.split()

    first, kept = run()
    assert first == "1"
    assert run() == [first, kept]
    (folder / "columns.py").write_text("COLUMN = 2\n")
    second, other = run()
    assert second == "2"
    assert other != kept


def test_other_peoples_functions_keep_their_cache():
    before = numba.config.CACHE_DIR
    assert kernel(lambda: 1)() == 1
    assert before == numba.config.CACHE_DIR
    assert kernel_cache() == kernel_cache()


TWICE = """
from harness.kernels import kernel

@kernel
def total(values):
    sum = 0.0
    for k in range(len(values)):
        sum += values[k]
    return sum
"""


def test_two_processes_that_compile_at_once_do_not_take_each_others_code(tmp_path, monkeypatch):
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(compiled, "kernel_cache", lambda: tmp_path / "cache")
    (tmp_path / "twice.py").write_text(TWICE)
    of_doubles, of_singles, later = (runpy.run_path(str(tmp_path / "twice.py"))["total"] for _ in range(3))
    doubles, singles = np.full(8, 3.0), np.full(8, 3.0, dtype=np.float32)
    slow, quick = of_doubles._cache._cache_file, of_singles._cache._cache_file
    write = slow._save_data

    def write_late(name, data):
        assert of_singles(singles) == 24
        write(name, data)

    # Both look at the list before either has written, and the first to write the list writes its code last.
    monkeypatch.setattr(quick, "_load_index", lambda: {})
    monkeypatch.setattr(slow, "_save_data", write_late)
    assert of_doubles(doubles) == 24
    assert (later(singles), later(doubles)) == (24, 24)
    assert later.stats.cache_hits
