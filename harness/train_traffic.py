"""Train learned traffic, build its tokens (`vocabulary`), or learn what windows of traffic are alike (`vae`).

Stages build on one another: `bc` learns from logs, closed-loop stages start from its weights (`--init`).
`train_traffic vocabulary --help` explains how the motion and map tokens of a new model are built, `train_traffic vae
--help` how the scene autoencoder is trained by which `evaluate_longterm` retrieves recorded windows.
"""

from __future__ import annotations

from harness.commands.options import part
from harness.commands.scaffold import Group, Session, command
from harness.traffic.scene_vae.options import VAE_MAY_DIFFER, TrainVaeCommand
from harness.traffic.training.options import MAY_DIFFER, TrainTrafficConfig, VocabularyCommand

RENAMED = {f"--{name}": part(name) for name in ("train", "val", "test")}


@command(TrainTrafficConfig, __doc__, renamed=RENAMED, may_differ=MAY_DIFFER)
def train(config: TrainTrafficConfig, session: Session) -> None:
    """Train, print where everything lies."""
    # Imported late: `--help` should not wait for torch.
    from harness.traffic.training import run

    run.train(config, session)


@command(VocabularyCommand, VocabularyCommand.__doc__, renamed={"--split": part(), "--measure-split": part("measure")})
def vocabulary(config: VocabularyCommand, session: Session) -> None:
    """Build the tokens, print their errors."""
    from harness.traffic.training import run

    run.build(config, session)


@command(TrainVaeCommand, TrainVaeCommand.__doc__, may_differ=VAE_MAY_DIFFER)
def vae(config: TrainVaeCommand, session: Session) -> None:
    """Train the scene autoencoder, print where everything lies."""
    from harness.traffic.scene_vae import run

    run.train_vae(config, session)


main = Group("train_traffic", __doc__, {"vocabulary": vocabulary, "vae": vae}, default=train)

if __name__ == "__main__":
    main()
