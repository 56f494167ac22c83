"""What ClamAV calls clean unopened is found in the file, and what it opens is not refused."""

import base64
import bz2
import email.message
import gzip
import io
import lzma
import random
import struct
import tarfile
import zipfile
import zlib

import olefile
import pytest

from edeposit.amqp.antivirus import antivirus, samples, settings
from edeposit.amqp.antivirus.containers import Walk
from edeposit.amqp.antivirus.deadline import Deadline
from edeposit.amqp.antivirus.exceptions import NotScannedError, ScanTimeoutError
from edeposit.amqp.testing import EICAR

from .conftest import b64

NOISE = random.Random(3).randbytes(3000)


def zipped(members, method=zipfile.ZIP_DEFLATED, zip64=False):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in members.items():
            with archive.open(name, "w", force_zip64=zip64) as member:
                member.write(content)
    return buffer.getvalue()


def compound(name, content):
    """The sample with its stream renamed and its begin overwritten."""
    data = bytearray(samples.ole2())
    entry = data.index("Package".encode("utf-16-le"))
    data[entry : entry + 64] = (name + "\0").encode("utf-16-le").ljust(64, b"\0")
    struct.pack_into("<H", data, entry + 64, 2 * len(name) + 2)
    data[512 * 3 : 512 * 3 + len(content)] = content
    return bytes(data)


def odt(encryption):
    manifest = f"<manifest:manifest>{encryption}</manifest:manifest>"
    return zipped({"content.xml": NOISE, "META-INF/manifest.xml": manifest.encode()})


def epub(algorithm, encoding="utf-8"):
    encryption = (
        "<encryption><enc:EncryptedData>"
        f"<enc:EncryptionMethod Algorithm='{algorithm}'/></enc:EncryptedData></encryption>"
    )
    return zipped({"META-INF/encryption.xml": encryption.encode(encoding), "a.xhtml": NOISE})


def pdf(kind, packed=True):
    """A PDF whose only object is a stream of objects, or a plain one."""
    body = {
        "name": b"<< /Names << /EmbeddedFiles 3 0 R >> >>",
        "escaped": b"<< /Names << /Embedded#46iles 3 0 R >> >>",
        "annotation": b"<< /Type /Annot /Subtype /FileAttachment /FS 4 0 R >>",
        "encrypted": b"trailer << /Encrypt 5 0 R >>",
        "plain": b"<< /Type /Page >>",
    }[kind]
    if packed:
        content = zlib.compress(b"1 0 " + body)
        body = b"<< /Type /ObjStm /N 1 /First 4 /Filter /FlateDecode /Length %d >>\nstream\n%s" % (
            len(content),
            content + b"\nendstream",
        )
    return b"%PDF-1.5\n1 0 obj\n" + body + b"\nendobj\n%%EOF\n"


def mobi(encryption):
    return (
        bytes(60)
        + b"BOOKMOBI"
        + bytes(8)
        + struct.pack(">HL", 1, 100)
        + bytes(18)
        + (b"\0\2" + bytes(10) + struct.pack(">H", encryption) + NOISE)
    )


def mail(attachment):
    message = email.message.EmailMessage()
    message["From"], message["To"], message["Subject"] = "a@b.cz", "b@c.cz", "x"
    message.set_content("see below")
    message.add_attachment(
        attachment, maintype="application", subtype="octet-stream", filename="a.bin"
    )
    return message.as_bytes()


def tarred(content):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        info = tarfile.TarInfo("a")
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def hidden_member():
    """A member that the zip's directory does not name."""
    whole = zipped({"a.txt": NOISE, "evil.com": EICAR})
    archive = zipfile.ZipFile(io.BytesIO(whole))
    entry = whole[archive.start_dir : whole.index(b"PK\1\2", archive.start_dir + 4)]
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, len(entry), archive.start_dir, 0)
    return whole[: archive.start_dir] + entry + end


