"""The Hugging Face hub through its own client, `huggingface_hub`, which is optional; every fault becomes one error.

`HF_ENDPOINT` names another server than huggingface.co, and `HF_TOKEN` or `hf auth login` says who asks.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from harness.errors import ConfigError, RunError, foreign
from harness.files import MEGABYTE
from harness.sharing.contents import KEPT_BY_HUB, SharedFile

RepositoryKind = Literal["model", "dataset"]

DATASETS: Final = "datasets/"
"""What stands in front of a data set's name, as in its address."""
BRANCH: Final = "main"
COMMIT: Final = re.compile(r"[0-9a-f]{40}")
LOGIN: Final = "Log in with `hf auth login`, or set HF_TOKEN."
_NAME: Final = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
_REVISION: Final = re.compile(r"[A-Za-z0-9][\w./-]{0,200}")


class Repository(NamedTuple):
    """A repository of the hub, at one of its revisions.

    Attributes:
        name: `USER/NAME`.
        kind: What the hub calls it.
        revision: Commit, branch or tag; empty for the present state of the main branch.
    """

    name: str
    kind: RepositoryKind = "model"
    revision: str = ""

    @classmethod
    def parse(cls, text: str) -> Repository:
        """From `[datasets/]USER/NAME[@REVISION]`.

        Raises:
            ConfigError: It is written otherwise.
        """
        rest, _, revision = text.partition("@")
        kind: RepositoryKind = "dataset" if rest.startswith(DATASETS) else "model"
        name = rest.removeprefix(DATASETS)
        wrong = not _NAME.fullmatch(name) or ".." in name + revision
        if wrong or ("@" in text and not _REVISION.fullmatch(revision)):
            raise ConfigError(f"{text!r}: expected [datasets/]USER/NAME[@REVISION], such as someone/ego@main.")
        return cls(name, kind, revision)

    @property
    def text(self) -> str:
        """As it is typed, without the revision."""
        return (DATASETS if self.kind == "dataset" else "") + self.name

    @property
    def pinned(self) -> bool:
        """Whether the revision is a commit, which never moves."""
        return COMMIT.fullmatch(self.revision) is not None


