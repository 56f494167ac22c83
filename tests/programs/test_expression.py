"""Request expressions: what is understood, what is refused, and that nothing is ever evaluated."""

import contextlib
from collections import namedtuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edeposit.amqp.programs.expression import ExpressionError, looks_like_expression, parse, render

ISBNQuery = namedtuple("ISBNQuery", ["ISBN", "base"], defaults=["nkc"])
SearchRequest = namedtuple("SearchRequest", ["query"])
UpdateDatabase = namedtuple("UpdateDatabase", [])
CLASSES = {cls.__name__: cls for cls in (ISBNQuery, SearchRequest, UpdateDatabase)}


def parsed(text):
    return parse(text, CLASSES)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('SearchRequest(ISBNQuery("80-251-0225-4"))', SearchRequest(ISBNQuery("80-251-0225-4"))),
        ('SearchRequest(query=ISBNQuery(base="x", ISBN="1"))', SearchRequest(ISBNQuery("1", "x"))),
        ("UpdateDatabase()", UpdateDatabase()),
        ("  \n SearchRequest(\n  1\n)", SearchRequest(1)),
        ("[1, -2, +3, 1.5, -1e3]", [1, -2, 3, 1.5, -1000.0]),
        ("{'a': [True, False, None], 'b': (1, 2)}", {"a": [True, False, None], "b": (1, 2)}),
        ("'žluťoučký' ' kůň'", "žluťoučký kůň"),
        ("()", ()),
    ],
)
def test_what_a_message_can_carry_is_understood(text, value):
    result = parsed(text)
    assert result == value
    assert type(result) is type(value)


@pytest.mark.parametrize(
    ("text", "column", "reason"),
    [
        ("SearchRequest(ISBNQury('1'))", 15, "unknown class 'ISBNQury' (there are: ISBNQuery,"),
        ("SearchRequest(open('/etc/passwd'))", 15, "unknown class 'open'"),
        ("__import__('os').system('id')", 1, "without dots or calls"),
        ("SearchRequest.__new__(1)", 1, "without dots"),
        ("SearchRequest(x)", 15, "'x' is not understood"),
        ("SearchRequest(true)", 15, "write True for true"),
        ("SearchRequest(1 + 1)", 15, "'1 + 1' is not understood"),
        ("SearchRequest(-True)", 15, "not understood"),
        ("SearchRequest(--1)", 15, "not understood"),
        ("SearchRequest(f'{1}')", 15, "not understood"),
        ("SearchRequest(lambda: 1)", 15, "not understood"),
        ("SearchRequest([x for x in 'a'])", 15, "not understood"),
        ("SearchRequest((x := 1))", 16, "not understood"),
        ("SearchRequest({1, 2})", 15, "not understood"),
        ("SearchRequest(1j)", 15, "not understood"),
        ("SearchRequest(...)", 15, "not understood"),
        ("SearchRequest(b'x')", 15, "bytes cannot be sent"),
        ("SearchRequest({1: 2})", 16, "keys of a dict have to be strings"),
        ("SearchRequest({**{}})", 18, "keys of a dict have to be strings"),
        ("SearchRequest(*[1])", 15, "'*' is not understood"),
        ("SearchRequest(**{'query': 1})", 15, "'**' is not understood"),
        ("SearchRequest()", 1, "SearchRequest(query): missing a required argument: 'query'"),
        ("SearchRequest(1, 2)", 1, "too many positional arguments"),
        ("SearchRequest(Query=1)", 15, "SearchRequest(query) has no field 'Query'"),
        ("SearchRequest(1, query=1)", 1, "multiple values for argument 'query'"),
        ("SearchRequest(query=1, query=2)", 24, "field 'query' is given twice"),
        ("SearchRequest('žluťoučký', kůň)", 28, "'kůň' is not understood"),
        ("  SearchRequest(x)", 17, "'x' is not understood"),
        ("SearchRequest(1", 14, "'(' was never closed"),
        ("SearchRequest(1))", 17, "unmatched ')'"),
        ("", 1, "invalid syntax"),
        ("x = 1", 3, "invalid syntax"),
        ("SearchRequest('\0')", 1, "null bytes"),
    ],
)
def test_everything_else_is_refused_with_its_column(text, column, reason):
    with pytest.raises(ExpressionError) as caught:
        parsed(text)
    assert reason in str(caught.value)
    assert str(caught.value).startswith(f"column {column}: ")
    assert (caught.value.line, caught.value.column) == (1, column)


