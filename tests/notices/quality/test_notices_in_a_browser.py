"""A browser shows every notice well: light, dark, and on a phone.

With SCREENSHOTS=FOLDER the pictures stay there: `make screenshots`.
"""

import os
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Literal

import pytest
from mail_parts import Build
from playwright.sync_api import Browser

from relocation.notices.kinds import NoticeKind

PHONE, DESK = 360, 800
BACKGROUND = "getComputedStyle(document.body).backgroundColor"
WIDTH = "document.documentElement.scrollWidth"

Show = Callable[[NoticeKind, str, str], Any]


@pytest.fixture
def show(
    browser: Browser,
    build: Build,
    html_of: Callable[[EmailMessage], str],
    tmp_path: Path,
) -> Iterator[Show]:
    """Show a notice, take its picture, and return what an expression says of the page."""
    folder = Path(os.environ.get("SCREENSHOTS") or tmp_path)
    pages = []

    def show(kind: NoticeKind, look: str, expression: str) -> Any:
        width = PHONE if look == "phone" else DESK
        scheme: Literal["dark", "light"] = "dark" if look == "dark" else "light"
        page = browser.new_page(
            color_scheme=scheme, viewport={"width": width, "height": 900}, java_script_enabled=True
        )
        pages.append(page)
        page.route("**/*", lambda route: route.abort())
        page.set_content(html_of(build(kind)))
        picture = folder / f"{kind.lower()}-{look}.png"
        page.screenshot(path=picture, full_page=True)
        assert picture.stat().st_size > 5_000, "the picture is empty"
        return page.evaluate(expression)

    yield show
    for page in pages:
        page.close()


@pytest.mark.parametrize("kind", NoticeKind)
def test_a_notice_fits_a_phone_and_a_desk(kind: NoticeKind, show: Show) -> None:
    """Nobody has to scroll sideways."""
    assert show(kind, "phone", WIDTH) <= PHONE
    assert show(kind, "light", WIDTH) <= DESK


@pytest.mark.parametrize("kind", NoticeKind)
def test_a_notice_is_dark_where_its_reader_likes_it_dark(kind: NoticeKind, show: Show) -> None:
    light, dark = show(kind, "light", BACKGROUND), show(kind, "dark", BACKGROUND)
    assert light != dark
