"""The first generation's place of ``getDocNumber``."""

from edeposit.amqp.aleph.aleph import getDocNumber

__all__ = ["getDocNumber"]
