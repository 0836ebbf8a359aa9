"""Sources of the documentation site: what lies in `docs/`, files beside it, and the pages that are made from code.

    python -m scripts.docs_site build/docs

The folder then holds `mkdocs.yml` and `pages/`, which the generator of the site turns into HTML (`make docs`).

- In the navigation of `mkdocs.yml` a line `generated: FOLDER` stands for all pages of `reference/FOLDER`, and a line
  `latest: FOLDER` for all pages of `docs/FOLDER`, whose names begin with a date, the newest first.
- Files beside `docs/` become pages, such as `README.md`. Links to them and to modules lead to pages.
- Formulas, between `$` and `$` on one line, become MathML, which browsers draw without a script or a font.
"""

from __future__ import annotations

import posixpath
import re
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from scripts.docs_notebooks import notebook_page
from scripts.docs_pages import FOLDER, PACKAGES, ROOT, reference_pages
from scripts.docs_zoo import BOARD, leaderboard_page, our_standings, write_board, zoo_page

OUTSIDE: Final[Mapping[str, str]] = {
    "index.md": "README.md",
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
    "conduct.md": "CODE_OF_CONDUCT.md",
    "traffic_weights.md": "harness/traffic/model/weights/README.md",
    "rosetta_weights.md": "harness/traffic/rosetta/weights/README.md",
}
"""Pages that are made of files beside `docs/`."""
NOTEBOOKS: Final = "notebooks"
"""Folder of the notebooks' pages."""
GENERATED: Final = "generated"
"""What stands in the navigation for pages that are made from code."""
LATEST: Final = "latest"
"""What stands in the navigation for dated pages of a folder of `docs/`."""
COPIED: Final = ("pictures", "results", "styles")
"""Folders of `docs/` that hold no pages."""
_LINK: Final = re.compile(r"(\]\()([^)#\s]+)((?:#[^)\s]*)?\))")
_CODE: Final = re.compile(r"(```.*?```|`[^`\n]*`|^(?: {4}|\t)[^\n]*$)", re.S | re.M)
_MATHS: Final = re.compile(r"\$(?=\S)([^$\n]*?\S)\$")

Typeset = Callable[[str], str]
"""A function from LaTeX to MathML."""


def write_site(folder: Path, typeset: Typeset) -> None:
    """Write the sources of the site.

    Args:
        folder: Where to; what it held is removed.
        typeset: Makes MathML of a formula.
    """
    # Imported here: only the extra `docs` brings it.
    import yaml

    board = our_standings()
    made = {**reference_pages(), f"{FOLDER}/zoo.md": zoo_page(), f"{FOLDER}/leaderboard.md": leaderboard_page(board)}
    docs = ROOT / "docs"
    texts = {path.relative_to(docs).as_posix(): path.read_text(encoding="utf-8") for path in docs.rglob("*.md")}
    texts |= {place: (ROOT / name).read_text(encoding="utf-8") for place, name in OUTSIDE.items()}
    written = {place: with_bars(with_maths(relinked(text, place), typeset)) for place, text in texts.items()}
    shutil.rmtree(folder, ignore_errors=True)
    for place, text in {**written, **made}.items():
        path = folder / "pages" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    write_board(folder / "pages" / FOLDER / BOARD, board)
    for name in COPIED:
        shutil.copytree(docs / name, folder / "pages" / name)
    for notebook in sorted((ROOT / "docs" / "notebooks").glob("*.ipynb")):
        text, pictures = notebook_page(notebook)
        (folder / "pages" / NOTEBOOKS).mkdir(exist_ok=True)
        (folder / "pages" / NOTEBOOKS / f"{notebook.stem}.md").write_text(text, encoding="utf-8")
        for name, data in pictures.items():
            (folder / "pages" / NOTEBOOKS / name).write_bytes(data)
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    config["nav"] = filled(config["nav"], {**written, **made})
    (folder / "mkdocs.yml").write_text(yaml.safe_dump(config, allow_unicode=True, sort_keys=False), encoding="utf-8")


def filled(nav: list[Any], made: Mapping[str, str]) -> list[Any]:
    """A navigation whose lines `generated: FOLDER` and `latest: FOLDER` are replaced with the pages of that folder.

    Args:
        nav: Titles and pages, as in `mkdocs.yml`.
        made: All pages by their place. The index of a folder comes first.
    """
    found: list[Any] = []
    for item in nav:
        if isinstance(item, dict):
            ((title, value),) = item.items()
            if title in (GENERATED, LATEST):
                head = f"{FOLDER}/{value}/" if title == GENERATED else f"{value}/"
                below = [place for place in made if place.startswith(head)]
                below = sorted(below, reverse=True) if title == LATEST else below
                found += sorted(below, key=lambda place: not place.endswith("/index.md"))
                continue
            item = {title: filled(value, made) if isinstance(value, list) else value}
        found.append(item)
    return found


def relinked(markdown: str, place: str) -> str:
    """The text of a page with links that lead where their targets are on the site.

    Args:
        markdown: The text, with links as they are in the repository.
        place: Where the page is on the site.
    """
    source = OUTSIDE.get(place, f"docs/{place}")

    def replaced(match: re.Match[str]) -> str:
        head, link, tail = match.groups()
        found = on_site(posixpath.normpath(posixpath.join(posixpath.dirname(source), link)))
        if ":" in link or found is None:
            return match[0]
        return head + posixpath.relpath(found, posixpath.dirname(place) or ".") + (")" if "#" in found else tail)

    return _LINK.sub(replaced, markdown)


def on_site(target: str) -> str | None:
    """Where a file of the repository is on the site, or None: pages, pictures, and modules of the packages."""
    pages = {name: place for place, name in OUTSIDE.items()}
    if target in pages:
        return pages[target]
    if target.startswith("docs/"):
        return target.removeprefix("docs/")
    path = Path(target)
    if path.suffix == ".py" and path.parts[0] in PACKAGES:
        return f"{FOLDER}/api/{'.'.join(path.parent.parts)}.md#{'.'.join(path.with_suffix('').parts)}"
    return None


def with_maths(markdown: str, typeset: Typeset) -> str:
    """The text of a page with its formulas typeset; what stands in code is left alone."""
    pieces = _CODE.split(markdown)
    return "".join(
        piece if index % 2 else _MATHS.sub(lambda found: typeset(found[1]), piece) for index, piece in enumerate(pieces)
    )


def with_bars(markdown: str) -> str:
    r"""The text of a page with plain bars in code: GitHub asks for `\|` in tables, and the generator would show it."""
    return re.sub(r"`[^`\n]*`", lambda code: code[0].replace(r"\|", "|"), markdown)


def main() -> None:
    """Write the sources of the site into the folder that the first argument names."""
    # Imported here: only the extra `docs` brings it.
    from latex2mathml.converter import convert

    write_site(Path(sys.argv[1]), convert)


if __name__ == "__main__":
    main()
