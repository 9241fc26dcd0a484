"""An archive can be validated before anybody relocates it."""

from embedded_service import Service

from flows.validate import validate_archive
from relocation.errors import MissingArchiveError, MissingOrganizationError
from relocation.example import example_export
from relocation.ledger.relocations import list_relocations


def _reason(service: Service, archive: str, *slugs: str) -> object:
    state = validate_archive(archive, list(slugs), return_state=True)
    assert list_relocations(service.ledger) == []
    assert service.count("sentry.organization") == 0
    return state.result(raise_on_failure=False)


def test_a_good_archive_is_accepted_and_nothing_is_touched(service: Service) -> None:
    archive = service.archive(example_export(organizations=1))
    assert _reason(service, archive, "acme") is None


def test_what_a_relocation_would_refuse_fails_with_its_reason(service: Service) -> None:
    archive = service.archive(example_export(organizations=1))
    refused = _reason(service, archive, "nowhere")
    assert isinstance(refused, MissingOrganizationError)
    assert "nowhere" in refused.reason
    assert isinstance(_reason(service, "archives/absent.tar", "acme"), MissingArchiveError)
