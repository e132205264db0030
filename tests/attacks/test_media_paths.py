"""A stranger's table must not make avrec open what does not lie below the media root, or is no media file."""

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from avrec.core.clips import AudioSpec
from avrec.media.isolation import DecodePool, Job
from avrec.media.paths import resolve
from avrec.media.problems import MediaError

SECRET = b"RIFF$\x00\x00\x00WAVEfmt "


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A media root with a secret beside it, and everything in it that a stranger could have planted."""
    outside = tmp_path_factory.mktemp("outside")
    root = outside / "media"
    (root / "folder").mkdir(parents=True)
    (outside / "secret.wav").write_bytes(SECRET)
    (outside / "media-twin").mkdir()
    (outside / "media-twin" / "secret.wav").write_bytes(SECRET)
    (root / "good.wav").write_bytes(SECRET)
    for name in ("list.m3u8", "list.M3U", "list.pls", "list.txt", "list.ffconcat", "list.sdp", "list.m3u8."):
        (root / name).write_bytes(b"#EXTM3U\nhttp:secret\n")
    links = {
        "out": outside / "secret.wav",
        "out_relative": Path("../secret.wav"),
        "folder_out": outside,
        "twin": Path("../media-twin/secret.wav"),
        "chain": Path("out"),
        "loop": Path("loop"),
        "passwd": Path("/etc/passwd"),
        "environment": Path("/proc/self/environ"),
        "endless": Path("/dev/zero"),
        "song.wav": Path("list.m3u8"),
        "up": Path(".."),
        "root": Path("/"),
        "dangling": Path("nothing.wav"),
    }
    for name, target in links.items():
        (root / name).symlink_to(target)
    os.mkfifo(root / "fifo.wav")
    with socket.socket(socket.AF_UNIX) as server:
        here = Path.cwd()
        os.chdir(root)  # a socket's path has room for 108 bytes only
        server.bind("socket.wav")
        os.chdir(here)
        yield root


FORBIDDEN = [
    # up and out
    "../secret.wav",
    "folder/../../secret.wav",
    "folder/../good.wav",
    "..",
    "./../secret.wav",
    "folder/..",
    "//etc/passwd",
    "/etc/passwd",
    "/proc/self/environ",
    "~/secret.wav",
    "~root/secret.wav",
    "~",
    "C:\\Windows\\win.ini",
    "c:/secret.wav",
    # through symlinks
    "out",
    "out_relative",
    "folder_out/secret.wav",
    "folder_out/media/good.wav/../../secret.wav",
    "twin",
    "chain",
    "passwd",
    "environment",
    "endless",
    "up/secret.wav",
    "root/etc/passwd",
    # the text itself
    "good.wav\0.mp4",
    "\0",
    "a/" * 3000,
    # URLs and the protocols of FFmpeg
    "http://host/a.mp4",
    "HTTPS://host/a.mp4",
    " http://host/a.mp4",
    "ftp://host/a.mp4",
    "s3://bucket/a.mp4",
    "file:///etc/passwd",
    "file:/etc/passwd",
    "file:good.wav",
    "FILE:good.wav",
    "concat:good.wav|../secret.wav",
    "concatf:list.txt",
    "subfile,,start,0,end,9,,:../secret.wav",
    "crypto:good.wav",
    "async:cache:good.wav",
    "data:audio/wav;base64,UklGRg==",
    "pipe:0",
    "fd:0",
    "tcp:host:80",
    "unix:socket.wav",
    "rtmp://host/live",
    "hls+http://host/list.m3u8",
    "ipfs:bafy",
    "\tfile:good.wav",
    # lists of other places
    "list.m3u8",
    "list.M3U",
    "list.pls",
    "list.txt",
    "list.ffconcat",
    "list.sdp",
    "list.m3u8.",
    "list.m3u8 ",
    "song.wav",
    "nothing.mpd",
    # what is no file
    "folder",
    "folder/",
    ".",
    "fifo.wav",
    "socket.wav",
]
MISSING = ["", " ", "nothing.wav", "good.wav/inside", "dangling", "loop", "%2e%2e/secret.wav", "..\\secret.wav", "\ud800", "$HOME"]  # fmt: skip
ATTACKS = [(path, "forbidden") for path in FORBIDDEN] + [(path, "missing") for path in MISSING]


@pytest.mark.parametrize(("path", "kind"), ATTACKS, ids=[ascii(path)[:60] for path, _ in ATTACKS])
def test_fails_closed(root: Path, path: str, kind: str) -> None:
    before = time.perf_counter()
    with pytest.raises(MediaError) as caught:
        resolve(root, path)
    assert time.perf_counter() - before < 2.0
    assert caught.value.kind == kind, str(caught.value)
    assert str(root) not in str(caught.value)  # where the root lies is nobody's business
    str(caught.value).encode()  # printable anywhere


def test_the_good_one_opens(root: Path) -> None:
    assert resolve(root, "good.wav").read_bytes() == SECRET


def test_the_pool_refuses_them_all(root: Path) -> None:
    with DecodePool(root, num_workers=1) as pool:
        jobs = [Job(index, path, AudioSpec()) for index, (path, _) in enumerate(ATTACKS)]
        kinds = {outcome.index: outcome.problem and outcome.problem.kind for outcome in pool.decode(jobs)}
    assert [kinds[index] for index in range(len(ATTACKS))] == [kind for _, kind in ATTACKS]
