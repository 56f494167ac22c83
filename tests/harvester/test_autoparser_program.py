"""edeposit_autoparser.py as people run it, and what it writes."""

import contextlib
import os
import shutil
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import lxml
import pytest
import yaml

from edeposit.amqp.harvester import settings
from edeposit.amqp.harvester.autoparser import Wanted, learn
from edeposit.amqp.harvester.autoparser.emitting import emit_python, field_name
from edeposit.amqp.harvester.autoparser.examples import read_configuration
from edeposit.amqp.harvester.crawl import harvest
from edeposit.amqp.harvester.page import Page
from edeposit.amqp.harvester.selftest import check_sources
from edeposit.amqp.harvester.source import load_source
from edeposit.amqp.harvester.source.rules import Rule

from .designs import DESIGNS, UNTUNED, examples_of

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "bin" / "edeposit_autoparser.py"
DATA = Path(__file__).parent / "data" / "autoparser"
WALK = ROOT / "docs" / "examples" / "autoparser"


def autoparser(*arguments, **options):
    return subprocess.run(
        [sys.executable, str(PROGRAM), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        **options,
    )


@pytest.fixture(scope="module")
def only_lxml(tmp_path_factory):
    """Runs a module in an interpreter that has the standard library and lxml, nothing else."""
    folder = tmp_path_factory.mktemp("packages")
    (folder / "lxml").symlink_to(Path(lxml.__file__).parent)
    start = (
        f"import sys; sys.path.append({str(folder)!r})\n"
        "for name in ('edeposit', 'cssselect', 'yaml', 'nh3'):\n"
        "    try: __import__(name)\n"
        "    except ImportError: continue\n"
        "    raise SystemExit(name + ' is there')\n"
        "import runpy; runpy.run_path(sys.argv[1], run_name='__main__')"
    )

    def run(path):
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", start, str(path)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.returncode, done.stderr

    return run


def test_example_of_the_specification_as_a_source_file():
    done = autoparser("-c", DATA / "example.yaml")
    assert done.returncode == 0
    source = yaml.safe_load(done.stdout)
    for number, (first, second) in enumerate(
        [("i wan't this", "and this"), ("something wanted", "another wanted thing")], 1
    ):
        page = Page((DATA / f"page{number}.html").read_bytes())
        assert Rule.parse(source["fields"]["first"]).first(page) == first
        assert Rule.parse(source["fields"]["second"]).first(page) == second
    assert source["required"] == ["first"]
    # A report of what was found how, but not where the result goes.
    assert "#mycontent" in done.stderr


def test_example_of_the_specification_as_a_module(tmp_path, only_lxml):
    module = tmp_path / "parser.py"
    done = autoparser(
        "-c", DATA / "example.yaml", "--emit", "python", "-o", module, "--save-examples", tmp_path
    )
    assert (done.returncode, done.stdout) == (0, "")
    assert only_lxml(module) == (0, "")
    # Its own test can fail.
    page = tmp_path / "page2.html"
    page.write_text(page.read_text().replace("something wanted", "else"))
    code, error = only_lxml(module)
    assert code != 0
    assert "page2.html: first is 'else', not 'something wanted'" in error
    # A required value that is missing; the error holds the user's words and no page.
    page.write_text("<p>secret</p>")
    code, error = only_lxml(module)
    assert "UserWarning: Can't find variable 'first'." in error
    assert "secret" not in error.splitlines()[-1]


def test_written_parsers_find_what_the_rules_find(tmp_path, only_lxml):
    for number, design in enumerate(DESIGNS + UNTUNED):
        examples = examples_of(design)
        learned = learn(examples)
        saved = {}
        for place, example in enumerate(examples):
            saved[example.link] = f"{number}-{place}.html"
            (tmp_path / saved[example.link]).write_text(design.example(place)[0], "utf-8")
        module = tmp_path / f"parser{number}.py"
        module.write_text(emit_python(learned, examples, saved), "utf-8")
        assert only_lxml(module) == (0, ""), design.name
        # The same in this process, on pages that are no examples.
        names = {}
        exec(compile(module.read_text("utf-8"), module, "exec"), names)
        for seed in range(5):
            text = design.unseen(seed)[0]
            page = Page(text, url=examples[0].page.url)
            for item in learned:
                rule = Rule.parse(item.rule_data())
                expected = rule.find(page) if item.several else rule.first(page)
                dom = names["parse_page"](text, page.url)
                assert names[f"get_{item.name}"](dom) == expected, (design.name, item.name)


def test_xml_pages_keep_their_case(tmp_path, only_lxml):
    feed = "<?xml version='1.0'?><Books><Item/><Book Id='{0}'><Title>{0}</Title></Book></Books>"
    documents = []
    for name in ("Jedna", "Dvě"):
        (tmp_path / f"{name}.xml").write_text(feed.format(name), "utf-8")
        documents.append({"html": f"{name}.xml", "title": {"data": name, "tagname": "title"}})
    config = tmp_path / "c.yaml"
    config.write_text(yaml.safe_dump_all(documents), "utf-8")
    rule = yaml.safe_load(autoparser("-c", config, "-q").stdout)["fields"]["title"]
    assert Rule.parse(rule).first(Page(feed.format("Tři"))) == "Tři"
    module = tmp_path / "feed.py"
    assert autoparser("-c", config, "-q", "--emit", "python", "-o", module).returncode == 0
    assert only_lxml(module) == (0, "")


HOSTILE = "x\n'''\"\"\"\nimport os; os.abort()\n#{0}\\"


def test_hostile_texts_and_links_stay_texts(tmp_path, only_lxml):
    html = f"<h1 class='{HOSTILE.replace(chr(39), '&#39;')}'>T</h1><p id=x>{HOSTILE}: V</p>"
    link = "a\nimport os; os.abort()\n.html"
    (tmp_path / link).write_text(html)
    (tmp_path / "c.yaml").write_text(
        yaml.safe_dump(
            {"html": link, "t": {"data": "T", "required": True, "notfoundmsg": HOSTILE}, "v": "V"}
        )
    )
    out = tmp_path / "out"
    done = autoparser(
        "-c", tmp_path / "c.yaml", "--emit", "python", "-o", out / "p.py", "--save-examples", out
    )
    assert done.returncode == 0, done.stderr
    assert only_lxml(out / "p.py") == (0, "")
    assert sorted(path.suffix for path in out.iterdir()) == [".html", ".py"]
    unsaved = autoparser("-c", tmp_path / "c.yaml", "--emit", "python", "-q")
    compile(unsaved.stdout, "p", "exec")
    # As a source file it is data, too.
    done = autoparser("-c", tmp_path / "c.yaml", "-q", "--name", "a\nb: c")
    assert yaml.safe_load(done.stdout)["name"] == "a\nb: c"


@pytest.mark.parametrize("name", ["x y", "class", "1a", "a-b", "x;import os", "a\nb", "", "__x__ "])
def test_names_that_are_no_identifiers_are_refused(tmp_path, name):
    (tmp_path / "p.html").write_text("<p>x</p>")
    (tmp_path / "c.yaml").write_text(yaml.safe_dump({"html": "p.html", name: {"data": "x"}}))
    done = autoparser("-c", tmp_path / "c.yaml")
    assert (done.returncode, done.stdout) == (1, "")
    assert "must be one that Python allows" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_writer_checks_names_itself():
    examples = examples_of(DESIGNS[0])
    for example in examples:
        example.wanted = {"a b": Wanted("a b", example.wanted["title"].values)}
    with pytest.raises(UserWarning, match="no name that Python allows"):
        emit_python(learn(examples), examples)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "Can't open '{path}'!"),
        ("", "Configuration file '{path}' is blank!"),
        ("# nothing\n---\n", "Configuration file '{path}' is blank!"),
        ("a: [", "'{path}' is no YAML: "),
        ("a: 1\na: 2", "the key 'a' is there twice"),
        ("- a", "{path}, document 1: an example is a mapping"),
        ("x: {data: y}", "'html' must name a file or an http(s) URL"),
        ("html: [1]", "'html' must name a file"),
        ("html: none.html\nx: y", "'none.html' is neither an http(s) URL nor a file."),
        ("html: file:///etc/hostname\nx: y", "is neither an http(s) URL nor a file."),
        ("html: .\nx: y", "is neither an http(s) URL nor a file."),
        ("html: http://127.0.0.1:1/\nx: y", "'http://127.0.0.1:1/' cannot be fetched"),
        ("html: p.html", "there are no variables"),
        ("html: p.html\nx: {required: true}", "'data' must say what is to be found"),
        ("html: p.html\nx: {data: [[a]]}", "'data' is a text or a list of texts"),
        ("html: p.html\nx: {data: {}}", "'data' is a text or a list of texts"),
        ("html: p.html\nx: {data: y, tagnme: b}", "Did you mean 'tagname'?"),
        ("html: p.html\nx: {data: y, tagname: [b]}", "'tagname' is a text"),
        ("html: p.html\nx: {data: y, required: perhaps}", "true or false, not 'perhaps'"),
        ("html: p.html\nx: {data: y, pin: {csss: b}}", "x, pin: Unknown key 'csss'"),
        ("html: p.html\nx: y\nX: y", "'X' and 'x' differ only in case"),
        ("html: p.html\nx: nowhere", "Can't locate variable 'x' with content 'nowhere'!"),
        ("!!python/object/apply:os.abort []", "an example is a mapping"),
        ("html: p.html\nx: !!python/object/apply:os.abort []", "No example has a value"),
        ("\xff", "is not in UTF-8"),
        ("[" * 100_000, "is no YAML"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_1(tmp_path, text, message):
    (tmp_path / "p.html").write_text("<p>y</p>")
    path = tmp_path / "c.yaml"
    if text is not None:
        path.write_bytes(text.encode("latin-1"))
    done = autoparser("-c", path)
    assert done.returncode == 1, done.stderr[-500:]
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert message.format(path=path) in done.stderr


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    done = autoparser("-c", DATA / "example.yaml", "-q", "-o", tmp_path / "file" / "x.yaml")
    assert done.returncode == 1
    assert done.stderr.startswith(f"Can't write '{tmp_path}/file")
    assert len(done.stderr.splitlines()) == 1


def test_scalars_mean_what_is_written(tmp_path):
    (tmp_path / "p.html").write_text("<h1>No</h1><p>007</p><i>2024-01-02</i><b>1_000.50</b>")
    (tmp_path / "c.yaml").write_text(
        "html: p.html\na: No\nb: {data: 007}\nc: 2024-01-02\nd: 1_000.50\ne:\n"
    )
    (example,) = read_configuration(tmp_path / "c.yaml")
    assert [item.values for item in example.wanted.values()] == [
        ("No",),
        ("007",),
        ("2024-01-02",),
        ("1_000.50",),
        (),
    ]


def test_pages_come_over_http_with_the_charset_of_the_header(tmp_path):
    page = "<h1>Žluťoučký kůň</h1><a href='b.pdf'>Ukázka</a>".encode("windows-1250")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.path != "/404" else 404)
            self.send_header("Content-Type", "text/html; charset=windows-1250")
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *arguments):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}"
        config = tmp_path / "c.yaml"
        config.write_text(f"html: {url}/a/x\ntitle: Žluťoučký kůň\nsample: {url}/a/b.pdf\n")
        try:
            done = autoparser("-c", config, "--save-examples", tmp_path, "--check", f"{url}/y")
            lost = autoparser("-c", config, "--check", f"{url}/404")
        finally:
            server.shutdown()
            thread.join()
    assert done.returncode == 0, done.stderr
    source = yaml.safe_load(done.stdout)
    assert source["start"] == [f"{url}/a/x"]
    assert "clean: url" in done.stdout
    # What was found in the page of --check.
    assert f"{url}/b.pdf" in done.stderr.replace("\n", "")
    assert (tmp_path / "x.html").read_bytes() == page
    assert lost.returncode == 1
    assert "404" in lost.stderr


