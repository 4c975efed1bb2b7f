"""The public bucket of MAST: a real S3 server (moto) behind one that counts and misbehaves on command."""

import urllib.error
import urllib.request

from moto.server import ThreadedMotoServer

from servers.base import Answer, Server

BUCKET = "stpubdata"


class S3(Server):
    """``contents`` are the bytes of the files by their keys."""

    def __init__(self, contents):
        super().__init__()
        self._contents = dict(contents)
        self._moto = ThreadedMotoServer("127.0.0.1", 0, verbose=False)

    def start(self):
        import boto3

        self._moto.start()
        host, port = self._moto.get_host_and_port()
        self._behind = f"http://{host}:{port}"
        self._client = boto3.client(
            "s3",
            endpoint_url=self._behind,
            region_name="us-east-1",
            aws_access_key_id="of-the-test",
            aws_secret_access_key="of-the-test",
        )
        self._client.create_bucket(Bucket=BUCKET)
        for key, content in self._contents.items():
            self.replace(key, content)
        return super().start()

    def replace(self, key, content):
        """Put a file into the bucket, for everybody to read."""
        self._client.put_object(Bucket=BUCKET, Key=key, Body=content, ACL="public-read")

    def stop(self):
        super().stop()
        self._client.close()
        self._moto.stop()

    def answer(self, asked):
        method = "GET" if asked.method == "HEAD" else asked.method
        headers = {name: value for name, value in asked.headers.items() if name.lower() == "range"}
        request = urllib.request.Request(self._behind + asked.line, method=method, headers=headers)
        try:
            with urllib.request.urlopen(request) as response:
                kept = {name: response.headers[name] for name in ("ETag", "Content-Range") if response.headers[name]}
                return Answer(response.read(), response.headers["Content-Type"], response.status, kept)
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.read(), "application/xml", error.code)
