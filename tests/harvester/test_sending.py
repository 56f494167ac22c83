"""From results to confirmed messages: batches, failures in between, the daemon's schedule."""

import json
import threading
import time

import pytest

from edeposit.amqp.errors import ClosedError, MessageTooLargeError
from edeposit.amqp.harvester import periodic, settings
from edeposit.amqp.harvester.crawl import SourceResult
from edeposit.amqp.harvester.exceptions import (
    FetchError,
    HarvesterError,
    SourceFailedError,
)
from edeposit.amqp.harvester.filters import Sieve
from edeposit.amqp.harvester.filters.dup_filter import SeenBooks
from edeposit.amqp.harvester.periodic import Schedule
from edeposit.amqp.harvester.sending import send_books
from edeposit.amqp.harvester.structures import Author, Publication
from edeposit.amqp.serializers import serialize_bytes
from edeposit.amqp.testing import wait_for


def books(numbers):
    return [Publication(f"Kniha {n}", [Author(f"Autor {n}")], "1 Kč", "JOTA") for n in numbers]


class Receiver:
    """Keeps what is sent; ``fail`` is called before with what is about to be."""

    def __init__(self, fail=None):
        self.fail = fail
        self.messages = []
        self.uuids = []

    def __call__(self, data, UUID):
        if self.fail is not None:
            self.fail(data)
        self.messages.append(data)
        self.uuids.append(UUID)

    @property
    def sizes(self):
        return [len(m.publications) for m in self.messages if not isinstance(m, Exception)]

    @property
    def titles(self):
        books = (m.publications for m in self.messages if not isinstance(m, Exception))
        return [book.title for batch in books for book in batch]

    @property
    def errors(self):
        return [m for m in self.messages if isinstance(m, Exception)]


def send(results, receiver):
    with Sieve() as sieve:
        return list(send_books(results, receiver, sieve))


def count():
    with SeenBooks() as seen:
        return seen.count()


def test_books_go_in_batches_with_uuids_of_their_own():
    receiver = Receiver()
    (report,) = send([SourceResult("jota", books(range(250)), [])], receiver)
    assert receiver.sizes == [100, 100, 50]
    assert receiver.titles == [f"Kniha {n}" for n in range(250)]
    assert len(set(receiver.uuids)) == 3
    assert (report.found, report.sent, report.messages, report.errors) == (250, 250, 3, [])
    (again,) = send([SourceResult("jota", books(range(251)), [])], receiver)
    assert (again.sent, again.known) == (1, 250)
    assert send([], receiver) == []


def test_batches_are_bounded_in_bytes():
    settings.substitute_globals({"HARVESTER_MAX_MESSAGE": 64 * 1024})
    large, huge = books([1, 2, 3, 4, 5]), books([6])
    for book in large:
        book.optionals.description = "ř" * 12_000
    huge[0].optionals.description = "ř" * 70_000
    receiver = Receiver()
    (report,) = send([SourceResult("jota", [*large[:3], *huge, *large[3:]], [])], receiver)
    assert receiver.sizes == [2, 2, 1]
    assert all(len(serialize_bytes(m)) <= 64 * 1024 for m in receiver.messages[:3])
    assert "'Kniha 6' has" in report.errors[0]
    assert count() == 5


def test_the_brokers_limit_divides_batches():
    def limit(data):
        size = 0 if isinstance(data, Exception) else len(serialize_bytes(data))
        if size > 3000:
            raise MessageTooLargeError(size, 3000)

    large = books([7])
    large[0].optionals.description = "x" * 4000
    receiver = Receiver(limit)
    (report,) = send([SourceResult("jota", books(range(7)) + large + books([8]), [])], receiver)
    assert sorted(receiver.titles) == sorted(f"Kniha {n}" for n in (*range(7), 8))
    assert max(receiver.sizes) > 1
    assert report.sent == count() == 8
    assert "'Kniha 7' is not sent" in receiver.errors[0].args[0]


