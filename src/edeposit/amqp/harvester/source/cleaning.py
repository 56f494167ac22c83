"""Cleaners: the named last steps that turn what a page prints into a value.

A cleaner takes and returns text; the empty text means that there is no value, so the fallback of
the rule is tried. Of several candidates in a text the best one is the value, not the first: a
price may follow years, page numbers and discounts.
"""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from stdnum import ean as stdnum_ean

from edeposit.amqp.formats import isbn as isbn_reader

if TYPE_CHECKING:
    from edeposit.amqp.harvester.page import Page

Cleaner = Callable[[str, "Page"], str]

_DASHES = str.maketrans("‐‑‒–—−", "------")
_EAN = re.compile(r"(?<![\d-])(?:(?:\d[- ]?){12}\d|\d{8})(?![\d-])")
# Around a number: it must not be a part of a longer one.
_BEGIN, _END = r"(?<!\d)(?<!\d[.,'’-])", r"(?![.,'’-]?\d)"
_YEAR = re.compile(r"(?:19|20)\d\d")
# Characters around a number that may hold its currency, label or unit.
_AROUND = 24

# Groups of three digits with one separator, or all digits together; cents, or ",-" for none.
_AMOUNT = re.compile(
    rf"{_BEGIN}(?:(?:\d{{1,3}}(?P<at>[ .,'’])\d{{3}}(?!\d)(?:(?P=at)\d{{3}}(?!\d)){{0,4}}+|\d++)"
    rf"(?:[.,]\d\d?(?!\d)|[.,]?--?(?!\d))?|,\d\d){_END}"
)
_MONEY = (
    r"(?:(?<![^\W\d_])(?:K[čc]s?|CZK|SKK|Sk|EUR|euro|USD|PLN|zł|GBP|CHF|HUF|Ft|korun[ay]?)"
    r"(?![^\W\d_])|[€$£])"
)
_MONEY_AFTER = re.compile(rf" ?{_MONEY}(?!\d)", re.I)
_MONEY_BEFORE = re.compile(rf"(?P<number>\d[.,-]* ?)?(?P<money>{_MONEY} ?)$", re.I)
_OTHER_UNIT = re.compile(
    r" ?(?:%|°|×|[cm]?m\b|k?g\b|ks\b|kus|str|s\.|pp?\.|pages|let\b|rok|díl|vydání)|\. ", re.I
)
_NOT_THE_PRICE = re.compile(
    r"(?:sleva|ušetř\w*|úspora|doprav\w*|poštovné|balné|stran\w*|rok|vydáno|kód|EAN)\W{0,4}"
    r"(?:[^\W\d]{2,8}\W{1,2})?$",
    re.I,
)

_COUNT = rf"{_BEGIN}(?:[1-9][ .,]\d{{3}}(?!\d)|\d++){_END}"
_PAGES = re.compile(
    rf"{_COUNT}[ -]?(?:(?:str(?:an[ay]?|án|ánek|ánk\w*)?|pages?|seiten|stron[ay]?)(?![^\W\d_])\.?"
    r"|(?:s|pp?)(?:\.|(?=\s*(?:[,;)]|$))))",
    re.I,
)
_PAGES_LABEL = re.compile(rf"(?:stran|strán|pages|rozsah)\w*\s*:?\s*(?P<count>{_COUNT})", re.I)


def isbn(text: str, page: "Page") -> str:
    """The ISBN in the text, with hyphens where a page prints any separator.

    One with a right check digit is preferred, of one book its ISBN-13. A wrong check digit is kept
    if there is no other: the publisher printed it, and a librarian will judge.
    """
    found = isbn_reader.find_all(text)
    if not found:
        return next(isbn_reader.candidates(text), "")
    thirteen = isbn_reader.canonical(found[0])
    return next((number for number in found if number.replace("-", "") == thirteen), found[0])


def ean(text: str, page: "Page") -> str:
    """The EAN-13 or EAN-8 in the text, digits only; one with a right check digit is preferred."""
    found = [re.sub(r"\D", "", number) for number in _EAN.findall(text.translate(_DASHES))]
    # Eight digits may be a date.
    found.sort(key=lambda number: (not stdnum_ean.is_valid(number), len(number) == 8))
    return found[0] if found else ""


def price(text: str, page: "Page") -> str:
    """The amount that is the price, with its currency: ``Cena: 199 Kč s DPH``.

    An amount with a currency is preferred, else one with cents, else a number that counts nothing
    else (pages, per cent) and is no year.
    """
    text = text.translate(_DASHES)
    best, best_score = "", -2
    for number in _AMOUNT.finditer(text):
        amount, score = _amount(text, number)
        if score > best_score:
            best, best_score = amount, score
    return best


def _amount(text: str, number: re.Match[str]) -> tuple[str, int]:
    """A number with its currency, and how likely it is the price."""
    start, end = number.span()
    head, tail = text[max(0, start - _AROUND) : start], text[end : end + _AROUND]
    after, before = _MONEY_AFTER.match(tail), _MONEY_BEFORE.search(head)
    score = 0
    if before and (not before["number"] or not after):
        amount = before["money"] + number[0]
        head = head[: before.start("money")]
        score = 4
    else:
        amount = number[0] + (after[0] if after else "")
        score = 4 if after else 2 if number[0][-1] == "-" or number[0][-3:-2] in (",", ".") else 0
    if _YEAR.fullmatch(number[0]):
        score -= 1
    if not after and _OTHER_UNIT.match(tail):
        score -= 3
    if head.endswith("-") or _NOT_THE_PRICE.search(head):
        score -= 2
    return amount, score


def pages(text: str, page: "Page") -> str:
    """The number of pages with its unit, if there is one: ``153 stran``."""
    text = text.translate(_DASHES)
    if found := _PAGES.search(text):
        return found[0]
    if found := _PAGES_LABEL.search(text):
        return found["count"]
    numbers = [
        number[0]
        for number in re.finditer(_COUNT, text)
        if not _OTHER_UNIT.match(text, number.end()) and not _MONEY_AFTER.match(text, number.end())
    ]
    return next((number for number in numbers if not _YEAR.fullmatch(number)), "".join(numbers[:1]))


def number(text: str, page: "Page") -> str:
    """The first whole number."""
    found = re.search(r"\d+", text)
    return found[0] if found else ""


def url(text: str, page: "Page") -> str:
    """An absolute http(s) address; empty for other schemes."""
    return page.resolve(text) or ""


def dash_is_none(text: str, page: "Page") -> str:
    """A lone dash means that there is nothing."""
    return "" if text.translate(_DASHES).strip("- ") == "" else text


def no_parentheses(text: str, page: "Page") -> str:
    """What is before the first opening parenthesis."""
    return text.partition("(")[0].strip()


def no_label(text: str, page: "Page") -> str:
    """What is after the first colon, if there is one: ``Cena: 199 Kč``."""
    head, colon, tail = text.partition(":")
    return tail.strip() if colon else head


CLEANERS: dict[str, Cleaner] = {
    cleaner.__name__: cleaner
    for cleaner in (isbn, ean, price, pages, number, url, dash_is_none, no_parentheses, no_label)
}
