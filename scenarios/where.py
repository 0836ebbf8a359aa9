"""Conditions on the tags of scenes, such as `type=cut-in and speed>10`: what `--where` takes."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from harness.errors import ConfigError, UnknownNameError
from scenarios.comparisons import COMPARE, ORDER, WrittenComparison, comparison, number
from scenarios.tagging.vocabulary import QUANTITY_NAMES, TAG_NAMES, TAGS, SceneTags

Test = Callable[[SceneTags], bool]

FORM: Final = "TAG=VALUE or NUMBER>VALUE, joined by and, or, not and parentheses, as in 'type=cut-in and speed>10'"
_MOST: Final = 2_000
"""Longest condition, in characters."""
_DEEPEST: Final = 50
"""Parentheses within parentheses."""


@dataclass(frozen=True)
class Where:
    """A condition on scenes.

    Attributes:
        text: As it was written.
        holds: Whether the tags of a scene meet it. What a scene has no number for does not meet a comparison with it.
    """

    text: str
    holds: Test

    @classmethod
    def parse(cls, text: str) -> Where:
        """From comparisons with `and`, `or`, `not` and parentheses; `not` binds most, then `and`.

        Raises:
            ConfigError: It has another form.
            UnknownNameError: There is no such tag, number or value.
        """
        if len(text) > _MOST:
            raise ConfigError(f"--where {text[:60]!r}…: {len(text)} characters; expected at most {_MOST}.")
        return cls(text, _Reader(text).whole())


class _Reader:
    """Reads a condition from the left to the right."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._words = re.sub(r"([()])", r" \1 ", text).split()
        self._at = self._depth = 0

    def whole(self) -> Test:
        test = self._either()
        if self._at < len(self._words):
            raise self._wrong(f"{self._words[self._at]!r} is one word too many")
        return test

    def _either(self) -> Test:
        tests = [self._both()]
        while self._take("or"):
            tests.append(self._both())
        return lambda tags: any(test(tags) for test in tests)

    def _both(self) -> Test:
        tests = [self._single()]
        while self._take("and"):
            tests.append(self._single())
        return lambda tags: all(test(tags) for test in tests)

    def _single(self) -> Test:
        if self._take("not"):
            test = self._deeper(self._single)
            return lambda tags: not test(tags)
        if self._take("("):
            test = self._deeper(self._either)
            if not self._take(")"):
                raise self._wrong("a parenthesis is not closed")
            return test
        start = self._at
        while self._at < len(self._words) and self._words[self._at] not in ("and", "or", "not", "(", ")"):
            self._at += 1
        words = " ".join(self._words[start : self._at])
        if not words:
            after = f"after {' '.join(self._words[max(start - 2, 0) : start])!r}" if start else "at the beginning"
            raise self._wrong(f"a comparison is missing {after}")
        found = comparison(words.replace("==", "="))
        if found is None or len(f"{found.left} {found.right}".split()) != 2:
            raise self._wrong(f"{words!r} is no comparison")
        return _test(found, self._text)

    def _deeper(self, read: Callable[[], Test]) -> Test:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise self._wrong(f"more than {_DEEPEST} levels")
        test = read()
        self._depth -= 1
        return test

    def _take(self, word: str) -> bool:
        found = self._at < len(self._words) and self._words[self._at] == word
        self._at += found
        return found

    def _wrong(self, what: str) -> ConfigError:
        return ConfigError(f"--where {self._text!r}: {what}. Expected {FORM}.")


def _test(found: WrittenComparison, text: str) -> Test:
    """What a comparison asks of tags.

    Raises:
        ConfigError: A tag is compared by order, or a number with a text.
        UnknownNameError: There is no such tag, number or value.
    """
    name, sign, right = found
    compare = COMPARE[sign]
    if name in TAG_NAMES:
        values = next(tag.values for tag in TAGS if tag.name == name)
        if sign in ORDER:
            example = right if right in values else next(iter(values))
            raise ConfigError(
                f"--where {text!r}: {name} is a tag, whose values have no order. Write {name}={example} or "
                f"{name}!={example}."
            )
        if right not in values:
            raise UnknownNameError(f"value of the tag {name} in --where", right, values)
        return lambda tags: (right in tags.values.get(name, ())) == (sign == "=")
    if name not in QUANTITY_NAMES:
        raise UnknownNameError("tag or number in --where", name, (*TAG_NAMES, *QUANTITY_NAMES))
    limit = number(right)
    if limit is None:
        raise ConfigError(f"--where {text!r}: {name} is a number, and {right!r} is none. Write {name}{sign}10.")
    return lambda tags: name in tags.numbers and compare(tags.numbers[name], limit)
