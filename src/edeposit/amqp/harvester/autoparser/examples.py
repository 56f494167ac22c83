"""The examples to learn from: pages, and the values that are to be found in them."""

from dataclasses import dataclass, field
from functools import cached_property

from edeposit.amqp.harvester.exceptions import HarvesterError
from edeposit.amqp.harvester.page import Page
from edeposit.amqp.harvester.rules import Rule
from edeposit.amqp.harvester.text import collapse, text_of


class AutoparserError(HarvesterError, UserWarning):
    """Nothing can be learned from the examples as they are; the text says what to change.

    A ``UserWarning`` as well, which is what the first generation raised.
    """


@dataclass(frozen=True)
class Wanted:
    """What is to be found in one page.

    Attributes:
        name: of the variable.
        values: the texts; none where the page is known not to have it.
        several: whether it is a list (authors); else the first value is meant.
        required: whether each page must have it.
        notfoundmsg: for the error when the value is not in the example.
        tagname: counts only elements with this name, in lower case.
        html: the markup is wanted, not the text.
        pin: the rule that the user has decided for.
    """

    name: str
    values: tuple[str, ...]
    several: bool = False
    required: bool = False
    notfoundmsg: str = ""
    tagname: str = ""
    html: bool = False
    pin: Rule | None = None

    @cached_property
    def texts(self) -> list[str]:
        """The values as they are compared."""
        return [comparable(value, self.html) for value in self.values]

    def missing_message(self) -> str:
        """The user's own message, or the usual one."""
        message = self.notfoundmsg or "Can't locate variable '$name' with content '$data'!"
        shown = " | ".join(self.values)
        return message.replace("$name", self.name).replace("$data", shown[:200])


@dataclass
class Example:
    """One page with what is wanted from it; without wanted values it only tries the rules.

    Attributes:
        page: parsed.
        link: file name or URL, as the user wrote it.
        wanted: by name of the variable.
        content: the bytes as they came, for saving.
    """

    page: Page
    link: str
    wanted: dict[str, Wanted] = field(default_factory=dict)
    content: bytes = b""


def comparable(value: str, html: bool = False) -> str:
    """A value as it is compared: collapsed, of markup only the text."""
    return text_of(Page(f"<body><div>{value}</div>").tree) if html else collapse(value)
