"""A folder to the hub, and a repository of the hub into a new folder: whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, NamedTuple

from harness.commands.runs import RUN_FILE, read_run
from harness.errors import ConfigError
from harness.files import explained, write_json, write_text
from harness.fitting.weights import written_by
from harness.sharing.card import data_lines, write_card
from harness.sharing.contents import WEIGHTS, SharedFile, check_contents
from harness.sharing.hub import Hub, Repository
from harness.sharing.recognition import MODELS, TITLES, Use, recognise
from harness.sharing.staging import CARD, ORIGIN, Staged, stage, unpack

CACHE: Final = ".cache"
"""What the client leaves in a folder that it fetches into."""

Follow = Callable[[Iterable[SharedFile]], Iterable[SharedFile]]
"""Passes files on, and may count them for whoever waits."""


class Parcel(NamedTuple):
    """What is ready to be sent.

    Attributes:
        repository: Where it goes.
        staged: The folder.
        files: All that is sent, the card included.
        uses: What it is good for.
        card: Text of the card.
        warnings: What its owner should look at before it is sent.
    """

    repository: Repository
    staged: Staged
    files: tuple[SharedFile, ...]
    uses: tuple[Use, ...]
    card: str
    warnings: tuple[str, ...]


def prepare_parcel(source: Path, folder: Path, name: str, licence: str, about: str) -> Parcel:
    """Make everything that is sent, in a folder; no network is used.

    Args:
        source: A run folder, a folder of weights, or a weights file.
        folder: An empty folder.
        name: The repository, `USER/NAME`.
        licence: Name of the licence.
        about: What its author says of it.

    Raises:
        ConfigError: The source holds nothing that can be shared, or the name or the licence is none.
        GauntletError: The source is damaged, or the folder cannot be written.
    """
    typed = Repository.parse(name)
    if typed.revision:
        raise ConfigError(f"{name!r}: push makes the revision by itself. Leave @{typed.revision} out.")
    staged = stage(source, folder)
    uses = tuple(recognise(folder))
    repository = typed._replace(kind="model" if uses[0].kind in MODELS else "dataset")
    card = write_card(folder, staged.files, uses, repository.text, licence, about)
    write_text(folder / CARD, card)
    files = (SharedFile(CARD, (folder / CARD).stat().st_size), *staged.files)
    run = read_run(folder) if (folder / RUN_FILE).is_file() else {}
    warnings = [*data_lines(run)]
    if staged.personal:
        warnings.append(
            f"{', '.join(staged.personal)}: the header names folders of this machine, which others will see."
        )
    return Parcel(repository, staged, files, uses, card, tuple(warnings))


def send(parcel: Parcel, hub: Hub, *, public: bool, replace: bool) -> str:
    """Send it; return the commit. Errors as of `Hub.upload`."""
    message = f"{TITLES[parcel.uses[0].kind]}, by gauntlet push"
    return hub.upload(parcel.repository, parcel.staged.folder, parcel.files, message, public=public, replace=replace)


def receive(repository: Repository, commit: str, out: Path, hub: Hub, follow: Follow = iter) -> list[Use]:
    """Fetch a commit into a new folder, and say what it is good for; nothing in it is run.

    Args:
        repository: Where from.
        commit: Which.
        out: The folder, which must be missing or empty.
        hub: The client.
        follow: Sees the files go by.

    Raises:
        ConfigError: The folder is taken, or the repository holds what is not shared or what Gauntlet does not know.
        GauntletError: A file is damaged, the hub cannot be reached, or the folder cannot be written.
    """
    out = out.absolute()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"{out} is taken. Choose a new folder with --out.")
    files = check_contents(hub.files(repository, commit), repository.text)
    beside = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        with explained(beside, "make"):
            beside.mkdir(parents=True)
        for file in follow(files):
            hub.download(repository, commit, file, beside)
        shutil.rmtree(beside / CACHE, ignore_errors=True)
        for path in beside.rglob(f"*{WEIGHTS}"):
            written_by(path, "architecture")  # Whether it is safetensors at all.
        unpack(beside)
        recognise(beside)
        origin = {"repository": repository.text, "commit": commit, "hub": hub.endpoint}
        write_json(beside / ORIGIN, {**origin, "files": [file._asdict() for file in files]})
        with explained(out, "make"):
            beside.rename(out)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return recognise(out)
