"""What may happen to a material, as values. What follows from each is in `state_machine`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Claim:
    """A processor wants to work on it. `claim_id` makes a repeat answer the same lease."""

    worker: str
    claim_id: str


@dataclass(frozen=True, slots=True)
class Progress:
    """The attempt goes on. Pages are counted over all attempts."""

    worker: str
    attempt: int
    pages_done: int
    pages_total: int
    stage: int


@dataclass(frozen=True, slots=True)
class Renew:
    """The attempt goes on with nothing new to say."""

    worker: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Complete:
    """The attempt read all there is."""

    worker: str
    attempt: int
    pages_total: int
    has_embedding: bool


@dataclass(frozen=True, slots=True)
class Fail:
    """The attempt failed; `transient` when another one could succeed."""

    worker: str
    attempt: int
    reason: int
    message: str
    transient: bool


@dataclass(frozen=True, slots=True)
class HandBack:
    """The worker gives it back without a verdict."""

    worker: str
    attempt: int
    message: str


@dataclass(frozen=True, slots=True)
class ExpireLease:
    """Time asks whether the lease has run out."""


@dataclass(frozen=True, slots=True)
class Cancel:
    """A person ends it."""

    actor: str


@dataclass(frozen=True, slots=True)
class Retry:
    """A person wants it tried again. `message` is for the history."""

    actor: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class Delete:
    """A person removes it."""

    actor: str


@dataclass(frozen=True, slots=True)
class Purged:
    """One part of a deleted material's data is gone."""

    part: int


Report = Progress | Renew | Complete | Fail | HandBack
Event = Report | Claim | ExpireLease | Cancel | Retry | Delete | Purged
