"""The lab: misbehaving servers, open-loop users, and the World that holds them, on this machine's loopback.

    library.py    the scenario files that come with Levelhead
    wire.py       what servers, users and the world say to each other
    server.py     one misbehaving HTTP server, a process of its own (python -m levelhead.lab.server)
    users.py      all users, one process (python -m levelhead.lab.users)
    child.py      a process that is steered by lines and never outlives its owner
    world.py      World: starts them, breaks things on time, keeps what happened

Nothing is imported here: servers and users start fast because they load the standard library only.
"""
