"""Search and parsing of the catalogue service.

* A search with 30 records against the simulator with 50 ms per reply: fetched one after another,
  as the first generation did, and as ours.
* One record: our parse (lxml and the adapter for both dialects) against pymarc's own reader.
* Text routines and whole records: nanoseconds per byte at 1 kB, 100 kB and 1 MB, worst of several
  kinds of text; all are linear, so the three are alike.
"""

import io
import time
from functools import partial
from pathlib import Path

import pymarc

from edeposit.amqp.aleph import AlephRecord, PublisherQuery, settings
from edeposit.amqp.aleph.cleaning import clean_date, clean_issn, hairs, split_isbn
from edeposit.amqp.aleph.marcxml import MarcRecord
from edeposit.amqp.aleph.simulator import AlephSimulator, Catalogue
from edeposit.amqp.formats import isbn

DATA = Path(__file__).parents[1] / "tests" / "aleph" / "data"
ROUNDS = 5


def best(function, rounds=ROUNDS):
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return min(times)


def search():
    book = (DATA / "unix_example.xml").read_text("utf-8")
    catalogue = Catalogue([book] * 30)
    with AlephSimulator(catalogue, latency=0.05) as simulator:
        # The rate limit would be what is measured: five searches of 31 requests in a second.
        settings.substitute_globals(
            {"ALEPH_URL": simulator.url, "ALEPH_REQUESTS_PER_SECOND": 10_000.0}
        )

        def run(concurrency):
            settings.substitute_globals({"ALEPH_CONCURRENCY": concurrency})
            assert len(PublisherQuery("Computer Press").getSearchResult().records) == 30

        one = best(lambda: run(1))
        ours = best(lambda: run(30))
    print(
        f"search, 30 records at 50 ms: one after another {one:.2f} s, ours {ours:.3f} s:"
        f" {one / ours:.1f} times faster"
    )


def parse():
    xml = (DATA / "unix_example.xml").read_bytes()
    count = 300

    def with_pymarc():
        for _ in range(count):
            assert pymarc.parse_xml_to_array(io.BytesIO(xml))

    def with_ours():
        for _ in range(count):
            MarcRecord(xml)

    theirs = best(with_pymarc) / count * 1e6
    ours = best(with_ours) / count * 1e6
    print(f"one record: pymarc {theirs:.0f} us, ours {ours:.0f} us: {ours / theirs:.2f} times")


KINDS = ("(", "[(<", ")", "1-", "80-251-0225-4 ", "ISBN ", "= + ", "a b, ", "&lt;&lt;", "2014-")


def text_routines():
    def record(text):
        title = f'<datafield tag="245"><subfield code="a">{text}</subfield></datafield>'
        number = f'<datafield tag="020"><subfield code="a">{text}</subfield></datafield>'
        AlephRecord.read("nkc", "CZE01", "1", f"<record>{title}{number}</record>")

    print("ns per byte, worst kind of text:      1 kB    100 kB      1 MB")
    routines = (hairs, split_isbn, clean_issn, clean_date, isbn.find_all, isbn.is_valid, record)
    for routine in routines:
        worst = []
        for size in (1_000, 100_000, 1_000_000):
            texts = [(kind * (size // len(kind) + 1))[:size] for kind in KINDS]
            if routine is record:
                texts = [text.replace("<", " ") for text in texts]
            worst.append(max(best(partial(routine, text), 2) for text in texts) / size * 1e9)
        print(f"  {routine.__name__:28}" + "".join(f"{value:10.0f}" for value in worst))


if __name__ == "__main__":
    search()
    parse()
    text_routines()
