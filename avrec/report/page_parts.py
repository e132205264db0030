"""What a page is made of: sections with pictures, tables and people, and the words of strangers made fit to stand there."""

import base64
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

MAX_TEXT = 80  # characters of an id or title that are shown
SENSES = {"audio": "sound", "video": "picture", "visual": "picture", "text": "text"}


@dataclass(frozen=True)
class Picture:
    """A figure.

    Attributes:
        svg: the image. It stands in the page as an image of its own, where no script of it could run.
        alt: what it shows, for those who do not see it.
    """

    svg: bytes
    alt: str

    @property
    def uri(self) -> str:
        """The image as a `data:` address."""
        return data_uri("image/svg+xml", self.svg)


@dataclass(frozen=True)
class Sheet:
    """A table; the first column names the row, the others hold numbers or short words.

    Attributes:
        caption: one line above it.
        columns: headings.
        rows: cells as they are shown, as many as there are headings.
        strong: names of the rows that stand out.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    strong: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Tile:
    """One item beside a person.

    Attributes:
        item: dense index, which names its thumbnail.
        title: as it is shown.
        badges: short words, such as `new` or `consumed`.
        why: (part, share, colour) of its score, which sum to 1; empty for what was consumed.
        path: of its media file, relative; None without one.
        plays: `video` or `audio` where this very tile holds the excerpt.
    """

    item: int
    title: str
    badges: Sequence[str] = ()
    why: Sequence[tuple[str, float, str]] = ()
    path: str | None = None
    plays: str | None = None


@dataclass(frozen=True)
class Portrait:
    """One user: what he did and what he would be shown.

    Attributes:
        name: the user's id as it is shown.
        summary: one sentence.
        history: newest first.
        suggestions: best first.
    """

    name: str
    summary: str
    history: Sequence[Tile]
    suggestions: Sequence[Tile]


@dataclass(frozen=True)
class Section:
    """A part of the page under one heading.

    Attributes:
        anchor: its name in links.
        title: the heading.
        lead: what the reader is to take from it; where a part of it is missing, why.
        pictures: figures.
        sheets: tables.
        portraits: users.
        keys: (word, colour) of the parts of a score.
    """

    anchor: str
    title: str
    lead: str
    pictures: Sequence[Picture] = ()
    sheets: Sequence[Sheet] = ()
    portraits: Sequence[Portrait] = ()
    keys: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class Media:
    """What the page holds of one item's file.

    Attributes:
        thumbnail: a JPEG; None where the item has no picture or it cannot be read.
        excerpt: a WebM file of some seconds.
        kind: `video` or `audio`, how the excerpt is played.
    """

    thumbnail: bytes | None = None
    excerpt: bytes | None = None
    kind: str = "video"

    @property
    def thumbnail_uri(self) -> str:
        """The JPEG as a `data:` address."""
        return data_uri("image/jpeg", self.thumbnail or b"")

    @property
    def excerpt_uri(self) -> str:
        """The WebM file as a `data:` address."""
        return data_uri(f"{self.kind}/webm", self.excerpt or b"")


@dataclass(frozen=True)
class Page:
    """The whole report.

    Attributes:
        title: of the page.
        summary: the result in one or two sentences.
        figures: (number, what it is, what it says) of the most important numbers.
        sections: in order.
        footer: where the numbers came from.
        media: by item.
    """

    title: str
    summary: str
    figures: Sequence[tuple[str, str, str]]
    sections: Sequence[Section]
    footer: str
    media: Mapping[int, Media] = field(default_factory=dict)


def data_uri(kind: str, content: bytes) -> str:
    """Bytes as an address that holds them, so that nothing is fetched."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def shown(text: str, limit: int = MAX_TEXT) -> str:
    r"""A stranger's text on one line: nothing invisible or direction-changing is left in it, and it is cut to `limit`.

    >>> shown("a\n  b\u202e\x00c"), shown("abcdef", limit=4)
    ('a b�c', 'abc…')
    """
    kept = "".join(
        character if character.isprintable() else "\ufffd"
        for character in " ".join(text[: 10 * limit].split())
        if unicodedata.category(character) != "Cf"
    )
    return kept if len(kept) <= limit and len(text) <= 10 * limit else f"{kept[: limit - 1]}…"


def sense(modality: str) -> str:
    """The word for a modality: `sound` for `audio`."""
    return SENSES.get(modality, shown(modality, 16))


def number(value: float | None, digits: int = 3) -> str:
    """`.294`, or a dash where there is nothing to measure."""
    return "–" if value is None else f"{value:.{digits}f}"


def percent(value: float) -> str:
    """`29 %`; below ten with one more digit."""
    share = 100 * value
    return f"{share:.0f} %" if share >= 9.95 or share == 0 else f"{share:.1f} %"
