"""An S3 server on this machine, with two buckets: one of them keeps earlier versions."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relocation.local.processes import free_port
from relocation.prefect_api.storage import RemoteStorage

if TYPE_CHECKING:  # else every process of a test run would import it
    from prefect_aws.s3 import S3Bucket

KEY_ID, SECRET, REGION = "relocation", "s3cr3t-of-the-bucket", "us-east-1"
PLAIN, VERSIONED = "plain", "versioned"
_PORTS = ("master", "volume", "filer", "s3")


class S3Server:
    """A running server, as a test sees it."""

    def __init__(self, url: str) -> None:
        import boto3
        from botocore.config import Config

        self.url = url
        self.client: Any = boto3.client(
            "s3",
            endpoint_url=url,
            region_name=REGION,
            aws_access_key_id=KEY_ID,
            aws_secret_access_key=SECRET,
            config=Config(retries={"total_max_attempts": 20, "mode": "standard"}),
        )

    def fields(self, bucket: str = PLAIN) -> dict[str, Any]:
        """Return what a file of blocks says of a bucket, all in one."""
        access = {"aws_access_key_id": KEY_ID, "aws_secret_access_key": SECRET}
        where = {"region_name": REGION, "aws_client_parameters": {"endpoint_url": self.url}}
        return {"bucket_name": bucket, "bucket_folder": "kept", "credentials": access | where}

    def block(self, bucket: str = PLAIN) -> "S3Bucket":
        """Return Prefect's block of a bucket."""
        from prefect_aws import AwsCredentials
        from prefect_aws.client_parameters import AwsClientParameters
        from prefect_aws.s3 import S3Bucket

        credentials = AwsCredentials(
            aws_access_key_id=KEY_ID,
            aws_secret_access_key=SECRET,
            region_name=REGION,
            aws_client_parameters=AwsClientParameters(endpoint_url=self.url),
        )
        return S3Bucket(bucket_name=bucket, bucket_folder="kept", credentials=credentials)

    def remote(self) -> RemoteStorage:
        """Return the plain bucket as a file system of fsspec."""
        access = {"key": KEY_ID, "secret": SECRET, "client_kwargs": {"region_name": REGION}}
        return RemoteStorage(
            basepath=f"s3://{PLAIN}/kept", settings=access | {"endpoint_url": self.url}
        )

    def keys(self) -> list[str]:
        """Return the keys of all objects in both buckets, empty ones too."""
        answers = [self.client.list_objects_v2(Bucket=bucket) for bucket in (PLAIN, VERSIONED)]
        return [one["Key"] for answer in answers for one in answer.get("Contents", [])]


@contextmanager
def s3_server(folder: Path) -> Iterator[S3Server]:
    """Run a server whose data lie in the folder; all its parts are in one process."""
    identity = {"accessKey": KEY_ID, "secretKey": SECRET}
    anyone = {"name": KEY_ID, "credentials": [identity], "actions": ["Admin"]}
    (folder / "s3.json").write_text(json.dumps({"identities": [anyone]}))
    (folder / "data").mkdir()
    ports = {f"-{part}.port{kind}": free_port() for part in _PORTS for kind in ("", ".grpc")}
    command = [
        *(str(Path(sys.executable).parent / "weed"), "server", "-s3", f"-dir={folder}/data"),
        *("-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-master.telemetry=false", "-metricsPort=0"),
        *("-volume.max=20", "-master.volumeSizeLimitMB=512", "-volume.preStopSeconds=0"),
        *("-s3.port.iceberg=0", "-s3.port.lance=0", f"-filer.localSocket={folder}/filer.sock"),
        *(f"-s3.config={folder}/s3.json", "-s3.iam=false"),
        *(f"{option}={port}" for option, port in ports.items()),
    ]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
    try:
        server = S3Server(f"http://127.0.0.1:{ports['-s3.port']}")
        for bucket in (PLAIN, VERSIONED):
            server.client.create_bucket(Bucket=bucket)
        server.client.put_bucket_versioning(
            Bucket=VERSIONED, VersioningConfiguration={"Status": "Enabled"}
        )
        yield server
    finally:
        process.kill()  # in order it takes many seconds
        process.wait()