def test_what_cannot_be_sent_does_not_hold_up_the_rest():
    bad_text, bad_author, good = books([1, 2, 3])
    bad_text.title = object()
    bad_author.authors = ["just a text"]
    surrogate = books([4])[0]
    surrogate.title = "\ud800"
    receiver = Receiver()
    (report,) = send([SourceResult("jota", [bad_text, bad_author, surrogate, good], [])], receiver)
    assert receiver.titles == ["Kniha 3"]
    assert len(report.errors) == 3
    assert count() == 1


def test_failures_name_their_source_and_are_bounded():
    errors = [FetchError(f"HTTP status 500 {'x' * 1000}", f"http://x/{n}") for n in range(1000)]
    receiver = Receiver()
    reports = send(
        [SourceResult("jota", books([1]), errors), SourceResult("other", books([2]), [])], receiver
    )
    assert [len(r.errors) for r in reports] == [1000, 0]
    (error,) = receiver.errors
    assert isinstance(error, SourceFailedError)
    assert str(error).startswith("source jota: 1000 errors\nFetchError: HTTP status 500")
    assert len(str(error)) < 30_000
    assert receiver.titles == ["Kniha 1", "Kniha 2"]


@pytest.mark.parametrize("position", [0, 1, 2, 4])
def test_after_a_failure_at_any_message_everything_unconfirmed_is_sent_again(position):
    settings.substitute_globals({"HARVESTER_BATCH": 3})
    sent = Receiver()

    def fail(_data):
        if len(sent.messages) == position:
            raise ClosedError("the daemon ends")

    sent.fail = fail
    results = [SourceResult("a", books(range(7)), []), SourceResult("b", books(range(7, 14)), [])]
    with pytest.raises(ClosedError):
        send(results, sent)
    again = Receiver()
    send(results, again)
    assert sorted(sent.titles + again.titles) == sorted(f"Kniha {n}" for n in range(14))


# --- the schedule ---------------------------------------------------------------------------


def run_until(schedule, end, most):
    """Run the schedule until it has harvested so often; returns the start of each."""
    runs = []

    def harvest():
        runs.append(time.time())
        if len(runs) == most:
            end.set()

    thread = threading.Thread(target=schedule.run, args=(harvest, end))
    thread.start()
    return runs, thread


def test_the_first_harvest_is_due_at_once_and_the_next_after_the_interval():
    schedule = Schedule(3600)
    assert schedule.seconds_left() == 0
    schedule.note(time.time() - 600)
    assert 2900 < schedule.seconds_left() <= 3000
    assert 2900 < Schedule(3600).seconds_left() <= 3000
    schedule.note(time.time() - 4000)
    assert schedule.seconds_left() == 0


def test_a_clock_set_back_does_not_stop_the_harvests():
    schedule = Schedule(3600)
    schedule.note(time.time() + 10**9)
    assert schedule.seconds_left() == 0


@pytest.mark.parametrize("content", [b"", b"{}", b"[" * 10**5, b'{"started": "x"}', b"\xff"])
def test_a_broken_state_means_that_a_harvest_is_due(content):
    schedule = Schedule(3600)
    schedule.path.write_bytes(content)
    assert schedule.seconds_left() == 0


def test_harvests_repeat_until_the_end():
    end = threading.Event()
    runs, thread = run_until(Schedule(0.05), end, 3)
    thread.join(30)
    assert len(runs) == 3
    assert runs == sorted(runs)


def test_an_interrupted_harvest_is_made_again():
    end = threading.Event()
    runs, thread = run_until(Schedule(3600), end, 1)
    thread.join(30)
    assert len(runs) == 1
    assert Schedule(3600).seconds_left() == 0


def test_the_end_is_prompt_while_waiting():
    end = threading.Event()
    schedule = Schedule(3600)
    schedule.note(time.time())
    runs, thread = run_until(schedule, end, 1)
    end.set()
    thread.join(10)
    assert not thread.is_alive()
    assert runs == []


