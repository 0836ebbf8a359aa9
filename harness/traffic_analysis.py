"""Look into learned traffic: how often its tokens occur, and where its sequence model looks.

Repeats the analyses of RosettaSim: `zipf` compares the frequencies of motion tokens with those of words (figure 2),
`attention` measures how far a sequence model looks (figure 6), `references` draws what recorded windows are retrieved
for windows of a roll-out (figure 13). What has to be trained for is in `traffic_tables`.
"""

from __future__ import annotations

from harness.commands.scaffold import Group, Session, command
from harness.traffic.analysis.config import AttentionConfig, ReferencesConfig, TokenFrequencyConfig


@command(TokenFrequencyConfig, TokenFrequencyConfig.__doc__)
def zipf(config: TokenFrequencyConfig, session: Session) -> None:
    """Count, print the table, write numbers and picture."""
    # Imported late: `--help` should not wait for torch.
    from harness.traffic.analysis.run import run_frequencies

    run_frequencies(config, session)


@command(AttentionConfig, AttentionConfig.__doc__)
def attention(config: AttentionConfig, session: Session) -> None:
    """Measure, print the tables, write numbers and picture."""
    from harness.traffic.analysis.run import run_attention

    run_attention(config, session)


@command(ReferencesConfig, ReferencesConfig.__doc__)
def references(config: ReferencesConfig, session: Session) -> None:
    """Roll out, retrieve, draw."""
    from harness.traffic.analysis.run import run_references

    run_references(config, session)


main = Group("traffic_analysis", __doc__, {"zipf": zipf, "attention": attention, "references": references})

if __name__ == "__main__":
    main()
