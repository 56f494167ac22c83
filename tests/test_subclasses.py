"""What modules of others derive from: mistakes are said when the class is defined."""

import pytest

from edeposit.amqp.amqpdaemon import AMQPDaemon, _second_parameter
from edeposit.amqp.daemonwrapper import DaemonRunnerWrapper
from edeposit.amqp.pikadaemon import PikaDaemon


@pytest.mark.parametrize("base", [PikaDaemon, AMQPDaemon])
def test_a_body_of_its_own_is_refused_at_once(base):
    with pytest.raises(TypeError, match=r"Mine\.body\(\) would replace"):
        type("Mine", (base,), {"body": lambda self: None})


def test_a_plain_process_has_a_body_of_its_own():
    assert type("Mine", (DaemonRunnerWrapper,), {"body": lambda self: None})("mine").name == "mine"


def test_a_function_of_any_arguments_gets_both():
    assert _second_parameter(lambda *arguments: None) == "send_back"
    assert _second_parameter(lambda message, *rest: None) == "send_back"
    assert _second_parameter(lambda message, UUID: None) == "uuid"
    assert _second_parameter(lambda message: None) is None
