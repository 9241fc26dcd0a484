"""Everything that is no secret and no connection, from the environment (prefix RELOCATION_)."""

from dataclasses import replace
from pathlib import Path

from pydantic import BaseModel, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from relocation.steps import POLICIES, Policy, Task


class PolicyOverride(BaseModel):
    """Numbers that replace a task's own."""

    tries: int | None = Field(default=None, ge=1, le=50)
    time_limit: float | None = Field(default=None, gt=0, description="Seconds one try may take.")


class Settings(BaseSettings):
    """What an operator may set; read when a task runs, never at import."""

    model_config = SettingsConfigDict(env_prefix="RELOCATION_", env_file=".env", extra="ignore")

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

    accept_plain_exports: bool = Field(
        default=False, description="Take an unencrypted JSON export for an archive."
    )
    max_archive_bytes: int = Field(default=2 * 1024**3, gt=0, description="Largest archive taken.")
    max_organizations: int = Field(
        default=20, ge=1, description="Most organizations one relocation moves."
    )
    max_users: int = Field(
        default=2000, ge=1, description="Most members the moved organizations may have together."
    )
    chunk_records: int = Field(
        default=2000, ge=1, description="Records written to the destination in one transaction."
    )

    backoff: float = Field(
        default=60, ge=0, description="Seconds before the second try; doubled before each further."
    )
    backoff_jitter: float = Field(
        default=0.3, ge=0, description="How far a wait may exceed its length, as a fraction of it."
    )
    tasks: dict[Task, PolicyOverride] = Field(
        default_factory=dict,
        description='Numbers of single tasks, as JSON: {"validate": {"tries": 2}}.',
    )

    product_name: str = Field(
        default="Relocation", description="What the notices call the service."
    )
    base_url: str = Field(
        default="http://localhost:9000", description="Where the destination's users log in."
    )
    support_email: str = Field(
        default="support@relocation.example.org", description="Whom readers of a notice may ask."
    )
    operator_email: str = Field(
        default="operator@relocation.example.org",
        description="Who is told when nobody else can be.",
    )
    sender_email: str = Field(
        default="noreply@relocation.example.org", description="Whom the notices come from."
    )
    claim_url: str = Field(
        default="{base_url}/account/recover/confirm/{user_id}/{token}/",
        description="Link of a claim notice; {base_url}, {user_id} and {token} are filled in.",
    )
    claim_days: int = Field(
        default=7, ge=1, description="Days for which a claim notice says its link works."
    )
    templates: Path | None = Field(
        default=None, description="Folder whose templates replace the built-in ones."
    )

    @property
    def sender_domain(self) -> str:
        """The domain of the sender's address, on which Message-IDs are made."""
        return self.sender_email.rpartition("@")[2]

    def policy(self, task: Task) -> Policy:
        """Return the task's policy with the overrides of these settings."""
        override = self.tasks.get(task, PolicyOverride())
        return replace(POLICIES[task], **override.model_dump(exclude_none=True))