class Hub:
    """The client. One is made for each command."""

    def __init__(self) -> None:
        """Import the client.

        Raises:
            ConfigError: It is not installed.
        """
        try:
            # The client carries no types that are at hand where it is missing: what crosses this border is Any.
            self._library: Any = importlib.import_module("huggingface_hub")
            self._file: type[Any] = importlib.import_module("huggingface_hub.hf_api").RepoFile
            utils: Any = importlib.import_module("huggingface_hub.utils")
        except ImportError as error:
            raise ConfigError(
                f"push and pull need the client of the hub ({error}). Install it: pip install 'gauntlet-drive[hub]'."
            ) from error
        utils.disable_progress_bars()
        endpoint = os.environ.get("HF_ENDPOINT") or None
        self._api: Any = self._library.HfApi(endpoint=endpoint, library_name="gauntlet-drive")
        self.endpoint = str(self._api.endpoint)

    def commit_of(self, repository: Repository) -> str:
        """The commit that a revision stands for.

        Raises:
            ConfigError: There is no such repository or revision, or this user may not see it.
            RunError: The hub cannot be reached, or answers otherwise than it should.
        """
        with self._asking(repository):
            found = self._api.repo_info(
                repository.name, repo_type=repository.kind, revision=repository.revision or BRANCH
            ).sha
        if not isinstance(found, str) or not COMMIT.fullmatch(found):
            raise RunError(f"{self.endpoint}: the commit of {repository.text} is {found!r}, expected 40 hex digits.")
        return found

    def files(self, repository: Repository, commit: str) -> list[SharedFile]:
        """What a commit holds; errors as of `commit_of`."""
        with self._asking(repository):
            tree = list(
                self._api.list_repo_tree(repository.name, repo_type=repository.kind, revision=commit, recursive=True)
            )
        found = [entry for entry in tree if isinstance(entry, self._file)]
        return [SharedFile(str(entry.path), int(entry.size), _digest(entry)) for entry in found]

    def download(self, repository: Repository, commit: str, file: SharedFile, folder: Path) -> None:
        """Fetch one file into a folder, and compare its size and its check sum with what the hub said of them.

        Raises:
            RunError: They differ; or errors as of `commit_of`.
        """
        with self._asking(repository):
            self._api.hf_hub_download(
                repository.name, file.path, repo_type=repository.kind, revision=commit, local_dir=str(folder)
            )
        got = folder / file.path
        if got.is_symlink() or got.stat().st_size != file.size or content_digest(got, file.digest) != file.digest:
            raise RunError(f"{repository.text}: {file.path} did not arrive as the hub has it. Pull again.")

    def upload(
        self,
        repository: Repository,
        folder: Path,
        files: Sequence[SharedFile],
        message: str,
        *,
        public: bool,
        replace: bool,
    ) -> str:
        """Make the repository where it is missing, and put files into it as one commit; return the commit.

        Args:
            repository: Where to.
            folder: Where the files lie.
            files: Which.
            message: First line of the commit.
            public: Whether everybody may see a repository that is made.
            replace: Whether other files that the repository holds are deleted.

        Raises:
            ConfigError: It holds other files and `replace` is not set, or this user may not write to it.
            RunError: As of `commit_of`.
        """
        with self._asking(repository):
            self._api.create_repo(repository.name, repo_type=repository.kind, private=not public, exist_ok=True)
        names = {file.path for file in files}
        # A repository that was just made has a first commit, which holds what the hub keeps by itself.
        present = {file.path for file in self.files(repository, BRANCH)} - {*names, *KEPT_BY_HUB}
        if present and not replace:
            raise ConfigError(
                f"{repository.text} holds other files: {', '.join(sorted(present)[:3])}. Choose another repository, or "
                "say --replace to delete them."
            )
        made = [self._library.CommitOperationAdd(file.path, str(folder / file.path)) for file in files]
        gone = [self._library.CommitOperationDelete(path) for path in sorted(present)]
        with self._asking(repository):
            return str(
                self._api.create_commit(
                    repository.name, [*made, *gone], commit_message=message, repo_type=repository.kind
                ).oid
            )

    @contextlib.contextmanager
    def _asking(self, repository: Repository) -> Iterator[None]:
        errors: Any = importlib.import_module("huggingface_hub.errors")
        where = f"{repository.text} on {self.endpoint}"
        with foreign(f"{where} cannot be reached, or answered otherwise than the hub", RunError, (ConfigError,)):
            try:
                yield
            except errors.RevisionNotFoundError as error:
                raise ConfigError(f"{where}: there is no revision {repository.revision or BRANCH!r}.") from error
            except errors.RepositoryNotFoundError as error:
                raise ConfigError(f"{where} does not exist, or you may not see it. Check the name. {LOGIN}") from error
            except errors.HfHubHTTPError as error:
                if getattr(error.response, "status_code", 0) in (401, 403):
                    raise ConfigError(f"{where}: you may not do that. {LOGIN}") from error
                raise


def content_digest(path: Path, like: str) -> str:
    """The check sum of a file, of the same kind as another one: `sha256:…`, `blob:…`, or none."""
    kind = like.partition(":")[0]
    if not kind:
        return ""
    found = hashlib.sha256() if kind == "sha256" else hashlib.sha1(usedforsecurity=False)
    if kind == "blob":
        found.update(f"blob {path.stat().st_size}\0".encode())
    with path.open("rb") as file:
        while piece := file.read(MEGABYTE):
            found.update(piece)
    return f"{kind}:{found.hexdigest()}"


def _digest(entry: Any) -> str:
    return f"sha256:{entry.lfs.sha256}" if entry.lfs else f"blob:{entry.blob_id}"
