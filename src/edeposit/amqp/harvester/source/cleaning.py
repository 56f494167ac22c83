"""Cleaners: the named last steps that turn what a page prints into a value.

A cleaner takes and gives text; what is no value at all becomes the empty text, which counts as
not found, so that a rule's fallback is asked.
"""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from stdnum import ean as stdnum_ean
from stdnum import isbn as stdnum_isbn

if TYPE_CHECKING:
    from edeposit.amqp.harvester.page import Page

Cleaner = Callable[[str, "Page"], str]

_DASHES = str.maketrans("‐‑‒–—−", "------")
_ISBN = re.compile(r"(?<![\d-])(?:97[89][- ]?)?(?:\d[- ]?){9}[\dXx](?![\d-]|[- ]\d)")
_EAN = re.compile(r"(?<![\d-])(?:(?:\d[- ]?){12}\d|\d{8})(?![\d-])")
_NUMBER = r"\d(?:[\d .]*\d)?(?:,\d+)?(?:,?-{1,2}(?!\d))?"
_CURRENCY = r"(?:Kč|KČ|kč|CZK|Kc|Kčs|SKK|Sk|EUR|USD|PLN|GBP|zł|€|\$|£)"
_PRICE = re.compile(rf"{_CURRENCY} ?{_NUMBER}|{_NUMBER}(?: ?{_CURRENCY})?")
_PAGES = re.compile(r"\d[\d ]*(?<! )(?: ?(?:stran[ay]?|str\.?|s\.|strán|pages|pp?\.))?")


def isbn(text: str, page: "Page") -> str:
    """The ISBN in the text, as it is printed; one with a right check digit is preferred.

    A wrong check digit is kept: it is what the publisher printed, and a librarian's to judge.
    """
    found: list[str] = _ISBN.findall(text.translate(_DASHES))
    for number in found:
        if stdnum_isbn.is_valid(number):
            return number.replace(" ", "-")
    return found[0].replace(" ", "-") if found else ""


def ean(text: str, page: "Page") -> str:
    """The EAN-13 or EAN-8 in the text, digits only; one with a right check digit is preferred."""
    found = [re.sub(r"\D", "", number) for number in _EAN.findall(text.translate(_DASHES))]
    for number in found:
        if stdnum_ean.is_valid(number):
            return number
    return found[0] if found else ""


def price(text: str, page: "Page") -> str:
    """The first amount with a currency, else the first number: ``Cena: 199 Kč s DPH``."""
    found: list[str] = _PRICE.findall(text.translate(_DASHES))
    with_currency = [amount for amount in found if re.search(_CURRENCY, amount)]
    return next(iter(with_currency or found), "")


def pages(text: str, page: "Page") -> str:
    """The number of pages with its unit, if there is one: ``153 stran``."""
    found = _PAGES.search(text)
    return found[0] if found else ""


def number(text: str, page: "Page") -> str:
    """The first whole number."""
    found = re.search(r"\d+", text)
    return found[0] if found else ""


def url(text: str, page: "Page") -> str:
    """An absolute http(s) address; other schemes are none."""
    return page.resolve(text) or ""


def dash_is_none(text: str, page: "Page") -> str:
    """A lone dash stands for nothing."""
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
