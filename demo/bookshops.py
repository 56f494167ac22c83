"""Pages of invented books in the layouts of the harvester's four sources."""

from html import escape
from typing import Any

from edeposit.amqp.harvester.structures import Author, Publication

_WORDS = (
    "Kameny",
    "Řeky",
    "Včely",
    "Ticho",
    "Město",
    "Zahrada",
    "Hvězdy",
    "Stroje",
    "Hory",
    "Jazyk",
    "Světlo",
    "Dřevo",
)
_NAMES = ("Jana Nováková", "Petr Dvořák", "Eva Malá", "Žofie Čápková", "Jan O'Hara")


def isbn_of(number: int) -> str:
    """A valid ISBN-13 of a range that only the tests use."""
    digits = f"97880730{number:04d}"
    check = sum(int(digit) * (3 if place % 2 else 1) for place, digit in enumerate(digits))
    return f"978-80-730-{number:04d}-{-check % 10}"


def make_book(number: int, publisher: str, **changes: Any) -> Publication:
    """An invented book.

    Args:
        number: makes it unlike all others.
        publisher: its publisher.
        changes: values of attributes, of the book or of its optionals.
    """
    title = f"{_WORDS[number % len(_WORDS)]} & lidé {number}"
    names = [_NAMES[(number + n) % len(_NAMES)] for n in range(1 + number % 2)]
    book = Publication(title, [Author(name) for name in names], f"{100 + number} Kč", publisher)
    isbn = isbn_of(number)
    values = {
        "ISBN": isbn,
        "EAN": isbn.replace("-", ""),
        "pages": f"{90 + number} stran",
        "binding": "brožovaná",
        "edition": "1. české",
        "format": "17×24 cm",
        "pub_date": "06. 08. 2014",
        "sub_title": f"díl <{number}>",
        "description": f"O knize číslo {number}.",
    }
    for name, value in {**values, **changes}.items():
        setattr(book if name in book._fields else book.optionals, name, value)
    return book


def keep(book: Publication, *names: str, URL: str | None = None) -> Publication:
    """A copy with only some optionals: what a layout shows of a book."""
    copy = Publication(book.title, book.authors, book.price, book.publisher)
    for name in names:
        value = getattr(book.optionals, name)
        if value is not None:
            setattr(copy.optionals, name, value)
    if URL is not None:
        copy.optionals.URL = URL
    return copy


def _page(title: str, body: str) -> bytes:
    head = f'<meta charset="utf-8"><title>{escape(title)} | shop</title>'
    return f"<!DOCTYPE html><html><head>{head}</head><body>{body}</body></html>".encode()


class Shop:
    """One site: its pages, and the books that have to be found in them.

    Attributes:
        host: its name.
        source: of the source file.
        pages: path with query to bytes.
        expected: publications in order.
    """

    def __init__(self, host: str, source: str) -> None:
        self.host = host
        self.source = source
        self.pages: dict[str, bytes] = {}
        self.expected: list[Publication] = []


def ben(count: int) -> Shop:
    """BEN: one list, a page for each book, rows with generated ids."""
    shop = Shop("shop.ben.cz", "ben_cz")
    links = ""
    for number in range(count):
        book = make_book(number, "BEN – technická literatura")
        url = f"http://{shop.host}/kniha{number}"
        for author in book.authors:
            author.URL = f"http://{shop.host}/autor/{len(author.name)}"
        authors = ", ".join(f'<a href="{a.URL}">{escape(a.name)}</a>' for a in book.authors)
        rows = {
            "Autor": authors,
            "Nakladatel": f"<b>{book.publisher}</b>",
            "BeznaCena": escape(book.price),
            "ObjednaciCislo": "1234567890123",
            "RozsahVazba": f"{book.optionals.pages} / {book.optionals.binding}",
            "IsbnEan": f"{book.optionals.ISBN} / {book.optionals.EAN}",
            "Vydani": book.optionals.edition,
        }
        table = "".join(
            f'<tr id="ctl00_ContentPlaceHolder1_tblRow{name}"><td>{name}</td><td>{value}</td></tr>'
            for name, value in rows.items()
        )
        shop.pages[f"/kniha{number}"] = _page(
            book.title,
            f'<div id="contentDetail"><h1>{escape(book.title)}</h1><table>{table}</table>'
            f'<div class="detailPopis wide"><div class="ekniha">reklama</div>'
            f'<p class="detailKat">kategorie</p><p>{book.optionals.description}</p></div></div>',
        )
        links += f'<div class="seznamKniha odd"><a href="{url}">kniha</a></div>'
        shop.expected.append(
            keep(book, "pages", "binding", "ISBN", "EAN", "edition", "description", URL=url)
        )
    links += (
        '<div class="seznamKniha"><a href="/pripravujeme"><span class="ruzek pripravujeme"></span>'
        "</a></div>"
    )
    shop.pages["/Produkty.aspx?lang=cz&nak=BEN+-+technick%C3%A1+literatura"] = _page("BEN", links)
    return shop


