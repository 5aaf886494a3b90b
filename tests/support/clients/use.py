"""Asks a running Callscope by the client that was made of its document, and prints what it found."""

import json
import sys

from callscope_client import Client
from callscope_client.api.calls import calls, calls_active
from callscope_client.api.rooms import rooms
from callscope_client.api.the_observer import version
from callscope_client.models import (
    Active,
    Calls,
    CallsMembers,
    CallsStatus,
    Rooms,
    Version,
)

client = Client(base_url=sys.argv[1])

told = version.sync(client=client)
assert isinstance(told, Version), told

ended = calls.sync(client=client, status=CallsStatus.ENDED, limit=2)
assert isinstance(ended, Calls), ended

running = calls_active.sync(client=client)
assert isinstance(running, Active), running

without_members = calls.sync(client=client, limit=1, members=CallsMembers.FALSE)
assert isinstance(without_members, Calls) and without_members.data[0].members == []

watched = rooms.sync(client=client, limit=1)
assert isinstance(watched, Rooms), watched

print(
    json.dumps(
        {
            "version": told.version,
            "calls": [call.id for call in ended.data],
            "reasons": [
                stay.end_reason and str(stay.end_reason)
                for call in ended.data for stay in call.members
            ],
            "running": running.active_total,
            "rooms": watched.total,
        }
    )
)
