"""Asks the service of shouting.py, and prints its progress and its answer."""

import sys

import shouting

from edeposit.amqp import settings
from edeposit.amqp.client import AMQPClient

settings.add_service("shouting")
text, *rest = sys.argv[1:]
request = shouting.Shout(text, *map(int, rest))
with AMQPClient("shouting", glob=[shouting.Shout, shouting.Shouted]) as client:
    answer = client.call(request, on_progress=lambda progress: print(progress.text))
    print(answer.text)
