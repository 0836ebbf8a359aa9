"""A system under test in a process of its own: keeps its lane, and brakes for whoever is ahead.

gauntlet benchmark --sut "external:python examples/external_planner.py" --adversary rule --scenes 4
"""

import json
import math
import sys

HELLO = {"protocol": 1, "name": "planner", "view": True}  # true states, and answers that are actions


def drive(message):
    """Steering and throttle, each from -1 to 1, from everybody's [x, y, heading, vx, vy] (m, rad, m/s)."""
    x, y, heading, vx, vy = message["ego"]
    speed, cosine, sine = math.hypot(vx, vy), math.cos(heading), math.sin(heading)

    def seen(point):
        return (point[0] - x) * cosine + (point[1] - y) * sine, (point[1] - y) * cosine - (point[0] - x) * sine

    ahead = [place for place in map(seen, message["route"]) if place[0] > 6] or [(10.0, 0.0)]
    blocked = any(0 < along < 6 + speed and abs(aside) < 2 for along, aside in map(seen, message["agents"]))
    return [3 * math.atan2(ahead[0][1], ahead[0][0]), -1.0 if blocked else 0.1 * (10 - speed)]


for line in sys.stdin:
    message = json.loads(line)
    answer = {"action": drive(message)} if message["type"] == "step" else HELLO if message["type"] == "hello" else {}
    print(json.dumps(answer), flush=True)  # one line for each message; anything else goes to standard error
