"""Names that files really have, and the reasons told where a path cannot be used. What must fail stands in tests/attacks."""

import os
from pathlib import Path

import pytest

from avrec.media.paths import resolve
from avrec.media.problems import MediaError

NAMES = [
    "a.wav",
    "a/b/c.mp4",
    "./a.wav",
    "a//b.wav",
    "./~a.wav",
    "a~b.wav",
    "-rf.wav",
    "--help",
    "new\nline\ttab.wav",
    " leading and trailing .mp4 ",
    "...wav",
    "..hidden.mp3",
    "a..b/c.wav",
    "back\\slash.wav",
    "Artist: Title.mp3",
    "12:30 at noon.ogg",
    "http.wav",
    "file.mp4",
    "concatenated.wav",
    "%2e%2e.wav",
    "$HOME.wav",
    "*.wav",
    "'quoted' \"twice\".wav",
    "текст 音楽 🎵.flac",
    "e\u0301.wav",
    "not\udcff\udcfeutf8.wav",
    "x" * 251 + ".wav",
    "/".join(["d" * 200] * 10) + "/deep.wav",
    "no extension",
    "m3u",
    "list.txt.wav",
]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_names_that_files_have(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"sound")
    found = resolve(tmp_path, name)
    assert found.read_bytes() == b"sound"
    assert found.is_absolute() and os.path.samefile(found, file)


def test_symlinks_that_stay_below_the_root_are_followed(tmp_path: Path) -> None:
    root = tmp_path / "media"
    (root / "real").mkdir(parents=True)
    (root / "real" / "a.wav").write_bytes(b"")
    (root / "file").symlink_to("real/a.wav")
    (root / "folder").symlink_to(root / "real")
    (tmp_path / "door").symlink_to(root)
    real = (root / "real" / "a.wav").resolve()
    assert resolve(root, "file") == resolve(root, "folder/a.wav") == resolve(tmp_path / "door", "file") == real


def test_the_root_may_be_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "media").mkdir()
    (tmp_path / "media" / "a.wav").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    assert resolve(Path("media"), "a.wav") == (tmp_path / "media" / "a.wav").resolve()


@pytest.mark.parametrize(
    ("relative", "kind", "text"),
    [
        ("b.wav", "missing", "'b.wav': No such file or directory below the media root. Correct the path, or leave it empty."),
        ("a.wav/b", "missing", "'a.wav/b': Not a directory below the media root. Correct the path, or leave it empty."),
        ("", "missing", "'': the path is blank. Leave it empty (null) where there is no file."),
        ("  ", "missing", "'  ': the path is blank. Leave it empty (null) where there is no file."),
        ("x" * 256, "missing", f"'{'x' * 256}': File name too long below the media root. Correct the path, or leave it empty."),
        ("folder", "forbidden", "'folder': is a folder; name a file."),
        (".", "forbidden", "'.': is a folder; name a file."),
        ("/a.wav", "forbidden", "'/a.wav': is absolute; write it relative to the media root."),
        ("folder/../a.wav", "forbidden", "'folder/../a.wav': holds `..`; write it relative to the media root."),
        ("list.M3U8", "forbidden", "'list.M3U8': a .m3u8 file is a list of other places, not media; name the media themselves."),
        ("http://a/b", "forbidden", "'http://a/b': is a URL or a protocol; only local files are read: download it first."),
        ("~/a.wav", "forbidden", "'~/a.wav': starts with `~`, which is not expanded; write `./~...` for a file of that name."),
        ("\ud800", "missing", r"'\ud800': no file can have this name; it is not text of this system."),
        ("x" * 4096, "forbidden", f"'{'x' * 40}...': 4096 bytes; a path has less than 4096."),
    ],
    ids=ascii,
)  # fmt: skip
def test_reasons(tmp_path: Path, relative: str, kind: str, text: str) -> None:
    (tmp_path / "a.wav").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    with pytest.raises(MediaError) as caught:
        resolve(tmp_path, relative)
    assert (caught.value.kind, str(caught.value)) == (kind, text)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
def test_what_may_not_be_read_is_told(tmp_path: Path) -> None:
    file = tmp_path / "folder" / "a.wav"
    file.parent.mkdir()
    file.write_bytes(b"")
    file.chmod(0)
    with pytest.raises(MediaError, match=r"no permission to read it\. Change its mode") as caught:
        resolve(tmp_path, "folder/a.wav")
    assert caught.value.kind == "unreadable"
    file.parent.chmod(0)
    try:
        with pytest.raises(MediaError, match="a folder on the way may not be entered") as caught:
            resolve(tmp_path, "folder/a.wav")
        assert caught.value.kind == "unreadable"
    finally:
        file.parent.chmod(0o700)
