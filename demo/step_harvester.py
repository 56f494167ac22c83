"""Harvester: books of a small local site in the layouts of its sources, and only the new ones."""

import os

from bookshops import all_shops
from edeposit.amqp.client import AMQPClient
from edeposit.amqp.harvester import settings
from edeposit.amqp.harvester.messages import HarvestRequest
from edeposit.amqp.harvester.structures import identity_of
from edeposit.amqp.testing import SiteServer, wait_for

TOOL = "edeposit_amqp_tool.py"
PROGRAM = "edeposit_amqp_harvester.py"
ON_REQUEST = "edeposit_amqp_harvesterd.py"


def run(stage):
    stage.title("harvester: new books from publishers' pages")
    shops = all_shops(6)
    server = SiteServer({shop.host: shop.pages for shop in shops})
    stage.stack.enter_context(server)
    state = stage.directory / "harvester"
    os.environ.update(server.env())
    os.environ.update(
        HARVESTER_SOURCES=",".join(shop.source for shop in shops),
        HARVESTER_CACHE="-",
        DUP_FILTER_FILE=str(state / "none"),
        DUP_FILTER_DATABASE=str(state / "sent.sqlite"),
    )
    settings.reload()
    stage.say(f"A local site serves {', '.join(shop.host for shop in shops)}.")
    stage.command(TOOL, "--host", "harvester", "--create")
    stage.command(PROGRAM, "--list")

    stage.say("Do the sources still find everything? (Nothing is printed if they do.)")
    stage.command(PROGRAM, "--unittest")

    stage.say("The first harvest; a book that two shops have is sent once:")
    stage.command(PROGRAM, "--harvest")
    books = []
    with AMQPClient("harvester") as client:
        wanted = {identity_of(book) for shop in shops for book in shop.expected}
        while {identity_of(book) for book in books} != wanted:
            books += client.receive(timeout=20).value.publications
        stage.expect("books in the queue", len(books), len(books) == len(wanted))
        first = books[0]
        authors = ", ".join(author.name for author in first.authors)
        stage.expect("the first", f"{first.title}, {authors}, {first.price}", bool(authors))

        stage.say("A second harvest sends nothing:")
        stage.command(PROGRAM, "--harvest")

        stage.say("Grada brings out one more book. A harvest on request, over RabbitMQ:")
        grada = all_shops(7)[1]
        (latest,) = (book for book in grada.expected if identity_of(book) not in wanted)
        server.hosts[grada.host] = grada.pages
        stage.daemon(ON_REQUEST)
        answer = client.call(HarvestRequest(["grada_cz"]), 60, on_progress=show(stage))
        found = [book.title for book in answer.publications]
        stage.expect("not sent before", found, found == [latest.title])
        stage.command(ON_REQUEST, "stop")

        stage.say("The daemon harvests once a day; it sends that book and notes when it ran:")
        stage.daemon(PROGRAM)
        sent = client.receive(timeout=20).value.publications
        stage.expect("sent", sent[0].title, sent == [latest.to_namedtuple()])
        last = state / "harvester-last.json"
        wait_for(last.exists, 20, "the harvest is complete")
        stage.command(PROGRAM, "status")
        stage.command(PROGRAM, "stop")


def show(stage):
    return lambda progress: stage.say(f"  progress: {progress}")
