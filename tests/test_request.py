"""What can be wrong with a request has a reason of its own."""

from typing import Any

import pytest

from relocation.errors import MAX_REASON, PermanentError
from relocation.request import RelocationRequest, check_request
from relocation.settings import Settings

GOOD = {"archive": "archives/a.tar", "organizations": ["acme"], "owner": "olivia"}


def test_a_request_of_an_archive_and_a_slug_is_good() -> None:
    check_request(RelocationRequest.model_validate(GOOD), Settings())


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"organizations": []}, "at least one"),
        ({"organizations": [""]}, "slug"),
        ({"organizations": ["$$##"]}, "$$##"),
        ({"organizations": [f"org-{number}" for number in range(200)]}, "200"),
        ({"organizations": ["a" * 5000]}, "slug"),
        ({"archive": "../../etc/passwd"}, "inside"),
        ({"archive": "/etc/passwd"}, "by its key"),
        ({"archive": "http://127.0.0.1:9/x"}, "inside"),
        ({"archive": ""}, "by its key"),
    ],
)
def test_a_request_that_cannot_be_carried_out_is_refused(asked: dict[str, Any], says: str) -> None:
    with pytest.raises(PermanentError) as refused:
        check_request(RelocationRequest.model_validate(GOOD | asked), Settings())
    assert says in refused.value.reason
    assert len(refused.value.reason) <= MAX_REASON
