"""The code in the documentation runs, and its links lead somewhere."""

import re
from pathlib import Path

import pytest

from harness.checks import check_adversary
from tests import scenes

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_the_documented_adversary_keeps_the_contract():
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs/extending.md").read_text(), re.S)
    namespace = {}
    exec(next(block for block in blocks if "class Brake" in block), namespace)
    check_adversary(namespace["Brake"](), [scenes.straight_road(), scenes.crossing()])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page):
    links = [link for link in re.findall(r"\]\(([^)#\s]+)\)", page.read_text()) if not link.startswith("http")]
    assert [link for link in links if not (page.parent / link).exists()] == []
