"""Uploads that the server logged as broken off: only a part of such a file has arrived.

The state is what replaying the log gives, by path. It is kept beside the log's position, because
both must tell of the same lines.
"""

import json
import logging
import os
from pathlib import Path

logger = logging.getLogger(__name__)

_STORING = {"STOR", "STOU", "APPE"}
# RFC 959: connection, transfer, local error, storage. With another refusal, such as 550, nothing
# was written, and a file of that name is as it was.
_BROKEN = {"425", "426", "451", "452", "552"}
_MAX_PER_USER = 1000


class BrokenUploads:
    """Which files of which user are known not to be whole.

    Args:
        state_file: where that is kept.
    """

    def __init__(self, state_file: Path) -> None:
        self._state_file = state_file
        self._paths: dict[str, dict[str, None]] = {}  # by user, in order of the log
        self._renaming: dict[str, str] = {}
        self._is_saved = True
        self._load()

    def of(self, username: str) -> list[str]:
        """Absolute paths of a user's files."""
        return list(self._paths.get(username, ()))

    def note(self, event: dict[str, str]) -> None:
        """Take notice of a line of the log, see ``logline.parse_line``."""
        command, code = event["command"].upper(), event.get("code", "")
        username, path = event["username"], os.path.normpath(event["path"])
        is_done = code.startswith("2")
        if command in _STORING:
            if code in _BROKEN:
                self._add(username, path)
            elif is_done:
                self._remove(username, path)
        elif command in ("DELE", "DEL") and is_done:
            self._remove(username, path)
        elif command == "RNFR":
            self._renaming[username] = path
        elif command == "RNTO" and is_done and username in self._renaming:
            self._rename(username, self._renaming.pop(username), path)

    def forget_missing(self, username: str) -> None:
        """Forget files of a user that are not there any more."""
        for path in self.of(username):
            if not os.path.lexists(path):
                self._remove(username, path)

    def save(self) -> None:
        """Keep the state on disk if it has changed.

        Raises:
            OSError: it cannot be written.
        """
        if self._is_saved:
            return
        state = {name: list(paths) for name, paths in self._paths.items() if paths}
        temporary = self._state_file.with_suffix(".new")
        temporary.write_text(json.dumps(state), "ascii")
        temporary.rename(self._state_file)
        self._is_saved = True

    def _load(self) -> None:
        try:
            state = json.loads(self._state_file.read_text("ascii"))
            self._paths = {str(name): dict.fromkeys(paths) for name, paths in state.items()}
        except FileNotFoundError:
            pass
        except (OSError, ValueError, AttributeError, TypeError) as error:
            logger.warning(
                "%s is unusable, broken uploads before now are forgotten: %s",
                self._state_file,
                error,
            )

    def _add(self, username: str, path: str) -> None:
        paths = self._paths.setdefault(username, {})
        paths.pop(path, None)
        paths[path] = None
        if len(paths) > _MAX_PER_USER:
            del paths[next(iter(paths))]
        self._is_saved = False

    def _remove(self, username: str, path: str) -> None:
        if path in self._paths.get(username, ()):
            del self._paths[username][path]
            self._is_saved = False

    def _rename(self, username: str, old: str, new: str) -> None:
        """A file or a directory got another name; what had that name before is gone."""
        self._remove(username, new)
        for path in self.of(username):
            if path == old or path.startswith(old + "/"):
                self._remove(username, path)
                self._add(username, new + path[len(old) :])
