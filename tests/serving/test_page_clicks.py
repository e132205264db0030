"""The first page in a browser: clicks, keys, a phone's width, a key, an upload, and what it says when something fails."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from avrec.serving.served import Served
from avrec.serving.settings import ServerSettings
from tests.export.media_world import MediaWorld
from tests.export.world import ID_DIM
from tests.serving.browser import NAMES, Browser, installed
from tests.serving.page_world import HOSTILE, KEY, columns, media_folder, served_at, showing

pytestmark = pytest.mark.slow
READY = "!document.querySelector('#shelves').ariaBusy && document.querySelectorAll('.line').length > 5"
SETTLED = "!document.querySelector('#shelves[aria-busy], .ranks.busy') && document.querySelector('.tile')"
FOCUS = "document.activeElement.dataset.item"
NEW = "(document.querySelector('input[value=new]').parentElement)"


@pytest.fixture(scope="module")
def settings(media_world: MediaWorld, tmp_path_factory: pytest.TempPathFactory) -> ServerSettings:
    folder = tmp_path_factory.mktemp("page")
    root = media_folder(media_world, folder)
    return ServerSettings(showing(media_world.folder, folder / "bundle", columns()), media_root=root, budget_ms=20_000)


@pytest.fixture(scope="module")
def served(settings: ServerSettings) -> Served:
    return Served.open(settings.bundle_dir)


@pytest.fixture(scope="module")
def address(settings: ServerSettings, served: Served) -> Iterator[str]:
    with served_at(settings, served) as address:
        yield address


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    found = installed()
    if found is None:
        pytest.skip(f"NO BROWSER: none of {', '.join(NAMES)} is installed, so nobody clicked through the page")
    browser = Browser(found, tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture
def browser(program: Browser) -> Iterator[Browser]:
    """Whatever a test does, the page may not complain, and asks nobody but its server."""
    program.complaints.clear()
    program.requests.clear()
    program.show(1280, 900)
    yield program
    assert program.complaints == []
    hosts = {
        request.split("/")[2] for request in program.requests if not request.startswith(("data:", "about:", "chrome"))
    }
    assert len(hosts) == 1, hosts


def opened(browser: Browser, address: str) -> None:
    browser.open(f"{address}/")
    browser.until(READY)


def headings(browser: Browser) -> list[str]:
    found: list[str] = browser.value("[...document.querySelectorAll('#shelves h2')].map(one => one.textContent)")
    return found


def test_shelves_of_a_known_user_play_and_say_why(browser: Browser, address: str) -> None:
    opened(browser, address)
    assert headings(browser)[0] == "For you" and headings(browser)[-1] == "Met lately"
    seen = browser.value(
        "[...document.querySelectorAll('#shelves section:last-child .tile')].map(one => one.dataset.item)"
    )
    first = browser.value(
        "[...document.querySelectorAll('#shelves section:not(:last-child) .tile')].map(one => one.dataset.item)"
    )
    assert seen and first and len(set(first)) == len(first) and not set(seen) & set(first)
    browser.until(
        "[...document.querySelectorAll('.tile video')].some(one => one.readyState >= 2 && one.videoWidth > 0)"
    )
    film = "(document.querySelector('.tile video').closest('.tile'))"
    below = "document.querySelector('#more').getBoundingClientRect().top"
    before = browser.value(f"{film}.click(), {below}")  # at once, before anything of the film has come
    assert browser.value("document.querySelector('#detail .player video').readyState") == 0
    browser.until("document.querySelector('#detail .player video').readyState > 0")
    assert browser.value(below) == before, "nobody is to click beside what moves away"
    browser.click("#detail-close")
    browser.until("!document.querySelector('#detail').open")
    browser.click(film)
    browser.until("document.querySelector('#detail[open] .player video').currentTime > 0")
    shares = browser.value("[...document.querySelectorAll('.facts output')].map(one => one.textContent)")
    assert abs(sum(abs(float(share.replace("−", "").rstrip(" %"))) for share in shares) - 100) <= 3
    assert browser.value("document.querySelector('.facts h3').textContent") == "Why it is here"
    item = browser.value("document.querySelector('#detail-title').textContent")
    browser.until("document.querySelector('#more .tile')")
    browser.click("#more .tile")
    browser.until("!document.querySelector('#detail-back').hidden && document.querySelector('#more .tile')")
    assert browser.value("document.querySelector('.facts h3').textContent") == "What makes them alike"
    browser.click("#detail-back")
    browser.until(f"document.querySelector('#detail-title').textContent === '{item}'")
    browser.click("(document.querySelector('#more input[value=hybrid]').parentElement)")
    browser.until(
        "document.querySelector('#more input[value=hybrid]').checked && document.querySelector('#more .tile')"
    )
    offered = browser.value("[...document.querySelectorAll('#more input')].map(one => one.value)")
    ways = [way for way in offered if way in ("sound", "picture")]
    assert ways, "it has content, so it sounds like something or looks like something"
    for way in ways:
        browser.click(f"(document.querySelector('#more input[value={way}]').parentElement)")
        browser.until(
            f"document.querySelector('#more input[value={way}]').checked && document.querySelector('#more .tile')"
        )
    browser.click("#detail-close")
    browser.until("!document.querySelector('#detail').open && !document.querySelector('.player')")


def test_three_rankings_stand_side_by_side(browser: Browser, address: str) -> None:
    opened(browser, address)
    lists = browser.value(
        "[...document.querySelectorAll('.rank')].map(rank => [rank.querySelector('h3').textContent, rank.getBoundingClientRect().x,"
        " [...rank.querySelectorAll('.line')].map(line => [line.dataset.item, line.querySelector('.others').textContent])])"
    )
    assert [title for title, _, _ in lists] == ["Content-based", "Collaborative", "Hybrid"]
    assert lists[0][1] < lists[1][1] < lists[2][1]
    places = {title: [item for item, _ in lines] for title, _, lines in lists}
    for item, others in lists[2][2]:
        if item in places["Content-based"]:
            assert f"content {places['Content-based'].index(item) + 1}" in others
    shared = len(set(places["Hybrid"]) & set(places["Collaborative"]))
    assert f"{shared} with the collaborative list" in browser.value(
        "document.querySelector('#ranks-summary').textContent"
    )


def test_keys_lead_everywhere(browser: Browser, address: str) -> None:
    browser.show(1280, 900, calm=True)
    opened(browser, address)
    browser.press("Tab")
    assert browser.value("document.activeElement.className") == "skip"
    browser.press("Enter")
    browser.press("Tab", times=5)  # the switch, the user, two buttons, and the first shelf
    items = browser.value(
        "[...document.querySelector('.shelf').querySelectorAll('.tile')].map(one => one.dataset.item)"
    )
    assert browser.value(FOCUS) == items[0]
    outline = browser.value("getComputedStyle(document.activeElement).outline")
    assert "solid 3px" in outline or "3px solid" in outline
    browser.press("ArrowRight", times=2)
    assert browser.value(FOCUS) == items[2]
    browser.press("End")
    assert browser.value(FOCUS) == items[-1]
    browser.press("Home")
    browser.press("ArrowLeft")
    assert browser.value(FOCUS) == items[0]
    browser.press("ArrowRight")
    browser.press("Tab")
    assert browser.value(FOCUS) not in items, "Tab leaves the shelf"
    browser.press("Tab", shift=True)
    assert browser.value(FOCUS) == items[1], "and comes back to where it was"
    browser.press("Enter")
    browser.until("document.querySelector('#detail').open && document.querySelector('#more .tile')")
    assert browser.value("document.querySelector('.player video, .player audio')?.paused ?? true"), (
        "calm: nothing moves by itself"
    )
    browser.press("Escape")
    browser.until("!document.querySelector('#detail').open")
    assert browser.value(FOCUS) == items[1]


def test_someone_new_likes_and_is_understood(browser: Browser, address: str) -> None:
    opened(browser, address)
    browser.click(NEW)
    browser.until(f"{SETTLED} && document.querySelector('#shelves h2').textContent === 'What most people met'")
    assert browser.value("document.querySelector('#known').hidden && !document.querySelector('#new').hidden")
    liked = browser.value("document.querySelector('.like').dataset.like")
    browser.click(".like")
    browser.until(f"{SETTLED} && document.querySelector('#shelves h2').textContent === 'For you'")
    assert browser.value("document.querySelectorAll('#like-chips button').length") == 1
    assert not browser.value(f"!!document.querySelector('#shelves [data-item=\"{liked}\"]')"), (
        "what is liked is not shown again"
    )
    browser.click("#like-chips button")
    browser.until(f"{SETTLED} && document.querySelector('#shelves h2').textContent === 'What most people met'")
    assert browser.value("document.querySelector('#likes').hidden")


def test_interests_alone_are_an_answer(browser: Browser, address: str) -> None:
    opened(browser, address)
    browser.click(NEW)
    browser.until(f"{SETTLED} && document.querySelector('#shelves h2').textContent === 'What most people met'")
    chips = browser.value("[...document.querySelectorAll('#interest-chips .chip')].map(one => one.textContent)")
    assert chips == ["sea"], "night is nobody's, so nobody can be answered from it"
    browser.click("#interest-chips .chip")
    browser.until(f"{SETTLED} && document.querySelector('#shelves h2').textContent === 'For you'")
    assert "from these interests alone" in browser.value("document.querySelector('#shelves .hint').textContent")
    assert browser.value("document.querySelectorAll('#shelves .mix').length > 5")
    browser.click("#interest-chips .chip")
    browser.until(f"{SETTLED} && document.querySelector('#shelves h2').textContent === 'What most people met'")


def test_what_is_told_about_somebody_new_is_an_answer(browser: Browser, address: str) -> None:
    opened(browser, address)
    browser.click(NEW)
    browser.until(f"{SETTLED} && document.querySelector('#shelves h2').textContent === 'What most people met'")
    labels = browser.value("[...document.querySelectorAll('#field-inputs label')].map(one => one.textContent)")
    assert labels == ["age", "country"]
    listed = "[...document.querySelectorAll('#field-1 option')].map(one => one.textContent)"
    assert browser.value(listed) == ["not told", "PT", "SE"]
    tell = "(one, value) => { one.value = value; one.dispatchEvent(new Event('change')); }"
    browser.value(f"({tell})(document.querySelector('#field-1'), 'SE')")
    browser.until(f"{SETTLED} && document.querySelector('#shelves h2').textContent === 'For you'")
    assert "from what was told about them" in browser.value("document.querySelector('#shelves .hint').textContent")
    by_country = browser.value(
        "[...document.querySelectorAll('#shelves .tile')].slice(0, 9).map(one => one.dataset.item)"
    )
    browser.value(f"({tell})(document.querySelector('#field-1'), '')")
    browser.until(f"{SETTLED} && document.querySelector('#shelves h2').textContent === 'What most people met'")
    browser.value(f"({tell})(document.querySelector('#field-0'), '41')")
    browser.until(f"{SETTLED} && document.querySelector('#shelves h2').textContent === 'For you'")
    by_age = browser.value("[...document.querySelectorAll('#shelves .tile')].slice(0, 9).map(one => one.dataset.item)")
    assert by_age != by_country


def test_a_bundle_that_knows_less_shows_less(browser: Browser, media_world: MediaWorld) -> None:
    settings = ServerSettings(media_world.folder, budget_ms=20_000)
    with served_at(settings, Served.open(media_world.folder)) as address:
        opened(browser, address)
        browser.click(NEW)
        browser.until(f"{SETTLED} && document.querySelector('#shelves h2').textContent === 'What most people met'")
        assert browser.value(
            "document.querySelector('#interests').hidden && document.querySelectorAll('video').length === 0"
        )
        browser.click("#shelves .tile")
        browser.until("document.querySelector('.player .hint')")
        assert "its setting media_root names no folder" in browser.value(
            "document.querySelector('.player').textContent"
        )


def test_a_title_of_strangers_stays_text(browser: Browser, address: str) -> None:
    opened(browser, address)
    browser.click(NEW)
    browser.until(f"{SETTLED} && document.querySelector('#shelves h2').textContent === 'What most people met'")
    browser.value("openDetail('item 0', {})")
    assert browser.value("document.querySelector('#detail-title').textContent") == HOSTILE
    assert browser.value("document.querySelectorAll('img').length") == 0
    with pytest.raises(AssertionError, match="TrustedHTML"):
        browser.value("document.body.innerHTML = '<b>'")
    browser.complaints.clear()  # that was us


def test_another_user_and_nobody(browser: Browser, address: str) -> None:
    opened(browser, address)
    browser.value("document.querySelector('#user').select()")
    browser.click("#user")
    browser.value("document.querySelector('#user').select()")
    browser.type("user 1")
    browser.until("document.querySelectorAll('#users option').length === 11")
    browser.type("9")  # known, without a history
    browser.press("Enter")
    browser.until(f"{SETTLED} && document.querySelector('#status').textContent.includes('user 19')")
    browser.value("document.querySelector('#user').value = 'nobody'")
    browser.click("#known button[type=submit]")
    browser.until("document.querySelector('.banner')?.textContent.includes('Nobody is known by the name “nobody”')")
    assert headings(browser) == ["What most people met"]
    browser.click("#any")
    browser.until(f"{SETTLED} && document.querySelector('#shelves h2').textContent === 'For you'")
    assert browser.value("document.querySelectorAll('.banner').length") == 0
    browser.complaints[:] = [
        text for text in browser.complaints if "user=nobody" not in text
    ]  # the console notes the 404


def test_an_upload_lands_beside_its_like(
    browser: Browser, address: str, settings: ServerSettings, served: Served
) -> None:
    opened(browser, address)
    assert browser.value("document.querySelector('#upload-go').disabled")
    browser.choose_file("#clip", settings.media_root / "3.mp4")
    browser.until("document.querySelector('#clip-name').textContent.startsWith('3.mp4 (')")
    browser.click("#upload-go")
    browser.until("document.querySelector('#upload-answer[aria-busy]')")
    browser.until("document.querySelector('#upload-answer .tile')", 60)
    found = browser.value("[...document.querySelectorAll('#upload-answer .tile')].map(one => one.dataset.item)")
    assert found == alike(served, settings.media_root, "3.mp4")[: len(found)] and len(found) == 12
    names = browser.value("[...document.querySelectorAll('#upload-answer .bar b')].map(one => one.textContent)")
    assert names == ["text", "sound", "picture"]
    browser.choose_file("#clip", settings.media_root / "page.mp4")
    browser.click("#upload-go")
    browser.until(
        "document.querySelector('#upload-answer [role=alert]')?.textContent.includes('nothing of it could be read')", 60
    )
    browser.complaints.clear()  # the console notes the refusal


def alike(served: Served, root: Path, film: str) -> list[str]:
    """Items by the cosine of their content with a film's."""
    found = served.recommender.embed_files({"audio": [film], "video": [film]}, root)
    content = served.bundle.content_vectors
    cosine = content @ found.history_vectors[0, ID_DIM:] / np.maximum(np.linalg.norm(content, axis=1), 1e-9)
    return [f"item {index}" for index in np.argsort(-cosine)]


