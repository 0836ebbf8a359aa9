"""Sessions of commands for tests."""

import io

from harness.commands.printing import CleanConsole
from harness.commands.scaffold import Command, Session


def quiet(command: Command) -> Session:
    """A session under the command's own rules, whose output can be read from `console.file`."""
    consoles = (CleanConsole(file=io.StringIO(), width=160) for _ in range(2))
    return Session(command.verb, *consoles, may_differ=command.may_differ)
