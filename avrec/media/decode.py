"""One door to every media file: arrays of the sound or the pictures that a spec asks for."""

from pathlib import Path

from avrec.core.clips import AudioSpec, Clips, VideoSpec
from avrec.media.container import open_container
from avrec.media.limits import Limits
from avrec.media.pictures import read_pictures
from avrec.media.probe import check_limits, describe
from avrec.media.sound import read_sound

_DEFAULT_LIMITS = Limits()


def decode(path: Path, spec: AudioSpec | VideoSpec, limits: Limits = _DEFAULT_LIMITS) -> Clips:
    """Read what `spec` asks for out of one local file, in this process.

    Time is that of the file: a stream that starts late is preceded by silence or by its first picture, so that sound
    and pictures of one file stay in step.

    Args:
        path: of the file; where it may lie is the caller's to check, see `avrec.media.paths`.
        spec: which sound or which pictures.
        limits: the claims of the file are refused above them before anything is decoded.

    Raises:
        MediaError: the file, or this kind of stream in it, cannot be used; see `MediaError.kind`.
        MissingExtraError: the extra `decode` is not installed.
    """
    with open_container(path) as container:
        info = describe(container)
        check_limits(path, info, limits)
        if isinstance(spec, AudioSpec):
            return read_sound(path, container, info, spec, limits)
        return read_pictures(path, container, info, spec, limits)
