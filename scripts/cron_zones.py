#!/usr/bin/env python3
"""Writes tests/it/cron_zones.txt: when jobs run around changes of the clock in 20 time zones, by Python's zoneinfo.

It knows nothing of how cron expressions are worked out: it goes through every minute of real time, looks at what the zone's
clock shows, and for a fixed time takes the first minute that shows it, or else the first one that shows a later time of that day
or, when the day has ended by then, of the next.

A line: zone, first and last moment of the window, expression, then the moments of runs, in minutes since the epoch; `M+S*N` is M and N more, each S later.
"""

from datetime import datetime, timedelta, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

# Days (UTC) on which something happens: two days before and after are looked at, too.
ZONES = {
    "Africa/Cairo": ["2010-08-10", "2010-09-09", "2024-04-25", "2024-10-31"],
    "Africa/Casablanca": ["2024-03-10", "2024-04-14"],
    "America/Caracas": ["2007-12-09", "2016-05-01"],
    "America/Havana": ["2024-03-10", "2024-11-03"],
    "America/New_York": ["2024-03-10", "2024-11-03"],
    "America/Nuuk": ["2024-03-31", "2024-10-27"],
    "America/Sao_Paulo": ["2018-11-04", "2018-02-18"],
    "America/St_Johns": ["2010-03-14", "2010-11-07", "2024-03-10"],
    "Antarctica/Casey": ["2018-03-10", "2020-10-03", "2021-03-13"],
    "Antarctica/Troll": ["2024-03-31", "2024-10-27"],
    "Asia/Gaza": ["2022-03-26", "2023-04-29", "2023-10-28"],
    "Asia/Kathmandu": ["2024-03-31"],
    "Asia/Pyongyang": ["2015-08-14", "2018-05-04"],
    "Asia/Tehran": ["2022-03-21", "2022-09-21"],
    "Atlantic/Azores": ["2024-03-31", "2024-10-27"],
    "Australia/Lord_Howe": ["2024-04-06", "2024-10-05"],
    "Europe/Berlin": ["2024-03-31", "2024-10-27"],
    "Europe/London": ["2024-03-31", "2024-10-27"],
    "Pacific/Apia": ["2011-12-30", "2011-09-24", "2012-04-01"],
    "Pacific/Chatham": ["2024-04-06", "2024-09-28"],
}

EVERY_MINUTES = {"0 * * * *": 60, "*/15 * * * *": 15}
FIXED = {"30 2 * * *": (2, 30), "0 0 * * *": (0, 0), "30 0 * * *": (0, 30), "45 23 * * *": (23, 45), "0 2 * * *": (2, 0)}
WINDOW = 5 * 24 * 60


def main():
    lines = []
    for zone, days in ZONES.items():
        for day in days:
            begin = datetime.fromisoformat(day).replace(tzinfo=timezone.utc) - timedelta(days=2)
            moments = [begin + timedelta(minutes=minute) for minute in range(WINDOW)]
            # What comes before the window's first whole day is known only to those who saw it.
            shown = [moment.astimezone(ZoneInfo(zone)).replace(tzinfo=None) for moment in moments]
            for expression, minutes in EVERY_MINUTES.items():
                runs = [m for m, s in zip(moments, shown) if s.minute % minutes == 0]
                lines.append(line(zone, moments, expression, runs))
            dates = sorted({time.date() for time in shown})
            for expression, (hour, minute) in FIXED.items():
                runs = set()
                for date in dates:
                    wanted = datetime(date.year, date.month, date.day, hour, minute)
                    if wanted < shown[0]:
                        continue
                    run = next((m for m, s in zip(moments, shown) if s >= wanted), None)
                    if run is not None:
                        runs.add(run)
                lines.append(line(zone, moments, expression, sorted(runs)))
    target = Path(__file__).parent.parent / "tests" / "it" / "cron_zones.txt"
    target.write_text("\n".join(lines) + "\n")


def line(zone, moments, expression, runs):
    first, last, *rest = [int(moment.timestamp()) // 60 for moment in [moments[0], moments[-1], *runs]]
    series = []
    for moment in rest:
        start, step, count = series[-1] if series else (0, 0, -1)
        if count == 0 or (count > 0 and moment == start + step * (count + 1)):
            series[-1] = (start, step or moment - start, count + 1)
        else:
            series.append((moment, 0, 0))
    shown = " ".join(f"{start}+{step}*{count}" for start, step, count in series)
    return f"{zone};{first};{last};{expression};{shown}"


main()
