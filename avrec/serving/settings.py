"""`ServerSettings`: where the server listens, whom it lets in, and how much one request may cost."""

import ipaddress
from dataclasses import dataclass, field, fields
from pathlib import Path

from avrec.core.errors import ConfigError
from avrec.media.limits import Limits

MIB = 2**20
MIN_KEY_CHARS = 16


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens on `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True)
class ServerSettings:
    """The server's options.

    Attributes:
        bundle_dir: the bundle to start with.
        host: the address to listen on. Another than loopback needs a key.
        port: 0 lets the system choose.
        api_key: what every request but health must bring once it is set, as `X-API-Key: KEY` or `Authorization: Bearer KEY`.
        hosts: names in a request's `Host` that are answered; empty: loopback's where it listens on loopback, else any.
        bundle_root: bundles below this folder may be swapped in; the one that holds `bundle_dir` when None.
        media_root: the folder that the items' media paths start from; None: items are shown without a player.
        budget_ms: time for an answer, where a request does not say.
        max_body_bytes: of a request for recommendations.
        max_tensor_bytes: of a request that brings tensors (`/v2/.../infer`).
        max_upload_bytes: of an upload.
        max_uploads: uploads that are decoded and embedded at once; more are told to come back.
        media_limits: of each uploaded file; its size is held to `max_upload_bytes` besides.

    Raises:
        ConfigError: a number is out of range, a folder is none, or the server would be open to others without a key.
    """

    bundle_dir: Path
    host: str = "127.0.0.1"
    port: int = 8000
    api_key: str | None = field(default=None, repr=False)
    hosts: tuple[str, ...] = ()
    bundle_root: Path | None = None
    media_root: Path | None = None
    budget_ms: float = 1000.0
    max_body_bytes: int = MIB
    max_tensor_bytes: int = 16 * MIB
    max_upload_bytes: int = 64 * MIB
    max_uploads: int = 2
    media_limits: Limits = field(default_factory=lambda: Limits(memory_bytes=1024 * MIB, seconds=20.0))

    def __post_init__(self) -> None:
        problems = [
            f"{name.name} is {value}; expected a positive number."
            for name in fields(self)
            if name.name.startswith(("max_", "budget")) and not (value := getattr(self, name.name)) > 0
        ]
        if self.media_root is not None and not self.media_root.is_dir():
            problems.append(
                f"media_root is {str(self.media_root)!r}, which is no folder; null shows items without a player."
            )
        if not 0 <= self.port <= 65_535:
            problems.append(f"port is {self.port}; expected 0 (any free one) to 65535.")
        if self.api_key is not None and len(self.api_key) < MIN_KEY_CHARS:
            problems.append(
                f"the API key has {len(self.api_key)} characters; give at least {MIN_KEY_CHARS} random ones."
            )
        if self.api_key is not None and not (self.api_key.isascii() and self.api_key.isprintable()):
            problems.append("the API key holds a character that a header cannot carry; use printable ASCII.")
        if self.api_key is None and not is_loopback(self.host):
            problems.append(
                f"host is {self.host!r}, which others can reach, but there is no API key. Set the variable AVREC_API_KEY, "
                "or listen on 127.0.0.1."
            )
        if problems:
            raise ConfigError("\n".join(problems))

    @property
    def swap_root(self) -> Path:
        """The folder that bundles may be swapped in from."""
        return (self.bundle_dir.resolve().parent if self.bundle_root is None else self.bundle_root).resolve()

    @property
    def answered_hosts(self) -> frozenset[str]:
        """Names of this server; empty where any is answered."""
        if self.hosts:
            return frozenset(self.hosts)
        return frozenset({"localhost", "127.0.0.1", "[::1]", self.host}) if is_loopback(self.host) else frozenset()
