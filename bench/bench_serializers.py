"""The JSON library below the serializers: msgspec against orjson and the standard library.

All three with the same walk for namedtuples around them; microseconds per call, best of five.
orjson is not a dependency: ``pip install orjson`` to measure it.
"""

import json
import timeit
from collections import namedtuple

from edeposit.amqp import serializers

try:
    import orjson
except ImportError:
    orjson = None

Author = namedtuple("Author", "firstName lastName title")
Record = namedtuple("Record", "ISBN title authors publisher price")
ScanFile = namedtuple("ScanFile", "filename b64_data")
CLASSES = {cls.__name__: cls for cls in (Author, Record, ScanFile)}

MESSAGES = {
    "dict, 120 bytes": {"text": "x" * 100},
    "record, 1 kB": Record(
        "80-251-0225-4",
        "Umění programování v UNIXu",
        [Author("Eric", "Raymond", "")] * 8,
        "Computer Press",
        590.0,
    ),
    "file, 10 MB": ScanFile("book.pdf", "QUJD" * 2_500_000),
}

LIBRARIES = {
    "msgspec": (serializers._encode, serializers._decode),
    "orjson": (orjson.dumps, orjson.loads) if orjson else None,
    "json": (lambda data: json.dumps(data, ensure_ascii=False).encode(), json.loads),
}


def best(function):
    timer = timeit.Timer(function)
    count, _ = timer.autorange()
    return min(timer.repeat(5, count)) / count * 1e6


def main():
    print(f"{'':18} {'':8} {'write us':>10} {'read us':>10}")
    original = serializers._encode, serializers._decode
    for what, message in MESSAGES.items():
        body = serializers.serialize_bytes(message)
        for name, functions in LIBRARIES.items():
            if functions is None:
                continue
            serializers._encode, serializers._decode = functions
            write = best(lambda message=message: serializers.serialize_bytes(message))
            read = best(lambda body=body: serializers.deserialize(body, CLASSES))
            print(f"{what:18} {name:8} {write:10.2f} {read:10.2f}")
        serializers._encode, serializers._decode = original


if __name__ == "__main__":
    main()
