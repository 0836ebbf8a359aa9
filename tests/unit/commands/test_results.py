"""How a command that compares ends."""

from rich.table import Table

from harness import evaluate_traffic
from harness.commands.results import tell
from harness.files import read_json
from tests.sessions import quiet


def test_everything_is_printed_and_numbers_are_written_where_they_are_wanted(tmp_path):
    session = quiet(evaluate_traffic.main)
    table = Table("model")
    table.add_row("smart")
    tell(session, [table, "a [line]"], {"meta": 0.5}, tmp_path / "n.json")
    printed = session.console.file.getvalue()
    assert "smart" in printed
    assert printed.endswith(f"a [line]\nnumbers: {tmp_path / 'n.json'}\n")
    assert read_json(tmp_path / "n.json") == {"meta": 0.5}
    tell(session, ["twice"], {}, None)
    assert session.console.file.getvalue().endswith("twice\n")
