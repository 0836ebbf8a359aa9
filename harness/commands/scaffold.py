"""The scaffold of every command: options, presets, resumption, output, signals and exit codes.

A command is a function of its configuration and a `Session`:

    @command(AttackConfig, __doc__)
    def main(config: AttackConfig, session: Session) -> None: ...

`main()` then reads `sys.argv`, `main([...])` the given arguments. Exit codes: 0; 1 where the function returns it
(found, but bad); 2 bad input; 129 after SIGHUP, 130 after Ctrl-C, 141 where nobody reads the output any more, 143 after
SIGTERM.
"""

from __future__ import annotations

import errno
import io
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, suppress
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Final, Generic, NoReturn, TextIO

import tyro
from rich.console import Console
from rich.logging import RichHandler

from harness.commands.code_names import check_resumed
from harness.commands.configs import Config, check_finite, differences, rebuild
from harness.commands.left_out import note_left_out
from harness.commands.printing import Item, bars, clean, make_console, tracked
from harness.commands.runs import RunDirectory, default_folder, read_run
from harness.commands.signals import CODES, raised, signal_of
from harness.errors import ConfigError, GauntletError, RunError, UnknownNameError, metadrive_needed
from scenarios.scenario import ScenarioSource

BAD_INPUT: Final = 2
"""Exit code of errors that a user can mend."""
UNREAD: Final = 128 + signal.SIGPIPE
"""Exit code where the reader of the output has ended (`| head`), as shells report other programs of a pipe."""
UNWRITABLE: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""What happens to an output that was fine when the command began."""
PLACES: Final = ("out", "resume")
"""Options that every run may have otherwise when it is resumed: they say where it lies."""
ONE_CALL: Final = (*PLACES, "budget", "dry_run")
"""Options of one call, which a run that is gone on with does not take over."""

Presets = Mapping[str, tuple[str, Config]]
"""What a preset is for, and its configuration, by name."""
Rename = str | Callable[[str], Sequence[str]]
"""The new spelling of an old option, or a function from its value to new arguments (which may raise ConfigError)."""


@dataclass(frozen=True)
class Session:
    """What a command works with.

    Attributes:
        verb: Name of the command.
        console: For results.
        news: For what passes: errors, warnings, bars (standard error).
        may_differ: Options that may differ when a run is resumed.
    """

    verb: str
    console: Console = field(default_factory=make_console)
    news: Console = field(default_factory=lambda: make_console(errors=True))
    may_differ: Collection[str] = ()

    def say(self, text: str, style: str | None = None) -> None:
        """Print a line of results as it stands, perhaps in a colour: no markup, no wrapping."""
        self.console.print(text, style=style, markup=False, soft_wrap=True)

    def track(self, items: Iterable[Item], description: str, total: int | None = None) -> Iterable[Item]:
        """The items, with a bar that counts them."""
        return tracked(items, description, self.news, total)

    @contextmanager
    def counter(self, description: str) -> Iterator[Callable[[int, int], None]]:
        """A bar for what counts by itself: a function of the number done and the number in all."""
        with bars(self.news) as progress:
            task = progress.add_task(description, total=None)
            yield lambda done, total: progress.update(task, completed=done, total=total)

    def warn(self, text: str) -> None:
        """Print a line that should not be missed."""
        self.news.print("[yellow]warning:[/] ", end="")
        self.news.print(text, markup=False, soft_wrap=True)

    def open_run(self, config: Config, *sources: ScenarioSource | None) -> RunDirectory:
        """The run folder of a configuration with `out` and `resume`: a new one, or the one that is gone on with.

        Args:
            config: The configuration.
            sources: The run's scenes: what `--fit-only` left out of them is said, and listed in the folder.

        Raises:
            RunError: It is taken, in use, damaged, or of another command.
            ConfigError: The configuration is not that of the run that is to be resumed.
        """
        places = asdict(config)
        if places.get("resume") is None:
            check_finite(places)
            folder = RunDirectory.create(places.get("out") or default_folder(self.verb), self.verb, places)
        else:
            check_same(config, places["resume"], self.verb, self.may_differ)
            folder = RunDirectory.reopen(places["resume"], self.verb)
        self.say(f"run folder: {folder.path.resolve()}")
        note_left_out(self.say, sources, folder.path)
        return folder


def check_same(config: Config, path: Path, verb: str, may_differ: Collection[str] = ()) -> None:
    """Refuse to go on with a run under another configuration: its first and second half would not belong together.

    Raises:
        RunError: There is no such run, or another command made it.
        ConfigError: Options differ that may not; each is named with both values.
    """
    if different := differences(config, stored_config(type(config), path, verb), (*PLACES, *may_differ)):
        raise ConfigError(
            f"run {path} has another configuration: {'; '.join(different)}. Leave these options out, or start anew."
        )


def stored_config(kind: type[Config], path: Path, verb: str) -> Config:
    """The configuration that a run was made with.

    Raises:
        RunError: There is no such run, or another command made it.
        ConfigError: Another version made it.
    """
    info = read_run(path)
    if info["verb"] != verb:
        raise RunError(f"run folder {path} was made by {info['verb']!r}, and {verb!r} cannot go on with it.")
    return rebuild(kind, info["config"])


class Command(Generic[Config]):
    """A verb that can be called with arguments; made by `command`."""

    def __init__(
        self,
        kind: type[Config],
        function: Callable[[Config, Session], int | None],
        description: str,
        *,
        presets: Presets[Config] | None = None,
        renamed: Mapping[str, Rename] | None = None,
        may_differ: Collection[str] = (),
    ) -> None:
        """Keep what `command` was told."""
        self.kind, self.run, self.description = kind, function, description
        self.presets, self.renamed, self.may_differ = presets, dict(renamed or {}), may_differ
        self.verb = function.__module__.rpartition(".")[2]
        if self.verb == "__main__" and (spec := sys.modules["__main__"].__spec__) is not None:
            self.verb = spec.name.rpartition(".")[2]
        self.usage = f"gauntlet {self.verb}"

    def parse(self, arguments: Sequence[str], session: Session | None = None) -> Config:
        """The configuration that arguments give; with `--resume`, on top of the run's own.

        Raises:
            ConfigError: An option cannot work, or an old one has no single new spelling; or a run that is gone on with
                names code which the arguments do not name.
            RunError: There is no run to go on with.
        """
        arguments = self._respelled(arguments, session or Session(self.verb))
        one_call = {item.name: item.default for item in fields(self.kind) if item.name in ONE_CALL}
        path = _value_of("--resume", arguments) if "resume" in one_call else None
        prog, about = self.usage, self.description
        with _own_errors():
            if path is not None and not {"-h", "--help"} & set(arguments):
                stored = replace(stored_config(self.kind, Path(path), self.verb), **one_call)
                config = tyro.cli(self.kind, prog=prog, args=arguments, description=about, default=stored)
                check_resumed(config, arguments, Path(path))
                return config
            if self.presets is not None:
                presets = dict(self.presets)
                return tyro.extras.overridable_config_cli(presets, prog=prog, args=arguments, description=about)
            return tyro.cli(self.kind, prog=prog, args=arguments, description=about)

    def __call__(self, argv: Sequence[str] | None = None) -> None:
        """Parse, run, exit where the code is not 0; a `GauntletError` becomes one line and exit code 2."""
        session = Session(self.verb, may_differ=self.may_differ)
        with reported(session):
            config = self.parse(list(sys.argv[1:] if argv is None else argv), session)
            code = self.run(config, session)
        if code:
            sys.exit(code)

    def _respelled(self, arguments: Sequence[str], session: Session) -> list[str]:
        """The arguments with old options in their new spelling, each with a warning."""
        found: list[str] = []
        rest = iter(arguments)
        for text in rest:
            name, equals, value = text.partition("=")
            new = self.renamed.get(name)
            if new is None:
                found.append(text)
                continue
            if isinstance(new, str):
                given = [new + equals + value]
            else:
                given = list(new(value if equals else next(rest, "")))
            if given[0] != name:
                session.warn(f"{name} is an old spelling that goes with 0.3.0; write {' '.join(given)}.")
            found += given
        return found


def command(
    kind: type[Config],
    description: str | None,
    *,
    presets: Presets[Config] | None = None,
    renamed: Mapping[str, Rename] | None = None,
    may_differ: Collection[str] = (),
) -> Callable[[Callable[[Config, Session], int | None]], Command[Config]]:
    """Make a command of a function.

    Args:
        kind: Configuration, a frozen dataclass; with fields `out` and `resume` (`RunOptions`) it can be resumed.
        description: Printed above the options: the module's docstring.
        presets: Named configurations; the first argument then names one.
        renamed: Old spellings of options.
        may_differ: Fields (dotted where nested) in which a resumed run may differ from how it began.
    """

    def wrap(function: Callable[[Config, Session], int | None]) -> Command[Config]:
        return Command(kind, function, description or "", presets=presets, renamed=renamed, may_differ=may_differ)

    return wrap


def refused(new: str) -> Rename:
    """For an old option that has no single new spelling: say what to write instead."""

    def refuse(value: str) -> Sequence[str]:
        raise ConfigError(f"this option has another spelling now: write {new}.")

    return refuse


def now_flag(name: str, values: str) -> Rename:
    """For an option that took values and takes none now: refuse them, and say which option takes them.

    Args:
        name: The option.
        values: The option that its values are given to now.
    """

    def respell(value: str) -> Sequence[str]:
        if value and not value.startswith("-"):
            raise ConfigError(f"{name} takes no values now: write {name} {values} {value} and the others.")
        return [name, value] if value else [name]

    return respell


class Group:
    """Commands under one verb, named by the first argument (`scenarios list`)."""

    def __init__(
        self,
        name: str,
        description: str | None,
        members: Mapping[str, Callable[[Sequence[str]], None]],
        default: Callable[[Sequence[str]], None] | None = None,
    ) -> None:
        """Keep them; what a member is for is the first line of its description or docstring.

        Args:
            name: The verb.
            description: Printed above the list of members.
            members: By name.
            default: What runs where the first argument is an option or there is none; its help stands for the group's.
        """
        self.name, self.description, self.members, self.default = name, description or "", dict(members), default
        for word, member in self.members.items():
            if isinstance(member, Command):
                member.usage = f"gauntlet {name} {word}"

    def __call__(self, argv: Sequence[str] | None = None) -> None:
        """Run the member that the first argument names."""
        arguments = list(sys.argv[1:] if argv is None else argv)
        session = Session(self.name)
        if self.default is not None and (not arguments or arguments[0].startswith("-")):
            self.default(arguments)
            return
        if not arguments or arguments[0] in ("-h", "--help"):
            session.say(f"usage: gauntlet {self.name} COMMAND [options]   (COMMAND --help explains the options)\n")
            session.say(self.description.strip() + "\n")
            for name, member in self.members.items():
                purpose = getattr(member, "description", None) or member.__doc__ or ""
                session.say(f"  {name:14} {purpose.strip().splitlines()[0]}")
            sys.exit(0 if arguments else BAD_INPUT)
        with reported(session):
            if arguments[0] not in self.members:
                raise UnknownNameError(f"{self.name} command", arguments[0], self.members)
            self.members[arguments[0]](arguments[1:])


@contextmanager
def _own_errors() -> Iterator[None]:
    """What a configuration refuses is reported as all other errors are, not in tyro's box, which wraps messages."""
    printed = io.StringIO()
    try:
        with redirect_stderr(printed):
            yield
    except SystemExit as stop:
        error = stop.__context__
        while error is not None and not isinstance(error, GauntletError):
            error = error.__context__
        if error is not None:
            raise error from None
        sys.stderr.write(clean(printed.getvalue()))
        raise


