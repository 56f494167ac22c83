"""A site of 2,000 book pages with 20 ms latency: a plain requests + BeautifulSoup loop, and ours.

Both fetch the list, follow each link and read seven fields. The server is a process of its own, on
127.0.0.1; CPU is that of the harvesting process alone. The delay per host is 0 for both: what is
compared is the work, and what the latency costs when requests do not overlap.
"""

import asyncio
import json
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

from edeposit.amqp.harvester import crawl, settings

sys.path.insert(0, str(Path(__file__).parents[1] / "demo"))
import bookshops

PAGES = 2000
LATENCY = 0.02
HOST = "shop.ben.cz"
LIST = "/Produkty.aspx?lang=cz&nak=BEN+-+technick%C3%A1+literatura"
# A page of a shop is not only its book: menus, boxes, other books. About 20 kB.
NOISE = "".join(
    f'<div class="box"><ul><li><a href="/x{n}">Polozka {n}</a></li></ul><p >Text {n}</p></div>'
    for n in range(180)
).encode()


def serve(pages, ports):
    async def answer(reader, writer):
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                path = head.split(b" ", 2)[1].decode()
                await asyncio.sleep(LATENCY)
                body = pages.get(path)
                status = "404 Not Found" if body is None else "200 OK"
                body = body or b""
                writer.write(
                    f"HTTP/1.1 {status}\r\nContent-Type: text/html; charset=utf-8\r\n"
                    f"Content-Length: {len(body)}\r\n\r\n".encode()
                    + body
                )
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def run():
        server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=256)
        ports.put(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


def plain(base):
    import requests
    from bs4 import BeautifulSoup

    session = requests.Session()
    books = []

    def last_cell(soup, suffix):
        row = soup.find("tr", id=f"ctl00_ContentPlaceHolder1_tblRow{suffix}")
        return row.find_all("td")[-1]

    soup = BeautifulSoup(session.get(base + LIST).text, "html.parser")
    for item in soup.find_all("div", class_="seznamKniha"):
        if item.find("span", class_="pripravujeme"):
            continue
        url = item.a["href"].replace(f"http://{HOST}", base)
        page = BeautifulSoup(session.get(url).text, "html.parser")
        pages, _, binding = last_cell(page, "RozsahVazba").get_text().partition("/")
        isbn, _, ean = last_cell(page, "IsbnEan").get_text().partition("/")
        books.append(
            (
                page.find("div", id="contentDetail").h1.get_text(),
                [a.get_text() for a in last_cell(page, "Autor").find_all("a")],
                last_cell(page, "BeznaCena").get_text(),
                pages.strip(),
                binding.strip(),
                isbn.strip(),
                ean.strip(),
            )
        )
    return books


def ours(_base):
    (result,) = crawl.harvest(["ben_cz"])
    assert not result.errors, result.errors[:3]
    return [
        (
            book.title,
            [author.name for author in book.authors],
            book.price,
            book.optionals.pages,
            book.optionals.binding,
            book.optionals.ISBN,
            book.optionals.EAN,
        )
        for book in result.publications
    ]


def measure(name, function, base):
    before = resource.getrusage(resource.RUSAGE_SELF)
    started = time.perf_counter()
    books = function(base)
    seconds = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert len(books) == PAGES
    print(
        f"{name:<28} {seconds:6.2f} s  {PAGES / seconds:6.0f} pages/s"
        f"  {cpu / PAGES * 1000:5.2f} ms CPU per page"
    )
    return seconds, cpu, books


def main():
    shop = bookshops.ben(PAGES)
    pages = {
        path: body.replace(b"</body>", NOISE + b"</body>") if path != LIST else body
        for path, body in shop.pages.items()
    }
    ports = multiprocessing.Queue()
    server = multiprocessing.Process(target=serve, args=(pages, ports), daemon=True)
    server.start()
    base = f"http://127.0.0.1:{ports.get(timeout=20)}"
    with tempfile.TemporaryDirectory() as directory:
        os.environ |= {
            "HOME": directory,
            "HARVESTER_BASE_URLS": json.dumps({HOST: base}),
            "HARVESTER_DELAY": "0",
            "HARVESTER_CONNECTIONS": "16",
            "HARVESTER_CACHE": "-",
        }
        settings.reload()
        mine = measure("ours, 16 connections", ours, base)
        theirs = measure("requests + BeautifulSoup", plain, base)
        again = measure("ours, once more", ours, base)
    server.terminate()
    assert [book[0] for book in mine[2]] == [book[0] for book in theirs[2]]
    assert mine[2] == theirs[2]
    seconds, cpu = max(mine[0], again[0]), max(mine[1], again[1])
    print(f"{theirs[0] / seconds:.1f} times faster, CPU per page {cpu / theirs[1]:.2f} of theirs")


if __name__ == "__main__":
    main()
