"""Second step of an import: what is sent, what is kept, what the user is told."""

from typing import Any

from edeposit.amqp.ftp import homes, settings
from edeposit.amqp.ftp.decoders import MetaParsingException, parse_meta
from edeposit.amqp.ftp.names import mark, text_of
from edeposit.amqp.ftp.pairing import Item, Parts, pair
from edeposit.amqp.ftp.passwd_reader import read_user_config
from edeposit.amqp.ftp.spool import READY, SpoolEntry


def decide(entry: SpoolEntry, problems: list[str]) -> None:
    """Pair and parse what was taken, and put the decision on disk."""
    own_flags = _own_flags(entry.data["username"])

    def wanted(flag: str) -> bool:
        return settings.conf_merger(own_flags, flag)

    with homes.opened_directory(entry.files) as root:
        files = [found.parts for _, found in homes.walk(root)]
    pairs = pair(files, wanted)
    errors = list(problems)
    kept: list[Parts] = []
    for group in pairs.ambiguous:
        paths = "".join(f"\n\t{mark(parts)}" for parts in group)
        errors.append(f"Too many files with same name:{paths}\n\n---\n")
        kept += group
    imported = []
    told = []
    for item in pairs.items:
        ready = _decide_item(entry, item, errors, kept, leave_bad=wanted("LEAVE_BAD_FILES"))
        if ready is not None:
            imported.append(ready)
            told.append(_tell(ready))
    entry.save(
        state=READY,
        items=imported,
        kept=kept,
        errors=errors,
        told=told,
        has_import_log=wanted("CREATE_IMPORT_LOG"),
    )


def _own_flags(username: str) -> dict[str, bool]:
    try:
        return read_user_config(username)
    except (KeyError, AssertionError):
        return {}


def _decide_item(
    entry: SpoolEntry, item: Item, errors: list[str], kept: list[Parts], *, leave_bad: bool
) -> dict[str, Any] | None:
    """What becomes of one item: the form in which it is stored, None if nothing is imported."""
    if item.metadata is None:
        return {"ebook": item.ebook}
    keep = leave_bad
    try:
        parsed = parse_meta(text_of(item.metadata[-1]), _read_metadata(entry, item.metadata))
        return {"metadata": item.metadata, "ebook": item.ebook, "parsed": parsed._asdict()}
    except OSError as error:
        errors.append(f"Can't read MetadataFile '{mark(item.metadata)}':\n\t{error.strerror}\n")
        keep = True
    except MetaParsingException as error:
        errors.append(f"Can't parse {mark(item.metadata)}: {text_of(str(error))}")
    if item.ebook is not None and settings.HOLD_BAD_PAIRS:
        kept += [item.metadata, item.ebook]
        return None
    if keep:
        kept.append(item.metadata)
    return {"ebook": item.ebook} if item.ebook is not None else None


def _read_metadata(entry: SpoolEntry, parts: Parts) -> bytes:
    limit = settings.MAX_METADATA_SIZE
    with open(entry.files.joinpath(*parts), "rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise MetaParsingException(f"it is larger than {limit} bytes")
    return data


def _tell(item: dict[str, Any]) -> str:
    lines = []
    if item.get("metadata"):
        lines.append(f"Metadata file '{mark(item['metadata'])}' successfully imported.")
    if item["ebook"]:
        lines.append(f"Ebook file '{mark(item['ebook'])}' successfully imported.")
    if len(lines) == 2:
        lines = [
            "Metadata and data files paired to epub. import request:",
            *(f"\t{line}" for line in lines),
        ]
    return "\n".join(lines)
