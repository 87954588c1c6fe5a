"""The queue for people: what waits, works and failed, who works on it, and what needs somebody's hand.

On a terminal a screenful; elsewhere lines whose first field names the thing, fields separated by tabs.
"""

from __future__ import annotations

from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp
from materials.v1 import material_pb2, status_service_pb2
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from materials_cli.brain_health import AWAY
from materials_cli.presentation import console, plain, print_plain, time_text
from servicekit.documents import short_name

Queue = status_service_pb2.GetQueueResponse

_AWAY_STATES = (status_service_pb2.BREAKER_STATE_OPEN, status_service_pb2.BREAKER_STATE_HALF_OPEN)


def duration_text(seconds: float) -> str:
    """Two units at most: `12 s`, `3 min`, `2 h 5 min`, `4 d 1 h`. What lies in the future is `0 s`."""
    whole = max(int(seconds), 0)
    if whole < 60:
        return f"{whole} s"
    minutes, hours, days = whole // 60, whole // 3600, whole // 86_400
    if not hours:
        return f"{minutes} min"
    return f"{days} d {hours % 24} h" if days else f"{hours} h {minutes % 60} min"


def pause_text(pause: status_service_pb2.ProcessingPause) -> str:
    """Who paused, since when, and why: `by ann since 2026-01-01 12:00:00 UTC: the disk is being replaced`."""
    why = f": {pause.reason}" if pause.reason else ""
    return plain(f"by {pause.paused_by} since {time_text(pause.paused_at)}{why}")


def hints(queue: Queue) -> list[str]:
    """What a person should know or do, with the exact command where there is one."""
    lines = []
    if queue.HasField("pause"):
        lines.append("processing is paused, and no material is begun; go on with: materials resume")
    if not queue.processors:
        lines.append("no processor has told of itself lately: nothing is read; is the processor service running?")
    away = sum(each.brain in _AWAY_STATES for each in queue.processors)
    if away and away == len(queue.processors):
        lines.append(AWAY)
    elif away:
        lines.append(f"{away} of {len(queue.processors)} processors find the AI Brain away; the others go on")
    # Somebody wanted the cancelled ones to end; a retry of all leaves them as they are.
    retryable = sum(
        each.retryable for each in queue.failed if each.failure_reason != material_pb2.FAILURE_REASON_CANCELLED
    )
    if retryable:
        noun = "failed material" if retryable == 1 else "failed materials"
        lines.append(f"{retryable:,} {noun} can be retried: materials retry --failed")
    return lines


def print_queue(queue: Queue) -> None:
    """The screen; elsewhere lines."""
    now = datetime.now(UTC)
    if (screen := console()).is_terminal:
        screen.print(queue_screen(queue, now))
    else:
        _print_lines(queue, now)


def queue_screen(queue: Queue, now: datetime) -> Group:
    """All of it, to be printed on a terminal of any width."""
    parts: list[RenderableType] = []
    if queue.HasField("pause"):
        parts += [Text(f"PAUSED {pause_text(queue.pause)}", style="bold"), Text()]
    parts.append(_counts(queue, now))
    if queue.processors:
        parts += [Text(), _processors(queue, now)]
    if advice := hints(queue):
        table = Table.grid(padding=(0, 1))
        for line in advice:
            table.add_row("→", Text(line, overflow="fold"))
        parts += [Text(), table]
    return Group(*parts)


def _counts(queue: Queue, now: datetime) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(overflow="fold")

    def row(label: str, count: int, details: str = "", style: str = "") -> None:
        table.add_row(label, Text(f"{count:,}", style=style), details)

    waiting = [
        f"{queue.delayed:,} until their time after a failed attempt" if queue.delayed else "",
        f"{queue.unannounced:,} not announced yet" if queue.unannounced else "",
    ]
    row("waiting", queue.waiting, ", ".join(filter(None, waiting)))
    if queue.oldest_waiting_material_id:
        table.add_row("  the oldest", "", _oldest_text(queue, now))
    slots = sum(each.slots for each in queue.processors)
    row("working", queue.working, f"processors have {slots:,} {'slot' if slots == 1 else 'slots'}" if slots else "")
    row("purging", queue.purging, "deleted, to be removed" if queue.purging else "")
    failed = sum(each.count for each in queue.failed)
    row("failed", failed, style="red" if failed else "")
    for each in queue.failed:
        row(f"  {_reason(each)}", each.count, _retryable_text(each))
    return table


def _processors(queue: Queue, now: datetime) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("PROCESSOR", overflow="fold")
    table.add_column("BUSY", justify="right", no_wrap=True)
    table.add_column("AI BRAIN", overflow="fold")
    for each in queue.processors:
        style = "bold red" if each.brain in _AWAY_STATES else ""
        brain = Text(_brain_text(each, now), style=style)
        table.add_row(Text(plain(each.worker_id)), f"{each.busy}/{each.slots}", brain)
    return table


def _print_lines(queue: Queue, now: datetime) -> None:
    print_plain("as of", now.strftime("%Y-%m-%dT%H:%M:%SZ"))
    if queue.HasField("pause"):
        pause = queue.pause
        print_plain("pause", pause.paused_by, pause.paused_at.ToJsonString(), pause.reason)
    for name in ("waiting", "delayed", "unannounced", "working", "purging"):
        print_plain(name, getattr(queue, name))
    for count in queue.failed:
        print_plain("failed", _reason(count), count.count, count.retryable)
    if queue.oldest_waiting_material_id:
        print_plain("oldest", queue.oldest_waiting_material_id, queue.oldest_waiting_since.ToJsonString())
    for each in queue.processors:
        print_plain("processor", each.worker_id, each.busy, each.slots, _brain_text(each, now))
    for line in hints(queue):
        print_plain("hint", line)


def _reason(count: status_service_pb2.FailedCount) -> str:
    return short_name(material_pb2.FailureReason.DESCRIPTOR, count.failure_reason) or "unknown"


def _retryable_text(count: status_service_pb2.FailedCount) -> str:
    if count.retryable == count.count:
        return "can be retried"
    return f"{count.retryable:,} can be retried" if count.retryable else "cannot be retried"


def _oldest_text(queue: Queue, now: datetime) -> str:
    return f"{plain(queue.oldest_waiting_material_id)} for {_age(queue.oldest_waiting_since, now)}"


def _brain_text(processor: status_service_pb2.ProcessorReplica, now: datetime) -> str:
    match processor.brain:
        case status_service_pb2.BREAKER_STATE_CLOSED:
            return "answers"
        case status_service_pb2.BREAKER_STATE_OPEN:
            return f"away since {time_text(processor.brain_since)} ({_age(processor.brain_since, now)})"
        case status_service_pb2.BREAKER_STATE_HALF_OPEN:
            return "away, being asked whether it is back"
    return "not told"


def _age(moment: Timestamp, now: datetime) -> str:
    return duration_text((now - moment.ToDatetime(UTC)).total_seconds())