def test_a_state_that_cannot_be_kept_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("no directory")
    settings.substitute_globals({"HARVESTER_STATE": str(tmp_path / "file" / "state.json")})
    with pytest.raises(HarvesterError, match="the state cannot be kept here"):
        Schedule(3600)


def test_the_interval_is_a_setting(tmp_path):
    schedule = Schedule()
    schedule.note(time.time())
    assert schedule.seconds_left() > 80_000
    settings.substitute_globals({"HARVESTER_INTERVAL": 10})
    assert schedule.seconds_left() <= 10
    assert json.loads((tmp_path / "harvester-last.json").read_text())["started"] > 0


# --- the daemon's work ----------------------------------------------------------------------


def test_the_end_does_not_wait_for_a_source_that_hangs():
    end, stopped = threading.Event(), threading.Event()

    def results(stop):
        yield SourceResult("a", books([1]), [])
        if stop.wait(60):
            stopped.set()
        yield SourceResult("b", books([2]), [])

    found = []
    for result in periodic.until(end, results):
        found.append(result.name)
        end.set()
    assert found == ["a"]
    assert stopped.wait(20)


def test_a_harvest_whose_books_nobody_takes_is_stopped():
    stopped = threading.Event()

    def results(stop):
        yield SourceResult("a", books([1]), [])
        if stop.wait(60):
            stopped.set()

    iterator = periodic.until(threading.Event(), results)
    next(iterator)
    iterator.close()
    assert stopped.wait(20)


def test_an_error_of_the_whole_harvest_gets_out():
    def results(_stop):
        yield SourceResult("a", [], [])
        raise HarvesterError("broken")

    iterator = periodic.until(threading.Event(), results)
    assert next(iterator).name == "a"
    with pytest.raises(HarvesterError, match="broken"):
        next(iterator)


def test_a_harvest_that_fails_as_a_whole_is_a_message(tmp_path):
    settings.substitute_globals({"HARVESTER_SOURCES": ["no_such_source"]})
    receiver = Receiver()
    periodic.harvest_and_send(receiver, threading.Event())
    assert "there is no source 'no_such_source'" in str(receiver.errors[0])


# --- a harvest that fails -------------------------------------------------------------------------


def test_a_harvest_that_failed_as_a_whole_is_not_noted_but_made_again(monkeypatch):
    monkeypatch.setattr(periodic, "_FIRST_PAUSE", 0.01)
    end = threading.Event()
    outcomes = [False, False, True]
    schedule = Schedule(3600)

    def harvest():
        outcome = outcomes.pop(0)
        assert schedule.last() is None
        return outcome

    thread = threading.Thread(target=schedule.run, args=(harvest, end))
    thread.start()
    wait_for(lambda: schedule.last() is not None, 20, "the harvest is noted")
    end.set()
    thread.join(10)
    assert outcomes == []
    assert Schedule(3600).seconds_left() > 3500


def test_the_pause_after_a_failure_grows_to_the_interval(monkeypatch, caplog):
    monkeypatch.setattr(periodic, "_FIRST_PAUSE", 0.001)
    end = threading.Event()
    runs = []

    def harvest():
        runs.append(time.monotonic())
        if len(runs) == 30:
            end.set()
        return False

    Schedule(0.004).run(harvest, end)
    pauses = [record.args[0] for record in caplog.records if "made again" in record.msg]
    assert pauses[:4] == [0.001, 0.002, 0.004, 0.004]
    assert set(pauses[3:]) == {0.004}


def test_a_state_that_cannot_be_written_does_not_end_the_daemon(tmp_path, caplog):
    end = threading.Event()
    schedule = Schedule(0.05, tmp_path / "state" / "last.json")
    (tmp_path / "state" / "last.json.new").mkdir()
    runs, thread = run_until(schedule, end, 3)
    thread.join(30)
    assert len(runs) == 3
    assert runs[-1] - runs[0] >= 0.08
    assert "the state cannot be kept here" in caplog.text


