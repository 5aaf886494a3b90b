"""Makes what try/compose.yml needs on its Synapse: the accounts `host` and `callscope`, whose passwords are their
names, and the room #calls, in which everybody may call. What is there already is left as it is."""

import hashlib
import hmac
import json
import sys
import urllib.error
import urllib.request

BASE = sys.argv[1]
SECRET = b"a-secret-that-everybody-knows"
CALL_MEMBER = "org.matrix.msc3401.call.member"


def ask(method, path, body=None, token=None):
    request = urllib.request.Request(BASE + path, method=method)
    request.add_header("Content-Type", "application/json")
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    data = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(request, data) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        return json.load(error)


def register(name):
    path = "/_synapse/admin/v1/register"
    nonce = ask("GET", path)["nonce"]
    words = b"\0".join([nonce.encode(), name.encode(), name.encode(), b"notadmin"])
    mac = hmac.new(SECRET, words, hashlib.sha1).hexdigest()
    body = {"nonce": nonce, "username": name, "password": name, "admin": False, "mac": mac}
    answer = ask("POST", path, body)
    if answer.get("errcode") not in (None, "M_USER_IN_USE"):
        sys.exit(f"{name}: {answer}")


def log_in(name):
    identifier = {"type": "m.id.user", "user": name}
    body = {"type": "m.login.password", "identifier": identifier, "password": name}
    return ask("POST", "/_matrix/client/v3/login", body)["access_token"]


def make_room(token):
    body = {
        "name": "Calls",
        "room_alias_name": "calls",
        "preset": "public_chat",
        "power_level_content_override": {"events": {CALL_MEMBER: 0}},
    }
    answer = ask("POST", "/_matrix/client/v3/createRoom", body, token)
    if answer.get("errcode") not in (None, "M_ROOM_IN_USE"):
        sys.exit(f"the room: {answer}")


register("host")
register("callscope")
make_room(log_in("host"))
