"""CSS to XPath, such that hostile pages cannot make it slow.

cssselect translates what depends on siblings into ``count(…)`` over all of them, which takes the
square (after ``~`` the cube) of their number: minutes for a page of 5,000 paragraphs. The
translations here have the same meaning and look at only as many siblings as the selector names.
"""

from typing import Any

from cssselect import ExpressionError, GenericTranslator, HTMLTranslator, SelectorError
from cssselect.parser import parse_series

__all__ = ["SelectorError", "css_to_xpath"]


class _Linear:
    """The overridden translations; mixed into both translators."""

    def xpath_nth_child_function(
        self, xpath: Any, function: Any, last: bool = False, add_name_test: bool = True
    ) -> Any:
        try:
            step, place = parse_series(function.arguments)
        except ValueError:
            step, place = 1, 0
        if step or place < 1:
            # A series (2n+1), or a mistake: cssselect knows.
            return super().xpath_nth_child_function(  # type: ignore[misc]
                xpath, function, last, add_name_test
            )
        siblings = _siblings(xpath, last, any_name=add_name_test)
        xpath.add_condition(f"not({siblings}[{place}])")
        return xpath.add_condition(f"{siblings}[{place - 1}]") if place > 1 else xpath

    def xpath_first_child_pseudo(self, xpath: Any) -> Any:
        return xpath.add_condition("not(preceding-sibling::*[1])")

    def xpath_last_child_pseudo(self, xpath: Any) -> Any:
        return xpath.add_condition("not(following-sibling::*[1])")

    def xpath_first_of_type_pseudo(self, xpath: Any) -> Any:
        return xpath.add_condition(f"not({_siblings(xpath, False, False)}[1])")

    def xpath_last_of_type_pseudo(self, xpath: Any) -> Any:
        return xpath.add_condition(f"not({_siblings(xpath, True, False)}[1])")

    def xpath_only_child_pseudo(self, xpath: Any) -> Any:
        return self.xpath_last_child_pseudo(self.xpath_first_child_pseudo(xpath))

    def xpath_direct_adjacent_combinator(self, left: Any, right: Any) -> Any:
        return left.join("/following-sibling::*[1]/self::", right)


class _HTML(_Linear, HTMLTranslator):
    pass


class _XML(_Linear, GenericTranslator):
    pass


_TRANSLATORS: dict[bool, Any] = {False: _HTML(), True: _XML()}


def css_to_xpath(selector: str, xml: bool = False) -> str:
    """The XPath of a selector, for the element that is looked in and all below it.

    Args:
        selector: CSS 3, and ``:contains("text")``.
        xml: names keep their case.

    Raises:
        SelectorError: it is none.
    """
    return str(_TRANSLATORS[xml].css_to_xpath(selector))


def _siblings(xpath: Any, last: bool, any_name: bool) -> str:
    if not any_name and xpath.element == "*":
        raise ExpressionError("an -of-type pseudo-class needs the name of an element before it")
    axis = "following-sibling" if last else "preceding-sibling"
    return f"{axis}::{'*' if any_name else xpath.element}"
