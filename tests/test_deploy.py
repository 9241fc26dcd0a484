"""The installations to copy: they name what exists, and the tools that read them accept them."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import prefect
import pytest
import yaml
from ledgers import sqlite_ledger
from prefect.settings import Settings as PrefectSettings
from prefect.settings.legacy import _get_settings_fields
from prometheus_client import CollectorRegistry

from relocation.cli.numbers import Collector
from relocation.prefect_api.block_file import read_block_file
from relocation.settings import Settings

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
_PREFECT = re.compile(r"\bPREFECT_[A-Z_]+\b")
_OURS = re.compile(r"\bRELOCATION_[A-Z_]+\b")
_ENCRYPTION = Path(prefect.__file__).parent / "server" / "utilities" / "encryption.py"
KNOWN = (
    _get_settings_fields(PrefectSettings).keys()
    | set(_PREFECT.findall(_ENCRYPTION.read_text()))
    | {f"RELOCATION_{name.upper()}" for name in Settings.model_fields}
)
FILES = sorted(path for path in DEPLOY.rglob("*") if path.is_file())


def _commands(text: str) -> list[list[str]]:
    return [line.partition("=")[2].split() for line in text.splitlines() if "ExecStart=" in line]


@pytest.mark.parametrize("file", FILES, ids=lambda path: str(path.relative_to(DEPLOY)))
def test_a_file_names_only_settings_that_exist(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert sorted({*_PREFECT.findall(text), *_OURS.findall(text)} - KNOWN) == []


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.stem)
def test_systemd_accepts_the_unit(unit: Path, tmp_path: Path) -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("no systemd-analyze")
    # The unit names programs of an installation that is not here.
    text = unit.read_text(encoding="utf-8").replace("/opt/relocation/.venv/bin/", "/bin/echo ")
    copy = tmp_path / unit.name
    copy.write_text(text, encoding="utf-8")
    verify = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(copy)]
    done = subprocess.run(verify, capture_output=True, text=True, check=False)
    complaints = [line for line in done.stderr.splitlines() if unit.name in line]
    assert complaints == []


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.stem)
def test_a_unit_runs_a_command_that_exists(unit: Path) -> None:
    (command,) = _commands(unit.read_text(encoding="utf-8"))
    program = ROOT / ".venv" / "bin" / Path(command[0]).name
    if not program.exists():
        program = Path(shutil.which(program.name) or program)
    words = [word for word in command[1:3] if not word.startswith("-")]
    done = subprocess.run([program, *words, "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for option in (word for word in command if word.startswith("--")):
        assert option in done.stdout


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.stem)
def test_a_unit_gives_up_every_privilege(unit: Path) -> None:
    text = unit.read_text(encoding="utf-8")
    for line in ("User=relocation", "NoNewPrivileges=yes", "ProtectSystem=strict", "UMask=0077"):
        assert line in text.splitlines()


@pytest.mark.parametrize("example", ["blocks.yaml.example", "compose-blocks.yaml.example"])
def test_the_example_of_the_blocks_is_read(example: str) -> None:
    secrets = (DEPLOY / "systemd" / "secrets.env.example").read_text(encoding="utf-8")
    named = dict(re.findall(r"^([A-Z_]+)=(.*)$", secrets, flags=re.MULTILINE))
    blocks = read_block_file(DEPLOY / example, named)
    assert {"ledger", "destination", "storage", "mail", "alerts"} <= blocks.keys()


def test_the_page_copies_files_that_exist() -> None:
    page = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    named = set(re.findall(r"\b(?:deploy|pools)/[\w./-]+\w", page))
    made = {"deploy/secrets", "deploy/blocks.yaml", "deploy/.env"}
    missing = {
        one
        for one in named
        if not any(one == it or one.startswith(f"{it}/") for it in made)
        and not (ROOT / one).exists()
    }
    assert missing == set()
    assert len(named) > 15


def test_a_command_on_a_machine_has_the_settings_of_the_service(tmp_path: Path) -> None:
    """As systemd reads them: to the end of the line, and nothing in them is the shell's."""
    etc = tmp_path / "etc"
    etc.mkdir()
    (etc / "relocation.env").write_text("# A = comment\n\nRELOCATION_PRODUCT_NAME=A $HOME of b's\n")
    (etc / "secrets.env").write_text("MAIL_PASSWORD=a=b;c\n")
    text = (DEPLOY / "systemd" / "relocation.sh").read_text(encoding="utf-8")
    command = tmp_path / "printenv"
    command.write_text(
        text.replace("/etc/relocation", str(etc)).replace("/opt/relocation/.venv/bin", "/usr/bin")
    )
    (tmp_path / "runuser").write_text('#!/bin/sh\nshift 3\nexec "$@"\n')
    for program in (command, tmp_path / "runuser"):
        program.chmod(0o755)
    done = subprocess.run(
        [command, "RELOCATION_PRODUCT_NAME", "MAIL_PASSWORD", "RELOCATION_HOME"],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == ["A $HOME of b's", "a=b;c", "/var/lib/relocation/data"]


def test_the_ui_is_served_from_where_the_server_can_write() -> None:
    """Prefect copies it first, by default into its own package, which is read-only in each form."""
    unit = (DEPLOY / "systemd" / "prefect-server.service").read_text(encoding="utf-8")
    (state,) = re.findall(r"^StateDirectory=(.+)$", unit, flags=re.MULTILINE)
    assert f"PREFECT_UI_STATIC_DIRECTORY=/var/lib/{state}/" in unit
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    server = compose["services"]["prefect"]
    (volume,) = server["volumes"]
    folder = volume.partition(":")[2]
    assert server["environment"]["PREFECT_UI_STATIC_DIRECTORY"].startswith(f"{folder}/")


def test_what_is_filled_in_gets_neither_into_the_image_nor_into_the_repository() -> None:
    image = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert [line for line in image if "deploy" in line] == ["!deploy/with-secrets.sh"]
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert {"deploy/secrets/", "deploy/blocks.yaml", ".env"} <= set(ignored)


def test_compose_gets_what_it_asks_for_from_the_example() -> None:
    asked = set(re.findall(r"\$\{(\w+):\?", (DEPLOY / "compose.yaml").read_text(encoding="utf-8")))
    example = (DEPLOY / "compose.env.example").read_text(encoding="utf-8")
    assert asked <= set(re.findall(r"^(\w+)=.", example, flags=re.MULTILINE))


def test_compose_accepts_the_file(tmp_path: Path) -> None:
    shown = ["docker", "compose", "version"]
    if not shutil.which("docker") or subprocess.run(shown, capture_output=True).returncode:  # noqa: PLW1510
        pytest.skip("no docker compose")
    check = ["docker", "compose", "--file", str(DEPLOY / "compose.yaml"), "config", "--quiet"]
    env_file = ["--env-file", str(DEPLOY / "compose.env.example")]
    done = subprocess.run(
        [*check[:2], *env_file, *check[2:]], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_compose_gives_every_secret_that_it_takes_and_guards_every_container_of_ours() -> None:
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    given = compose["secrets"].keys()
    for service in compose["services"].values():
        for secret in service.get("secrets", []):
            assert (secret if isinstance(secret, str) else secret["source"]) in given
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:")
        if service["image"].startswith("relocation"):
            assert service["read_only"]
            assert service["cap_drop"] == ["ALL"]
    server = compose["services"]["prefect"]
    targets = {secret["target"] for secret in server["secrets"]}
    assert "PREFECT_SERVER_API_AUTH_STRING" in targets
    assert server["environment"]["PREFECT_SERVER_API_CSRF_PROTECTION_ENABLED"] == "true"
    for secret in compose["secrets"].values():
        assert secret.keys() == {"file"}


def test_a_program_gets_its_secrets_from_files(tmp_path: Path) -> None:
    (tmp_path / "LEDGER_PASSWORD").write_text("pa ss\n")
    done = subprocess.run(
        [DEPLOY / "with-secrets.sh", "sh", "-c", 'printf "%s" "$LEDGER_PASSWORD"'],
        env={"SECRETS": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "pa ss"


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda path: path.stem)
def test_kubernetes_knows_every_word_of_a_manifest(manifest: Path) -> None:
    if manifest.stem.endswith("-values"):
        pytest.skip("read by a chart, which is not here")
    known = pytest.importorskip("kubernetes_validate", reason="no kubernetes-validate")
    for document in yaml.safe_load_all(manifest.read_text(encoding="utf-8")):
        known.validate(document, "1.32", strict=True)


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda path: path.stem)
def test_a_manifest_is_yaml_and_holds_no_secret(manifest: Path) -> None:
    documents = list(yaml.safe_load_all(manifest.read_text(encoding="utf-8")))
    assert documents
    for document in documents:
        for value in (document.get("stringData") or {}).values():
            assert "CHANGE_ME" in value


def test_the_runs_of_kubernetes_have_the_settings_of_its_set_up() -> None:
    file = DEPLOY / "kubernetes" / "settings.yaml"
    settings = yaml.safe_load(file.read_text(encoding="utf-8"))["data"]
    pool = yaml.safe_load((ROOT / "pools" / "kubernetes.yaml").read_text(encoding="utf-8"))
    of_one_machine = {"PREFECT_HOME", "RELOCATION_HOME", "DO_NOT_TRACK"}
    assert (
        pool["job_variables"]["env"].items()
        == {name: value for name, value in settings.items() if name not in of_one_machine}.items()
    )


def test_kubernetes_has_one_version_of_prefect() -> None:
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    (version,) = re.findall(r"^prefect==([\d.]+)", lock, flags=re.MULTILINE)
    for manifest in (one for one in MANIFESTS if one.stem.endswith("-values")):
        assert f"prefectTag: {version}-" in manifest.read_text(encoding="utf-8")


def test_a_manifest_names_only_secrets_and_settings_that_are_made() -> None:
    text = {one.stem: one.read_text(encoding="utf-8") for one in MANIFESTS}
    made = {
        document["metadata"]["name"]
        for one in ("secrets", "settings")
        for document in yaml.safe_load_all(text[one])
    }
    asked = set(
        re.findall(
            r"(?:secretKeyRef: {name: |secretRef: {name: |configMapRef: {name: |existingSecret: "
            r"|secret: {create: false, name: )([\w-]+)",
            "".join(text.values()),
        )
    )
    assert asked == made


@pytest.mark.parametrize("name", ["setup-job", "console"])
def test_what_runs_in_kubernetes_runs_as_nobody_special(name: str) -> None:
    manifest = DEPLOY / "kubernetes" / f"{name}.yaml"
    pod = yaml.safe_load(manifest.read_text(encoding="utf-8"))["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert container["resources"].keys() == {"requests", "limits"}


def _served(migrated_file: Path, folder: Path) -> set[str]:
    shutil.copy(migrated_file, folder / "ledger.db")
    registry = CollectorRegistry()
    registry.register(Collector(sqlite_ledger(folder / "ledger.db")))
    return {family.name for family in registry.collect()}


def _asked(text: str) -> set[str]:
    return set(re.findall(r"\brelocation_[a-z_]+\b", text))


def test_alerts_and_dashboard_ask_for_numbers_that_are_served(
    migrated_file: Path, tmp_path: Path
) -> None:
    rules = yaml.safe_load((DEPLOY / "monitoring" / "alerts.yaml").read_text(encoding="utf-8"))
    asked = [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    dashboard: dict[str, Any] = json.loads(
        (DEPLOY / "monitoring" / "dashboard.json").read_text(encoding="utf-8")
    )
    asked += [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    assert len(asked) > 10
    assert _asked(" ".join(asked)) <= _served(migrated_file, tmp_path)


def test_prometheus_accepts_the_alerts() -> None:
    if not shutil.which("promtool"):
        pytest.skip("no promtool")
    check = ["promtool", "check", "rules", str(DEPLOY / "monitoring" / "alerts.yaml")]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
