"""What ``install`` puts into a system, ``uninstall`` takes away; foreign files are left alone."""

import shutil
import sys
from pathlib import Path

import pytest

from edeposit.amqp.programs.install import Installation, InstallError

ROOT = Path(__file__).parents[2]
UNIT = "usr/local/lib/systemd/system/edeposit-amqp@.service"


@pytest.fixture
def prefix(tmp_path):
    """An environment as pip leaves it, without its packages."""
    prefix = tmp_path / "prefix"
    shutil.copytree(ROOT / "bin", prefix / "bin")
    for name in ("systemd", "manual"):
        shutil.copytree(ROOT / name, prefix / "share" / "edeposit-amqp" / name)
    return prefix


@pytest.fixture
def installation(prefix, tmp_path):
    (tmp_path / "root").mkdir()
    return Installation(prefix, "/opt/bin", str(tmp_path / "root"))


def files(directory):
    return sorted(
        str(path.relative_to(directory))
        for path in directory.rglob("*")
        if path.is_symlink() or path.is_file()
    )


def test_every_program_becomes_a_command_and_every_shipped_file_has_a_place(installation, tmp_path):
    installation.install()

    installed = files(tmp_path / "root")
    for program in (ROOT / "bin").glob("*.py"):
        assert f"opt/bin/{program.name}" in installed
    shipped = {path.name for path in (ROOT / "systemd").iterdir()}
    assert len(installed) >= len(shipped) + len(list((ROOT / "bin").glob("*.py")))
    assert UNIT in installed
    assert "usr/local/share/man/man1/edeposit_amqp_tool.py.1" in installed
    assert "usr/local/share/bash-completion/completions/edeposit_amqp_tool.py" in installed


def test_the_units_start_the_commands_where_they_are(installation, tmp_path):
    installation.install()
    text = (tmp_path / "root" / UNIT).read_text("utf-8")
    assert "ExecStart=/opt/bin/edeposit_amqp_%i.py" in text


def test_uninstall_leaves_nothing(installation, tmp_path):
    installation.install()
    installation.install()
    installation.uninstall()
    assert files(tmp_path / "root") == []


def test_a_changed_file_is_kept(installation, tmp_path):
    installation.install()
    logrotate = tmp_path / "root/etc/logrotate.d/edeposit-amqp"
    logrotate.write_text("mine", "utf-8")

    lines = installation.install() + installation.uninstall()

    assert logrotate.read_text("utf-8") == "mine"
    assert any("kept" in line and "edeposit-amqp" in line for line in lines)


def test_a_foreign_file_is_never_overwritten_and_nothing_is_half_installed(installation, tmp_path):
    command = tmp_path / "root/opt/bin/edeposit_amqp_tool.py"
    command.parent.mkdir(parents=True)
    command.write_text("the first generation's", "utf-8")

    with pytest.raises(InstallError, match="edeposit_amqp_tool"):
        installation.install()

    assert files(tmp_path / "root") == ["opt/bin/edeposit_amqp_tool.py"]
    assert command.read_text("utf-8") == "the first generation's"


def test_what_a_new_version_no_longer_ships_is_removed(installation, prefix, tmp_path):
    (prefix / "bin" / "edeposit_amqp_old.py").write_text("", "utf-8")
    installation.install()
    (prefix / "bin" / "edeposit_amqp_old.py").unlink()
    installation.install()
    assert "opt/bin/edeposit_amqp_old.py" not in files(tmp_path / "root")


def test_the_command_line_reports_what_is_in_the_way(monkeypatch, prefix, tmp_path, capsys):
    from edeposit.amqp.programs import install

    monkeypatch.setattr(sys, "prefix", str(prefix))
    blocked = tmp_path / "root/usr/local/bin/edeposit_amqp_tool.py"
    blocked.parent.mkdir(parents=True)
    blocked.write_text("x", "utf-8")

    assert install.run(["install", "--root", str(tmp_path / "root")]) == 1
    assert "exists and is not from here" in capsys.readouterr().err
