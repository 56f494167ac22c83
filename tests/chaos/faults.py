"""What goes wrong: each fault is done to the stage, lasts a while, and is undone."""

import contextlib
import os
import resource
import shutil
import signal
import time


def kill_daemon(stage, rng):
    daemon = rng.choice(stage.daemons)
    daemon.kill()
    daemon.start()
    return [daemon]


def freeze_daemon(stage, rng):
    daemon = rng.choice(stage.daemons)
    daemon.signal(signal.SIGSTOP)
    time.sleep(rng.choice([0.2, 1, 6]))
    daemon.signal(signal.SIGCONT)
    return [daemon]


def restart_daemon(stage, rng):
    daemon = rng.choice(stage.daemons)
    daemon.terminate()
    daemon.start()
    return [daemon]


def terminate_twice(stage, rng):
    daemon = rng.choice(stage.daemons)
    daemon.signal(signal.SIGTERM)
    time.sleep(rng.random() * 0.2)
    daemon.terminate()
    daemon.start()
    return [daemon]


def reload_daemon(stage, rng):
    daemon = rng.choice(stage.daemons)
    for _ in range(rng.randrange(1, 20)):
        daemon.signal(signal.SIGHUP)
    return [daemon]


def cut(stage, rng):
    daemon = rng.choice(stage.daemons)
    daemon.proxy.cut()
    return [daemon]


def cut_often(stage, rng):
    daemon = rng.choice(stage.daemons)
    for _ in range(rng.randrange(2, 6)):
        daemon.proxy.cut()
        time.sleep(rng.random() * 0.5)
    return [daemon]


def stall(stage, rng):
    daemon = rng.choice(stage.daemons)
    daemon.proxy.stall(rng.choice(["up", "down", "both"]))
    time.sleep(rng.choice([0.1, 1, 5]))
    daemon.proxy.cut()
    daemon.proxy.resume()
    return [daemon]


def refuse(stage, rng):
    daemon = rng.choice(stage.daemons)
    daemon.proxy.refuse()
    daemon.proxy.cut()
    time.sleep(rng.random() * 2)
    daemon.proxy.accept()
    return [daemon]


def slow_network(stage, rng):
    daemon = rng.choice(stage.daemons)
    daemon.proxy.delay(0.05)
    time.sleep(rng.random() * 2)
    daemon.proxy.delay(0.0)
    return [daemon]


def cut_caller(stage, rng):
    for _ in range(rng.randrange(1, 4)):
        stage.caller_proxy.cut()
        time.sleep(rng.random() * 0.3)
    return []


def stop_broker(stage, rng):
    stage.node.stop_app()
    time.sleep(rng.random())
    stage.node.start_app()
    return stage.daemons


def kill_broker(stage, rng):
    stage.node.kill()
    time.sleep(rng.random())
    stage.node.start()
    return stage.daemons


def memory_alarm(stage, rng):
    stage.node.ctl("set_vm_memory_high_watermark", "0.000001")
    time.sleep(1 + rng.random() * 2)
    stage.node.ctl("set_vm_memory_high_watermark", "0.4")
    return stage.daemons


def unbind_answers(stage, rng):
    with stage.channel() as channel:
        channel.queue_unbind("plone", "chaos", "result")
        time.sleep(rng.random() * 2)
        channel.queue_bind("plone", "chaos", "result")
    return []


def delete_parking_queue(stage, rng):
    """Only while nothing is parked: what an operator deletes, nobody else can keep."""
    with stage.channel() as channel:
        channel.queue_unbind("plone", "chaos", "result")
        with contextlib.suppress(Exception):
            channel.queue_delete("daemon.undeliverable", if_empty=True)
    time.sleep(rng.random())
    with stage.channel() as channel:
        channel.queue_bind("plone", "chaos", "result")
    return []


def recreate_queue(stage, rng):
    """Deletes the input queue while it is empty and nobody publishes; creates it again."""
    with stage.quiet(), stage.channel() as channel:
        channel.queue_delete("daemon")
        time.sleep(rng.random() * 2)
        stage.declare(channel)
    return stage.daemons


def lose_log_directory(stage, rng):
    daemon = rng.choice(stage.daemons)
    shutil.rmtree(daemon.log_directory, ignore_errors=True)
    daemon.signal(signal.SIGHUP)
    time.sleep(rng.random())
    daemon.log_directory.mkdir(exist_ok=True)
    daemon.signal(signal.SIGHUP)
    return [daemon]


def fill_disk(stage, rng):
    """The log's file system, a small one of its own, is full."""
    filler = stage.small_disk / "filler"
    with contextlib.suppress(OSError), open(filler, "wb") as file:
        while True:
            file.write(b"x" * 65536)
    time.sleep(0.5 + rng.random())
    filler.unlink(missing_ok=True)
    return []


def exhaust_descriptors(stage, rng):
    daemon = rng.choice(stage.daemons)
    pid = daemon.pid()
    if pid is None:
        return []
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    used = max(int(name) for name in os.listdir(f"/proc/{pid}/fd")) + 1
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (used - rng.randrange(3), before[1]))
    daemon.proxy.cut()
    time.sleep(1 + rng.random() * 2)
    with contextlib.suppress(ProcessLookupError):
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
    return [daemon]


# How often each comes; those of the broker cost seconds.
FAULTS = {
    kill_daemon: 10,
    freeze_daemon: 4,
    restart_daemon: 8,
    terminate_twice: 4,
    reload_daemon: 5,
    cut: 15,
    cut_often: 8,
    stall: 6,
    refuse: 8,
    slow_network: 5,
    cut_caller: 5,
    stop_broker: 2,
    kill_broker: 2,
    memory_alarm: 2,
    unbind_answers: 4,
    delete_parking_queue: 2,
    recreate_queue: 2,
    lose_log_directory: 3,
    fill_disk: 3,
    exhaust_descriptors: 4,
}
