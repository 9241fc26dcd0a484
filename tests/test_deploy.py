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


def test_the_example_of_the_blocks_is_read(tmp_path: Path) -> None:
    secrets = (DEPLOY / "systemd" / "secrets.env.example").read_text(encoding="utf-8")
    named = dict(re.findall(r"^([A-Z_]+)=(.*)$", secrets, flags=re.MULTILINE))
    blocks = read_block_file(DEPLOY / "blocks.yaml.example", named)
    assert {"ledger", "destination", "mail"} <= blocks.keys()


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
def test_a_manifest_is_yaml_and_holds_no_secret(manifest: Path) -> None:
    documents = list(yaml.safe_load_all(manifest.read_text(encoding="utf-8")))
    assert documents
    for document in documents:
        for value in (document.get("stringData") or {}).values():
            assert "CHANGE_ME" in value


def test_the_set_up_of_kubernetes_runs_as_nobody_special() -> None:
    job = yaml.safe_load((DEPLOY / "kubernetes" / "setup-job.yaml").read_text(encoding="utf-8"))
    pod = job["spec"]["template"]["spec"]
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
