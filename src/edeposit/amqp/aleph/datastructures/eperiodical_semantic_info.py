"""The first generation's place of ``EPeriodicalSemanticInfo``."""

from edeposit.amqp.aleph.datastructures.semanticinfo import EPeriodicalSemanticInfo

__all__ = ["EPeriodicalSemanticInfo"]