ENCRYPTED = "<manifest:encryption-data/>"
AES = "http://www.w3.org/2001/04/xmlenc#aes128-cbc"
DOCX = compound("EncryptedPackage", b"\1\2\3\4")
BIFF = struct.pack("<HHL", 0x809, 4, 0) + struct.pack("<HHH", 0x2F, 2, 0)

NOT_SCANNED = {
    "zip64": ("zip64", zipped({"a": EICAR}, zip64=True)),
    "zip of LZMA": ("zip-method", zipped({"a": EICAR}, zipfile.ZIP_LZMA)),
    "cut zip": ("damaged-zip", zipped({"a": NOISE, "b": EICAR})[:2900]),
    "zip without its directory": ("damaged-zip", zipped({"a": EICAR})[:-60]),
    "hidden member": ("damaged-zip", hidden_member()),
    "docx with a password": ("encrypted-document", DOCX),
    "doc with a password": (
        "encrypted-document",
        compound("WordDocument", b"\xec\xa5" + bytes(9) + b"\1"),
    ),
    "xls with a password": ("encrypted-document", compound("Workbook", BIFF)),
    "ppt with a password": ("encrypted-document", compound("EncryptedSummary", b"x")),
    "odt with a password": ("encrypted-document", odt(ENCRYPTED)),
    "e-book with DRM": ("drm", epub(AES)),
    "e-book with DRM, UTF-16": ("drm", epub(AES, "utf-16")),
    "Kindle book with DRM": ("drm", mobi(2)),
    "rar": ("rar", samples.encrypted_rar()),
    "lzma": ("unknown-format", lzma.compress(EICAR, format=lzma.FORMAT_ALONE)),
    "zstd": ("unknown-format", b"\x28\xb5\x2f\xfd" + NOISE),
    "lz4": ("unknown-format", b"\x04\x22\x4d\x18" + NOISE),
    "compress": ("unknown-format", b"\x1f\x9d\x90" + NOISE),
    "pdf with an attachment": ("pdf-attachment", pdf("name", packed=False)),
    "the same among packed objects": ("pdf-attachment", pdf("name")),
    "the same in other letters": ("pdf-attachment", pdf("escaped")),
    "pdf with an annotation": ("pdf-attachment", pdf("annotation")),
    "encrypted pdf": ("encrypted-pdf", pdf("encrypted", packed=False)),
    "cut gzip": ("damaged", gzip.compress(NOISE)[:-20]),
    "OLE2 of rubbish": ("damaged", samples.ole2()[:512] + NOISE),
}

SCANNED = {
    "text": b"hello",
    "zip": zipped({"a": NOISE}),
    "zip stored": zipped({"a": NOISE}, zipfile.ZIP_STORED),
    "zip of bzip2": zipped({"a": NOISE}, zipfile.ZIP_BZIP2),
    "empty zip": zipped({}),
    "e-book with disguised fonts": epub("http://www.idpf.org/2008/embedding"),
    "odt": odt(""),
    "doc": compound("WordDocument", b"\xec\xa5" + bytes(10)),
    "pdf": pdf("plain"),
    "Kindle book": mobi(0),
    "gzip": gzip.compress(NOISE),
    "bzip2": bz2.compress(NOISE),
    "xz": lzma.compress(NOISE),
    "tar": tarred(NOISE),
    "mail": mail(NOISE),
    "zip in a zip": zipped({"a.zip": zipped({"a": NOISE})}),
    "zeros": bytes(5000),
}

WRAPPED = {
    "zip": lambda data: zipped({"inside": data}),
    "gzip": gzip.compress,
    "tar": tarred,
    "mail": mail,
    "program": lambda data: b"MZ" + NOISE + zipped({"inside": data}),
}


def problems(data, **limits):
    walk = Walk(limits.get("deadline", Deadline(30)), limits.get("max_unpacked", 2**30))
    walk.look(io.BytesIO(data))
    return {problem.kind for problem in walk.problems}


