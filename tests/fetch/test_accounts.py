"""Accounts: read of the environment or of a file of one's own, and sent to the hosts that were named alone."""

import datetime
import ipaddress
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from astroanomaly import ConfigError, FetchConfig, FetchError
from astroanomaly.fetch import get, read_account, using
from servers.base import Answer, Server

VARIABLES = ("TOKEN", "USER", "PASSWORD", "CERTIFICATE", "CREDENTIALS")


@pytest.fixture(autouse=True)
def _clean(monkeypatch, tmp_path):
    for name in VARIABLES:
        monkeypatch.delenv(f"VO_{name}", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    with using(FetchConfig(attempts=1, keep=str(tmp_path / "kept"))):
        yield


class Echo(Server):
    """Answers with the secret that came; ``/to?where=URL`` sends elsewhere."""

    def answer(self, asked):
        if asked.path == "/to":
            return Answer(b"", "text/plain", 302, {"Location": asked.get("where")})
        return Answer(asked.headers.get("Authorization", "nothing").encode(), "text/plain")

    @property
    def name(self):
        return f"127.0.0.1:{self.port}"


def secret_file(path, text, mode=0o600):
    path.write_text(text)
    path.chmod(mode)
    return path


def test_a_token_and_a_password_reach_the_host_that_was_named(monkeypatch):
    with Echo() as server:
        monkeypatch.setenv("VO_TOKEN", "s3cret")
        assert get(server.url, what="x", account=read_account([server.name], "VO")) == b"Bearer s3cret"
        monkeypatch.delenv("VO_TOKEN")
        monkeypatch.setenv("VO_USER", "me")
        monkeypatch.setenv("VO_PASSWORD", "pass")
        assert get(server.url, what="x", account=read_account([server.name], "VO")) == b"Basic bWU6cGFzcw=="
        assert get(server.url, what="x") == b"nothing"
        assert get(server.url, what="x", account=read_account([], "VO")) == b"nothing"


def test_no_other_host_gets_it_also_by_a_redirect(monkeypatch):
    monkeypatch.setenv("VO_TOKEN", "s3cret")
    with Echo() as named, Echo() as other:
        account = read_account([named.name], "VO")
        assert get(other.url, what="x", account=account) == b"nothing"
        assert get(f"{named.url}/to", params={"where": f"{other.url}/"}, what="x", account=account) == b"nothing"
        assert [asked.headers.get("Authorization") for asked in other.asked] == [None, None]
        again = f"{other.url}/to?where={named.url}/"  # there and back again
        assert get(f"{named.url}/to", params={"where": again}, what="x", account=account) == b"Bearer s3cret"
        assert [asked.headers.get("Authorization") for asked in other.asked] == [None] * 3
        same_machine = f"http://localhost:{named.port}/"  # the same server by a name that was not given
        assert get(f"{named.url}/to", params={"where": same_machine}, what="x", account=account) == b"nothing"


def test_an_address_without_encryption_gets_nothing(monkeypatch):
    monkeypatch.setenv("VO_TOKEN", "s3cret")
    account = read_account(["data.example.org", "other.example.org:8443"], "VO")
    assert account.may_serve("https://data.example.org/tap")
    assert account.may_serve("https://DATA.example.org:443/tap")
    assert account.may_serve("https://other.example.org:8443/")
    for url in (
        "http://data.example.org/tap",
        "http://data.example.org:443/tap",
        "https://data.example.org:8443/",
        "https://other.example.org/",
        "https://sub.data.example.org/",
        "https://data.example.org.evil.org/",
        "https://evil.org/?data.example.org",
        "https://data.example.org@evil.org/",
        "ftp://data.example.org/",
        "https://[bad",
    ):
        assert not account.may_serve(url), url


def test_an_endless_circle_of_redirects_ends(monkeypatch):
    with Echo() as server, pytest.raises(FetchError, match="without end"):
        get(f"{server.url}/to", params={"where": f"{server.url}/to?where=/to"}, what="x")


def test_a_file_has_a_table_for_each_host(monkeypatch, tmp_path):
    with Echo() as one, Echo() as two:
        text = f'["{one.name}"]\ntoken = "first"\n["{two.name}"]\nuser = "me"\npassword = "p"\n["x.org"]\ntoken = "y"\n'
        monkeypatch.setenv("VO_CREDENTIALS", str(secret_file(tmp_path / "accounts.toml", text)))
        account = read_account([one.name, two.name], "VO")
        assert get(one.url, what="x", account=account) == b"Bearer first"
        assert get(two.url, what="x", account=account).startswith(b"Basic ")
        assert not account.may_serve("https://x.org/")  # it is in the file, but was not named


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o622, 0o700 | 0o001])
def test_a_file_that_others_may_read_is_refused(mode, monkeypatch, tmp_path):
    file = secret_file(tmp_path / "a.toml", '["h.org"]\ntoken = "t"\n', mode)
    monkeypatch.setenv("VO_CREDENTIALS", str(file))
    with pytest.raises(ConfigError, match=r"may be read by others.*chmod 600"):
        read_account(["h.org"], "VO")
    monkeypatch.delenv("VO_CREDENTIALS")
    monkeypatch.setenv("VO_CERTIFICATE", str(file))
    with pytest.raises(ConfigError, match="may be read by others"):
        read_account(["h.org"], "VO")


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({}, "no secret is given: set VO_TOKEN"),
        ({"USER": "me"}, "no secret is given"),
        ({"TOKEN": "a", "USER": "me", "PASSWORD": "b"}, "more than one secret is given"),
        ({"TOKEN": "a\nX-Other: b"}, "holds the end of a line"),
        ({"TOKEN": "a", "CREDENTIALS": "/x"}, "keep one"),
        ({"CREDENTIALS": "/no/such/file"}, "cannot be read: FileNotFoundError"),
    ],
)
def test_what_is_wrong_is_said_without_the_secret(variables, message, monkeypatch):
    for name, value in variables.items():
        monkeypatch.setenv(f"VO_{name}", value)
    with pytest.raises(ConfigError, match=message):
        read_account(["h.org"], "VO")


