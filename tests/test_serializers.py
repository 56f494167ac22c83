"""The JSON of messages (spec/aleph.md, section 1)."""

import datetime
import enum
import json
from collections import OrderedDict, namedtuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edeposit.amqp import serializers as s

Inner = namedtuple("Inner", "text number")
Outer = namedtuple("Outer", "items inner", defaults=[None])
CLASSES = [Inner, Outer]


def not_buildable(**fields):
    raise AssertionError("a message has called a function")


class Plain:
    _fields = ("x",)


class Custom(namedtuple("Custom", "x")):
    calls = 0

    def __new__(cls, x):
        cls.calls += 1
        return super().__new__(cls, x)


class Renamed(namedtuple("OtherTypename", "x")):
    pass


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**100), 2**100)
    | st.floats(allow_nan=False, allow_infinity=False)
    | text
)
data = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(text.filter(lambda t: t != "__nt_name"), inner, max_size=4)
        | st.builds(Inner, inner, inner)
        | st.builds(Outer, inner, inner)
    ),
    max_leaves=20,
)


@given(data)
def test_what_is_written_is_read_again(value):
    assert s.deserialize(s.serialize(value), CLASSES) == value


@given(data)
def test_the_first_generation_reads_it(value):
    # Python's own json is what the first generation used.
    assert s.deserialize(json.dumps(json.loads(s.serialize(value))), CLASSES) == value


def test_a_namedtuple_carries_its_class_name():
    assert json.loads(s.serialize(Inner("ř", 1))) == {
        "text": "ř",
        "number": 1,
        "__nt_name": "Inner",
    }
    assert json.loads(s.serialize(Renamed(1)))["__nt_name"] == "Renamed"


def test_tuples_become_lists():
    assert s.deserialize(s.serialize((1, (2,))), []) == [1, [2]]


@pytest.mark.parametrize(
    "body",
    [
        '{"__nt_name": "Inner", "text": "\\u0159", "number": 1}',
        '{"number": 1, "text": "ř", "__nt_name": "Inner"}',
        b'{"number": 1, "__nt_name": "Inner", "text": "\xc5\x99"}',
        bytearray(b'{"number": 1, "__nt_name": "Inner", "text": "\xc5\x99"}'),
        memoryview(b'{"number": 1, "\\u005f_nt_name": "Inner", "text": "\xc5\x99"}'),
    ],
)
def test_every_form_of_the_same_text_is_read(body):
    assert s.deserialize(body, {"Inner": Inner}) == Inner("ř", 1)


@pytest.mark.parametrize("name", ["not_buildable", "Plain", "int", "namedtuple", "json", "Nobody"])
def test_only_namedtuple_classes_are_built(name):
    with pytest.raises(s.UnknownClassError) as caught:
        s.deserialize(json.dumps({"__nt_name": name, "x": 1}), globals())
    assert caught.value.name == name


def test_there_is_no_fallback_to_other_classes():
    with pytest.raises(s.UnknownClassError):
        s.deserialize('{"__nt_name": "Inner", "text": 1, "number": 2}', {})


def test_fields_are_checked_before_any_code_of_the_class_runs():
    with pytest.raises(s.UnexpectedFieldError) as caught:
        s.deserialize('{"__nt_name": "Custom", "x": 1, "y": 2, "z": 3}', [Custom])
    assert (caught.value.class_name, caught.value.fields) == ("Custom", ("y", "z"))
    with pytest.raises(s.MissingFieldError) as caught:
        s.deserialize('{"__nt_name": "Custom"}', [Custom])
    assert (caught.value.class_name, caught.value.fields) == ("Custom", ("x",))
    assert Custom.calls == 0


def test_only_fields_with_defaults_may_be_missing():
    assert s.deserialize('{"__nt_name": "Outer", "items": []}', CLASSES) == Outer([], None)
    with pytest.raises(s.MissingFieldError, match="Outer: missing field items"):
        s.deserialize('{"__nt_name": "Outer", "inner": 1}', CLASSES)


@pytest.mark.parametrize("name", [None, 7, [], {}, True])
def test_a_class_name_must_be_a_string(name):
    with pytest.raises(s.BadClassNameError):
        s.deserialize(json.dumps({"__nt_name": name}), CLASSES)


@pytest.mark.parametrize(
    "body",
    ["", "{", "nul", "NaN", "Infinity", "'x'", "[1,]", b"\xff", '"\ud800"', '"\\ud800"', "1 2"],
)
def test_what_is_not_json_is_refused(body):
    with pytest.raises(s.NotJSONError):
        s.deserialize(body, [])


def test_duplicate_keys_last_wins():
    assert s.deserialize('{"a": 1, "a": 2}', []) == {"a": 2}


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'[{"a":'])
@pytest.mark.parametrize("levels", [101, 1000, 200_000])
def test_deep_text_is_refused(opening, levels):
    closing = {b"[": b"]", b'{"a":': b"}", b'[{"a":': b"}]"}[opening]
    with pytest.raises(s.NestingTooDeepError):
        s.deserialize(opening * levels + b"1" + closing * levels, [])


