"""The public bucket of MAST: a real S3 server (moto) behind one that counts and misbehaves on command."""

import atexit
import functools
import urllib.error
import urllib.request

from moto.server import ThreadedMotoServer

from servers.base import Answer, Server

BUCKET = "stpubdata"


@functools.cache
def _moto():
    """Address of the S3 server of this process, and a client that may write; both last as long as the process."""
    import boto3

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    atexit.register(server.stop)
    host, port = server.get_host_and_port()
    client = boto3.client(
        "s3",
        endpoint_url=f"http://{host}:{port}",
        region_name="us-east-1",
        aws_access_key_id="of-the-test",
        aws_secret_access_key="of-the-test",
    )
    atexit.register(client.close)
    return f"http://{host}:{port}", client


class S3(Server):
    """``contents`` are the bytes of the files by their keys; all such servers of a process share one bucket."""

    def __init__(self, contents):
        super().__init__()
        self._contents = dict(contents)

    def start(self):
        self._behind, self._client = _moto()
        self._client.create_bucket(Bucket=BUCKET)
        for key, content in self._contents.items():
            self.replace(key, content)
        return super().start()

    def replace(self, key, content):
        """Put a file into the bucket, for everybody to read."""
        self._client.put_object(Bucket=BUCKET, Key=key, Body=content, ACL="public-read")

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