@pytest.mark.parametrize(
    "text", ["broken", "[h.org", '["h.org"]\ntoken = 3\n', '["h.org"]\ntokens = "a"\n', '["*"]\na=1']
)
def test_a_file_that_cannot_be_read_shows_nothing_of_it(text, monkeypatch, tmp_path):
    monkeypatch.setenv("VO_CREDENTIALS", str(secret_file(tmp_path / "a.toml", text)))
    with pytest.raises(ConfigError) as caught:
        read_account(["h.org"], "VO")
    assert "token = " not in str(caught.value)


@pytest.mark.parametrize("host", ["*.example.org", "https://h.org", "h.org/path", "user@h.org", "", "h.org:x"])
def test_hosts_are_named_in_full(host, monkeypatch):
    monkeypatch.setenv("VO_TOKEN", "t")
    with pytest.raises(ConfigError, match="expected the whole name of a host"):
        read_account([host], "VO")


def test_secrets_are_not_shown(monkeypatch):
    monkeypatch.setenv("VO_TOKEN", "s3cret")
    account = read_account(["h.org"], "VO")
    assert "s3cret" not in repr(account) + str(account) + repr(account.secrets)


# -------------------------------------------------------------------------------------------------- client certificate


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """A server's certificate and a client's, each signed by itself, with their keys in the same files."""
    x509 = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    folder = tmp_path_factory.mktemp("certificates")
    paths = {}
    for name in ("server", "client"):
        key = ec.generate_private_key(ec.SECP256R1())
        called = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        now = datetime.datetime.now(datetime.UTC)
        made = (
            x509.CertificateBuilder()
            .subject_name(called)
            .issuer_name(called)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
            .sign(key, hashes.SHA256())
        )
        paths[name] = folder / f"{name}.pem"
        paths[name].write_bytes(
            made.public_bytes(serialization.Encoding.PEM)
            + key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        paths[name].chmod(0o600)
    return paths


class Secure:
    """A server with TLS that answers with the name on the client's certificate."""

    def __init__(self, certificates):
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                about = self.connection.getpeercert()
                name = dict(pair[0] for pair in about["subject"])["commonName"].encode() if about else b"nobody"
                self.send_response(200)
                self.send_header("Content-Length", str(len(name)))
                self.end_headers()
                self.wfile.write(name)

            def log_message(self, *words):
                pass

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates["server"])
        context.load_verify_locations(certificates["client"])
        context.verify_mode = ssl.CERT_OPTIONAL
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.http.socket = context.wrap_socket(self.http.socket, server_side=True)
        self.name = f"127.0.0.1:{self.http.server_address[1]}"

    def __enter__(self):
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *error):
        self.http.shutdown()
        self.http.server_close()


def test_a_client_certificate_goes_to_its_host_alone(certificates, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificates["server"]))
    monkeypatch.setenv("VO_CERTIFICATE", str(certificates["client"]))
    with Secure(certificates) as named, Secure(certificates) as other, Echo() as plain:
        account = read_account([named.name], "VO")
        assert get(f"https://{named.name}/", what="x", account=account) == b"client"
        assert get(f"https://{other.name}/", what="x", account=account) == b"nobody"
        both = read_account([named.name, plain.name], "VO")
        sent = get(f"{plain.url}/to", params={"where": f"https://{other.name}/"}, what="x", account=both)
        assert sent == b"nobody"  # requests itself would hand the certificate to wherever a redirect leads
        back = get(f"{plain.url}/to", params={"where": f"https://{named.name}/"}, what="x", account=account)
        assert back == b"client"
