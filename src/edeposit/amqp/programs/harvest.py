"""The command lines of the harvester's programs: once, for cron and people, or as a daemon.

What must stay true: nothing is marked as sent without the broker's confirm, and nothing at all with
``--dry-run``; a failure shows in the exit code and, except with ``--dry-run``, in the queue.
"""

import argparse
import contextlib
import logging
import sys
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from edeposit.amqp import service
from edeposit.amqp.broker.sender import ServiceOutput
from edeposit.amqp.errors import AMQPError, StartError
from edeposit.amqp.process.control import EXIT_FAILURE
from edeposit.amqp.senderdaemon import Work
from edeposit.amqp.settings import SettingsError

SERVICE = "harvester"
DAEMON = "harvester_periodic"

_OK, _INTERRUPTED = 0, 130

_EPILOG = """\
examples:
  {program} --harvest            send new books to RabbitMQ, once (for cron)
  {program} --harvest --dry-run  print them; send and mark nothing
  {program} --unittest           do the sources still find everything?
  {program} --list               the sources
  {program} start --interval 86400   harvest every day, in the background
  {program} status --json        what the daemon is doing, for programs

exit codes:
  0 done, or running (status)       1 failed (the errors are in the queue as well); not started
  2 wrong usage                     3 not running (status)       4 not permitted, or unknown
"""


def main(argv: Sequence[str] | None = None) -> int:
    """``edeposit_amqp_harvester.py``.

    Args:
        argv: arguments without the program's name; default ``sys.argv[1:]``.

    Returns:
        The exit code.
    """
    parser = service.command_line(
        "Sends the new books of publishers' pages to RabbitMQ.", may_lack_action=True
    )
    parser.epilog = _EPILOG.format(program=parser.prog)
    parser.add_argument("-r", "--harvest", action="store_true", help="harvest once and send")
    parser.add_argument("-u", "--unittest", action="store_true", help="check the sources")
    parser.add_argument("--list", action="store_true", help="names of the sources")
    parser.add_argument("--source", action="append", metavar="NAME", help="only this one; repeat")
    parser.add_argument("--dry-run", action="store_true", help="print; send and mark nothing")
    parser.add_argument("--samples-only", action="store_true", help="with -u: ask no live site")
    parser.add_argument(
        "--interval", type=_seconds, metavar="SECONDS", help="of the daemon, between two harvests"
    )
    args = parser.parse_args(argv)
    once = args.harvest or args.unittest or args.list
    if args.action is not None and once:
        parser.error("start, stop and so on do not go together with -r, -u and --list")
    if args.action is not None:
        return service.sender_main(DAEMON, SERVICE, _make_work, parser=parser, argv=argv)
    if not once:
        parser.print_help()
        return _OK
    if args.list:
        return _guarded(parser, args, lambda: _list(args))
    return _guarded(parser, args, lambda: _unittest(args) if args.unittest else _harvest(args))


def try_main(argv: Sequence[str] | None = None) -> int:
    """``edeposit_harvester_test.py``: as above, but without a broker; nothing is marked.

    Args:
        argv: arguments without the program's name; default ``sys.argv[1:]``.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(description="Tries the harvester's sources; sends nothing.")
    parser.add_argument("-u", "--unittest", action="store_true", help="check the sources")
    parser.add_argument("-r", "--harvest", action="store_true", help="print all books found")
    parser.add_argument("-d", "--dup-filter", action="store_true", help="without those known")
    parser.set_defaults(source=None, dry_run=True, samples_only=False, json=False)
    args = parser.parse_args(argv)
    if args.unittest:
        return _guarded(parser, args, lambda: _unittest(args))
    if args.harvest or args.dup_filter:
        return _guarded(parser, args, lambda: _dry_run(args, args.dup_filter, False))
    parser.print_help()
    return _OK


def _make_work(args: argparse.Namespace) -> Work:
    from edeposit.amqp.harvester import periodic
    from edeposit.amqp.harvester.exceptions import HarvesterError

    try:
        _check_names(args.source)
        return periodic.prepare(args.interval, args.source)
    except HarvesterError as error:
        raise StartError(str(error)) from error


def _check_names(names: Iterable[str] | None) -> None:
    """A mistyped name is the user's mistake and makes no message in the queue."""
    from edeposit.amqp.harvester.crawl import check_names

    check_names(names or ())


