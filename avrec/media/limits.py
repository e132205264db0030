"""How much one media file may claim and cost: what lies above is refused by name, never tried."""

from dataclasses import dataclass, fields

from avrec.core.errors import ConfigError

GIB = 2**30


@dataclass(frozen=True)
class Limits:
    """The most that reading one sound or one moving picture may take.

    Attributes:
        memory_bytes: of the process that decodes, beyond what it holds before its first file.
        seconds: time on the clock for one file.
        max_pixels: width times height of a picture as stored.
        max_channels: of a sound track.
        max_duration_sec: as the file claims, or as found while reading.
        max_file_bytes: on disk.

    Raises:
        ConfigError: a number is not positive.
    """

    memory_bytes: int = 2 * GIB
    seconds: float = 30.0
    max_pixels: int = 33_000_000
    max_channels: int = 16
    max_duration_sec: float = 4 * 3600.0
    max_file_bytes: int = 16 * GIB

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not value > 0:
                raise ConfigError(f"Limits.{field.name} is {value}; expected a positive number.")
