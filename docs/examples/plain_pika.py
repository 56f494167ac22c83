"""A search in the catalogue with nothing but pika; AMQP_URL says where, the argument what."""

import json
import os
import sys
import uuid

import pika

url = os.environ.get("AMQP_URL", "amqp://guest:guest@127.0.0.1:5672/aleph")
connection = pika.BlockingConnection(pika.URLParameters(url))
channel = connection.channel()
request = {
    "__nt_name": "SearchRequest",
    "query": {"__nt_name": "ISBNQuery", "ISBN": sys.argv[1], "base": "nkc"},
}
number = str(uuid.uuid4())
properties = pika.BasicProperties(
    content_type="application/json", delivery_mode=2, headers={"UUID": number}
)
channel.basic_publish("search", "request", json.dumps(request), properties)
for method, properties, body in channel.consume("plone", inactivity_timeout=30):
    if method is None:
        sys.exit("no answer within 30 s")
    if properties.headers["UUID"] == number:
        print(json.dumps(json.loads(body), ensure_ascii=False, indent=1))
        channel.basic_ack(method.delivery_tag)
        break
connection.close()
