"""From a path in a table to a file below the media root: local, regular, no list of other places, through no symlink out."""

import os
import re
import stat
from pathlib import Path, PurePosixPath

from avrec.media.problems import MediaError

MAX_PATH_BYTES = 4096  # PATH_MAX of Linux
# A playlist makes the library open what it names: other files, other hosts.
PLAYLISTS = (
    ".asx .concat .cue .edl .ffconcat .ffmeta .ism .ismc .m3u .m3u8 .mpd .pls .sdp .smil .strm .txt .wpl .xspf".split()
)
# FFmpeg's protocols that need no `//` after the colon. With `Artist: Title.mp3` nothing is wrong.
_PROTOCOLS = (
    "async bluray cache concat concatf crypto data dvd fd file ftp gopher http https hls icecast ipfs ipns md5 mmsh mmst "
    "pipe prompeg rtmp rtp rtsp sctp sftp smb srt srtp subfile tcp tee tls udp unix".replace(" ", "|")
)
_URL = re.compile(rf"[a-z][a-z0-9+.-]*://|[a-z]:[/\\]|(?:{_PROTOCOLS})[:,]", re.IGNORECASE)


def resolve(media_root: Path, relative: str) -> Path:
    """The file that `relative` names below `media_root`, as an absolute path without symlinks.

    Any name that a file can have works: with newlines, of 255 bytes, not UTF-8 (surrogate escapes), with a leading `-`.

    Raises:
        MediaError: `forbidden` where the path leaves the root, also through a symlink, or names a URL, a protocol, a playlist
            or something that is no regular file; `missing` where nothing is there; `unreadable` where it may not be read.
    """
    _refuse_text(relative)
    root = os.path.realpath(media_root)
    try:
        found = os.path.realpath(os.path.join(root, relative), strict=True)
        mode = os.stat(found).st_mode
    except PermissionError as error:
        raise MediaError(
            "unreadable", f"{relative!r}: a folder on the way may not be entered ({error.strerror})."
        ) from None
    except OSError as error:
        raise MediaError(
            "missing", f"{relative!r}: {error.strerror} below the media root. Correct the path, or leave it empty."
        ) from None
    if os.path.commonpath([root, found]) != root:
        raise _forbidden(relative, "a symbolic link leads out of the media root; copy the file below it")
    _refuse_playlist(found, relative)
    if not stat.S_ISREG(mode):
        raise _forbidden(relative, f"is a {_kind(mode)}; name a file")
    if not os.access(found, os.R_OK):
        raise MediaError(
            "unreadable", f"{relative!r}: no permission to read it. Change its mode or leave the path empty."
        )
    return Path(found)


def _refuse_text(relative: str) -> None:
    """What can be told from the text alone, before the disk is asked."""
    try:
        num_bytes = len(os.fsencode(relative))
    except UnicodeEncodeError:
        raise MediaError(
            "missing", f"{relative!r}: no file can have this name; it is not text of this system."
        ) from None
    if not relative.strip():
        raise MediaError("missing", f"{relative!r}: the path is blank. Leave it empty (null) where there is no file.")
    if num_bytes >= MAX_PATH_BYTES:
        raise _forbidden(relative[:40] + "...", f"{num_bytes} bytes; a path has less than {MAX_PATH_BYTES}")
    if "\0" in relative:
        raise _forbidden(relative, "holds a NUL byte")
    if _URL.match(relative.lstrip()):
        raise _forbidden(relative, "is a URL or a protocol; only local files are read: download it first")
    if relative.startswith("/"):
        raise _forbidden(relative, "is absolute; write it relative to the media root")
    if relative.startswith("~"):
        raise _forbidden(relative, "starts with `~`, which is not expanded; write `./~...` for a file of that name")
    if ".." in PurePosixPath(relative).parts:
        raise _forbidden(relative, "holds `..`; write it relative to the media root")
    _refuse_playlist(relative, relative)


def _refuse_playlist(name: str, relative: str) -> None:
    suffix = PurePosixPath(name.rstrip(" .")).suffix.casefold()
    if suffix in PLAYLISTS:
        raise _forbidden(relative, f"a {suffix} file is a list of other places, not media; name the media themselves")


def _forbidden(relative: str, reason: str) -> MediaError:
    return MediaError("forbidden", f"{relative!r}: {reason}.")


def _kind(mode: int) -> str:
    kinds = {stat.S_IFDIR: "folder", stat.S_IFIFO: "FIFO", stat.S_IFSOCK: "socket"}
    return kinds.get(stat.S_IFMT(mode), "device")
