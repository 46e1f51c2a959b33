"""Drills: scenario files and their types, the planned arrivals, and the score.

    base.py       Scenario and its parts; fleet_of, pool_of, changed_pool, rewritten
    timeline.py   moments(scenario): what happens when
    text.py       parse_scenario(text, origin): YAML to Scenario, errors with line and column
    arrivals.py   arrivals(scenario, seed): who asks for what and when
    score.py      harm(outcomes, slo); score(scenario, facts) -> DrillRecord
    scenarios/    the drills that come with Levelhead
"""
