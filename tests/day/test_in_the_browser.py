"""The operator's day in a browser: start, see it fail, mend it, press Retry, find the mails.

The pictures stay in screenshots/day/, to be looked at.
"""

import re
import sqlite3
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect
from playwright.sync_api import TimeoutError as PlaywrightTimeoutError
from up_command import Up

SHOTS = Path(__file__).parents[2] / "screenshots" / "day"
PATIENCE = 300_000
"""Milliseconds in which a run comes into its next state."""
FULL = (
    "CREATE TRIGGER full BEFORE INSERT ON sentry_team"
    " BEGIN SELECT RAISE(ABORT, 'the disk is full'); END"
)


@pytest.fixture
def page(browser: Browser) -> Page:
    """An empty page, patient with a slow machine."""
    expect.set_options(timeout=PATIENCE)
    page = browser.new_page(viewport={"width": 1280, "height": 1150})
    page.set_default_timeout(PATIENCE)
    return page


def test_a_relocation_is_started_mended_and_retried_in_the_browser(up: Up, page: Page) -> None:
    destination = sqlite3.connect(up.home / "destination" / "destination.db")
    destination.execute(FULL)

    _start(page, f"http://127.0.0.1:{up.port}", "archives/example.tar", "acme", "olivia")
    expect(page.get_by_text("Running", exact=True).first).to_be_visible()
    _shoot(page, "2-running")
    expect(page.get_by_text("Failed", exact=True).first).to_be_visible()
    _find(page, "acme")
    run = page.url
    _shoot(page, "4-failed")
    page.get_by_role("tab", name="Artifacts").click()
    _shoot(page, "5-artifacts")
    _read_standing(page)

    destination.execute("DROP TRIGGER full")
    _retry(page, run)
    expect(page.get_by_text("Completed", exact=True).first).to_be_visible()
    page.get_by_role("tab", name="Task Runs").click()
    expect(page.get_by_text("4 Skipped")).to_be_visible()
    _shoot(page, "8-completed")

    visible = "SELECT status FROM sentry_organization WHERE slug = 'acme'"
    assert destination.execute(visible).fetchall() == [(0,)]
    _read_mails(page, up)


def _start(page: Page, base: str, archive: str, slug: str, owner: str) -> None:
    page.goto(base)
    page.get_by_role("link", name="Deployments").first.click()
    page.locator('a[href*="deployments/deployment/"]', has_text="relocate").first.click()
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Custom run").click()
    page.get_by_label("Archive (Optional)", exact=True).fill(archive)
    page.get_by_label("Owner", exact=True).fill(owner)
    page.get_by_role("button", name="Add item").click()
    page.locator("textarea").nth(1).fill(slug)
    _shoot(page, "1-form")
    scheduled = page.get_by_role("button", name="View run")
    for _ in range(3):  # the form takes no click while it still settles
        page.get_by_role("button", name="Submit", exact=True).click()
        with suppress(PlaywrightTimeoutError):
            scheduled.wait_for(timeout=PATIENCE / 30)
            break
    scheduled.click()
    page.wait_for_url(re.compile("flow-run/"))


def _find(page: Page, slug: str) -> None:
    """Find the run among all by a slug, as an operator does who was asked about it."""
    page.get_by_role("link", name="Runs", exact=True).first.click()
    page.get_by_placeholder("Search by flow run name").fill(slug)
    link = page.locator('a[href*="flow-run/"]', has_text=re.compile(f"^{slug} "))
    expect(link.first).to_be_visible()
    _shoot(page, "3-found")
    link.first.click()
    page.wait_for_url(re.compile("flow-run/"))


def _read_standing(page: Page) -> None:
    page.locator("a", has_text="what-to-do-next").click()
    page.locator('a[href*="artifacts/artifact/"]').first.click()
    expect(page.get_by_text("What to do next").first).to_be_visible()
    expect(page.get_by_text("The destination rejected some records").first).to_be_visible()
    expect(page.get_by_text("relocation recover").first).to_be_visible()
    _shoot(page, "6-what-to-do-next")


def _retry(page: Page, run: str) -> None:
    page.goto(run)
    page.get_by_role("button", name="Open menu").first.click()
    page.get_by_role("menuitem", name="Retry", exact=True).click()
    _shoot(page, "7-retry")
    page.get_by_role("button", name="Retry", exact=True).click()


def _read_mails(page: Page, up: Up) -> None:
    (inbox,) = re.findall(r"mails +(http://\S+)", up.said)
    up.until(lambda: "Your relocation has succeeded: acme" in httpx.get(inbox).text)
    page.goto(inbox)
    _shoot(page, "9-inbox")
    page.get_by_role("link", name=re.compile("Your relocation has failed: acme")).first.click()
    expect(page.get_by_text("The destination rejected some records").first).to_be_visible()
    _shoot(page, "10-mail")


def _shoot(page: Page, name: str) -> None:
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SHOTS / f"{name}.png")
