"""How the texts of MARC fields are freed of the cataloguers' punctuation (ISBD).

Each function takes time linear in the length of the text.
"""

import re

from edeposit.amqp.formats import isbn

_PUNCTUATION = "/:;,-= "
_PARTNERS = {"(": ")", "[": "]", "<": ">"}
_BRACKETS = re.compile(r"[()\[\]<>]")
_DATE = re.compile(r"\d| |(?<=\d)-")

# A number that has not the form of an ISBN, but is one to the cataloguer; or an ISMN.
_LIKE_ISBN = re.compile(r"(ISMN[\s:]*|M-?(?=[0-9])|)([0-9][0-9Xx-]*)(?=[\s(:;,]|$)")
_ISMN = re.compile(r"979-?0")
_DASH = re.compile(r"[\u2010-\u2015]")
_ISSN = re.compile(r"(?<![0-9-])[0-9]{4}[-\u2010-\u2015]?[0-9]{3}[0-9Xx](?![0-9-])")


def hairs(text: str) -> str:
    """Strip punctuation from both ends.

    A bracket stays if its partner is inside the text; a pair around the whole text and a bracket
    without a partner go. A plus sign goes only where a blank divides it from the text (``C++``).
    """
    partners = _partners(text)
    left, right = 0, len(text) - 1
    while left <= right:
        if text[left] in _PUNCTUATION or (text[left] == "+" and text[left + 1 : left + 2] == " "):
            left += 1
        elif text[right] in _PUNCTUATION or (text[right] == "+" and text[right - 1 : right] == " "):
            right -= 1
        elif _BRACKETS.match(text[left]) and partners.get(left) is None:
            left += 1
        elif _BRACKETS.match(text[right]) and partners.get(right) is None:
            right -= 1
        elif partners.get(left) == right:
            left += 1
            right -= 1
        else:
            break
    return text[left : right + 1]


def _partners(text: str) -> dict[int, int]:
    """Positions of brackets that have a partner to the positions of the partners."""
    partners: dict[int, int] = {}
    open_brackets: dict[str, list[int]] = {closing: [] for closing in _PARTNERS.values()}
    for match in _BRACKETS.finditer(text):
        character, position = match[0], match.start()
        if character in _PARTNERS:
            open_brackets[_PARTNERS[character]].append(position)
        elif open_brackets[character]:
            partner = open_brackets[character].pop()
            partners[partner], partners[position] = position, partner
    return partners


def split_isbn(text: str) -> tuple[str, str]:
    """The ISBN in 020 $a or $z and what follows it, mostly the binding.

    ``80-251-0225-4 (sv. 1 : váz.) :`` gives ``80-251-0225-4`` and ``váz.``. The check digit may be
    wrong, and digits missing. ``(váz.)`` alone and an ISMN (979-0) are no ISBN: the first is empty.
    """
    number, rest = isbn.split(text)
    like_isbn = None if number else _LIKE_ISBN.match(rest)
    if like_isbn:
        mark, number = like_isbn.groups()
        rest = rest[like_isbn.end() :]
        if mark or _ISMN.match(number):
            number = ""
    return number, hairs(rest).rpartition(":")[2].strip()


def clean_isbns(texts: list[str]) -> list[str]:
    """The ISBNs in some fields, each once, however it is written."""
    numbers = (split_isbn(text)[0] for text in texts)
    found: dict[str, str] = {}
    for number in numbers:
        if number:
            found.setdefault(number.replace("-", ""), number)
    return list(found.values())


def clean_issn(text: str) -> str:
    """``ISSN 1210-0668 (Print)`` gives ``1210-0668``; without an ISSN, the first word."""
    found = _ISSN.search(text)
    return _DASH.sub("-", found[0]) if found else text.strip().partition(" ")[0]


def clean_date(text: str) -> str:
    """Digits, blanks, and a hyphen right after a digit: ``[2014?]-`` gives ``2014``."""
    return " ".join("".join(_DATE.findall(text)).split())


def unique(texts: list[str]) -> list[str]:
    """Without repetitions and blanks, in the order of first appearance."""
    return [text for text in dict.fromkeys(texts) if text]
