"""The simulator's HTTP side: the X-Services operations and the export form."""

import itertools
import json
import logging
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit
from xml.sax.saxutils import escape, quoteattr

from edeposit.amqp.aleph.marcxml import MarcRecord
from edeposit.amqp.aleph.simulator.catalogue import Catalogue

logger = logging.getLogger(__name__)

BASES = ("nkc", "cze-dep", "skc")
LIBRARIES = ("CZE01", "NKC01")
_MOST_ENTRIES = 2500
_MOST_SETS = 10_000
_FORM_LIMIT = 1024 * 1024


class AlephSimulator:
    """A catalogue behind HTTP; a context manager.

    Args:
        catalogue: default: ``Catalogue.of_works()``.
        host, port: where to listen; port 0 is any free one.
        latency: seconds before each reply.

    Attributes:
        url: for the setting ALEPH_URL.
        export_url: for the setting ALEPH_EXPORT_URL.
        exports: forms that were accepted, as dicts.
        requests: paths that were asked for.
        reject_with: a text: exports are rejected with it.
    """

    def __init__(
        self,
        catalogue: Catalogue | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        latency: float = 0.0,
    ) -> None:
        self.catalogue = catalogue or Catalogue.of_works()
        self.latency = latency
        self.exports: list[dict[str, str]] = []
        self.requests: list[str] = []
        self.reject_with = ""
        self.is_closed = False
        self._sets: dict[str, list[str]] = {}
        self._set_numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer((host, port), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://{host}:{self._server.server_port}"
        self.export_url = f"{self.url}/aleph-cgi/e-deposit"

    def __enter__(self) -> "AlephSimulator":
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop serving and free the port; connections that are kept open are cut."""
        self._server.shutdown()
        self._server.server_close()
        self.is_closed = True

    def serve_forever(self) -> None:
        """Serve until interrupted."""
        self._server.serve_forever()

    # --- replies ----------------------------------------------------------------------------

    def answer(self, path: str, query: dict[str, str]) -> tuple[str, str]:
        """Content type and body of the reply to a GET."""
        if path.startswith("/F"):
            links = "".join(
                f'<a href="/F/?func=find-b-0&local_base={base}">{base}</a>' for base in BASES
            )
            return "text/html", f"<html><body>{links}</body></html>"
        operations: dict[str, Callable[[dict[str, str]], str]] = {
            "find": self._find,
            "present": self._present,
            "ill_get_set": self._ill_get_set,
            "ill_get_doc": self._ill_get_doc,
            "find_doc": self._find_doc,
        }
        operation = operations.get(query.get("op", ""))
        if operation is None:
            body = "<login><error>Unknown operation</error></login>"
        else:
            body = operation(query)
        return "text/xml", f'<?xml version = "1.0" encoding = "UTF-8"?>\n{body}\n'

    def _find(self, query: dict[str, str]) -> str:
        if query.get("base", "").lower() not in BASES:
            return (
                f"<find><error>Base {escape(query.get('base', ''))} does not exist</error></find>"
            )
        field, _, phrase = query.get("request", "").partition("=")
        numbers = self.catalogue.search(field, phrase)
        if not numbers:
            return f"<find><error>empty set</error>{_SESSION}</find>"
        with self._lock:
            number = f"{next(self._set_numbers):06d}"
            self._sets[number] = numbers
            while len(self._sets) > _MOST_SETS:
                del self._sets[next(iter(self._sets))]
        entries = min(len(numbers), _MOST_ENTRIES)
        return (
            f"<find><set_number>{number}</set_number><no_records>{len(numbers):09d}</no_records>"
            f"<no_entries>{entries:09d}</no_entries>{_SESSION}</find>"
        )

    def _present(self, query: dict[str, str]) -> str:
        numbers = self._sets.get(query.get("set_number", "").zfill(6))
        if numbers is None:
            return f"<present><error>Set does not exist</error>{_SESSION}</present>"
        entry = query.get("set_entry", "")
        if not entry.isdigit() or not 1 <= int(entry) <= len(numbers):
            return f"<present><error>There is no entry {escape(entry)}</error>{_SESSION}</present>"
        number = numbers[int(entry) - 1]
        return (
            f"<present><record><record_header><set_entry>{int(entry):09d}</set_entry>"
            f"</record_header><doc_number>{number}</doc_number><metadata>"
            f"{oai_marc(self.catalogue.entries[number].record)}</metadata></record>"
            f"{_SESSION}</present>"
        )

    def _ill_get_set(self, query: dict[str, str]) -> str:
        numbers = self._sets.get(query.get("set_number", "").zfill(6))
        if numbers is None:
            return f"<ill-get-set><error>Set does not exist</error>{_SESSION}</ill-get-set>"
        wanted = query.get("no_docs", "")
        shown = numbers[: int(wanted) if wanted.isdigit() else len(numbers)]
        found = "".join(f"<doc-number>{number}</doc-number>" for number in shown)
        return (
            f"<ill-get-set>{found}<no-docs>{len(shown):09d}</no-docs>"
            f"<set-library>NKC01</set-library>{_SESSION}</ill-get-set>"
        )

    def _ill_get_doc(self, query: dict[str, str]) -> str:
        library = query.get("library", "")
        if library.upper() not in LIBRARIES:
            return f"<login><error>Invalid library {escape(library)}</error></login>"
        entry = self.catalogue.entries.get(query.get("doc_number", "").zfill(9))
        if entry is None:
            return "<ill-get-doc><error>Error reading document</error></ill-get-doc>"
        return f"<ill-get-doc>{marc21(entry.record)}{_SESSION}</ill-get-doc>"

    def _find_doc(self, query: dict[str, str]) -> str:
        base = query.get("base", "")
        if base.upper() not in LIBRARIES and base.lower() not in BASES:
            return "<find-doc><error>Invalid base</error></find-doc>"
        number = query.get("doc_num") or query.get("doc_number") or ""
        entry = self.catalogue.entries.get(number.zfill(9))
        if entry is None:
            return "<find-doc><error>Error reading document</error></find-doc>"
        return (
            f"<find-doc><record><metadata>{oai_marc(entry.record)}</metadata></record>"
            f"{_SESSION}</find-doc>"
        )

    # --- HTTP -------------------------------------------------------------------------------

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        simulator = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                if simulator.is_closed:
                    self.close_connection = True
                    return
                simulator.requests.append(self.path)
                url = urlsplit(self.path)
                query = {key: values[0] for key, values in parse_qs(url.query).items()}
                self._reply(200, *simulator.answer(url.path, query))

            def do_POST(self) -> None:
                length = self.headers.get("Content-Length", "")
                if not length.isdigit() or int(length) > _FORM_LIMIT:
                    self.close_connection = True
                    self._reply(413, "text/plain", "too large")
                    return
                form = parse_qs(self.rfile.read(int(length)).decode("utf-8"), True)
                fields = {key: values[0] for key, values in form.items()}
                if simulator.reject_with:
                    info = f"Error: {simulator.reject_with}"
                    self._reply(200, "text/html", "rejected", info)
                    return
                simulator.exports.append(fields)
                self._reply(200, "text/html", json.dumps(fields, ensure_ascii=False), "OK")

            def _reply(self, status: int, kind: str, text: str, info: str = "") -> None:
                time.sleep(simulator.latency)
                body = text.encode("utf-8")
                self.send_response(status)
                self.send_header("Content-Type", f"{kind}; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                if info:
                    self.send_header("aleph-info", info)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                logger.debug(format, *args)

        return Handler


_SESSION = "<session-id>SIMULATOR</session-id>"


class _Dialect(NamedTuple):
    """How one kind of MARC in XML is written."""

    start: str
    end: str
    leader: str
    control: str
    data: str
    subfield: str


_MARC21 = _Dialect(
    start='<record xmlns="http://www.loc.gov/MARC21/slim/">',  # the slash at the end is Aleph's
    end="</record>",
    leader="<leader>{}</leader>",
    control="<controlfield tag={}>{}</controlfield>",
    data="<datafield tag={} ind1={} ind2={}>{}</datafield>",
    subfield="<subfield code={}>{}</subfield>",
)
_OAI_MARC = _Dialect(
    start="<oai_marc>",
    end="</oai_marc>",
    leader='<fixfield id="LDR">{}</fixfield>',
    control="<fixfield id={}>{}</fixfield>",
    data="<varfield id={} i1={} i2={}>{}</varfield>",
    subfield="<subfield label={}>{}</subfield>",
)


def marc21(record: MarcRecord) -> str:
    """A record in MARC 21 XML, with the namespace as Aleph writes it."""
    return _write(record, _MARC21)


def oai_marc(record: MarcRecord) -> str:
    """A record in OAI MARC."""
    return _write(record, _OAI_MARC)


def _write(record: MarcRecord, dialect: _Dialect) -> str:
    parts = [dialect.start]
    if record.leader:
        parts.append(dialect.leader.format(escape(record.leader)))
    for tag, value in record.controls.items():
        parts.append(dialect.control.format(quoteattr(tag), escape(value)))
    for field in record.record.get_fields():
        if field.indicators is None:  # a control field
            continue
        subfields = (
            dialect.subfield.format(quoteattr(subfield.code), escape(subfield.value))
            for subfield in field.subfields
        )
        head = map(quoteattr, (field.tag, field.indicators.first, field.indicators.second))
        parts.append(dialect.data.format(*head, "".join(subfields)))
    return "".join([*parts, dialect.end])
