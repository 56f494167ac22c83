"""FTP: a user made over RabbitMQ, an upload over real FTP, and the import that comes of it."""

import io
import json
import os

from edeposit.amqp.client import AMQPClient
from edeposit.amqp.errors import RemoteError
from edeposit.amqp.ftp import settings
from edeposit.amqp.ftp.structures import AddUser, ListRegisteredUsers
from edeposit.amqp.testing import ProftpdServer, wait_for

TOOL = "edeposit_amqp_tool.py"
MANAGER = "edeposit_amqp_ftp_managerd.py"
MONITOR = "edeposit_amqp_ftp_monitord.py"
BOOK = b"%PDF-1.4 a very small book \xff\xfe"
METADATA = {
    "ISBN": "80-86056-31-7",
    "Název": "Zen a umění internetu",
    "Vazba": "brož.",
    "Místo vydání": "Praha",
    "Nakladatel": "Polaris",
    "Datum vydání": "1996",
    "Pořadí vydání": "1",
    "Zpracovatel záznamu": "edeposit demo",
}


def run(stage):
    stage.title("ftp: users and uploads of a ProFTPD behind RabbitMQ")
    if os.geteuid():
        stage.say("Skipped: the users' homes belong to another account, which needs root.")
        return
    server = stage.stack.enter_context(ProftpdServer())
    os.environ.update(server.env())
    settings.reload()
    stage.say(f"A private ProFTPD listens on 127.0.0.1:{server.port}; homes in {server.data_path}.")
    stage.command(TOOL, "--host", "ftp", "--create")
    stage.daemon(MANAGER)
    stage.daemon(MONITOR)

    with AMQPClient("ftp") as client:
        stage.say("A user is made over RabbitMQ:")
        stage.expect("AddUser", client.call(AddUser("garda", "tajne")), True)
        names = client.call(ListRegisteredUsers()).users
        stage.expect("ListRegisteredUsers", names, names == ["garda"])
        try:
            client.call(AddUser("../etc", "x"))
        except RemoteError as error:
            stage.expect(error.name, error.message, error.name == "AssertionError")

        stage.say("The user uploads a book with its metadata by FTP, and deletes the lock file:")
        session = server.login("garda", "tajne")
        session.storbinary("STOR zen.pdf", io.BytesIO(BOOK))
        session.storbinary("STOR zen.json", io.BytesIO(json.dumps(METADATA).encode()))
        session.delete(settings.LOCK_FILENAME)

        stage.say("The monitor sends what was uploaded:")
        (pair,) = client.receive(timeout=20).value.requests
        book = pair.metadata_file.parsed_data
        stage.expect("metadata", f"{book.nazev} ({book.ISBN})", book.nazev == METADATA["Název"])
        stage.expect("e-book", pair.ebook_file, pair.ebook_file.raw_data == BOOK)

    wait_for(lambda: settings.LOCK_FILENAME in session.nlst(), what="the lock file is back")
    lines = []
    session.retrlines(f"RETR {settings.USER_IMPORT_LOG}", lines.append)
    stage.say("And tells the user in import.log.txt:")
    stage.expect("import.log.txt", lines[0], lines[0] == "Status: Ok")
    session.quit()
    stage.command(MONITOR, "stop")
    stage.command(MANAGER, "stop")
