"""The filter of books sent before: 100,000 publications through it, in batches as they are sent.

First run: all are new, each batch is looked up and marked (one transaction, synchronous = FULL).
Second run: none passes. Third: the old way, a set read from and written to a JSON file, with the
whole file written once a batch (the first generation wrote it once a book). Each run is a process
of its own, so that its memory is its own.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BOOKS = int(os.environ.get("BENCH_BOOKS", "100000"))
BATCH = 100
MIB = 1024 * 1024


def books(first):
    """A batch: two in three with an ISBN, as shops have it."""
    from edeposit.amqp.harvester.structures import Author, Publication

    for number in range(first, first + BATCH):
        book = Publication(f"Kniha {number}", [Author(f"Autor {number % 999}")], "1 Kč", "JOTA")
        if number % 3:
            digits = f"978{number:09d}"
            check = -sum(int(d) * (1, 3)[place % 2] for place, d in enumerate(digits)) % 10
            book.optionals.ISBN = f"{digits[:3]}-{digits[3:]}-{check}"
        yield book


def only_make():
    return sum(len(list(books(first))) for first in range(0, BOOKS, BATCH))


def through_the_filter():
    from edeposit.amqp.harvester.filters import Sieve

    passed = 0
    with Sieve() as sieve:
        for first in range(0, BOOKS, BATCH):
            new = sieve.sift(books(first)).new
            sieve.mark_seen(new, "bench")
            passed += len(new)
    return passed


def json_file():
    from edeposit.amqp.harvester.structures import identity_of

    path = Path(os.environ["HOME"], "cache.json")
    passed = 0
    for first in range(0, BOOKS, BATCH):
        seen = set(json.loads(path.read_text("utf-8"))) if path.exists() else set()
        new = [identity for book in books(first) if (identity := identity_of(book)) not in seen]
        passed += len(new)
        path.write_text(json.dumps(sorted(seen.union(new))), "utf-8")
    return passed


RUNS = {
    "books alone (no filter)": only_make,
    "first run: all new": through_the_filter,
    "second run: none new": through_the_filter,
    "JSON file, once a batch": json_file,
}


def measure(function):
    """Run in this process; print what it took as JSON."""
    import edeposit.amqp.harvester.filters

    assert edeposit.amqp.harvester.filters
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start, cpu = time.perf_counter(), time.process_time()
    passed = function()
    print(
        json.dumps(
            [
                passed,
                time.perf_counter() - start,
                time.process_time() - cpu,
                resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
                before / 1024,
            ]
        )
    )


def main():
    if len(sys.argv) > 1:
        return measure(RUNS[sys.argv[1]])
    print(f"{BOOKS:,} publications, batches of {BATCH}")
    with tempfile.TemporaryDirectory() as home:
        database = Path(home, "seen.sqlite")
        environment = {**os.environ, "HOME": home, "DUP_FILTER_DATABASE": str(database)}
        for name in RUNS:
            done = subprocess.run(
                [sys.executable, __file__, name],
                env=environment,
                check=True,
                stdout=subprocess.PIPE,
            )
            passed, seconds, cpu, rss, before = json.loads(done.stdout)
            batch_ms, book_us = BATCH * seconds / BOOKS * 1e3, cpu / BOOKS * 1e6
            print(
                f"{name:25} {passed:7,} passed  {seconds:6.1f} s  {batch_ms:6.2f} ms a batch"
                f"  {book_us:5.0f} us CPU a book  peak {rss:5.1f} MiB"
                f" ({rss - before:.1f} of it for the run)"
            )
        print(f"database: {database.stat().st_size / MIB:.1f} MiB")


if __name__ == "__main__":
    main()