def test_the_line_is_named_in_a_text_of_several():
    with pytest.raises(ExpressionError, match=r"^line 3, column 5: 'x' is not understood"):
        parsed("\nSearchRequest(\n    x)")


@pytest.mark.parametrize("text", ["[" * 5000 + "]" * 5000, "-" * 100_000 + "1", "9" * 5000])
def test_monstrous_texts_are_refused_not_fatal(text):
    with pytest.raises(ExpressionError) as caught:
        parsed(text)
    assert len(str(caught.value)) < 1000


class Tracer(tuple):
    """A class that tells when it is called."""

    _fields = ()
    calls = 0

    def __new__(cls):
        cls.calls += 1
        return super().__new__(cls)


def test_no_class_is_called_before_the_whole_text_is_known_to_parse():
    with pytest.raises(ExpressionError):
        parse("[Tracer(), ", {"Tracer": Tracer})
    assert Tracer.calls == 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SearchRequest(1)", True),
        (" \nUpdateDatabase ()", True),
        ("request.json", False),
        ("./SearchRequest(1).json", False),
        ("/tmp/a(1).json", False),
        ("my file (1).json", False),
        ("-", False),
    ],
)
def test_expressions_are_told_from_file_names(text, expected):
    assert looks_like_expression(text) is expected


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.lists(inner, max_size=5).map(tuple)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=5)
        | inner.map(SearchRequest)
        | st.tuples(inner, inner).map(ISBNQuery._make)
    ),
    max_leaves=20,
)


@given(VALUES, st.integers(0, 100))
def test_what_render_writes_parse_reads(value, width):
    assert parsed(render(value, width)) == value


def test_long_values_are_broken_over_lines_and_short_ones_are_not():
    assert render(SearchRequest([1, 2])) == "SearchRequest(query=[1, 2])"
    text = render(SearchRequest({"a": "x" * 30, "b": ["y" * 30, 1]}), width=51)
    assert text == (
        "SearchRequest(\n"
        "    query={\n"
        f"        'a': '{'x' * 30}',\n"
        f"        'b': ['{'y' * 30}', 1],\n"
        "    },\n"
        ")"
    )


@pytest.mark.parametrize(
    "text",
    [
        "SearchRequest(\rx)",
        "SearchRequest(\r\nx\r)",
        "\r\rSearchRequest(x)",
        "SearchRequest(\x0cx)",
        "SearchRequest(\u2028x)",
        "SearchRequest(" + "-" * 2000 + "1)",
        "SearchRequest(" + "+".join(["1"] * 2000) + ")",
        "SearchRequest(a" + ".b" * 2000 + ")",
        "SearchRequest(" + "[" * 150 + "]" * 150 + "x)",
        "SearchRequest(" * 3000,
        "SearchRequest(9" + "9" * 5000 + ")",
        "SearchRequest(1e999)",
        "SearchRequest(-1e999)",
        r"SearchRequest('\ud800')",
        r"SearchRequest({'\ud800': 1})",
        "SearchRequest('\udcff')",
        "SearchRequest({'a': 1, 'a': 2})",
        r"SearchRequest('\N{DASH')",
    ],
)
def test_no_text_ends_in_anything_but_an_error_in_one_line(text):
    with pytest.raises(ExpressionError) as caught:
        parsed(text)
    assert "\n" not in str(caught.value)
    assert caught.value.line >= 1
    assert caught.value.column >= 1


def test_lines_end_where_python_ends_them():
    with pytest.raises(ExpressionError, match=r"line 3, column 2: 'x' is not understood"):
        parsed("SearchRequest(\r1,\r\n x)")


@pytest.mark.parametrize("error", [KeyError("k"), AttributeError(), ZeroDivisionError("z")])
def test_whatever_a_class_raises_is_an_error_with_a_column(error):
    class Picky(namedtuple("Picky", ["value"])):
        def __new__(cls, value):
            raise error

    with pytest.raises(ExpressionError, match=r"column 1: Picky\(value\): "):
        parse("Picky(1)", {"Picky": Picky})


def test_an_odd_escape_is_no_warning(recwarn):
    assert parsed(r"SearchRequest('\d')") == SearchRequest(r"\d")
    assert not recwarn.list


def test_an_answer_nested_too_deeply_is_named():
    value = []
    for _ in range(100_000):
        value = [value]
    assert render(value) == "(nested too deeply to be shown)"


@given(st.text(alphabet="Search Request()[]{}=,'\"\\-+*:.1e\r\n\x0c\0ř#", max_size=60))
def test_any_text_is_a_value_or_an_error(text):
    with contextlib.suppress(ExpressionError):
        parsed(text)