def test_deep_data_is_refused_and_a_hundred_levels_are_not():
    value = 1
    for _ in range(100):
        value = [value]
    assert s.deserialize(s.serialize(value), []) == value
    with pytest.raises(s.NestingTooDeepError):
        s.serialize([value])
    endless = []
    endless.append(endless)
    with pytest.raises(s.NestingTooDeepError):
        s.serialize(endless)


class Colour(enum.Enum):
    RED = 1


@pytest.mark.parametrize(
    ("value", "type_name", "path"),
    [
        ({1}, "set", ""),
        (b"x", "bytes", ""),
        ([1, {"a": datetime.date(2026, 1, 1)}], "date", "[1].a"),
        (Inner("x", Outer([1, object()])), "object", "number.items[1]"),
        (float("nan"), "float", ""),
        ({"a": float("inf")}, "float", "a"),
        (Colour.RED, "Colour", ""),
        ({"a": {"__nt_name": "x"}}, "dict", "a"),
        ({(1, 2): 3}, "tuple", "(1, 2)"),
    ],
)
def test_what_has_no_json_form_is_named_with_its_place(value, type_name, path):
    with pytest.raises(s.UnserializableError) as caught:
        s.serialize(value)
    assert (caught.value.type_name, caught.value.path) == (type_name, path)
    assert type_name in str(caught.value)


def test_a_lone_surrogate_is_refused():
    with pytest.raises(s.UnserializableError):
        s.serialize(["\ud800"])


@pytest.mark.parametrize(
    "value",
    [
        {True: 1, None: 2, 1.5: 3, 7: 4},
        OrderedDict(a=1),
        enum.IntEnum("Number", "ONE").ONE,
        [2**64, -(2**70)],
    ],
)
def test_the_standard_librarys_forms_are_kept(value):
    assert json.loads(s.serialize(value)) == json.loads(json.dumps(value))


def test_input_is_not_changed():
    value = {"a": Inner([1], {"b": 2})}
    s.serialize(value)
    assert value == {"a": Inner([1], {"b": 2})}


@given(st.binary(max_size=200))
def test_any_bytes_give_data_or_a_serialization_error(body):
    try:
        s.deserialize(body, CLASSES)
    except s.SerializationError:
        pass


def test_iioany_goes_by_name():
    same_name = namedtuple("Inner", "x")
    assert s.iiOfAny(Inner(1, 2), same_name)
    assert s.iiOfAny(Inner(1, 2), [int, Outer, same_name])
    assert not s.iiOfAny(Inner(1, 2), (Outer,))


class Picky(namedtuple("Picky", "x")):
    def __new__(cls, x):
        raise x if isinstance(x, type) else {"key": KeyError("no"), "depth": RecursionError}[x]


class Wired(namedtuple("Wired", "data")):
    def to_wire(self):
        return (self.data.hex(),)

    @classmethod
    def from_wire(cls, data):
        return cls(bytes.fromhex(data))


@pytest.mark.parametrize(("x", "cause"), [("key", KeyError), ("depth", RecursionError)])
def test_whatever_a_constructor_raises_is_a_serialization_error(x, cause):
    with pytest.raises(s.BadValueError) as caught:
        s.deserialize(json.dumps([{"__nt_name": "Picky", "x": x}]), [Picky])
    assert isinstance(caught.value, s.SerializationError)
    assert isinstance(caught.value.__cause__, cause)
    assert (caught.value.class_name, caught.value.legacy_name) == ("Picky", cause.__name__)
    assert str(caught.value)


def test_a_class_may_have_a_wire_form_of_its_own():
    assert s.serialize(Wired(b"\xff")) == '{"data":"ff","__nt_name":"Wired"}'
    assert s.deserialize(s.serialize([Wired(b"\xff")]), [Wired]) == [Wired(b"\xff")]
    with pytest.raises(s.BadValueError):
        s.deserialize('{"__nt_name": "Wired", "data": "no hex"}', [Wired])


@pytest.mark.parametrize(
    ("body", "old"),
    [
        ("{", ValueError),
        ('{"__nt_name": "Nobody"}', KeyError),
        ('{"__nt_name": null}', KeyError),
        ('{"__nt_name": []}', TypeError),
        ('{"__nt_name": "Inner"}', TypeError),
        ('{"__nt_name": "Inner", "text": 1, "number": 2, "x": 3}', TypeError),
    ],
)
def test_errors_are_those_of_the_first_generation_as_well(body, old):
    with pytest.raises(old) as caught:
        s.deserialize(body, CLASSES)
    assert isinstance(caught.value, s.SerializationError)
    assert caught.value.legacy_name == old.__name__
    assert not str(caught.value).startswith(("'", '"'))
