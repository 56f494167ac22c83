"""A daemon that behaves as those of 2015 did, on plain pika. Needs nothing of edeposit.amqp.

It ignores ``reply_to`` and ``correlation_id``, answers through the exchange with the key rule of
the contract, transient, without confirms, and acks after the publish.

Arguments: host, port, virtual host, exchange. It prints "ready" when it consumes.
"""

import json
import sys
import traceback

import pika


def react(message):
    if isinstance(message, dict) and message.get("what") == "raise":
        raise ValueError(message["argument"])
    return message


def main(host, port, vhost, exchange):
    connection = pika.BlockingConnection(pika.ConnectionParameters(host, int(port), vhost))
    channel = connection.channel()

    def answer(method, body, **properties):
        prefix, dot, _ = method.routing_key.rpartition(".")
        channel.basic_publish(
            exchange, f"{prefix}{dot}result", body, pika.BasicProperties(**properties)
        )

    def on_message(_channel, method, properties, body):
        uuid = properties.headers["UUID"]
        try:
            text = json.dumps(react(json.loads(body)))
            answer(
                method,
                text,
                content_type="application/json",
                delivery_mode=1,
                headers={"UUID": uuid},
            )
        except Exception as error:
            headers = {
                "exception": str(error),
                "exception_type": f"<type 'exceptions.{type(error).__name__}'>",
                "exception_name": type(error).__name__,
                "traceback": traceback.format_exc().strip(),
                "UUID": uuid,
            }
            answer(
                method,
                str(error),
                content_type="application/text",
                delivery_mode=2,
                headers=headers,
            )
        channel.basic_ack(method.delivery_tag)

    channel.basic_consume("daemon", on_message)
    print("ready", flush=True)
    channel.start_consuming()


if __name__ == "__main__":
    main(*sys.argv[1:])
