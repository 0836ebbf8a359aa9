"""Score traffic over minutes, in which agents enter and leave: flow, behaviour, and both in one number (RMM-F1).

Every model is compared with the recordings: how many enter and leave, and how they drive in windows of 8 s against the
recorded windows that are most alike. Stands beside `evaluate_traffic`, which judges 8 s by the same agents' logs.
`evaluate_longterm retrieval` measures whether the windows that are retrieved are the right ones.
"""

from __future__ import annotations

from harness.commands.scaffold import Group, Session, command
from harness.files import JsonDict
from harness.traffic.longterm.config import EvaluateLongtermConfig
from harness.traffic.longterm.validation_config import ValidateRetrievalConfig


@command(EvaluateLongtermConfig, __doc__)
def evaluate(config: EvaluateLongtermConfig, session: Session) -> None:
    """Compare the models, print the table, and write the numbers."""
    from harness.commands.left_out import note_left_out
    from harness.commands.results import tell
    from harness.report.longterm_tables import longterm_report
    from harness.traffic.longterm.comparison import compare_long

    source = config.open(cache_scenes=0)
    note_left_out(session.say, [source], None)
    scenes = session.track((source[index] for index in range(len(source))), "rolling out", len(source))
    result: JsonDict = compare_long(config, scenes)
    tell(session, longterm_report(result), result, config.json)
    if config.picture is not None:
        from harness.drawing.papers import draw_windows

        draw_windows({name: numbers["windows"] for name, numbers in result["models"].items()}, config.picture)
        session.say(f"picture: {config.picture}")


@command(ValidateRetrievalConfig, ValidateRetrievalConfig.__doc__)
def retrieval(config: ValidateRetrievalConfig, session: Session) -> None:
    """Validate the retrieval, print the tables, and write the numbers."""
    from harness.commands.left_out import note_left_out
    from harness.commands.results import tell
    from harness.report.retrieval_tables import retrieval_report
    from harness.traffic.longterm.validation import validate_retrieval

    source = config.open(cache_scenes=0)
    note_left_out(session.say, [source], None)
    result = validate_retrieval(config, source, session.track)
    tell(session, retrieval_report(result), result, config.json)


main = Group("evaluate_longterm", __doc__, {"retrieval": retrieval}, default=evaluate)

if __name__ == "__main__":
    main()