def test_a_broken_database_is_such_a_failure(tmp_path):
    settings.substitute_globals({"DUP_FILTER_DATABASE": str(tmp_path)})
    receiver = Receiver()
    assert periodic.harvest_and_send(receiver, threading.Event()) is False
    assert [type(error).__name__ for error in receiver.errors] == ["CacheError"]


def harvested(monkeypatch, *results):
    monkeypatch.setattr(periodic, "harvest", lambda names, stop: iter(results))
    return periodic.harvest_and_send(Receiver(), threading.Event())


def test_so_is_a_harvest_in_which_every_source_failed(monkeypatch):
    dead = SourceResult("dead", [], [FetchError("no route")])
    assert harvested(monkeypatch, dead, dead) is False
    assert harvested(monkeypatch, dead, SourceResult("a", books([1]), []))
    assert harvested(monkeypatch, SourceResult("a", books([2]), [FetchError("one page")]))
    assert harvested(monkeypatch, SourceResult("quiet", [], []))
    assert harvested(monkeypatch)


# --- one book's fault -----------------------------------------------------------------------------


class Odd:
    """Gives what nobody expects."""

    def __getattr__(self, name):
        raise RuntimeError("odd")


def odd_books():
    nan, surrogate, number, loop, nested = books([10, 11, 12, 13, 14])
    nan.price = float("nan")
    surrogate.optionals.description = "\udc80"
    number.optionals.pages = object()
    loop.authors = [loop]
    nested.optionals.description = []
    for _ in range(100_000):
        nested.optionals.description = [nested.optionals.description]
    return [nan, surrogate, number, loop, nested, Odd(), None]


def test_no_book_costs_another_one():
    receiver = Receiver()
    good = books([1, 2])
    (report,) = send([SourceResult("s", [good[0], *odd_books(), good[1]], [])], receiver)
    assert {"Kniha 1", "Kniha 2"} <= set(receiver.titles)
    assert report.sent + len(report.errors) == report.found
    for message in receiver.messages:
        if isinstance(message, Exception):
            str(message).encode("utf-8")
        else:
            serialize_bytes(message)


def test_nor_in_a_harvest_that_was_ordered(monkeypatch):
    import edeposit.amqp.harvester as harvester
    from edeposit.amqp.harvester import crawl

    good = books([1, 2])
    results = [SourceResult("s", [good[0], *odd_books(), good[1]], []), SourceResult("t", [], [])]
    monkeypatch.setattr(crawl, "harvest", lambda names: iter(results))
    progress = []
    answer = harvester.reactToAMQPMessage(harvester.HarvestRequest(["s"]), progress.append)
    assert {"Kniha 1", "Kniha 2"} <= {book.title for book in answer.publications}
    for message in (answer, *progress):
        serialize_bytes(message)
    first = progress[0]
    assert first.found == 9
    assert first.new + len(first.errors) == 9


@pytest.mark.parametrize("as_json", [False, True])
def test_nor_in_a_dry_run(monkeypatch, capsys, as_json):
    from edeposit.amqp.harvester import crawl
    from edeposit.amqp.programs import harvest

    good = books([1, 2])
    results = [SourceResult("s", [good[0], *odd_books(), good[1]], [])]
    monkeypatch.setattr(crawl, "harvest", lambda names, progress, stop: iter(results))
    assert harvest.main(["--harvest", "--dry-run", *(["--json"] if as_json else [])]) == 1
    printed = capsys.readouterr().out
    assert "Kniha 1" in printed
    assert "Kniha 2" in printed


def test_a_source_in_python_keeps_what_it_gave_before_its_error(monkeypatch):
    from edeposit.amqp.harvester import crawl

    def generate():
        yield from books([1, 2])
        raise RuntimeError("broken \ud800")

    class Point:
        name = "odd_cz"

        def load(self):
            return generate

    monkeypatch.setattr(crawl, "entry_points", lambda group: [Point()])
    (result,) = crawl.harvest(["odd_cz"])
    assert [book.title for book in result.publications] == ["Kniha 1", "Kniha 2"]
    (error,) = result.errors
    str(error).encode("utf-8")
