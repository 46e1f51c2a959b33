"""Levelhead keeps traffic level and heads cool: an even load balancer that notices, explains and undoes skew.

    errors.py        every exception raised on purpose, as one tree
    model.py         Fleet > Listener, Pool > Server; Change; apply(fleet, changes)
    telemetry.py     Sample, Tick: columns over all pools at once; "unknown" is a value
    nodes.py         YAML text to a tree of nodes that know their place, for the languages we read
    predict/         shares, survivors, kept_s: what this configuration, in this state, must do to traffic
    simulate/        a seeded world with the same policies and faults, request by request
    detect/          detect(...) -> signals: sequential tests with a false-alarm budget
    diagnose/        diagnose(case) -> stories, likeliest first, with evidence for and against
    mitigate/        plan(case, story) -> Plan or Refusal; the guard
    incident.py      phases as a table; advance(incident, event)
    postmortem.py    one record, several forms
    control/         step(state, view) -> Outcome(state, effects, because): one tick
    drills/          scenario files, their types, score(record)
    engines/         the proxies we drive (haproxy, sim) and the languages we read (haproxy, nginx, envoy)
    review/          review(config) -> findings: rules over what a configuration says and what it will do
    notify/          where we speak: terminal, webhook, Slack
    store.py         revisions and incidents in SQLite
    settings/        levelhead.yaml to a Fleet; one table of settings
    lab/             misbehaving servers and open-loop users on this machine
    plane/           the running control plane: owns the one State, carries out effects
    web/             the API that people and the dashboard speak to
    stage.py         a scenario on a real proxy: lab, plane and API together
    cli/             the commands
"""

from typing import Final

__version__: Final = "0.1.0"