def test_explain_and_pin():
    done = autoparser("-c", WALK / "books.yaml", "--explain")
    assert "--pin NAME=NUMBER" in done.stderr
    rules = {
        line.split("│")[5].strip() for line in done.stderr.splitlines() if line.count("│") == 6
    }
    assert "div.cena > b" in rules
    pinned = autoparser("-c", WALK / "books.yaml", "--pin", "price=2", "-q")
    before = yaml.safe_load(done.stdout)["fields"]["price"]
    assert yaml.safe_load(pinned.stdout)["fields"]["price"] != before
    for pin in ("price", "price=x", "=3", "price=0", "prize=1"):
        wrong = autoparser("-c", WALK / "books.yaml", "--pin", pin)
        assert (wrong.returncode, wrong.stdout) == (1, "")
        assert len(wrong.stderr.splitlines()) == 1


def test_a_checked_page_without_a_required_value_gives_code_3(tmp_path):
    (tmp_path / "p.html").write_text("<p>nothing</p>")
    done = autoparser("-c", WALK / "books.yaml", "--check", tmp_path / "p.html")
    assert done.returncode == 3
    assert "missing" in done.stderr
    assert yaml.safe_load(done.stdout)["fields"]


def test_progress_goes_to_a_terminal_only():
    read, write = os.openpty()
    command = [sys.executable, str(PROGRAM), "-c", str(WALK / "books.yaml")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=write) as process:
        os.close(write)
        shown = b""
        # At the other end's close Linux gives EIO, not the end of the file.
        with contextlib.suppress(OSError):
            while piece := os.read(read, 65536):
                shown += piece
        result = process.stdout.read()
    os.close(read)
    assert process.returncode == 0
    assert b"learning" in shown
    assert b"learning" not in result
    assert yaml.safe_load(result)["fields"]
    assert "learning" not in autoparser("-c", WALK / "books.yaml").stderr


