"""Kernels are compiled anew when anything that they are made of changes, not only their own file."""

import subprocess
import sys

import numba

from harness.fast.compiled import kernel, kernel_cache

PROGRAM = """
import sys
from pathlib import Path
import harness.fast.compiled as compiled
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
        "from fast.columns import COLUMN\nfrom harness.fast.compiled import kernel\n\n"
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
