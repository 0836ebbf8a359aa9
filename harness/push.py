"""Send a policy, experts, weights, attacked scenes or a run to the Hugging Face hub, with a card.

Weights are safetensors, scenes become safetensors, everything else is text. Files that can run code are refused, and
others, such as pictures and a run's checkpoint, are left out. The working directory and the home directory are taken
out of the texts.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import tyro

from harness.commands.scaffold import Session, command


@dataclass(frozen=True)
class PushConfig:
    """What is sent, and where to."""

    source: tyro.conf.Positional[Path]
    """A run folder, a folder of weights, or one weights file."""
    repository: tyro.conf.Positional[str]
    """`USER/NAME` on the hub; it is made where it is missing."""
    licence: str
    """Licence of what is sent, by the hub's name for it: such as `mit`, `apache-2.0` or `cc-by-4.0`."""
    about: str = ""
    """A few sentences of yours for the card."""
    public: bool = False
    """Everybody may see the repository, where it is made now."""
    replace: bool = False
    """Delete other files that the repository holds."""
    dry_run: bool = False
    """Print the card and the files, and send nothing."""


@command(PushConfig, __doc__)
def main(config: PushConfig, session: Session) -> None:
    """Prepare, show, send."""
    from harness.sharing.hub import Hub
    from harness.sharing.transfer import prepare_parcel, send

    hub = None if config.dry_run else Hub()
    with TemporaryDirectory(prefix="gauntlet-push-") as place:
        parcel = prepare_parcel(config.source, Path(place), config.repository, config.licence, config.about)
        for text in parcel.warnings:
            session.warn(text)
        if left_out := parcel.staged.left_out:
            session.say(f"left out: {', '.join(left_out[:3])}{' …' * (len(left_out) > 3)}")
        if hub is None:
            session.say(parcel.card)
            for file in parcel.files:
                session.say(f"  {file.path}: {file.size:,} bytes")
            return
        commit = send(parcel, hub, public=config.public, replace=config.replace)
    name = parcel.repository.text
    session.say(f"{len(parcel.files)} files in {hub.endpoint}/{name}")
    session.say(f"gauntlet pull {name}@{commit}")


if __name__ == "__main__":
    main()
