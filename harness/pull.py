"""Fetch a policy, experts, weights, attacked scenes or a run from the Hugging Face hub into a new folder.

Only safetensors and text are fetched, and nothing is run: a repository that holds anything else is refused. Names,
sizes and check sums are checked. The folder appears when all of it is there.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import tyro

from harness.commands.scaffold import Session, command


@dataclass(frozen=True)
class PullConfig:
    """What is fetched, and where to."""

    repository: tyro.conf.Positional[str]
    """`[datasets/]USER/NAME[@REVISION]`. Only a commit of 40 digits never changes its meaning."""
    out: Path | None = None
    """A new folder; by default one with the repository's name."""


@command(PullConfig, __doc__)
def main(config: PullConfig, session: Session) -> None:
    """Fetch, and print the options that use it."""
    from harness.sharing.hub import BRANCH, Hub, Repository
    from harness.sharing.transfer import receive

    repository = Repository.parse(config.repository)
    hub = Hub()
    commit = hub.commit_of(repository)
    if not repository.pinned:
        session.warn(
            f"{repository.revision or BRANCH!r} may mean something else tomorrow. Pin it: {repository.text}@{commit}"
        )
    out = config.out or Path(repository.name.rpartition("/")[2])
    uses = receive(repository, commit, out, hub, partial(session.track, description="fetching"))
    session.say(f"{repository.text}, commit {commit}, in {out}")
    if any(out.rglob("*.html")):
        session.warn("its pages are a stranger's: a browser runs what stands in them.")
    for use in uses:
        session.say(f"  {use.kind}: {use.option}")


if __name__ == "__main__":
    main()
