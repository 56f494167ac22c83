"""What every way of administration has in common: its methods and its errors."""

import shlex
from typing import Protocol

from edeposit.amqp import settings
from edeposit.amqp.errors import AMQPError

Binding = tuple[str, str, str]  # exchange, queue, routing key


class AdministrationError(AMQPError):
    """One way of administration cannot be used, or refuses; the text says why."""


class CannotCreateError(AMQPError):
    """A virtual host cannot be created from here.

    Attributes:
        vhost: its name.
        commands: what to run on the broker's machine instead, as root.
    """

    def __init__(self, vhost: str, reasons: list[str]) -> None:
        super().__init__(f"Can't create virtual host {vhost!r} from here: {'; '.join(reasons)}.")
        self.vhost = vhost
        user = shlex.quote(settings.RABBITMQ_USER_NAME)
        name = shlex.quote(vhost)
        self.commands = [
            f"rabbitmqctl add_vhost {name}",
            f'rabbitmqctl set_permissions -p {name} {user} ".*" ".*" ".*"',
        ]


class Administrator(Protocol):
    """One way to administrate the broker; every method raises ``AdministrationError``."""

    name: str

    def create_vhost(self, vhost: str, user: str) -> None:
        """Create a virtual host, and give a user who has no permissions in it all of them."""

    def bindings(self, vhost: str) -> set[Binding]:
        """All bindings of queues to exchanges in a virtual host."""

    def unacked(self, vhost: str) -> dict[str, int]:
        """Messages delivered but not acked, by queue; a queue without a known count is left out."""


def refuse_known(vhost: str, user: str, users: list[str]) -> None:
    """Permissions that somebody has set on purpose are never widened.

    Raises:
        AdministrationError: the user has permissions already.
    """
    if user in users:
        raise AdministrationError(
            f"virtual host {vhost!r} exists, and user {user!r} has permissions in it: the broker"
            " refuses the connection for another reason"
        )
