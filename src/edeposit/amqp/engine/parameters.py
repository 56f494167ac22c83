"""Where and how to connect, from the settings. Shared by daemons, client and tool."""

import ipaddress
import ssl

import pika

from edeposit.amqp import settings
from edeposit.amqp.errors import StartError


def getConParams(virtualhost: str) -> pika.ConnectionParameters:
    """Connection parameters for a virtual host, from the settings.

    Args:
        virtualhost: its name, without a slash in front.

    Raises:
        StartError: the TLS files cannot be read, or ``guest`` would go over the network.
        SettingsError: a setting is wrong.
    """
    host, user = settings.RABBITMQ_HOST, settings.RABBITMQ_USER_NAME
    password = settings.RABBITMQ_USER_PASSWORD
    is_guest = (user, password) == ("guest", "guest")
    if is_guest and not _is_loopback(host) and not settings.RABBITMQ_ALLOW_GUEST:
        raise StartError(
            f"the default account guest/guest must not be used over the network (host {host!r}):"
            " set RABBITMQ_USER_NAME and RABBITMQ_USER_PASSWORD, or RABBITMQ_ALLOW_GUEST if it is"
            " meant"
        )
    timeout = settings.RABBITMQ_CONNECT_TIMEOUT
    return pika.ConnectionParameters(
        host=host,
        port=int(settings.RABBITMQ_PORT),
        virtual_host=virtualhost,
        credentials=pika.PlainCredentials(user, password),
        heartbeat=settings.RABBITMQ_HEARTBEAT,
        ssl_options=_ssl_options(host) if settings.RABBITMQ_SSL else None,
        connection_attempts=1,
        socket_timeout=timeout,
        stack_timeout=timeout,
        blocked_connection_timeout=None,
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _no_passphrase() -> str:
    """Without this OpenSSL asks at the terminal, where a daemon's start would wait without end."""
    name = "RABBITMQ_SSL_KEY" if settings.RABBITMQ_SSL_KEY else "RABBITMQ_SSL_CERT"
    raise StartError(
        f"the key in {name} is encrypted, and nobody is there to type its passphrase: give the"
        " daemon an unencrypted one that only it can read"
    )


def _ssl_options(host: str) -> pika.SSLOptions:
    """TLS with verification of the certificate and its name; there is no switch to turn it off."""
    try:
        context = ssl.create_default_context(cafile=settings.RABBITMQ_SSL_CA or None)
        if settings.RABBITMQ_SSL_CERT:
            context.load_cert_chain(
                settings.RABBITMQ_SSL_CERT,
                settings.RABBITMQ_SSL_KEY or None,
                password=_no_passphrase,
            )
    except (OSError, ssl.SSLError) as error:
        raise StartError(f"TLS files of RABBITMQ_SSL_* cannot be used: {error}") from error
    return pika.SSLOptions(context, settings.RABBITMQ_SSL_SERVER_NAME or host)
