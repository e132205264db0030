"""`Player`: which files of the items a browser may play, and who may fetch them."""

import hashlib
import hmac
import time
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from avrec.bundle.display import Display
from avrec.core.clips import MediaKind
from avrec.media.paths import resolve
from avrec.media.problems import MediaError

TICKET_SEC = 4 * 3600
KEY_ROUNDS = 100_000  # a ticket stands in addresses: it must not be a quick way to try keys
FILM_BRANDS = (b"iso", b"mp4", b"avc1", b"M4V", b"MSNV", b"dash", b"3gp")
SOUND_BRANDS = (b"M4A", b"M4B")


def media_type(head: bytes) -> str | None:
    """`video/mp4` or an audio type by a file's first 12 bytes, whatever its name says; None for everything else."""
    if head[4:8] == b"ftyp":
        brand = head[8:12]
        return "audio/mp4" if brand.startswith(SOUND_BRANDS) else "video/mp4" if brand.startswith(FILM_BRANDS) else None
    if head[:4] == b"RIFF":
        return "audio/wav" if head[8:12] == b"WAVE" else None
    if head[:4] in (b"fLaC", b"OggS"):
        return "audio/flac" if head[:4] == b"fLaC" else "audio/ogg"
    if head[:3] == b"ID3":
        return "audio/mpeg"
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0:  # the frame sync of MPEG audio
        layer = head[1] >> 1 & 3
        return "audio/aac" if layer == 0 and head[1] & 0x10 else "audio/mpeg" if layer else None
    return None


@dataclass(frozen=True)
class PlayableFile:
    """A file that a browser may play.

    Attributes:
        kind: what the item has it for.
        path: absolute, below the media root, without symlinks.
        media_type: what it is, by its own bytes.
    """

    kind: MediaKind
    path: Path
    media_type: str


@dataclass(frozen=True)
class Player:
    """The items' files below one root.

    A browser's players cannot send a key in a header. Where the server has a key, each address therefore carries a ticket: a
    keyed hash over the item, the kind and the ticket's end, which only who showed the key was given.

    Attributes:
        root: the media root; None where nothing is played.
        api_key: of the server; None where anybody may ask.
    """

    root: Path | None
    api_key: str | None = field(default=None, repr=False)

    def file(self, display: Display, item_idx: int, kind: MediaKind) -> PlayableFile:
        """The item's file of that kind.

        Raises:
            MediaError: there is none, it lies where it may not lie, or it is nothing that a browser plays.
        """
        if self.root is None:
            raise MediaError("missing", "this server plays nothing; its setting `media_root` names no folder.")
        relative = display.path(kind, item_idx)
        if relative is None:
            raise MediaError("missing", f"this item has no file of kind {kind}.")
        path = resolve(self.root, relative)
        try:
            with open(path, "rb") as file:
                found = media_type(file.read(12))
        except OSError as error:
            raise MediaError("unreadable", f"the file cannot be read ({error.strerror}).") from None
        if found is None or (kind == "video" and found != "video/mp4"):
            raise MediaError(
                "unreadable", f"the file is neither MP4 nor sound that browsers play, so it is no {kind} here."
            )
        return PlayableFile(kind, path, found)

    def files(self, display: Display, item_idx: int) -> list[PlayableFile]:
        """What can be played of an item: its film, and its sound where that is another file."""
        found: list[PlayableFile] = []
        for kind in display.kinds if self.root is not None else ():
            try:
                file = self.file(display, item_idx, kind)
            except MediaError:
                continue
            if all(file.path != other.path for other in found):
                found.append(file)
        return found

    def ticket(self, item_id: str, kind: MediaKind) -> str | None:
        """What the address of a file must carry from now on; None where the server has no key."""
        if self.api_key is None:
            return None
        end = str(int(time.time()) + TICKET_SEC)
        return f"{end}.{self._signature(item_id, kind, end)}"

    def admits(self, item_id: str, kind: MediaKind, ticket: str | None) -> bool:
        """Whether a ticket is this file's and still good."""
        if self.api_key is None:
            return True
        end, _, signature = (ticket or "").partition(".")
        expected = self._signature(item_id, kind, end)
        genuine = hmac.compare_digest(signature.encode("utf-8", "replace"), expected.encode("ascii"))
        return genuine and int(end) >= time.time()

    @cached_property
    def _secret(self) -> bytes:
        assert self.api_key is not None
        return hashlib.pbkdf2_hmac("sha256", self.api_key.encode("ascii"), b"avrec media tickets", KEY_ROUNDS)

    def _signature(self, item_id: str, kind: MediaKind, end: str) -> str:
        message = "\0".join((end, kind, item_id)).encode("utf-8", "surrogatepass")
        return hmac.new(self._secret, message, "sha256").hexdigest()
