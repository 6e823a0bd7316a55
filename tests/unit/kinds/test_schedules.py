"""Schedules, by robfig/cron's rules: many of the cases are those of its own spec_test.go. And what CronJobs may say."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pytest
from manifest_texts import CONTAINER, accepted, described, refused

from emulab.cluster.admission.merge import merge
from emulab.cluster.controllers.batch.cronjobs import Missed, missed
from emulab.kinds.batch.schedule import Calendar, parse
from emulab.kinds.registry import CRON_JOB

NEW_YORK = "America/New_York"


def has_zones() -> bool:
    try:
        return bool(ZoneInfo(NEW_YORK))
    except ZoneInfoNotFoundError:
        return False


zoned = pytest.mark.skipif(not has_zones(), reason="this host has no time zones")


def at(text: str) -> float:
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def shown(moment: float | None) -> str:
    return "" if moment is None else datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%S")


@pytest.mark.parametrize(
    ("schedule", "since", "following"),
    [
        ("* * * * *", "2012-07-09T14:45", "2012-07-09T14:46:00"),
        ("* * * * *", "2012-07-09T14:59:59", "2012-07-09T15:00:00"),
        ("0/15 * * * *", "2012-07-09T14:45", "2012-07-09T15:00:00"),
        ("20-35/15 * * * *", "2012-07-09T15:45", "2012-07-09T16:20:00"),
        ("*/15 * * * *", "2012-07-09T23:46", "2012-07-10T00:00:00"),
        ("20-35/15 */2 */2 * *", "2012-07-09T23:45", "2012-07-11T00:20:00"),
        ("0 0 */5 Apr,Aug,Oct Mon", "2012-07-09T23:35", "2012-08-01T00:00:00"),
        ("0 0 9 Apr-Oct ?", "2012-07-09T23:35", "2012-08-09T00:00:00"),
        ("0 0 29 Feb ?", "2012-07-09T23:35", "2016-02-29T00:00:00"),
        ("0 0 30 Feb ?", "2012-07-09T23:35", ""),
        ("0 0 31 Apr ?", "2012-07-09T23:35", ""),
        ("@hourly", "2012-07-09T14:45", "2012-07-09T15:00:00"),
        ("@weekly", "2012-07-09T14:45", "2012-07-15T00:00:00"),
        ("@yearly", "2012-07-09T14:45", "2013-01-01T00:00:00"),
        ("@every 90m", "2012-07-09T14:45:10", "2012-07-09T16:15:10"),
        ("@every 1h30m5s", "2012-07-09T14:45", "2012-07-09T16:15:05"),
        ("@every 10ms", "2012-07-09T14:45", "2012-07-09T14:45:01"),
        ("0 3 * * mon-fri", "2026-11-27T12:00", "2026-11-30T03:00:00"),
    ],
)
def test_the_next_time(schedule: str, since: str, following: str) -> None:
    assert shown(parse(schedule).after(at(since))) == following


@pytest.mark.parametrize(
    ("schedule", "day", "runs"),
    [
        # a day of the month or of the week is enough where both are restricted
        ("* * 1,15 * Sun", "2012-07-15", True),
        ("* * 1,15 * Sun", "2012-06-15", True),
        ("* * 1,15 * Sun", "2012-08-01", True),
        ("* * 1,15 * Sun", "2012-06-17", True),
        ("* * 1,15 * Sun", "2012-06-16", False),
        ("* * */10 * Sun", "2012-07-15", True),  # a step restricts
        # else both are needed
        ("* * * * Mon", "2012-07-15", False),
        ("* * 1,15 * *", "2012-07-09", False),
        ("* * 1,15 * *", "2012-07-15", True),
        ("* * */2 * Sun", "2012-07-15", True),
    ],
)
def test_days(schedule: str, day: str, runs: bool) -> None:
    begin = at(day)
    following = parse(schedule).after(begin - 60)
    assert (following is not None and following == begin) is runs


@zoned
@pytest.mark.parametrize(
    ("schedule", "since", "following"),
    [
        ("0 0 * * *", "2026-06-01T12:00:00-04:00", ["2026-06-02T04:00:00"]),
        # clocks leap from 2:00 to 3:00 on 2012-03-11 …
        ("30 2 11 Mar ?", "2012-03-11T00:00:00-05:00", ["2013-03-11T06:30:00"]),
        ("0 * * * ?", "2012-03-11T00:00:00-05:00", [
            "2012-03-11T06:00:00", "2012-03-11T07:00:00", "2012-03-11T08:00:00"
        ]),
        # … and go back from 2:00 to 1:00 on 2012-11-04
        ("30 1 04 Nov ?", "2012-11-04T00:00:00-04:00", ["2012-11-04T05:30:00", "2012-11-04T06:30:00"]),
        ("0 0 04 Nov ?", "2012-11-03T23:00:00-04:00", ["2012-11-04T04:00:00"]),
        ("30 3 04 Nov ?", "2012-11-04T00:00:00-04:00", ["2012-11-04T08:30:00"]),
    ],
)  # fmt: skip
def test_time_zones(schedule: str, since: str, following: list[str]) -> None:
    moment, found = at(since), []
    for _ in following:
        moment = parse(schedule, NEW_YORK).after(moment) or 0.0
        found.append(shown(moment))
    assert found == following


def test_fields() -> None:
    calendar = parse("5,10-12 ? jan-mar/2 FEB 1/2".replace("jan-mar/2", "1-5/2"))
    assert isinstance(calendar, Calendar)
    assert calendar.minutes == (5, 10, 11, 12) and calendar.hours == tuple(range(24))
    assert calendar.days.numbers == {1, 3, 5} and calendar.months == {2}
    assert calendar.weekdays.numbers == {1, 3, 5}


SPEC: dict[str, Any] = {
    "schedule": "* * * * *",
    "jobTemplate": {"spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [CONTAINER]}}}},
}


@pytest.mark.parametrize(
    ("schedule", "why"),
    [
        ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
        ("60 * * * *", "end of range (60) above maximum (59): 60"),
        ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
        ("* * * * 7", "end of range (7) above maximum (6): 7"),
        ("5-3 * * * *", "beginning of range (5) beyond end of range (3): 5-3"),
        ("*/0 * * * *", "step of range should be a positive number: */0"),
        ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
        ("1/2/3 * * * *", "too many slashes: 1/2/3"),
        ("* * * x *", 'failed to parse int from x: strconv.Atoi: parsing "x": invalid syntax'),
        ("@often", "unrecognized descriptor: @often"),
        ("@every day", 'failed to parse duration @every day: time: invalid duration "day"'),
        ("TZ=UTC 0 * * * *", "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"),
    ],
)
def test_what_is_no_schedule(schedule: str, why: str) -> None:
    assert refused(described("CronJob", {**SPEC, "schedule": schedule})) == [
        f'spec.schedule: "{schedule}": {why}'
    ]


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"schedule": ""}, "spec.schedule: is required"),
        ({"timeZone": "Mars/Base"}, "spec.timeZone: unknown time zone Mars/Base"),
        ({"timeZone": "Mars\n\x1b[2J"}, r"spec.timeZone: unknown time zone Mars\n\u001b[2J"),
        ({"timeZone": ""}, "spec.timeZone: must be nil or non-empty string"),
        (
            {"concurrencyPolicy": "Never"},
            'spec.concurrencyPolicy: "Never" is not one of Allow, Forbid, Replace',
        ),
        ({"jobTemplate": {}}, "spec.jobTemplate.spec: is required"),
        (
            {
                "jobTemplate": {
                    "spec": {**SPEC["jobTemplate"]["spec"], "manualSelector": True, "selector": {}}
                }
            },
            "spec.jobTemplate.spec.selector: is required",
        ),
    ],
)
def test_what_it_may_not_say(fields: dict[str, Any], problem: str) -> None:
    assert problem in refused(described("CronJob", {**SPEC, **fields}))


def test_its_name_leaves_room_for_the_time() -> None:
    assert refused(described("CronJob", SPEC, "a" * 53)) == [
        "metadata.name: must be no more than 52 characters"
    ]


def test_the_last_of_many_times_that_were_missed() -> None:
    since = at("2026-01-01T00:00:30")
    for schedule in ("* * * * *", "*/7 * * * *", "0 3 * * mon"):
        plan = parse(schedule)
        assert missed(plan, since, (plan.after(since) or 0) - 1) is None
        moment, times = since, []
        for _ in range(50):
            moment = plan.after(moment) or 0.0
            times.append(moment)
        assert all(a < b for a, b in pairwise(times))
        assert missed(plan, since, times[0]) == Missed(times[0], 1)
        found = missed(plan, since, times[-1] + 1)
        assert found is not None and found.last == times[-1] and found.number >= 43


def test_its_row() -> None:
    (o,) = accepted(described("CronJob", {**SPEC, "timeZone": "Etc/UTC"}))
    raw = dict(merge(None, o).raw)
    raw["metadata"] = {**raw["metadata"], "creationTimestamp": "2026-01-01T00:00:00Z"}
    now = at("2026-01-01T00:03:00")
    cells = CRON_JOB.definition.columns.cells
    assert cells(raw, now)[0] == ["web", "* * * * *", "Etc/UTC", "False", "0", "<none>", "3m"]
    raw["status"] = {"active": [{"name": "web-1"}], "lastScheduleTime": "2026-01-01T00:02:00Z"}
    assert cells(raw, now)[0][4:6] == ["1", "60s"]
