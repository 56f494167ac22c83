"""A search in the catalogue with nothing but pika; settings as arguments: HOST PORT ISBN."""

import json
import sys
import uuid

import pika

host, port, isbn = sys.argv[1:]
connection = pika.BlockingConnection(pika.ConnectionParameters(host, int(port), "aleph"))
channel = connection.channel()
request = {
    "__nt_name": "SearchRequest",
    "query": {"__nt_name": "ISBNQuery", "ISBN": isbn, "base": "nkc"},
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
        channel.basic_ack(method.delivery_tag)
        break
print(json.dumps(json.loads(body), ensure_ascii=False, indent=1))
connection.close()
