"""Everything that is no secret and no connection, from the environment (prefix RELOCATION_)."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Self, cast

from pydantic import BaseModel, Field, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    SettingsConfigDict,
)

from relocation.steps import POLICIES, Policy, Step, Task

_MEDIUM = 10 * 1024**2
_LARGE = 100 * 1024**2
_LONGEST_NAME = 40
_NAMED_BY_DEFAULT = {
    "home",
    "ledger_block",
    "destination_block",
    "source_block",
    "storage_block",
    "mail_block",
    "key_block",
    "alert_block",
}
"""Settings whose defaults have the installation's name."""


class PolicyOverride(BaseModel):
    """Numbers that replace a task's own."""

    tries: int | None = Field(
        default=None, ge=1, le=50, description="How often it is tried, in each round."
    )
    time_limit: float | None = Field(default=None, gt=0, description="Seconds one try may take.")


class DailyLimits(BaseModel):
    """How many relocations may begin in 24 hours, by the size of their archive (R-30)."""

    small: int | None = Field(default=None, ge=0, description="Under 10 MiB.")
    medium: int | None = Field(default=None, ge=0, description="From 10 MiB, under 100 MiB.")
    large: int | None = Field(default=None, ge=0, description="From 100 MiB.")

    def of(self, archive_bytes: int) -> tuple[range, int | None]:
        """Return the sizes of the archive's class, in bytes, and its limit."""
        if archive_bytes < _MEDIUM:
            return range(_MEDIUM), self.small
        if archive_bytes < _LARGE:
            return range(_MEDIUM, _LARGE), self.medium
        return range(_LARGE, 2**62), self.large


