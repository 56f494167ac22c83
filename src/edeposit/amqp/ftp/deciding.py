"""Second step of an import: what is sent, what is kept, what the user is told."""

from itertools import islice
from typing import Any

from edeposit.amqp.ftp import settings
from edeposit.amqp.ftp.decoders import MetaParsingException, parse_meta
from edeposit.amqp.ftp.names import clean, cut, mark, shown
from edeposit.amqp.ftp.pairing import Item, Parts, pair
from edeposit.amqp.ftp.passwd_reader import read_user_config
from edeposit.amqp.ftp.spool import READY, SpoolEntry

# Characters of one error text: enough for all fields that can be missing.
_MAX_ERROR = 2000
_MAX_SHOWN_PATHS = 50


def decide(entry: SpoolEntry, problems: list[str]) -> None:
    """Pair and parse what was taken, and put the decision on disk.

    Args:
        entry: in state ``collecting``.
        problems: what the user is told about files that were not taken.

    Raises:
        OSError: the spool cannot be used.
    """
    _Decision(entry, problems).save()


class _Decision:
    """What becomes of an import, while it is made up."""

    def __init__(self, entry: SpoolEntry, problems: list[str]) -> None:
        self.entry = entry
        self.errors = list(problems)
        self.items: list[dict[str, Any]] = []
        self.told: list[str] = []
        self.kept: list[int] = []
        self._own_flags = _own_flags(entry.data["username"])
        self._numbers = {entry.parts(number): number for number in entry.taken()}
        # In the order of the plan: the files of one directory one after another.
        pairs = pair(self._numbers, self.wanted)
        for group in pairs.ambiguous:
            self._refuse_group(group)
        for item in pairs.items:
            self._add(item)

    def wanted(self, flag: str) -> bool:
        return settings.conf_merger(self._own_flags, flag)

    def save(self) -> None:
        self.entry.save(
            state=READY,
            items=self.items,
            kept=self.kept,
            errors=self.errors,
            told=self.told,
            has_import_log=self.wanted("CREATE_IMPORT_LOG"),
        )

    def _refuse_group(self, group: list[Parts]) -> None:
        paths = "".join(f"\n\t{mark(parts)}" for parts in islice(group, _MAX_SHOWN_PATHS))
        if len(group) > _MAX_SHOWN_PATHS:
            paths += f"\n\t[... {len(group) - _MAX_SHOWN_PATHS} more]"
        self.errors.append(f"Too many files with same name:{paths}\n\n---\n")
        self.kept += (self._numbers[parts] for parts in group)

    def _add(self, item: Item) -> None:
        stored: dict[str, Any] = {}
        if item.metadata is not None:
            is_held = item.ebook is not None and settings.HOLD_BAD_PAIRS
            parsed = self._parse(item.metadata, is_held or self.wanted("LEAVE_BAD_FILES"))
            if parsed is None and item.ebook is not None and is_held:
                self.kept.append(self._numbers[item.ebook])
                return
            if parsed is not None:
                stored |= {"metadata": self._numbers[item.metadata], "parsed": parsed}
        if item.ebook is not None:
            stored["ebook"] = self._numbers[item.ebook]
        if stored:
            self.items.append(stored)
            self.told.append(_tell(item, has_metadata="metadata" in stored))

    def _parse(self, parts: Parts, is_kept: bool) -> dict[str, Any] | None:
        """The metadata of a file; None: they are bad, and the user is told why.

        Args:
            parts: of the file.
            is_kept: if the metadata are bad, the file stays in the home.
        """
        number = self._numbers[parts]
        try:
            limit = settings.MAX_METADATA_SIZE
            data = self.entry.read(number, limit + 1)
            if len(data) > limit:
                raise MetaParsingException(f"it is larger than {limit} bytes")
            return parse_meta(shown(parts[-1]), data)._asdict()
        except OSError as error:
            reason = error.strerror or type(error).__name__
            self.errors.append(f"Can't read MetadataFile '{mark(parts)}':\n\t{reason}\n")
            is_kept = True
        except MetaParsingException as error:
            reason = cut(clean(str(error)), _MAX_ERROR)
            self.errors.append(f"Can't parse {mark(parts)}: {reason}")
        if is_kept:
            self.kept.append(number)
        return None


def _own_flags(username: str) -> dict[str, bool]:
    try:
        return read_user_config(username)
    except (KeyError, AssertionError, OSError):
        return {}


def _tell(item: Item, *, has_metadata: bool) -> str:
    lines = []
    if has_metadata and item.metadata is not None:
        lines.append(f"Metadata file '{mark(item.metadata)}' successfully imported.")
    if item.ebook is not None:
        lines.append(f"Ebook file '{mark(item.ebook)}' successfully imported.")
    if len(lines) == 2:
        lines = [
            "Metadata and data files paired to epub. import request:",
            *(f"\t{line}" for line in lines),
        ]
    return "\n".join(lines)
