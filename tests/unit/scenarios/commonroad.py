"""CommonRoad files made by hand: two lanes side by side, the right one in two parts, and one that comes back.

y = 10.5  ───────────────────────  lane 4, west
y =  7.0  ═══════════════════════
y =  3.5  ─ ─ lane 1, east ─ ─ ─ ─
y =  0.0  ─ lane 2 ─ ┬ ─ lane 3 ──  east; both meet at x = 100
"""

from __future__ import annotations


def bound(tag: str, points, mark: str = "") -> str:
    inside = "".join(f"<point><x>{x}</x><y>{y}</y></point>" for x, y in points)
    return f"<{tag}>{inside}{f'<lineMarking>{mark}</lineMarking>' if mark else ''}</{tag}>"


def lanelet(name, left, right, rest: str = "", kind: str = "urban", marks=("", "")) -> str:
    sides = bound("leftBound", left, marks[0]) + bound("rightBound", right, marks[1])
    return f'<lanelet id="{name}">{sides}{rest}<laneletType>{kind}</laneletType></lanelet>'


ROAD = (
    lanelet(1, [(0, 7), (200, 7)], [(0, 3.5), (200, 3.5)], '<adjacentRight ref="2" drivingDir="same"/>'
            '<adjacentLeft ref="4" drivingDir="opposite"/>', marks=("solid", "dashed"))
    + lanelet(2, [(0, 3.5), (100, 3.5)], [(0, 0), (50, 0), (100, 0)], '<successor ref="3"/>'
              '<adjacentLeft ref="1" drivingDir="same"/><trafficSignRef ref="40"/><trafficLightRef ref="50"/>',
              marks=("dashed", "curb"))
    + lanelet(3, [(100, 3.5), (200, 3.5)], [(100, 0), (200, 0)], '<predecessor ref="2"/><trafficSignRef ref="41"/>')
    # Drawn 0.8 m off the lane that it names its neighbour.
    + lanelet(4, [(200, 7.8), (0, 7.8)], [(200, 10.5), (0, 10.5)], '<adjacentLeft ref="1" drivingDir="opposite"/>')
    + lanelet(5, [(60, 0), (60, 10.5)], [(63, 0), (63, 10.5)], kind="crosswalk")
    + lanelet(6, [(0, -1), (200, -1)], [(0, -3), (200, -3)], kind="sidewalk")
)  # fmt: skip
SIGNS = (
    '<trafficSign id="40"><trafficSignElement><trafficSignID>274</trafficSignID><additionalValue>12.5</additionalValue>'
    "</trafficSignElement></trafficSign>"
    '<trafficSign id="41"><trafficSignElement><trafficSignID>206</trafficSignID></trafficSignElement>'
    "<position><point><x>190</x><y>-1</y></point></position></trafficSign>"
    '<trafficLight id="50"><cycle><cycleElement><duration>10</duration><color>red</color></cycleElement>'
    "<cycleElement><duration>5</duration><color>redYellow</color></cycleElement>"
    "<cycleElement><duration>20</duration><color>green</color></cycleElement><timeOffset>3</timeOffset></cycle>"
    "</trafficLight>"
)


def state(tag: str, step: int, x: float, y: float, heading: float = 0.0, speed: float | None = None) -> str:
    more = "" if speed is None else f"<velocity><exact>{speed}</exact></velocity>"
    return (
        f"<{tag}><time><exact>{step}</exact></time><position><point><x>{x}</x><y>{y}</y></point></position>"
        f"<orientation><exact>{heading}</exact></orientation>{more}</{tag}>"
    )


RECTANGLE = "<rectangle><length>4.5</length><width>2</width></rectangle>"


def obstacle(name, kind="car", x=0.0, y=1.75, speed=10.0, first=0, last=79, shape=RECTANGLE, dt=0.2) -> str:
    """Drives along +x; at `x` at step 0, even if it appears later."""
    states = [state("state", k, x + speed * dt * k, y, speed=speed) for k in range(first, last + 1)]
    begin = states[0].replace("<state>", "<initialState>").replace("</state>", "</initialState>")
    rest = "".join(states[1:])
    return (
        f'<dynamicObstacle id="{name}"><type>{kind}</type><shape>{shape}</shape>{begin}'
        f"<trajectory>{rest}</trajectory></dynamicObstacle>"
    )


def problem(step: int, x: float, y: float) -> str:
    return f'<planningProblem id="9">{state("initialState", step, x, y)}<goalState/></planningProblem>'


def scenario(*parts: str, name: str = "T-1", dt: str = "0.2", version: str = "2020a") -> str:
    head = f'<commonRoad timeStepSize="{dt}" commonRoadVersion="{version}" benchmarkID="{name}">'
    return f"<?xml version='1.0' encoding='UTF-8'?>\n{head}<location/>{''.join(parts)}</commonRoad>"
