"""A hub of networks as huggingface.co answers: files of a revision, with the headers that its client asks for."""

import hashlib
import re

from tests.servers.base import Answer, Server

_FILE = re.compile(r"/(?P<owner>[\w.-]+)/(?P<model>[\w.-]+)/resolve/main/(?P<file>[\w./-]+)")
_COMMIT = "0" * 40


class Hub(Server):
    """``models`` has the files of each model, as in ``{"owner/model": {"config.json": b"..."}}``."""

    def __init__(self, models):
        super().__init__()
        self.models = models

    def answer(self, asked):
        match = _FILE.fullmatch(asked.path)
        files = self.models.get(f"{match['owner']}/{match['model']}") if match else None
        if files is None:
            return Answer(status=401, headers={"X-Error-Code": "RepoNotFound"})  # the hub hides what is private
        if match["file"] not in files:
            return Answer(status=404, headers={"X-Error-Code": "EntryNotFound", "X-Repo-Commit": _COMMIT})
        body = files[match["file"]]
        return Answer(body, headers={"ETag": f'"{hashlib.sha256(body).hexdigest()}"', "X-Repo-Commit": _COMMIT})
