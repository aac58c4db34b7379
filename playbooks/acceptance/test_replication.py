"""What carries documents between the sites."""

import secrets

from machines import hosts, is_kept_running, root, this, with_role

testinfra_hosts = hosts("replication")
LIMIT_S = 120

# One document of a fixed name per site, so that looking leaves nothing behind that grows.
_CARRIED = """
import re, sys, time, urllib.error, urllib.request
here, there, name, text, limit_s = sys.argv[1:6]
conf = open("/etc/swift/proxy-server.conf").read()
key = re.search(r"^user_documents_app = (\\S+)", conf, re.M)
if key is None:
    print("keystone")
    sys.exit()
def ask(method, url, data=None, **headers):
    request = urllib.request.Request(url, method=method, data=data, headers=headers)
    return urllib.request.urlopen(request, timeout=10)
def at(base):
    who = {"X-Auth-User": "documents:app", "X-Auth-Key": key[1]}
    return {"X-Auth-Token": ask("GET", base + "/auth/v1.0", **who).headers["X-Auth-Token"]}
path = "/v1/AUTH_documents/documents/" + name
ask("PUT", here + path, text.encode(), **at(here))
ends, saw = time.monotonic() + float(limit_s), "nothing"
while time.monotonic() < ends:
    try:
        saw = ask("GET", there + path, **at(there)).read().decode()
        if saw == text:
            break
    except urllib.error.HTTPError as error:
        saw = f"status {error.code}"
    except OSError as error:
        saw = str(error)
    time.sleep(0.5)
print("carried" if saw == text else f"{saw} after {limit_s} s")
"""


def test_the_replicator_is_kept_running(host):
    is_kept_running(host, "dcctl-replication")


def test_it_alone_can_read_its_keys(host):
    said = root(host, "sh -c 'stat --format=\"%a %U %n\" /etc/dcctl/secrets /etc/dcctl/secrets/*'")
    wrong = [line for line in said.splitlines() if not line.startswith(("400 dcctl-run ", "700 dcctl-run "))]
    assert not wrong, f"mode and owner are {', '.join(wrong)}"


def test_a_document_put_here_arrives_at_the_other_site(host):
    here = next((each for each in with_role("swift") if each.name == this(host).name), None)
    others = [each for each in with_role("swift") if each.place != this(host).place]
    if here is None or not others:
        return
    where = [f"http://{each.address}:8090" for each in (here, others[0])]
    name = f"dcctl-acceptance-{this(host).place}"
    command = "python3 -c %s %s %s %s %s %s"
    said = root(host, command, _CARRIED, *where, name, secrets.token_hex(32), str(LIMIT_S))
    assert said in ("carried", "keystone"), f"{others[0].place} has {said}"
