"""How the texts of MARC fields are freed of the cataloguers' punctuation (ISBD)."""

import re

_HAIRS = "/:;,- "
_BRACKETS = {"(": ")", "[": "]", "<": ">"}
_DATE = re.compile(r"\d| |(?<=\d)-")


def hairs(text: str) -> str:
    """Strip punctuation from both ends.

    A bracket stays if its partner is inside the text; a pair around the whole text and a bracket
    without a partner go.
    """
    while True:
        before = text
        text = text.strip(_HAIRS)
        for opening, closing in _BRACKETS.items():
            text = _unbracket(text, opening, closing)
        if text == before:
            return text


def _unbracket(text: str, opening: str, closing: str) -> str:
    partners = _partners(text, opening, closing)
    last = len(text) - 1
    if text.startswith(opening) and partners.get(0) in (None, last):
        return text[1:-1] if partners.get(0) == last else text[1:]
    if text.endswith(closing) and last not in partners.values():
        return text[:-1]
    return text


def _partners(text: str, opening: str, closing: str) -> dict[int, int]:
    """Positions of opening brackets to those of their closing ones."""
    result: dict[int, int] = {}
    stack: list[int] = []
    for position, character in enumerate(text):
        if character == opening:
            stack.append(position)
        elif character == closing and stack:
            result[stack.pop()] = position
    return result


def clean_isbn(text: str) -> str:
    """What stands before the first blank: ``80-251-0225-4 (brož.) :`` gives ``80-251-0225-4``."""
    return text.strip().partition(" ")[0]


def clean_date(text: str) -> str:
    """Digits, blanks, and a hyphen right after a digit: ``[2014?]-`` gives ``2014``."""
    return "".join(_DATE.findall(text)).strip()


def unique(texts: list[str]) -> list[str]:
    """Without repetitions and blanks, in the order of first appearance."""
    return [text for text in dict.fromkeys(texts) if text]
