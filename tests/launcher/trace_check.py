"""Looks at a picture of a trace (Chrome's format) as a viewer would, and knows nothing of how it was made."""

from collections import defaultdict
from typing import Any

HAIR = 1e-6  # microseconds: what adding a length to a beginning may be off by

Event = dict[str, Any]


def complaints(picture: dict[str, Any]) -> list[str]:
    """What is wrong with the picture, in words."""
    events = picture["traceEvents"]
    times = [event["ts"] for event in events if event["ph"] != "M"]
    found = [] if times == sorted(times) else ["the events are not in order of time"]
    found += [f"an event at {time} us" for time in times if not 0 <= time < 1e12]
    slices: dict[tuple[int, int], list[Event]] = defaultdict(list)
    for event in events:
        if event["ph"] == "X":
            slices[event["pid"], event["tid"]].append(event)
    for track, on_track in slices.items():
        found += [f"track {track}: {complaint}" for complaint in _nesting(on_track)]
    named = {(event["pid"], event.get("tid")) for event in events if event["ph"] == "M"}
    found += [f"track {track} has no name" for track in slices if track not in named]
    found += _pairs([event for event in events if event["ph"] in "be"])
    found += _flows([event for event in events if event["ph"] in "stf"], slices)
    return found


def _nesting(on_track: list[Event]) -> list[str]:
    found = []
    around: list[float] = []
    for event in sorted(on_track, key=lambda event: (event["ts"], -event["dur"])):
        begin, end = event["ts"], event["ts"] + event["dur"]
        if event["dur"] < 0:
            found.append(f"{event['name']} at {begin} us ends before it begins")
        while around and around[-1] <= begin + HAIR:
            around.pop()
        if around and end > around[-1] + HAIR:
            found.append(f"{event['name']} at {begin} us ends after what it is part of")
        around.append(end)
    return found


def _pairs(halves: list[Event]) -> list[str]:
    found = []
    by_id: dict[Any, list[Event]] = defaultdict(list)
    for half in halves:
        by_id[half["pid"], half["cat"], half["id"]].append(half)
    for key, both in by_id.items():
        if [half["ph"] for half in both] != ["b", "e"] or both[0]["name"] != both[1]["name"]:
            found.append(f"{key} does not begin and end once: {both}")
    return found


def _flows(points: list[Event], slices: dict[tuple[int, int], list[Event]]) -> list[str]:
    found = []
    by_id: dict[int, list[Event]] = defaultdict(list)
    for point in points:
        by_id[point["id"]].append(point)
    for number, way in by_id.items():
        if [point["ph"] for point in way] != ["s", *"t" * (len(way) - 2), "f"]:
            found.append(f"flow {number} is {[point['ph'] for point in way]}")
    for track in slices:
        # Both in order of time: the slices that begin up to a point, and the latest end of them.
        latest_end = -1.0
        begun = iter(sorted(slices[track], key=lambda event: event["ts"]))
        slice_ = next(begun, None)
        for point in (point for point in points if (point["pid"], point["tid"]) == track):
            while slice_ is not None and slice_["ts"] <= point["ts"]:
                latest_end = max(latest_end, slice_["ts"] + slice_["dur"])
                slice_ = next(begun, None)
            if latest_end < point["ts"]:
                found.append(f"flow {point['id']} has a point at {point['ts']} us where no slice is")
    found += [f"flow {point['id']} is on no track" for point in points if (point["pid"], point["tid"]) not in slices]
    return found
