"""Write the versions that are installed here into a constraints file.

    python scripts/refresh_constraints.py constraints.txt

Lines keep their order, comments and markers. A line whose marker does not hold for this Python stays as it is, and so
does one whose package is not installed; the second kind is printed. Run by each Python that has lines of its own.
"""

import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import Version


def refreshed(line: str) -> str:
    """A line of a constraints file with the installed version, without its local part such as `+cpu`."""
    if not line.strip() or line.startswith("#"):
        return line
    try:
        requirement = Requirement(line)
    except InvalidRequirement as error:
        sys.exit(f"expected `name==version` or `name==version; marker`, found {line!r}: {error}")
    if requirement.marker is not None and not requirement.marker.evaluate():
        return line
    try:
        installed = Version(version(requirement.name)).public
    except PackageNotFoundError:
        sys.stdout.write(f"{requirement.name} is not installed: {line} stays\n")
        return line
    marker = f"; {requirement.marker}" if requirement.marker is not None else ""
    return f"{requirement.name}=={installed}{marker}"


def main(path: Path) -> None:
    """Rewrite a constraints file, and print the lines that change."""
    before = path.read_text().splitlines()
    after = [refreshed(line) for line in before]
    for old, new in zip(before, after, strict=True):
        if old != new:
            sys.stdout.write(f"{old} -> {new}\n")
    path.write_text("\n".join(after) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
