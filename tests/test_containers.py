"""The container files name programs and settings that exist, and the daemon works as process 1.

No container engine runs here: the same command is started as PID 1 of a namespace of its own.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from edeposit.amqp import settings
from edeposit.amqp.antivirus import settings as antivirus
from edeposit.amqp.testing import ClamdServer, wait_for

CONTAINERS = Path(__file__).parents[1] / "containers"
BIN = Path(sys.executable).parent


def documents(name):
    return list(yaml.safe_load_all((CONTAINERS / name).read_text("utf-8")))


def known_settings():
    own = {f"ANTIVIRUS_{name}" for name in antivirus.get_all_constants()}
    return own | set(settings.get_all_constants())


def test_compose_uses_programs_and_settings_that_exist():
    (compose,) = documents("compose.yaml")
    for name, service in compose["services"].items():
        if "build" not in service:
            continue
        assert set(service["environment"]) <= known_settings(), name
        for program in service.get("command", [])[:1]:
            assert (BIN / program).is_file()
    waits = compose["services"]["antivirus"]["stop_grace_period"]
    assert int(waits.rstrip("s")) > settings.STOP_TIMEOUT


def test_kubernetes_probes_programs_that_exist():
    (deployment,) = documents("kubernetes.yaml")
    pod = deployment["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] > settings.STOP_TIMEOUT
    assert pod["enableServiceLinks"] is False
    for container in pod["containers"]:
        assert {row["name"] for row in container["env"]} <= known_settings()
        for probe in ("livenessProbe", "readinessProbe"):
            assert (BIN / container[probe]["exec"]["command"][0]).is_file()


@pytest.mark.skipif(os.geteuid() != 0, reason="a PID namespace needs root")
def test_the_containers_command_works_as_process_1(rabbit, vhost, tmp_path):
    text = (CONTAINERS / "Containerfile").read_text("utf-8")
    command = re.search(r'^CMD \["sh", "-c", "(.*)"\]$', text, re.M)[1].replace('\\"', '"')
    log = tmp_path / "stderr"
    with ClamdServer() as clamd, open(log, "wb") as stderr:
        environment = {
            **os.environ,
            **rabbit.env(),
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "HOME": str(tmp_path),
            "DAEMON": "edeposit_amqp_antivirusd.py",
            "LOG_TARGET": "stderr",
            "PID_DIR": str(tmp_path / "run"),
            "RABBITMQ_ANTIVIRUS_VIRTUALHOST": vhost,
            "ANTIVIRUS_LOCALSOCKET": clamd.socket_path,
            "ANTIVIRUS_CONF_PATH": str(clamd.config_file),
            "ANTIVIRUS_DATABASE_DIR": str(clamd.database),
        }

        def program(*arguments):
            return subprocess.run(
                ["edeposit_amqp_antivirusd.py", *arguments],
                env=environment,
                capture_output=True,
                text=True,
                check=False,
                timeout=60,
            )

        assert program("create").returncode == 0
        container = subprocess.Popen(
            ["unshare", "--pid", "--fork", "--mount-proc", "sh", "-c", command],
            env=environment,
            stderr=stderr,
        )
        try:
            wait_for(lambda: program("check").returncode == 0, 60, "the daemon answers")
            # The runtime's SIGTERM goes to process 1, the only child of unshare.
            children = Path(f"/proc/{container.pid}/task/{container.pid}/children")
            os.kill(int(children.read_text("ascii")), 15)
            assert container.wait(30) == 0
        finally:
            container.kill()
    assert "drained" in log.read_text("utf-8")