def grada(count: int) -> Shop:
    """Grada: everything is on the list."""
    shop = Shop("www.grada.cz", "grada_cz")
    items = ""
    for number in range(count):
        book = make_book(number, "Grada")
        for author in book.authors:
            author.URL = f"http://{shop.host}/autor/{len(author.name)}/"
        authors = "".join(
            f'<h3><a href="../autor/{len(a.name)}/">{escape(a.name)}</a></h3>' for a in book.authors
        )
        optionals = book.optionals
        optionals.description = f"<p>O knize <em>číslo</em> {number}.</p>"
        items += (
            f'<div class="item x"><div class="comment"><h2><a href="/kniha{number}/">'
            f'{escape(book.title)}</a> <span class="gray">{escape(optionals.sub_title)}</span></h2>'
            f'{authors}</div><div class="perex">{optionals.description}<script>x()</script></div>'
            f'<div class="price-overflow"><br />{optionals.format} | {optionals.pages}<br />'
            f"Katalogové číslo: 12<br />ISBN: <b>{optionals.ISBN}</b></div>"
            f'<div class="prices">Cena:<br>\n{book.price.replace(" ", "&nbsp;")}</div></div>'
        )
        url = f"http://{shop.host}/kniha{number}/"
        shop.expected.append(
            keep(book, "sub_title", "description", "format", "pages", "ISBN", URL=url)
        )
    shop.pages["/novinky/?start=0&krok=100"] = _page("Novinky", items)
    return shop


def cpress(count: int) -> Shop:
    """CPress: title and authors on the list, the rest on a page for each book."""
    shop = Shop("www.cpress.cz", "cpress_cz")
    items = ""
    for number in range(count):
        book = make_book(number, "CPress", ISBN=None)
        for author in book.authors:
            author.URL = f"http://{shop.host}/novinky/autori/{len(author.name)}"
        authors = "".join(
            f'<a href="autori/{len(a.name)}">{escape(a.name)}</a>' for a in book.authors
        )
        items += (
            f'<div class="polozka"><div class="polozka_autor">{authors}</div>'
            f'<div class="polozka_nazev"><a href="/kniha{number}/">{escape(book.title)}</a></div>'
            "</div>"
        )
        optionals = book.optionals
        rows = {
            "EAN": optionals.EAN,
            "Datum vydání": optionals.pub_date,
            "Formát": optionals.format,
        }
        table = "".join(
            f"<tr><th>{name}:</th><td>{value}</td></tr>" for name, value in rows.items()
        )
        shop.pages[f"/kniha{number}/"] = _page(
            book.title,
            f'<div id="kniha_detail"><span class="cena">{book.price}</span><table>{table}</table>'
            f'<div class="kniha_detail_text"><p>{optionals.description}</p></div></div>',
        )
        url = f"http://{shop.host}/kniha{number}/"
        shop.expected.append(keep(book, "EAN", "pub_date", "format", "description", URL=url))
    shop.pages["/novinky/"] = _page("Novinky", items)
    return shop


def zonerpress(count: int, on_a_page: int = 5) -> Shop:
    """Zoner Press: three paged lists that overlap, a table of properties for each book."""
    shop = Shop("www.zonerpress.cz", "zonerpress_cz")
    books = []
    for number in range(count):
        ebook = number % 3 == 2
        publisher = "Zoner Press" if number % 2 else "Jan Melvil"
        book = make_book(number, publisher, EAN=None, pub_date="2014", is_ebook=ebook)
        link = f"http://{shop.host}/autor/{number}"
        for author in book.authors:
            author.URL = link
        names = ", ".join(escape(author.name) for author in book.authors)
        optionals = book.optionals
        rows = {
            "Autor": f'<a href="/autor/{number}">{names}</a> (editor)',
            "Vydavatel": publisher,
            "ISBN": f"{optionals.ISBN} (brož.)",
            "Typ vazby": optionals.binding,
            "Rok vydání": optionals.pub_date,
            "Počet stran": optionals.pages,
            "Jazyk": "-",
        }
        table = "".join(
            f'<tr><td class="property-name">{name}</td><td class="property-value">{value}</td></tr>'
            for name, value in rows.items()
        )
        shop.pages[f"/kniha{number}"] = _page(
            book.title,
            f'<input type="hidden" name="action" value="addtocart" id="ctl00_{number}">'
            f'<h2 class="nadpisStrankySloupec2">{"E-kniha: " if ebook else ""}{escape(book.title)}'
            f'</h2><div class="obalka"><p class="puvodniCena"><span>{book.price}</span></p></div>'
            f"<table>{table}</table>",
        )
        names_kept = ["ISBN", "binding", "pub_date", "pages", *(["is_ebook"] if ebook else [])]
        books.append(keep(book, *names_kept, URL=f"http://{shop.host}/kniha{number}"))
    lists = {
        "/knihy/": range(count),
        "/elektronicke-knihy/": range(2, count, 3),
        "/knihy-jinych-vydavatelu/": range(0, count, 2),
    }
    order: list[int] = []
    for path, numbers in lists.items():
        pages = [numbers[n : n + on_a_page] for n in range(0, len(numbers), on_a_page)] or [
            range(0)
        ]
        paging = "".join(f'<a href="?pageindex={n}">{n}</a>' for n in range(1, len(pages) + 1))
        for index, part in enumerate(pages, 1):
            items = "".join(
                f'<div class="boxProKnihy{n % 2}"><a href="/kniha{n}">k</a></div>' for n in part
            )
            content = _page("Knihy", f'<div class="razeniKnihListovani">{paging}</div>{items}')
            shop.pages[path if index == 1 else f"{path}?pageindex={index}"] = content
        order += [number for number in numbers if number not in order]
    shop.expected = [books[number] for number in order]
    return shop


def all_shops(count: int = 12) -> list[Shop]:
    """The four, with ``count`` books each."""
    return [ben(count), grada(count), cpress(count), zonerpress(count)]