def test_quiet_is_quiet_and_help_helps():
    done = autoparser("-c", WALK / "books.yaml", "-q")
    assert (done.returncode, done.stderr) == (0, "")
    assert "exit codes" in autoparser("--help").stdout
    assert autoparser().returncode == 2
    assert os.access(PROGRAM, os.X_OK)


LIST = """<h1>Novinky</h1><div class=kniha><a href="/kniha/kameny">Kniha kamenů</a></div>
<div class=kniha><a href="/kniha/vcely">Rok včel</a></div>
<div class=kniha><a href="/kniha/reky">Řeky: od pramene</a></div>"""


@pytest.fixture
def publisher():
    """The address of a site with a list and the books of the walk-through."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            page = WALK / f"{Path(self.path).name}.html"
            body = LIST.encode() if self.path == "/novinky" else b""
            if page.is_file() and self.path.startswith("/kniha/"):
                body = page.read_bytes()
            self.send_response(200 if body else 404)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_what_was_learned_is_harvested(tmp_path, publisher):
    sources = tmp_path / "sources"
    done = autoparser(
        "-c",
        WALK / "books.yaml",
        "-o",
        sources / "lipa_cz.yaml",
        "--save-examples",
        sources / "samples",
    )
    assert done.returncode == 0
    settings.substitute_globals(
        {
            "HARVESTER_SOURCES_DIR": str(sources),
            "HARVESTER_ALLOW_PRIVATE": True,
            "HARVESTER_DELAY": 0.0,
            "HARVESTER_CACHE": str(tmp_path / "pages.sqlite"),
        }
    )
    try:
        # As it was written: the examples are its samples.
        checks = list(check_sources(["lipa_cz"], live=False))
        assert len(checks) > 20
        assert [check for check in checks if not check.ok] == []
        # With the list, as the documentation says.
        path = sources / "lipa_cz.yaml"
        source = yaml.safe_load(path.read_text("utf-8"))
        source.update(
            start=[f"{publisher}/novinky"],
            item="div.kniha",
            follow="a::attr(href)",
            constants={"publisher": "Lípa"},
        )
        path.write_text(yaml.safe_dump(source, allow_unicode=True), "utf-8")
        (result,) = harvest(["lipa_cz"])
    finally:
        settings.reload()
    assert result.errors == []
    books = {book.title: book for book in result.publications}
    assert set(books) == {"Kniha kamenů", "Rok včel", "Řeky: od pramene"}
    new = books["Řeky: od pramene"]
    assert (new.price, new.publisher, new.optionals.pages) == ("450 Kč", "Lípa", "88")
    assert new.optionals.ISBN == "978-80-7601-099-4"
    assert [author.name for author in books["Rok včel"].authors] == ["Petr Žák", "Eva Malá"]


def test_authors_in_one_text_are_split(tmp_path):
    page = "<dl><dt>Autor</dt><dd>{}</dd></dl><h1>{}</h1>"
    documents = []
    for number, names in enumerate(["A. B., C. D.", "E. F."]):
        (tmp_path / f"{number}.html").write_text(page.format(names, f"T{number}"))
        documents.append({"html": f"{number}.html", "author": names, "title": f"T{number}"})
    (tmp_path / "c.yaml").write_text(yaml.safe_dump_all(documents))
    out = tmp_path / "s.yaml"
    assert (
        autoparser(
            "-c", tmp_path / "c.yaml", "-q", "-o", out, "--save-examples", tmp_path / "samples"
        ).returncode
        == 0
    )
    source = load_source(out)
    assert source.fields["authors"].split_names == ","
    assert source.samples[0].expect["authors"] == ["A. B.", "C. D."]
    assert source.start == ["http://fill.in.invalid/"]


def test_the_walk_through_of_the_documentation(tmp_path, only_lxml):
    folder = tmp_path / "walk"
    shutil.copytree(WALK, folder)
    done = autoparser("-c", "books.yaml", "-o", "lipa_cz.yaml", "--check", "reky.html", cwd=folder)
    assert (done.returncode, done.stdout) == (0, "")
    source = yaml.safe_load((folder / "lipa_cz.yaml").read_text("utf-8"))
    assert source["name"] == "lipa_cz"
    assert all(field_name(name) == name for name in source["fields"])
    assert load_source(folder / "lipa_cz.yaml").name == "lipa_cz"
    assert load_source(folder / "by_hand.yaml").follow is not None
    wanted = {
        "title": ["Řeky: od pramene"],
        "authors": ["Jan Říha"],
        "price": ["450 Kč"],
        "ISBN": ["978-80-7601-099-4"],
        "pages": ["88"],
        "binding": ["brožovaná"],
        "format": ["A4"],
        "description": ["Atlas povodí."],
        "pub_date": [],
        "sub_title": [],
        "URL": ["http://www.lipa.example/kniha/reky"],
    }
    by_hand = yaml.safe_load((folder / "by_hand.yaml").read_text("utf-8"))
    page = Page((folder / "reky.html").read_bytes(), url="http://www.lipa.example/kniha/reky")
    for fields in (source["fields"], by_hand["fields"]):
        assert set(fields) == set(wanted)
        for name, values in wanted.items():
            assert Rule.parse(fields[name], name).find(page) == values
    done = autoparser(
        "-c",
        "books.yaml",
        "--emit",
        "python",
        "-o",
        "parser/lipa.py",
        "--save-examples",
        "parser",
        cwd=folder,
    )
    assert done.returncode == 0
    assert only_lxml(folder / "parser" / "lipa.py") == (0, "")


def test_the_modules_that_a_parser_carries_share_no_name():
    import ast
    import inspect

    from edeposit.amqp.harvester.autoparser import emitting

    defined = [
        name
        for module in emitting._MODULES
        for node in ast.parse(inspect.getsource(module)).body
        for name in (
            [node.name]
            if isinstance(node, (ast.FunctionDef, ast.ClassDef))
            else [target.id for target in getattr(node, "targets", ())]
        )
    ]
    assert len(defined) == len(set(defined))
