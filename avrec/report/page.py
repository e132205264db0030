"""`report.html`: one file that holds everything, loads nothing, runs no script and is at most 3 MB."""

from collections.abc import Mapping
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from avrec.core.errors import AvrecError
from avrec.core.files import atomic_write
from avrec.media.limits import Limits
from avrec.report.page_catalogue import map_section, popularity_section, shares_section
from avrec.report.page_data import data_section, media_section
from avrec.report.page_media import fitting, read_media, wanted_items
from avrec.report.page_parts import Media, Page, Section, number, percent, shown
from avrec.report.page_people import people_section, worst_section
from avrec.report.page_rerank import rerank_section
from avrec.report.page_results import comparison_section, frontier_section, headline, slices_section
from avrec.report.page_run import RunRecord
from avrec.report.page_subject import Subject
from avrec.report.page_training import training_section
from avrec.report.people import people

FILE = "report.html"
MAX_BYTES = 3_000_000
SLACK_BYTES = 20_000  # of the room for media, for words that change with them
TEMPLATE = "report.html.j2"
FIGURES = (
    ("recall@20", "recall@20", "of what users went on to consume stands in a list of 20"),
    ("cold/recall@20", "new items", "of the new items that they consumed do"),
    ("ndcg@20", "NDCG@20", "likewise, where the top of the list counts more"),
    ("coverage@20", "coverage", "of the catalogue is in somebody's list"),
)


def write_page(subject: Subject, limits: Limits) -> Path:
    """Write `report.html` into the run's folder.

    Args:
        subject: what it is about.
        limits: for each media file of which an excerpt is made.

    Returns:
        The file.

    Raises:
        AvrecError: the page does not fit into `MAX_BYTES` even without media.
    """
    path = subject.run.folder / FILE
    content = page_bytes(subject, limits)
    with atomic_write(path) as file:
        file.write(content)
    return path


def page_bytes(subject: Subject, limits: Limits, max_bytes: int = MAX_BYTES) -> bytes:
    """The page, with as many media as there is room for."""
    found = []
    if subject.question is not None and subject.evaluation is not None:
        found = people(subject.question, subject.evaluation, subject.scorer)
    before, after = _sections(subject)

    def rendered(media: Mapping[int, Media]) -> bytes:
        middle = people_section(subject, found, media)
        return render(_page(subject.run, [*before, middle, *after], media))

    media = read_media(subject.dataset, wanted_items(found), limits)
    bare = rendered({})
    content = rendered(fitting(media, max_bytes - len(bare) - SLACK_BYTES)) if media else bare
    if len(content) > max_bytes:
        raise AvrecError(
            f"report.html would have {len(content):,} bytes; at most {max_bytes:,} are written. Tell us: this should not happen."
        )
    return content


def _sections(subject: Subject) -> tuple[list[Section], list[Section]]:
    """What stands before the people and after them."""
    run = subject.run
    before = [
        comparison_section(run),
        slices_section(run),
        frontier_section(run),
        rerank_section(run),
        popularity_section(subject),
        shares_section(subject),
        map_section(subject),
    ]
    return before, [worst_section(subject), training_section(run), data_section(run), media_section(subject)]


def _page(run: RunRecord, sections: list[Section], media: Mapping[int, Media]) -> Page:
    name = shown(str(run.manifest.get("name", "a data set")))
    figures = [
        (percent(value) if key != "ndcg@20" else number(value), title, words)
        for key, title, words in FIGURES
        if (value := run.value(key)) is not None
    ]
    footer = (
        f"avrec {run.record.get('code_version', '?')}, seed {run.record.get('seed', '?')}, content hash of the data "
        f"{str(run.record.get('data_hash', '?'))[:16]}, operating point “{run.calibration}”. The page names users and shows "
        "what they did: keep it as carefully as the log."
    )
    return Page(f"Recommendations for {name}", headline(run), figures, sections, shown(footer, 400), media)


def render(page: Page) -> bytes:
    """The page as UTF-8; every text in it is escaped."""
    environment = Environment(
        loader=PackageLoader("avrec.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(TEMPLATE).render(page=page).encode("utf-8", "replace")
