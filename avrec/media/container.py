"""Opening a media file: local files of listed formats only, and FFmpeg's errors in our words."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from avrec.core.errors import require
from avrec.media.problems import MediaError

if TYPE_CHECKING:
    from av.container import InputContainer

# Formats that hold the media themselves. Playlists and lists of files (hls, dash, concat, image2, sdp, ...) would make
# FFmpeg open what they name, so they are not even probed for.
FORMATS = "aac,ac3,aiff,amr,asf,avi,caf,eac3,flac,flv,matroska,mov,mp3,mpeg,mpegts,nut,ogg,tta,voc,w64,wav,webm,wv"


@contextmanager
def open_container(path: Path) -> Iterator["InputContainer"]:
    """Open the file for demuxing and decoding; whatever FFmpeg raises inside the block becomes a MediaError.

    Raises:
        MediaError: `missing`, or `unreadable` if it is not media of a format in `FORMATS`.
    """
    av = require("av", "decode")
    options = {"protocol_whitelist": "file", "format_whitelist": FORMATS, **_probe_size(path)}
    try:  # an absolute path begins with "/": no name can look like a protocol or an option
        with av.open(str(path.absolute()), options=options, metadata_errors="replace") as container:
            yield container
    except FileNotFoundError as error:
        raise MediaError("missing", f"{path.name}: there is no such file") from error
    except av.error.MemoryError as error:
        raise MediaError("out_of_memory", f"{path.name}: FFmpeg found no memory ({error.strerror})") from error
    except av.error.FFmpegError as error:
        raise MediaError("unreadable", f"{path.name}: FFmpeg cannot read it ({error.strerror})") from error


def _probe_size(path: Path) -> dict[str, str]:
    """FFmpeg reads 5 MB of a WAV file to see whether its samples are another codec in disguise; 64 KiB are enough."""
    try:
        with open(path, "rb") as file:
            head = file.read(12)
    except OSError:
        return {}
    return {"probesize": "65536"} if head[:4] == b"RIFF" and head[8:] == b"WAVE" else {}