@pytest.mark.parametrize("name", NOT_SCANNED)
def test_what_clamav_does_not_open_is_no_clean_file(clamd, name):
    kind, data = NOT_SCANNED[name]
    with pytest.raises(NotScannedError, match=f"was not fully scanned.*{kind}") as caught:
        antivirus.save_and_scan("a.bin", b64(data))
    assert caught.value.kind == kind


@pytest.mark.parametrize("name", SCANNED)
def test_what_clamav_opens_is_clean(clamd, name):
    assert antivirus.save_and_scan("a.bin", b64(SCANNED[name])) == {}


@pytest.mark.parametrize("wrapping", WRAPPED)
@pytest.mark.parametrize("name", ["docx with a password", "zip64", "e-book with DRM", "lzma"])
def test_it_is_found_inside_of_others(name, wrapping):
    kind, data = NOT_SCANNED[name]
    assert problems(WRAPPED[wrapping](data)) == {kind}


def test_malware_is_malware_also_beside_what_is_not_opened(clamd):
    data = zipped({"a.docx": DOCX, "evil.com": EICAR})
    assert antivirus.save_and_scan("a", b64(data))["a"][0] == "FOUND"


def test_a_site_may_accept_a_kind_and_the_answer_says_so(clamd):
    settings.substitute_globals({"ACCEPT": ["drm"]})
    report = antivirus.scan_base64("a.epub", b64(epub(AES)))
    assert report.result == {}
    assert report.headers()["scan-accepted"] == "drm"
    with pytest.raises(NotScannedError):
        antivirus.save_and_scan("a.docx", b64(DOCX))


def test_files_are_looked_at_too(clamd, tmp_path):
    path = tmp_path / "a.docx"
    path.write_bytes(DOCX)
    with pytest.raises(NotScannedError, match="encrypted-document"):
        antivirus.scan_file(str(path))


def test_clamscan_does_not_know_more(clamd, monkeypatch):
    settings.substitute_globals({"USE_CLAMD": False})
    for name in ("docx with a password", "rar", "zip64"):
        with pytest.raises(NotScannedError):
            antivirus.save_and_scan("a", b64(NOT_SCANNED[name][1]))


def test_the_look_is_bounded():
    assert problems(samples.nested(150)) == {"too-much"}
    bomb = zipped({"a.zip": zipped({"b": bytes(50_000_000)}, zipfile.ZIP_STORED)})
    assert problems(bomb, max_unpacked=10_000_000) == {"too-much"}
    many = samples.many_members(60_000)
    assert problems(many) == {"too-much"}
    over = Deadline(0)
    with pytest.raises(ScanTimeoutError):
        problems(zipped({"a": NOISE}), deadline=over)


@pytest.mark.parametrize("name", [*NOT_SCANNED, *SCANNED])
def test_no_damage_raises(name):
    """Whatever a byte is changed to: a problem or none, but no exception."""
    data = NOT_SCANNED[name][1] if name in NOT_SCANNED else SCANNED[name]
    chance = random.Random(name)
    for _ in range(40):
        broken = bytearray(data)
        for _ in range(chance.randrange(1, 8)):
            broken[chance.randrange(min(len(broken), 4000))] = chance.choice((0, 1, 127, 255))
        problems(bytes(broken[: chance.randrange(1, len(broken) + 1)]))


def test_the_samples_hide_eicar():
    made = [
        samples.zipped(),
        samples.nested(3),
        samples.many_members(3),
        samples.long_member(2**20),
        b"".join(samples.long_stream(2**20)),
        samples.encrypted_zip(),
        samples.mail(),
        samples.pdf(),
        samples.ole2(),
        samples.encrypted_rar(),
    ]
    assert not any(EICAR in sample for sample in made)
    assert base64.b64encode(EICAR) in samples.mail()
    assert olefile.isOleFile(io.BytesIO(samples.ole2()))
