"""Attack one system under test: success, realism and pictures of the attacks."""

from __future__ import annotations

from harness.attacks.config import AttackConfig
from harness.commands.printing import listed
from harness.commands.scaffold import Session, command, refused

RENAMED = {"--policy": "--sut", "--experts": refused("--adversary sage:DIR (or sage_smart:DIR)")}


@command(AttackConfig, __doc__, renamed=RENAMED)
def main(config: AttackConfig, session: Session) -> None:
    """Attack, print the tables and where everything lies."""
    # Imported late: `--help` should not wait for torch and the simulator.
    from harness.attacks.run import FILES, run_attacks

    for line in listed(run_attacks(config, session), FILES):
        session.say(line)


if __name__ == "__main__":
    main()
