"""Make up an export as a self-hosted instance writes it: for the demo, tests and benchmarks."""

from collections.abc import Iterable
from io import BytesIO

from relocation.archive.envelope import seal_export
from relocation.archive.records import Record, write_export
from relocation.example.export import Export
from relocation.example.people import add_instance, add_members, add_organization
from relocation.example.projects import add_project
from relocation.example.views import add_views

__all__ = ["example_archive", "example_export", "write_export"]

SLUGS = ("acme", "birch-labs", "cobalt", "driftwood", "ember-works", "fjord", "granite-co", "heron")


def example_export(
    *, organizations: int = 2, members: int = 4, projects: int = 3, seed: int = 1
) -> list[Record]:
    """Return records in the order of T-12, the same ones for the same arguments.

    `members` and `projects` are counts for each organization. The owner of an organization is a
    member of the next one too; the owner of the first, "acme", is staff and superuser. Addresses
    are under example.com and example.org alone.
    """
    export = Export(seed)
    guest: int | None = None
    for index in range(organizations):
        again, which = divmod(index, len(SLUGS))
        slug = f"{SLUGS[which]}-{again + 1}" if again else SLUGS[which]
        org = add_organization(export, slug, newer=index > 0)
        add_members(export, org, count=members, guest=guest)
        for number in range(projects):
            add_project(export, org, number)
        add_views(export, org)
        guest = org.owner
    add_instance(export)
    return export.records()


def example_archive(records: Iterable[Record], public_key: str) -> bytes:
    """Return an archive of the records, encrypted to the public key (PEM)."""
    plain, sealed = BytesIO(), BytesIO()
    write_export(records, plain)
    plain.seek(0)
    seal_export(plain, public_key, sealed)
    return sealed.getvalue()