@contextmanager
def reported(session: Session) -> Iterator[None]:
    """Errors that a user can mend become one line; signals become their exit codes; warnings are shown."""
    logging.basicConfig(
        level=logging.WARNING,
        format="%(message)s",
        handlers=[RichHandler(console=session.news, show_time=False, show_path=False, markup=False)],
    )
    with raised():
        try:
            with _explained(session), warnings.catch_warnings(), metadrive_needed():
                warnings.showwarning = lambda message, category, *_: (
                    session.warn(str(message)) if issubclass(category, FutureWarning) else None
                )
                yield
        except KeyboardInterrupt as stop:
            _stopped(session, CODES[signal_of(stop)])


@contextmanager
def _explained(session: Session) -> Iterator[None]:
    """Errors become one line and exit code 2, and so does a full disk under the output; for a pipe see `UNREAD`."""
    # A thread of a library (TensorBoard's) that cannot write: whoever waits for it hears of it as well.
    hook, threading.excepthook = (
        threading.excepthook,
        lambda lost: None if isinstance(lost.exc_value, OSError) else hook(lost),
    )
    try:
        yield
    except GauntletError as error:
        _fail(session, str(error))
    except BrokenPipeError:
        _silence(sys.stdout)
        _stopped(session, UNREAD, "nobody reads the output any more: ")
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        _silence(sys.stdout)
        _fail(session, f"cannot write the output: {error.strerror}. Free some space, or send it elsewhere.")
    finally:
        threading.excepthook = hook


def _fail(session: Session, text: str) -> NoReturn:
    _end(session, BAD_INPUT, text, "[red]error:[/] ")


def _end(session: Session, code: int, text: str, mark: str = "") -> NoReturn:
    # A last line that cannot be written leaves the exit code as it is.
    with suppress(OSError):
        session.news.print(mark, end="")
        session.news.print(text, markup=False, soft_wrap=True)
    _silence(sys.stderr)
    sys.exit(code)


def _silence(stream: TextIO) -> None:
    """Let what a stream still holds go nowhere: at the end of the program nobody could be told."""
    try:
        stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _stopped(session: Session, code: int, why: str = "") -> NoReturn:
    _end(session, code, f"{why}stopped; whatever was finished is kept. Go on with a run folder by --resume FOLDER.")


def _value_of(name: str, arguments: Sequence[str]) -> str | None:
    """What follows an option, or None where it is not given."""
    for position, text in enumerate(arguments):
        head, equals, value = text.partition("=")
        if head == name:
            return value if equals else next(iter(arguments[position + 1 :]), None)
    return None
