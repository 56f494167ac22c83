"""Users of a ProFTPD server, and the import of what they upload.

The manager answers requests about users (``reactToAMQPMessage``); the monitor (``monitor``) sends
an ``ImportRequest`` whenever a user has deleted the lock file in the home. A plain library: usable
without a broker.
"""

from collections.abc import Callable
from typing import Any

from edeposit.amqp.ftp import api, settings
from edeposit.amqp.ftp.exceptions import FTPError
from edeposit.amqp.ftp.passwd_reader import read_user_config, save_user_config
from edeposit.amqp.ftp.structures import (
    FLAGS,
    AddUser,
    ChangePassword,
    DataPair,
    EbookFile,
    EPublication,
    GetUserSettings,
    ImportRequest,
    ListRegisteredUsers,
    MetadataFile,
    RemoveUser,
    SetUserSettings,
    Userlist,
    UserSettings,
)

__all__ = [
    "AddUser",
    "ChangePassword",
    "DataPair",
    "EPublication",
    "EbookFile",
    "FTPError",
    "GetUserSettings",
    "ImportRequest",
    "ListRegisteredUsers",
    "MetadataFile",
    "RemoveUser",
    "SetUserSettings",
    "UserSettings",
    "Userlist",
    "on_start",
    "reactToAMQPMessage",
]


def reactToAMQPMessage(message: Any, send_back: Callable[[Any], None]) -> Any:
    """Serve one request.

    Args:
        message: one of the requests; recognised by the name of its class.
        send_back: its attribute ``redelivered``, if it has one, says whether the broker delivers
            the request again; nothing is sent with it.

    Returns:
        True, ``Userlist`` or ``UserSettings``.

    Raises:
        ValueError: unknown request; a password or flag that cannot be stored.
        AssertionError: bad or taken name, no such user, no password, not root.
        KeyError: settings of a user that does not exist.
        OSError: the files cannot be written.
    """
    kind = type(message).__name__
    # The broker delivers a request again whose answer was lost: then it may be done already.
    is_repeated = bool(getattr(send_back, "redelivered", False))
    if kind == "AddUser":
        api.add_user(message.username, message.password, is_repeated=is_repeated)
        return True
    if kind == "RemoveUser":
        api.remove_user(message.username, is_repeated=is_repeated)
        return True
    if kind == "ChangePassword":
        api.change_password(message.username, message.new_password)
        return True
    if kind == "ListRegisteredUsers":
        return Userlist(api.list_users())
    if kind == "SetUserSettings":
        save_user_config(message.username, {flag: getattr(message, flag) for flag in FLAGS})
        return user_settings(message.username)
    if kind == "GetUserSettings":
        return user_settings(message.username)
    raise ValueError(f"Unknown type of request: '{type(message)}'!")


def user_settings(username: str) -> UserSettings:
    """A user's flags; those never stored are the common ones.

    Raises:
        KeyError: there is no such user.
    """
    stored = read_user_config(username)
    flags = {flag: stored.get(flag, getattr(settings, flag)) for flag in FLAGS}
    return UserSettings(username, **flags)


def on_start() -> None:
    """Check what the manager needs; the daemon does not start without.

    Raises:
        FTPError: it is missing; the text says what.
    """
    api.check_server()