class Settings(BaseSettings):
    """What an operator may set; read when a task runs, never at import."""

    model_config = SettingsConfigDict(env_prefix="RELOCATION_", env_file=".env", extra="ignore")

    installation: str = Field(
        default="",
        description="Name that tells this installation from others on one Prefect server, of "
        "lower-case letters, digits and single dashes. Deployments, work pool, queue, tags, "
        "automations and artifacts end with it, and so do home and blocks that no setting names.",
    )

    home: Path = Field(
        default=Path(".relocation"), description="Folder of the embedded blocks' data."
    )

    ledger_block: str = Field(
        default="relocation-ledger", description="SqlAlchemyConnector block of the ledger."
    )
    destination_block: str = Field(
        default="relocation-destination",
        description="SqlAlchemyConnector block of the database relocated into.",
    )
    source_block: str = Field(
        default="relocation-source",
        description="SqlAlchemyConnector block of a live database to export from, with a user that "
        "can only read; needed for nothing else.",
    )
    storage_block: str = Field(
        default="local-file-system/relocation-storage",
        description="Filesystem block (type/name) that holds archives and working files.",
    )
    mail_block: str = Field(
        default="relocation-mail", description="MailServer block that sends the notices."
    )
    key_block: str = Field(
        default="relocation-key", description="Secret block with the private key, PEM."
    )
    alert_block: str = Field(
        default="slack-webhook/relocation-alerts",
        description="Notification block (type/name) by which Prefect tells the operator that "
        "nothing runs.",
    )

    accept_plain_exports: bool = Field(
        default=False, description="Accept an unencrypted JSON export in place of an archive."
    )
    max_archive_bytes: int = Field(
        default=2 * 1024**3, gt=0, description="Largest archive accepted, in bytes."
    )
    max_organizations: int = Field(
        default=20, ge=1, description="Most organizations one relocation may move."
    )
    max_users: int = Field(
        default=2000, ge=1, description="Most members the moved organizations may have together."
    )
    chunk_records: int = Field(
        default=10_000,
        ge=1,
        description="Most records written to the destination in one transaction; fewer where they "
        "are large.",
    )

    backoff: float = Field(
        default=60, ge=0, description="Seconds before the second try; doubled before each further."
    )
    backoff_limit: float = Field(
        default=3600, ge=0, description="Most seconds between two tries, however many there were."
    )
    backoff_jitter: float = Field(
        default=0.3, ge=0, description="How far a wait may exceed its length, as a fraction of it."
    )
    lease_seconds: float = Field(
        default=30,
        gt=0,
        description=(
            "How long a process that holds a relocation may be silent before it is considered dead."
        ),
    )
    lease_renewal: float = Field(
        default=10, gt=0, description="Seconds between two signs of life of such a process."
    )
    resume_after: float = Field(
        default=15,
        ge=0,
        description="Seconds from the end of a run until it is resumed: its worker may still run "
        "the hook.",
    )
    start_limit: float = Field(
        default=300,
        gt=0,
        description="Seconds from handing a run to a worker to its begin; then it is tried again.",
    )
    interrupted_limit: float = Field(
        default=86400,
        gt=0,
        description=(
            "Seconds within which an interrupted relocation must resume; after that it fails."
        ),
    )
    max_resumes: int = Field(
        default=12,
        ge=1,
        description=(
            "Times a relocation is resumed without getting a task done; after that it fails."
        ),
    )
    stuck_after: float = Field(
        default=3600,
        gt=0,
        description=(
            "Seconds of silence after which the operator is told that a relocation is stuck."
        ),
    )
    settle_patience: float = Field(
        default=30,
        ge=0,
        description="Seconds for which a hook tries to record a failure while the ledger is away.",
    )
    sweep_lookback: float = Field(
        default=86400,
        gt=0,
        description="Seconds back to which a sweep looks for failed runs that nobody settled.",
    )
    sweep_lease: float = Field(
        default=600,
        gt=0,
        description="Seconds for which a sweep keeps others from sweeping, should it die.",
    )
    pause_limit: float = Field(
        default=365 * 86400.0, gt=0, description="Seconds a paused relocation may wait."
    )
    retention: float = Field(
        default=14 * 86400.0,
        gt=0,
        description="Seconds for which the working files of a relocation that did not succeed are "
        "kept, so that a rerun goes on where it stopped.",
    )
    ledger_retention: float = Field(
        default=0,
        ge=0,
        description="Seconds for which the ledger keeps names, addresses, mails and histories of a "
        "relocation that succeeded, or was cancelled and removed, since it last changed; 0 keeps "
        "them for good.",
    )
    chunk_retention: float = Field(
        default=0,
        ge=0,
        description="Seconds after that for which the destination keeps which records such a "
        "relocation wrote; 0 keeps that for good.",
    )
    pause_before: Step | None = Field(
        default=None, description="Step before which every new relocation pauses."
    )
    daily_limits: DailyLimits = Field(
        default_factory=DailyLimits, description='Relocations a day, as JSON: {"small": 50}.'
    )

    tasks: dict[Task, PolicyOverride] = Field(
        default_factory=dict,
        description='Numbers of single tasks, as JSON: {"validate": {"tries": 2}}.',
    )

    product_name: str = Field(
        default="Relocation", description="What the notices call the service."
    )
    subject_prefix: str = Field(
        default="", description="What every subject begins with, such as [Sentry]; empty for none."
    )
    base_url: str = Field(
        default="http://localhost:9000", description="Where the destination's users log in."
    )
    ingest_url: str | None = Field(
        default=None,
        description="Where applications send their events, as DSNs name it; RELOCATION_BASE_URL "
        "when left out.",
    )
    support_email: str = Field(
        default="support@relocation.example.org",
        description="Address that readers of a notice can write to.",
    )
    operator_email: str = Field(
        default="operator@relocation.example.org",
        description="Address of the operator, who is told when nobody else can be.",
    )
    operator_block: str = Field(
        default="",
        description="Notification block (type/name), such as slack-webhook/operators, that tells "
        "operators too what the mails to them say; empty for none.",
    )
    operator_window: float = Field(
        default=900,
        ge=0,
        description="Seconds for which further failures of one cause wait, so that operators read "
        "of them in one mail; the first is told at once.",
    )
    sender_email: str = Field(
        default="noreply@relocation.example.org",
        description="Address that the notices come from.",
    )
    unknown_notices: Literal["resend", "hold"] = Field(
        default="resend",
        description=(
            "What to do when nobody knows whether a mail arrived: send it once more, or "
            "leave it and tell the operator."
        ),
    )
    notices_per_minute: int = Field(
        default=0, ge=0, description="Most mails one process sends a minute; 0 is no limit."
    )
    notices_overdue_after: float = Field(
        default=7200,
        gt=0,
        description="Seconds after which a mail that waits for a fault of ours fails `notify`, so "
        "that an alert is sent.",
    )
    mail_limit: str = Field(
        default="",
        description="Name of a Prefect global concurrency limit to hold while mails are sent, "
        "so that several workers take turns; empty for none.",
    )
    claim_url: str = Field(
        default="{base_url}/account/recover/confirm/{user_id}/{token}/",
        description="Link of a claim notice; {base_url}, {user_id} and {token} are filled in.",
    )
    claim_link_hours: float = Field(
        default=1,
        gt=0,
        description="Hours for which the product's links to claim an account work, as its version "
        "has it: 1 in today's Sentry, 48 up to 23.7.1.",
    )
    claim_reminders: int = Field(
        default=0,
        ge=0,
        description=(
            "Times a user who has not claimed the account is mailed a new link, once the "
            "last one has expired."
        ),
    )
    templates: Path | None = Field(
        default=None, description="Folder whose templates replace the built-in ones."
    )

    @classmethod
    def of_environment(cls, variables: Mapping[str, str]) -> Self:
        """Return the settings of a process that has these variables alone.

        Raises ValidationError where they are not valid.
        """
        source = EnvSettingsSource(cls)
        source.env_vars = {name.lower(): value for name, value in variables.items()}
        only = InitSettingsSource(cls, source())

        class Given(cls):  # type: ignore[misc, valid-type]
            @classmethod
            def settings_customise_sources(cls, *_: object, **_more: object) -> tuple[Any, ...]:
                return (only,)

        return cast(Self, Given())

    @field_validator("pause_before", mode="before")
    @classmethod
    def _step_by_name(cls, value: object) -> object:
        return Step[value] if isinstance(value, str) and value in Step.__members__ else value

    @field_validator("installation")
    @classmethod
    def _fits_every_name(cls, value: str) -> str:
        """Prefect takes nothing else in the names of blocks and the keys of artifacts."""
        if not re.fullmatch(r"([a-z0-9]+(-[a-z0-9]+)*)?", value) or len(value) > _LONGEST_NAME:
            raise ValueError(
                "takes lower-case letters and digits, with single dashes between them, "
                f"{_LONGEST_NAME} at most"
            )
        return value

    @model_validator(mode="after")
    def _nothing_of_another_installation(self) -> Self:
        """Two that shared a ledger by default would settle each other's relocations."""
        for field in _NAMED_BY_DEFAULT - self.model_fields_set:
            default = getattr(self, field)
            setattr(self, field, type(default)(self.named(str(default))))
            self.model_fields_set.discard(field)  # nobody has set it
        return self

    def named(self, name: str) -> str:
        """Return what this installation calls a thing that every installation has."""
        return f"{name}-{self.installation}" if self.installation else name

    @property
    def work_pool(self) -> str:
        """The name of the work pool."""
        return self.named("relocation")

    @property
    def sender_domain(self) -> str:
        """The domain of the sender's address, on which Message-IDs are made."""
        return self.sender_email.rpartition("@")[2]

    def policy(self, task: Task) -> Policy:
        """Return the task's policy with the overrides of these settings."""
        override = self.tasks.get(task, PolicyOverride())
        return replace(POLICIES[task], **override.model_dump(exclude_none=True))