def test_the_key_is_asked_for_once_and_kept_nowhere(browser: Browser, settings: ServerSettings, served: Served) -> None:
    with served_at(replace(settings, api_key=KEY), served) as address:
        browser.open(f"{address}/")
        browser.until("document.querySelector('#key').open")
        browser.press("Escape", times=2)
        browser.until("document.querySelector('#key').open")
        browser.click("#key-text")
        browser.type("a wrong key of many characters")
        browser.press("Enter")
        browser.until("document.querySelector('#key-error').textContent === 'The server did not take that key.'")
        browser.click("#key-text")
        browser.type(KEY)
        browser.press("Enter")
        browser.until(f"!document.querySelector('#key').open && {READY}")
        browser.until("[...document.querySelectorAll('.tile video')].some(one => one.readyState >= 2)")
        kept = browser.value(
            "JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie, location.href, document.documentElement.outerHTML])"
        )
        assert KEY not in kept and not any(KEY.split()[0] + "%20key" in request for request in browser.requests)
        assert any("ticket=" in request for request in browser.requests)
    browser.complaints[:] = [text for text in browser.complaints if " 401 " not in text]


def test_what_fails_is_said(browser: Browser, settings: ServerSettings, served: Served) -> None:
    with served_at(replace(settings, budget_ms=1e-3), served) as address:
        opened(browser, address)
        assert "did not answer in time" in browser.value("document.querySelector('.banner').textContent")
    browser.click("#any")
    browser.until("document.querySelector('.banner.error[role=alert]')")
    assert (
        browser.value("document.querySelector('.banner.error').textContent")
        == "The server cannot be reached. Is it still running?"
    )
    browser.complaints.clear()  # the console notes the lost connection


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (360, False), (360, True)])
def test_it_fits_and_can_be_read_and_touched(
    browser: Browser, address: str, width: int, dark: bool, tmp_path: Path
) -> None:
    browser.show(width, 800, dark=dark, touch=width < 500)
    opened(browser, address)
    assert browser.value("document.documentElement.scrollWidth <= innerWidth")
    small = browser.value(
        "[...document.querySelectorAll('button, select, nav a, #user, .switch label, .drop-label')].filter(one => one.checkVisibility())"
        ".filter(one => one.getBoundingClientRect().height < 44 || one.getBoundingClientRect().width < 44).map(one => one.outerHTML.slice(0, 99))"
    )
    assert small == []
    unnamed = browser.value(
        "[...document.querySelectorAll('button, input, select')].filter(one => one.checkVisibility() && !one.labels?.length &&"
        " !one.textContent.trim() && !one.ariaLabel).map(one => one.outerHTML.slice(0, 99))"
    )
    assert unnamed == []
    ground = browser.value("getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(15, 16, 20)" if dark else "rgb(246, 246, 249)")
    browser.picture(tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 10_000
    browser.click("#shelves .tile")
    browser.until("document.querySelector('#more .tile')")
    assert browser.value(
        "document.querySelector('#detail-body').scrollWidth <= document.querySelector('#detail-body').clientWidth"
    )
    browser.press("Escape")
