"""Settings of the broker's account that stand elsewhere: in a URL, in a file with the password."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from edeposit.amqp._setting import SettingsError


def account_settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """What RABBITMQ_URL and RABBITMQ_USER_PASSWORD_FILE say in place of other settings.

    Args:
        values: of all settings.

    Raises:
        SettingsError: the URL is none, or the file cannot be read. The text quotes no password.
    """
    derived = _from_url(values["RABBITMQ_URL"]) if values["RABBITMQ_URL"] else {}
    path = values["RABBITMQ_USER_PASSWORD_FILE"]
    if path:
        try:
            password = Path(path).read_text("utf-8").rstrip("\n")
        except (OSError, UnicodeDecodeError) as error:
            name = "RABBITMQ_USER_PASSWORD_FILE"
            raise SettingsError(f"{name}: {path} cannot be read: {error}", name) from error
        derived["RABBITMQ_USER_PASSWORD"] = password
    return derived


def _from_url(url: str) -> dict[str, Any]:
    # The text never quotes the URL: it holds a password.
    wrong = "is not amqp://user:password@host:port or amqps://user:password@host:port"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise SettingsError(f"RABBITMQ_URL {wrong}", "RABBITMQ_URL") from error
    if parts.scheme not in ("amqp", "amqps") or not parts.hostname:
        raise SettingsError(f"RABBITMQ_URL {wrong}", "RABBITMQ_URL")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        text = "RABBITMQ_URL names a virtual host; each service has its own"
        raise SettingsError(f"{text}, see RABBITMQ_<SERVICE>_VIRTUALHOST", "RABBITMQ_URL")
    is_tls = parts.scheme == "amqps"
    derived: dict[str, Any] = {
        "RABBITMQ_HOST": parts.hostname,
        "RABBITMQ_PORT": str(port or (5671 if is_tls else 5672)),
        "RABBITMQ_SSL": is_tls,
    }
    if parts.username is not None:
        derived["RABBITMQ_USER_NAME"] = unquote(parts.username)
    if parts.password is not None:
        derived["RABBITMQ_USER_PASSWORD"] = unquote(parts.password)
    return derived