def _guarded(
    parser: argparse.ArgumentParser, args: argparse.Namespace, run: Callable[[], int]
) -> int:
    # The reports contain the library's warnings; they are printed when the progress bar is gone.
    logging.basicConfig(level=logging.ERROR, format="%(message)s")
    # A lost connection is made again, or becomes an error with the same text.
    logging.getLogger("pika").setLevel(logging.CRITICAL)
    try:
        service.load(SERVICE)
        from edeposit.amqp.harvester.exceptions import HarvesterError
    except AMQPError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return EXIT_FAILURE
    try:
        _check_names(args.source)
        return run()
    except (AMQPError, HarvesterError, SettingsError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return EXIT_FAILURE
    except KeyboardInterrupt:
        return _INTERRUPTED


def _list(args: argparse.Namespace) -> int:
    from edeposit.amqp.harvester.crawl import source_names, wanted_sources
    from edeposit.amqp.programs import harvestoutput

    harvestoutput.print_sources(source_names(), wanted_sources(), args.json)
    return _OK


def _harvest(args: argparse.Namespace) -> int:
    if args.dry_run:
        return _dry_run(args, None, None)
    from edeposit.amqp.harvester.exceptions import HarvesterError
    from edeposit.amqp.harvester.filters import Sieve
    from edeposit.amqp.harvester.sending import send_books
    from edeposit.amqp.programs import harvestoutput

    reports = []
    with ServiceOutput(SERVICE) as output:
        output.check()  # an hour of harvesting for nothing would be a pity
        try:
            with Sieve() as sieve, _results(args.source) as results:
                for report in send_books(results, output.send, sieve):
                    reports.append(report)
        except HarvesterError as error:
            output.send(error, str(uuid.uuid4()))
            raise
        finally:
            if reports:
                harvestoutput.print_reports(reports, args.json)
    if not reports:
        harvestoutput.print_reports(reports, args.json)
    return EXIT_FAILURE if any(report.errors for report in reports) else _OK


def _dry_run(
    args: argparse.Namespace, use_dup_filter: bool | None, use_aleph_filter: bool | None
) -> int:
    from edeposit.amqp.harvester.filters import Sieve
    from edeposit.amqp.harvester.sending import sendable
    from edeposit.amqp.programs import harvestoutput

    errors = 0
    with (
        Sieve(use_dup_filter=use_dup_filter, use_aleph_filter=use_aleph_filter) as sieve,
        _results(args.source) as results,
    ):
        for result in results:
            sifted = sieve.sift(result.publications)
            failures = [*result.errors, *sifted.errors]
            books = [book for book, _, _ in sendable(sifted.new, failures)]
            harvestoutput.print_books(books, args.json)
            harvestoutput.print_errors(result.name, failures)
            errors += len(failures)
    return EXIT_FAILURE if errors else _OK


@contextlib.contextmanager
def _results(sources: list[str] | None) -> Iterator[Iterator[Any]]:
    """The results of a harvest; an early end does not wait for the rest."""
    from edeposit.amqp.harvester.crawl import harvest
    from edeposit.amqp.programs import harvestoutput

    stop = threading.Event()
    try:
        with harvestoutput.progress() as progress:
            yield harvest(sources, progress=progress, stop=stop)
    finally:
        stop.set()


def _unittest(args: argparse.Namespace) -> int:
    from edeposit.amqp.harvester.exceptions import SelfTestError
    from edeposit.amqp.harvester.selftest import check_sources
    from edeposit.amqp.programs import harvestoutput

    checks: list[Any] = list(check_sources(args.source, live=not args.samples_only))
    harvestoutput.print_checks(checks, args.json)
    failed = [check for check in checks if not check.ok]
    if not failed:
        return _OK
    if not args.dry_run:
        with ServiceOutput(SERVICE) as output:
            for source in dict.fromkeys(check.source for check in failed):
                wrong = [check for check in failed if check.source == source]
                output.send(SelfTestError(source, wrong), str(uuid.uuid4()))
    return EXIT_FAILURE


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 1 <= seconds <= 366 * 86400:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 1 on")
    return seconds
