"""Write sample notices to a folder, to look at them."""

import html
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage
from pathlib import Path

from relocation.notices.building import Branding, build_notice
from relocation.notices.kinds import NoticeKind
from relocation.notices.rendering import Templates
from relocation.notices.samples import RELOCATION, samples
from relocation.notices.wire import wire_bytes

_REPLIES = (NoticeKind.FAILED, NoticeKind.SUCCEEDED, NoticeKind.CANCELLED)
_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>The notices</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body {{ margin: 2rem; font: 16px/1.5 system-ui, sans-serif; }}
iframe {{ width: 640px; max-width: 100%; height: 820px; border: 1px solid #888; resize: both; }}
</style></head><body>
<h1>The notices</h1>
{entries}
</body></html>
"""
_ENTRY = """<h2 id="{name}">{name}</h2>
<p>{subject}<br><a href="{name}.html">HTML</a>, <a href="{name}.txt">text</a>,
<a href="{name}.eml">message</a>, {size:,} bytes</p>
<iframe src="{name}.html" title="{name}" loading="lazy"></iframe>"""


@dataclass(frozen=True)
class Preview:
    """A sample notice, built."""

    name: str
    message: EmailMessage


def build_previews(
    templates: Templates,
    branding: Branding,
    *,
    recipient: str,
    now: datetime,
    kind: NoticeKind | None = None,
) -> Iterator[Preview]:
    """Build each sample, or those of one kind; each gets a Message-ID of its own."""
    domain = branding.sender_email.rpartition("@")[2]
    started = f"<{uuid.uuid4().hex}@{domain}>"
    for sample in samples():
        if kind in (None, sample.kind):
            message = build_notice(
                sample.kind,
                recipient=recipient,
                context={**sample.context, "relocation_id": RELOCATION},
                message_id=f"<{uuid.uuid4().hex}@{domain}>",
                date=now,
                branding=branding,
                templates=templates,
                in_reply_to=started if sample.kind in _REPLIES else None,
            )
            yield Preview(sample.name, message)


def write_previews(folder: Path, previews: Iterable[Preview]) -> Path:
    """Write each as .eml, .html and .txt, and an index page; returns the path of that page."""
    folder.mkdir(parents=True, exist_ok=True)
    entries = []
    for preview in previews:
        wire, file = wire_bytes(preview.message), folder / preview.name
        file.with_suffix(".eml").write_bytes(wire)
        for part in preview.message.iter_parts():
            suffix = ".html" if part.get_content_subtype() == "html" else ".txt"
            file.with_suffix(suffix).write_text(part.get_content(), encoding="utf-8")
        subject = html.escape(str(preview.message["Subject"]))
        entries.append(_ENTRY.format(name=preview.name, subject=subject, size=len(wire)))
    index = folder / "index.html"
    index.write_text(_PAGE.format(entries="\n".join(entries)), encoding="utf-8")
    return index
