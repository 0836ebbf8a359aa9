"""Scene files of every format: what each is, and the one way in which a scene is read from it."""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple

from harness.errors import ScenarioError, reading, shown
from scenarios import safe_pickle
from scenarios.description import from_description
from scenarios.importers import argoverse2, commonroad, gpudrive, tfrecord, womd
from scenarios.importers.layouts import kind_of
from scenarios.importers.tfrecord import RecordPlace
from scenarios.opponents import select_opponent
from scenarios.resampling import resampled
from scenarios.scenario import Scenario
from scenarios.source_format import FORMAT_KEY, SourceFormat
from scenarios.validate import Finding, Needs, check_actors, check_scene, refuse, validate

_EXPECTED: Final = "a recorded scene in a format that Gauntlet reads"


class SceneFile(NamedTuple):
    """One scene: where it is, and what it is called.

    Attributes:
        path: Its file.
        kind: Format of the file, see `scenarios.importers.layouts.kind_of`.
        record: Its number in the file, where a file holds several.
        name: Id of the scene; the one that the file gives it if empty.
        place: Where the record lies in the file, where that is known: the others then need not be passed over.
    """

    path: Path
    kind: str
    record: int
    name: str
    place: RecordPlace | None = None


def name_of(path: Path, kind: str) -> str:
    """Id of the scene of a file that holds one: the file's name without what all names of the format have.

    Characters that cannot be shown, and bytes that are no UTF-8, are escaped.
    """
    return shown(path.stem.removeprefix("scenario_") if kind == "argoverse2" else path.stem)


def several(kind: str) -> bool:
    """Whether a file of this format holds several scenes, see `records_of`."""
    return kind == "womd"


def records_of(path: Path) -> list[RecordPlace]:
    """Where the scenes lie in a file of a format that holds several.

    Raises:
        ScenarioError: The file is damaged or holds none.
    """
    places = tfrecord.scan(path)
    if not places:
        raise ScenarioError(f"{path}: the file holds no record. Fetch it again, or leave it out.")
    return places


def companions(path: str, kind: str) -> tuple[str, ...]:
    """Files without which a scene file tells nothing: a change of theirs is one of the scene's."""
    if kind != "argoverse2":
        return ()
    folder, name = os.path.split(path)
    return (os.path.join(folder, f"log_map_archive_{os.path.splitext(name)[0].removeprefix('scenario_')}.json"),)


def read_file(entry: SceneFile) -> Scenario:
    """The scene of an entry under its name and at 10 Hz, unchecked and without an opponent.

    Raises:
        ScenarioError: It cannot be read.
        ConfigError: Its format needs a package that is not installed.
    """
    with reading(entry.path, _EXPECTED), _named(entry.path), _uncollected():
        scenario = resampled(_READERS[entry.kind](entry))
        return rename(scenario, entry.name) if entry.name else scenario


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Put the file's name before an error from a place that does not know it."""
    try:
        yield
    except ScenarioError as error:
        if str(error).startswith(shown(str(path))):
            raise
        # An index asks for the cause: what the disk refuses today it may give tomorrow.
        raise ScenarioError(f"{path}: {error}") from error.__cause__ or error


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """No search for circles of references: what a file holds has none, and every search walks through all of it."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def load_file(entry: SceneFile, needs: Needs | None = None) -> Scenario:
    """Read, name and check one scene, and select its opponent.

    Raises:
        ScenarioError: It is bad.
        ConfigError: Its format needs a package that is not installed.
    """
    return complete(read_file(entry), needs, entry.path)


def complete(scenario: Scenario, needs: Needs | None = None, source: str | Path = "") -> Scenario:
    """Check a scene, and select its opponent.

    Args:
        scenario: As it was read.
        needs: What it must have.
        source: Its file, for messages.

    Raises:
        ScenarioError: It is bad.
    """
    with reading(source or scenario.source or scenario.id, _EXPECTED):
        refuse(scenario, check_scene(scenario, needs))  # The selection reads the tracks: they must be sound first.
        scenario = scenario.with_opponent(select_opponent(scenario))
        refuse(scenario, check_actors(scenario, needs))  # An opponent is held to more than anyone else.
    return scenario


def load_scene(path: str | Path, name: str | None = None, needs: Needs | None = None) -> Scenario:
    """Read, convert, name and check the (first) scene of a file, and select the opponent.

    Args:
        path: A scene file; one whose name tells no format is taken for a ScenarioDescription pickle.
        name: Id of the scene; by default as `name_of` the file.
        needs: What the scene must have.

    Raises:
        ScenarioError: The file is bad; names path, field and reason.
    """
    return load_file(_first(Path(path), name), needs)


def entries(path: Path, kind: str) -> list[SceneFile]:
    """The scenes of a file; those of a file that holds several have the ids that it gives them.

    Raises:
        ScenarioError: The file is damaged, or holds none.
    """
    if several(kind):
        return [SceneFile(path, kind, record, "", place) for record, place in enumerate(records_of(path))]
    return [SceneFile(path, kind, 0, name_of(path, kind))]


def examine(scene: str | Path | SceneFile, needs: Needs | None = None) -> tuple[Scenario | None, tuple[Finding, ...]]:
    """A scene (None if it cannot be read) and all that is wrong with it; bad files do not raise.

    Args:
        scene: What to read; of a path, the first scene.
        needs: What the scene must have.

    Raises:
        ConfigError: Its format needs a package that is not installed.
    """
    entry = scene if isinstance(scene, SceneFile) else _first(Path(scene), None)
    try:
        scenario = read_file(entry)
        with reading(entry.path, _EXPECTED):
            if not any(finding.level == "error" for finding in check_scene(scenario)):
                scenario = scenario.with_opponent(select_opponent(scenario))
            return scenario, validate(scenario, needs)
    except ScenarioError as error:
        return None, (Finding("error", "file", str(error).removeprefix(f"{entry.path}: ")),)


def rename(scenario: Scenario, name: str) -> Scenario:
    """The same scene under another id, which still counts as the same file when it is written back."""
    form = scenario.extras.get(FORMAT_KEY)
    extras: dict[str, object] = dict(scenario.extras)
    if isinstance(form, SourceFormat):
        extras[FORMAT_KEY] = replace(form, known_as=(*form.known_as, name))
    return replace(scenario, id=name, extras=extras)


def _first(path: Path, name: str | None) -> SceneFile:
    kind = kind_of(path) or "description"
    return SceneFile(path, kind, 0, name or name_of(path, kind))


def _description(entry: SceneFile) -> Scenario:
    document = safe_pickle.load(entry.path)
    if not isinstance(document, Mapping):
        kind = type(document).__name__
        raise ScenarioError(f"{entry.path}: holds {kind} instead of a ScenarioDescription dictionary.")
    return from_description(document, str(entry.path))


_READERS: Final[Mapping[str, Callable[[SceneFile], Scenario]]] = {
    "description": _description,
    "womd": lambda entry: womd.load(entry.path, entry.record, entry.place),
    "gpudrive": lambda entry: gpudrive.load(entry.path),
    "argoverse2": lambda entry: argoverse2.load(entry.path),
    "commonroad": lambda entry: commonroad.load(entry.path),
}
"""By format: reads the scene of an entry, under whatever id its file gives it."""
