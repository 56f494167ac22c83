"""Requests, answers and import messages of the FTP service, as they travel.

What must stay true: building one of these never opens a file, so a message that names
``/etc/shadow`` makes nobody read it. Reading is ``from_file()``, and only that.
"""

import base64
import binascii
from collections import namedtuple
from pathlib import Path
from typing import Any

from edeposit.amqp.aleph.datastructures.epublication import EPublication
from edeposit.amqp.ftp.decoders import parse_meta

__all__ = [
    "FLAGS",
    "AddUser",
    "ChangePassword",
    "DataPair",
    "EPublication",
    "EbookFile",
    "GetUserSettings",
    "ImportRequest",
    "ListRegisteredUsers",
    "MetadataFile",
    "RemoveUser",
    "SetUserSettings",
    "UserSettings",
    "Userlist",
]

# What a user can switch off for himself, in the order of the passwd file and of the messages.
FLAGS = (
    "SAME_NAME_DIR_PAIRING",
    "SAME_DIR_PAIRING",
    "ISBN_PAIRING",
    "CREATE_IMPORT_LOG",
    "LEAVE_BAD_FILES",
)


class AddUser(namedtuple("AddUser", ["username", "password"])):
    """Request: make a user and a home.

    Attributes:
        username (str): letters, digits, ``_``, ``.``, ``-``; 1 to 32.
        password (str): not empty.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return f"AddUser(username={self.username!r}, password=...)"


class RemoveUser(namedtuple("RemoveUser", ["username"])):
    """Request: remove a user, with everything in the home.

    Attributes:
        username (str): the user.
    """

    __slots__ = ()


class ChangePassword(namedtuple("ChangePassword", ["username", "new_password"])):
    """Request: set a new password.

    Attributes:
        username (str): the user.
        new_password (str): not empty.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return f"ChangePassword(username={self.username!r}, new_password=...)"


class ListRegisteredUsers(namedtuple("ListRegisteredUsers", [])):
    """Request: who is there?"""

    __slots__ = ()


class Userlist(namedtuple("Userlist", ["users"])):
    """Answer to ``ListRegisteredUsers``.

    Attributes:
        users (list): names (str), sorted.
    """

    __slots__ = ()


class SetUserSettings(
    namedtuple(
        "SetUserSettings",
        [
            "username",
            "SAME_NAME_DIR_PAIRING",
            "SAME_DIR_PAIRING",
            "ISBN_PAIRING",
            "CREATE_IMPORT_LOG",
            "LEAVE_BAD_FILES",
        ],
    )
):
    """Request: store a user's own flags; answered with ``UserSettings``.

    Attributes:
        username (str): the user.
        SAME_NAME_DIR_PAIRING, SAME_DIR_PAIRING, ISBN_PAIRING, CREATE_IMPORT_LOG,
            LEAVE_BAD_FILES (bool): as the settings of these names.
    """

    __slots__ = ()


class GetUserSettings(namedtuple("GetUserSettings", ["username"])):
    """Request: a user's flags.

    Attributes:
        username (str): the user.
    """

    __slots__ = ()


class UserSettings(
    namedtuple(
        "UserSettings",
        [
            "username",
            "SAME_NAME_DIR_PAIRING",
            "SAME_DIR_PAIRING",
            "ISBN_PAIRING",
            "CREATE_IMPORT_LOG",
            "LEAVE_BAD_FILES",
        ],
    )
):
    """Answer to ``SetUserSettings`` and ``GetUserSettings``; fields as in the former."""

    __slots__ = ()


class MetadataFile(
    namedtuple("MetadataFile", ["filename", "raw_data", "parsed_data"], defaults=(None, None))
):
    """A file of metadata.

    Attributes:
        filename (str): absolute path on the FTP server; tells the format by its suffix.
        raw_data (str): its text; None: not read, or handed over by path.
        parsed_data (EPublication): what it says of the book; None: not parsed.
    """

    __slots__ = ()

    @classmethod
    def from_file(cls, path: str) -> "MetadataFile":
        """Read a file.

        Raises:
            OSError: it cannot be read.
            UnicodeDecodeError: it is not UTF-8.
        """
        return cls(path, Path(path).read_bytes().decode("utf-8-sig"))

    def _parse(self) -> "MetadataFile":
        """A copy with ``parsed_data``.

        Raises:
            MetaParsingException: the text is no metadata.
        """
        return self._replace(parsed_data=parse_meta(self.filename, self.raw_data or ""))

    def _get_filenames(self) -> list[str]:
        return [self.filename]


class EbookFile(namedtuple("EbookFile", ["filename", "raw_data"], defaults=(None,))):
    """An e-book.

    Attributes:
        filename (str): absolute path on the FTP server; when ``raw_data`` is None, the path of a
            file in the spool's ``outbox``, for the receiver to take.
        raw_data (bytes): its content, in JSON base64; None: see ``filename``. A text given here
            is taken for base64.
    """

    __slots__ = ()

    def __new__(cls, filename: str, raw_data: bytes | str | None = None) -> "EbookFile":
        if isinstance(raw_data, str):
            try:
                raw_data = base64.b64decode(raw_data, validate=True)
            except (binascii.Error, ValueError) as error:
                raise ValueError(f"EbookFile: raw_data is not base64: {error}") from error
        return super().__new__(cls, filename, raw_data)

    @classmethod
    def from_file(cls, path: str) -> "EbookFile":
        """Read a file.

        Raises:
            OSError: it cannot be read.
        """
        return cls(path, Path(path).read_bytes())

    @classmethod
    def from_wire(cls, filename: str, raw_data: str | None = None) -> "EbookFile":
        """Build from the fields as JSON holds them (called by the serializer).

        The first generation put the bytes of a text file into JSON as they were: what is not
        base64 is such a text.
        """
        try:
            return cls(filename, raw_data)
        except ValueError:
            return cls(filename, str(raw_data).encode("utf-8"))

    def to_wire(self) -> tuple[Any, ...]:
        """The fields as JSON can hold them (called by the serializer)."""
        data = self.raw_data
        return (self.filename, None if data is None else base64.b64encode(data).decode("ascii"))

    def _get_filenames(self) -> list[str]:
        return [self.filename]


class DataPair(namedtuple("DataPair", ["metadata_file", "ebook_file"])):
    """Metadata and the e-book that they describe.

    Attributes:
        metadata_file (MetadataFile): the metadata.
        ebook_file (EbookFile): the e-book.
    """

    __slots__ = ()

    def _parse(self) -> "DataPair":
        """A copy with parsed metadata.

        Raises:
            MetaParsingException: the metadata cannot be parsed.
        """
        return self._replace(metadata_file=self.metadata_file._parse())

    def _get_filenames(self) -> list[str]:
        return [self.metadata_file.filename, self.ebook_file.filename]


class ImportRequest(
    namedtuple("ImportRequest", ["username", "requests", "import_log", "error_log"])
):
    """Sent by the monitor when a user has started an import.

    Attributes:
        username (str): the user.
        requests (list): of ``MetadataFile``, ``EbookFile`` and ``DataPair``.
        import_log (str): what was imported, a line each.
        error_log (str): what was not, and why; empty: everything was.
    """

    __slots__ = ()
