"""The examples to learn from: pages, the values to be found in them, and the file that names both.

The configuration has one YAML document per example page; files of the first generation are read as
they are. Scalars stay texts: a price of ``199``, a date or ``No`` mean what is written, so nothing
needs quotes that YAML does not need for its syntax.
"""

import difflib
import keyword
import re
from collections.abc import Hashable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx2
import yaml

from edeposit.amqp.harvester.exceptions import DefinitionError, HarvesterError
from edeposit.amqp.harvester.page import Page
from edeposit.amqp.harvester.page.text import collapse, text_of
from edeposit.amqp.harvester.source.rules import Rule


class AutoparserError(HarvesterError, UserWarning):
    """The examples cannot be learned from as they are; the text says what to change.

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


_KEYS = ("data", "required", "notfoundmsg", "tagname", "html", "pin")
_URL = re.compile(r"https?://", re.IGNORECASE)
# In seconds and bytes: an example is one page of a shop.
TIMEOUT = 20.0
MOST_BYTES = 20_000_000


class _Loader(yaml.BaseLoader):
    """Only texts, lists and mappings; a key given twice is a mistake."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key '{key.value}' is there twice", key.start_mark
                )
            seen.add(key.value if isinstance(key.value, str) else id(key))
        return super().construct_mapping(node, deep)


def read_configuration(path: str | Path) -> list[Example]:
    """The examples of a configuration file, their pages loaded.

    Raises:
        AutoparserError: the file cannot be read, or is no such configuration.
    """
    path = Path(path)
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise AutoparserError(f"Can't open '{path}'!") from error
    except UnicodeDecodeError as error:
        raise AutoparserError(f"'{path}' is not in UTF-8: {error}") from error
    try:
        documents = [item for item in yaml.load_all(text, _Loader) if item not in (None, "")]
    except (yaml.YAMLError, RecursionError) as error:
        problem = " ".join(str(error).split())
        raise AutoparserError(f"'{path}' is no YAML: {problem}") from error
    if not documents:
        raise AutoparserError(f"Configuration file '{path}' is blank!")
    return [
        _example(document, path.parent, f"{path}, document {number}")
        for number, document in enumerate(documents, 1)
    ]


def load_page(link: str, folder: Path = Path()) -> Example:
    """An example without wanted values, from a file or an http(s) URL.

    Raises:
        AutoparserError: it cannot be read.
    """
    if _URL.match(link):
        content, charset, url = _download(link)
        return Example(Page(content, url, charset), link, content=content)
    try:
        with (folder / link).open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        raise AutoparserError(f"'{link}' is neither an http(s) URL nor a file.") from error
    if len(content) > MOST_BYTES:
        raise AutoparserError(f"'{link}' is larger than {MOST_BYTES} bytes.")
    page = Page(content)
    page.url = _own_address(page)
    return Example(page, link, content=content)


def _own_address(page: Page) -> str:
    """Where a saved page says it comes from: its links are relative to that."""
    canonical = [
        item.get("href") for item in page.tree.iter("link") if item.get("rel") == "canonical"
    ]
    for address in canonical + page.meta.get("og:url", []):
        if address and _URL.match(address):
            return str(address)
    return ""


def _download(link: str) -> tuple[bytes, str | None, str]:
    content = bytearray()
    try:
        with httpx2.stream("GET", link, timeout=TIMEOUT, follow_redirects=True) as response:
            response.raise_for_status()
            for piece in response.iter_bytes():
                content += piece
                if len(content) > MOST_BYTES:
                    raise AutoparserError(f"'{link}' is larger than {MOST_BYTES} bytes.")
            return bytes(content), response.charset_encoding, str(response.url)
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise AutoparserError(f"'{link}' cannot be fetched: {error}") from error


def _example(document: Any, folder: Path, where: str) -> Example:
    if not isinstance(document, dict):
        raise AutoparserError(f"{where}: an example is a mapping with 'html' and the variables.")
    link = document.get("html")
    if not isinstance(link, str) or not link:
        raise AutoparserError(f"{where}: 'html' must name a file or an http(s) URL.")
    example = load_page(link, folder)
    for name, value in document.items():
        if name != "html":
            example.wanted[name] = _wanted(name, value, f"{where}, {name}")
    folded: dict[str, str] = {}
    for name in example.wanted:
        if folded.setdefault(name.casefold(), name) != name:
            raise AutoparserError(
                f"{where}: '{name}' and '{folded[name.casefold()]}' differ only in case."
            )
    return example


def _wanted(name: Any, value: Any, where: str) -> Wanted:
    if not isinstance(name, str) or not name.isidentifier() or keyword.iskeyword(name):
        raise AutoparserError(
            f"{where[:200]!r}: a variable's name must be one that Python allows (letters, digits "
            "and _, no keyword)."
        )
    if not isinstance(value, dict):
        value = {"data": value}
    for key in value:
        if key not in _KEYS:
            near = difflib.get_close_matches(str(key), _KEYS, 1)
            raise AutoparserError(
                f"{where}: unknown key '{key}'."
                + (f" Did you mean '{near[0]}'?" if near else f" Known are {', '.join(_KEYS)}.")
            )
    if "data" not in value:
        raise AutoparserError(f"{where}: 'data' must say what is to be found.")
    data = value["data"]
    values = data if isinstance(data, list) else [data]
    for item in values:
        if not isinstance(item, str):
            raise AutoparserError(f"{where}: 'data' is a text or a list of texts.")
    for key in ("notfoundmsg", "tagname"):
        if not isinstance(value.get(key, ""), str):
            raise AutoparserError(f"{where}: '{key}' is a text.")
    pin = None
    if "pin" in value:
        try:
            pin = Rule.parse(_typed(value["pin"]), f"{where}, pin")
        except DefinitionError as error:
            raise AutoparserError(str(error)) from error
    return Wanted(
        name,
        tuple(item for item in values if item.strip()),
        several=isinstance(data, list),
        required=_flag(value, "required", where),
        notfoundmsg=value.get("notfoundmsg", ""),
        tagname=value.get("tagname", "").lower(),
        html=_flag(value, "html", where),
        pin=pin,
    )


def _flag(value: dict[str, Any], key: str, where: str) -> bool:
    text = str(value.get(key, "false")).lower()
    if text not in ("true", "yes", "on", "false", "no", "off"):
        raise AutoparserError(f"{where}: '{key}' is true or false, not '{value[key]}'.")
    return text in ("true", "yes", "on")


def _typed(rule: Any) -> Any:
    """Numbers and truths of a rule, of which this loader makes texts."""
    if isinstance(rule, list):
        return [_typed(item) for item in rule]
    if not isinstance(rule, dict):
        return rule
    typed = {}
    for key, value in rule.items():
        if key == "index" and isinstance(value, str) and re.fullmatch(r"-?\d+", value):
            typed[key] = int(value)
        elif key in ("html", "last_line", "text") and value in ("true", "false"):
            typed[key] = value == "true"
        else:
            typed[key] = _typed(value)
    return typed
