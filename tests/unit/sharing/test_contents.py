"""What may be shared, by name and size."""

import pytest

from harness.errors import ConfigError
from harness.sharing.contents import MAX_FILE, SharedFile, check_contents, plain_path, runs_code


def refused(*files: SharedFile) -> str:
    with pytest.raises(ConfigError) as error:
        check_contents(files, "it")
    return str(error.value)


@pytest.mark.parametrize("name", ["a.pkl", "a.PT", "b/c.zip", "model.safetensors.zip", "x.tar.gz", "run.py", "w.bin"])
def test_files_that_can_run_code(name):
    assert runs_code(name)
    assert f"can run code when they are opened: {name}." in refused(SharedFile(name, 1))


@pytest.mark.parametrize(
    "name", ["policy.safetensors", "run.json", "a/b.csv", "report.html", "episodes.jsonl", "a.b.md"]
)
def test_files_that_are_shared(name):
    assert not runs_code(name)
    assert check_contents([SharedFile(name, 1), SharedFile(".gitattributes", 1)], "it") == [SharedFile(name, 1)]


def test_other_kinds_sizes_and_doubles_are_refused():
    assert "are none of .safetensors" in refused(SharedFile("a.png", 1))
    assert f"more than {MAX_FILE:,} bytes: b.csv" in refused(SharedFile("b.csv", MAX_FILE + 1))
    assert "the same but for capitals: a.csv." in refused(SharedFile("a.csv", 1), SharedFile("A.csv", 1))
    assert "holds 0 files" in refused(SharedFile(".gitattributes", 1))
    assert "20,000,000,004 bytes" in refused(*(SharedFile(f"{n}.csv", 3_333_333_334) for n in range(6)))


def test_five_names_are_told_as_three():
    assert "0.pt, 1.pt, 2.pt and 2 more" in refused(*(SharedFile(f"{n}.pt", 1) for n in range(5)))


@pytest.mark.parametrize(
    "path", ["/a.csv", "a//b.csv", "..", "a/..", "a\nb.csv", "a:b.csv", "nul", "a./b.csv", "a/" * 8]
)
def test_crooked_paths(path):
    assert not plain_path(path)


def test_plain_paths():
    assert plain_path("scenes/sage@0.5/sd_pg-test-000001-0.safetensors")
