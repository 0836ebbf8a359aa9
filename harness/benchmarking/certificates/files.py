"""Certificates as files: JSON of the numbers, and beside them what follows, for whoever reads the file itself.

A file comes from anybody. Reading one runs no code; every value is checked for type and range; and what it says must be
what its numbers give.
"""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import Final

from harness.benchmarking.certificates.data import FORMAT, Certificate
from harness.benchmarking.certificates.judging import Findings, judge
from harness.benchmarking.identity import TrafficIdentity
from harness.commands.configs import StoredValues, rebuild
from harness.errors import ConfigError, reading
from harness.files import MEGABYTE, Json, plain, read_json, write_json

FILE: Final = "certificate.json"
"""In a run folder."""
MAX_FILE: Final = 50 * MEGABYTE
_REMEDY: Final = "Get the file again, or make one with `benchmark --certify`."
_CLOSE: Final = 1e-6
"""StoredValues and recomputed numbers may differ by this much: other versions of numpy add in another order."""


def write_certificate(path: Path, made: Certificate, findings: Findings) -> None:
    """Write a certificate with what follows from it.

    Raises:
        RunError: It cannot be written.
    """
    write_json(path, {"certificate": asdict(made), "findings": findings.as_dict()})


def read_certificate(path: Path) -> tuple[Certificate, Findings]:
    """Read a certificate, and work out anew what it says.

    Raises:
        ConfigError: It cannot be read, is of another format, holds a value that cannot be, or says something else than
            its numbers.
    """
    stored = read_json(path, MAX_FILE, ConfigError)
    with reading(path, "a certificate of `benchmark --certify`", ConfigError):
        if not isinstance(stored, dict) or set(stored) != {"certificate", "findings"}:
            raise ConfigError(f"{path} is no certificate: expected `certificate` and `findings`. {_REMEDY}")
        made = from_plain(stored["certificate"], str(path))
        findings = judge(made)
        if (wrong := _differs(plain(findings.as_dict()), stored["findings"])) is not None:
            raise ConfigError(
                f"{path}: what it says does not follow from its numbers (findings{wrong}): it was changed, or another "
                f"version made it. {_REMEDY}"
            )
    return made, findings


def from_plain(stored: Json, where: str) -> Certificate:
    """A certificate from plain values; each is checked.

    Args:
        stored: As `dataclasses.asdict` gives it, and JSON holds it.
        where: For messages.

    Raises:
        ConfigError: A value cannot be.
    """
    if isinstance(stored, dict) and stored.get("format") != FORMAT:
        raise ConfigError(f"{where} is no certificate of format {FORMAT}, which this version reads. {_REMEDY}")
    source = StoredValues(where, "field", str, _REMEDY, _REMEDY)
    try:
        return rebuild(Certificate, stored, "", source)
    except ConfigError as error:
        text = str(error)
        raise ConfigError(text if text.startswith(where) else f"{where}: {text} {_REMEDY}") from error


def check_same_traffic(made: Certificate, traffic: TrafficIdentity, path: Path) -> None:
    """Refuse a certificate of other traffic.

    Raises:
        ConfigError: Says in what the two differ.
    """
    if wrong := made.traffic.unlike(traffic):
        raise ConfigError(
            f"{path} certifies other traffic than --traffic names: {wrong}. Give the certificate of this traffic, or "
            "make one with --certify instead of --certificate."
        )


def _differs(mine: object, theirs: object) -> str | None:
    """Where two JSON values differ, as in `.checks[0].verdict`; None where they agree."""
    if isinstance(mine, dict) and isinstance(theirs, dict) and mine.keys() == theirs.keys():
        return next((f".{key}{found}" for key in mine if (found := _differs(mine[key], theirs[key])) is not None), None)
    if isinstance(mine, list) and isinstance(theirs, list) and len(mine) == len(theirs):
        pairs = enumerate(zip(mine, theirs, strict=True))
        return next((f"[{row}]{found}" for row, pair in pairs if (found := _differs(*pair)) is not None), None)
    if isinstance(mine, float) and isinstance(theirs, float | int) and not isinstance(theirs, bool):
        return None if math.isclose(mine, theirs, rel_tol=_CLOSE, abs_tol=_CLOSE) else ""
    return None if type(mine) is type(theirs) and mine == theirs else ""
