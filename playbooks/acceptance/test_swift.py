"""Each site's documents' cluster."""

import hashlib
import json
import secrets

from machines import eventually, hosts, http, is_kept_running, python, root, this, with_role

testinfra_hosts = hosts("swift")
PORT = 8090
SERVERS = ("account-server", "container-server", "object-server", "proxy-server")

# One answer for all, because the key that they need stays on the machine: it is root's to read.
_EXCHANGE = """
import hashlib, re, sys, urllib.error, urllib.request
base, name, text = sys.argv[1:4]
conf = open("/etc/swift/proxy-server.conf").read()
key = re.search(r"^user_documents_app = (\\S+)", conf, re.M)
def ask(method, url, data=None, **headers):
    request = urllib.request.Request(url, method=method, data=data, headers=headers)
    return urllib.request.urlopen(request, timeout=10)
if key is None:
    print("keystone")
    sys.exit()
token = ask("GET", base + "/auth/v1.0", **{"X-Auth-User": "documents:app", "X-Auth-Key": key[1]}).headers
at = f"{base}/v1/AUTH_documents/dcctl-trash/{name}"
sign = {"X-Auth-Token": token["X-Auth-Token"]}
ask("PUT", at, text.encode(), ETag=hashlib.md5(text.encode()).hexdigest(), **sign)
print(hashlib.md5(ask("GET", at, **sign).read()).hexdigest())
ask("DELETE", at, **sign)
try:
    ask("GET", at, **sign)
    print("still there")
except urllib.error.HTTPError as error:
    print(error.code)
"""


def url(host):
    return f"http://{this(host).address}:{PORT}"


def test_the_servers_are_kept_running(host):
    is_kept_running(host, "swift.target")
    units = " ".join(f"swift@{name}" for name in SERVERS)
    states = root(host, f"systemctl is-active memcached {units}").split()
    assert set(states) == {"active"}, f"memcached, {', '.join(SERVERS)} are {', '.join(states)}"


def test_no_part_of_it_fails(host):
    def holds():
        said = root(host, "systemctl list-units --all --plain --no-legend 'swift*'")
        wrong = [line.split()[0] for line in said.splitlines() if line.split()[2] != "active"]
        assert not wrong, f"{', '.join(wrong)} do not run"

    eventually(holds)


def test_the_proxy_takes_signed_requests_and_temporary_urls(host):
    status, body = http(host, f"{url(host)}/info")
    told = json.loads(body)
    missing = [name for name in ("container_sync", "tempurl", "slo") if name not in told]
    assert status == 200, f"/info answered {status}"  # noqa: PLR2004
    assert not missing, f"/info has no {', '.join(missing)}"
    if len(with_role("replication")):
        realms = told["container_sync"].get("realms", {})
        assert realms, "no realm is configured: the other site's requests are refused"


def test_a_document_is_kept_read_and_deleted(host):
    name, text = f"dcctl-acceptance-{secrets.token_hex(8)}", secrets.token_hex(32)

    def holds():
        said = root(host, "python3 -c %s %s %s %s", _EXCHANGE, url(host), name, text).split()
        expected = hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
        assert said in ([expected, "404"], ["keystone"]), f"put, get, delete, get gave {' '.join(said)}"

    eventually(holds)


def test_the_rings_are_those_of_every_machine_of_the_site(host):
    names = ("account", "container", "object")
    program = (
        "import hashlib, json, sys; from swift.common.ring import Ring\n"
        "for n in sys.argv[1:]:\n"
        "    r = Ring('/etc/swift', ring_name=n)\n"
        "    text = open(f'/etc/swift/{n}.ring.gz', 'rb').read()\n"
        "    print(json.dumps([sorted({d['ip'] for d in r.devs if d}), hashlib.md5(text).hexdigest()]))"
    )
    said = root(host, "/opt/dcctl/swift/current/bin/python -W ignore -c %s %s %s %s", program, *names)
    rings = [json.loads(line) for line in said.splitlines()]
    cluster = sorted(each.address for each in with_role("swift") if each.place == this(host).place)
    wrong = [name for name, (found, _md5) in zip(names, rings, strict=True) if found != cluster]
    assert not wrong, f"the rings {', '.join(wrong)} do not name {', '.join(cluster)}"
    for other in cluster:
        if other == this(host).address:
            continue
        told = json.loads(python(host, _RECON, f"http://{other}:6200/recon/ringmd5"))
        own = {f"/etc/swift/{name}.ring.gz": md5 for name, (_ips, md5) in zip(names, rings, strict=True)}
        assert told == own, f"{other} has other rings"


_RECON = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=5).read().decode())"
