"""The catalogue: a search as plain pika, as the client and as the tool send it, and more."""

import os
import sys
from pathlib import Path
from urllib.parse import quote

from edeposit.amqp import settings
from edeposit.amqp.aleph import (
    AuthorQuery,
    CountRequest,
    GenericQuery,
    ISBNQuery,
    ISBNValidationRequest,
    SearchRequest,
)
from edeposit.amqp.aleph.simulator import AlephSimulator
from edeposit.amqp.client import AMQPClient
from edeposit.amqp.errors import RemoteError

TOOL = "edeposit_amqp_tool.py"
DAEMON = "edeposit_amqp_alephdaemon.py"
EXAMPLE = Path(__file__).parents[1] / "docs" / "examples" / "plain_pika.py"
ISBN = "80-251-0225-4"


def run(stage):
    stage.title("aleph: the library catalogue behind RabbitMQ")
    simulator = stage.stack.enter_context(AlephSimulator())
    os.environ["ALEPH_URL"] = simulator.url
    os.environ["ALEPH_EXPORT_URL"] = simulator.export_url
    stage.say(
        f"A simulated Aleph server with {len(simulator.catalogue.entries)} records"
        f" listens at {simulator.url}."
    )
    stage.command(TOOL, "--host", "aleph", "--create")
    stage.daemon(DAEMON)

    stage.say("A search with twenty lines of plain pika (docs/examples/plain_pika.py):")
    # In the environment: a password must not stand in a command that is shown.
    os.environ["AMQP_URL"] = (
        f"amqp{'s' if settings.RABBITMQ_SSL else ''}://{quote(settings.RABBITMQ_USER_NAME)}:"
        f"{quote(settings.RABBITMQ_USER_PASSWORD, safe='')}@{settings.RABBITMQ_HOST}:"
        f"{settings.RABBITMQ_PORT}/{quote(settings.RABBITMQ_ALEPH_VIRTUALHOST, safe='')}"
    )
    answer = stage.command(sys.executable, str(EXAMPLE), ISBN, shorten=True)
    stage.expect("a SearchResult", "Raymond", "SearchResult" in answer and "Raymond" in answer)

    stage.say("The same and more through the client:")
    with AMQPClient("aleph") as client:
        (record,) = client.call(SearchRequest(ISBNQuery(ISBN))).records
        book = record.parsed_info
        stage.expect(ISBN, f"{book.nazev} / {book.autori[0].lastName}", book.ISBN == [ISBN])
        result = client.call(CountRequest(AuthorQuery("karel capek")))
        stage.expect("books by Karel Čapek", result, result.num_of_records == 10)
        result = client.call(ISBNValidationRequest("80-251-0225-5"))
        stage.expect("80-251-0225-5", result, not result.is_valid)
        try:
            client.call(SearchRequest(GenericQuery("nkc", "x", False, "nonsense")))
        except RemoteError as error:
            stage.expect(error.name, error.message, error.name == "InvalidAlephFieldException")
        else:
            raise AssertionError("a search by an unknown field was answered")

    stage.say("And from the shell:")
    stage.command(
        TOOL, "--host", "aleph", "--call", f'SearchRequest(ISBNQuery("{ISBN}"))', shorten=True
    )
    stage.command(DAEMON, "stop")
