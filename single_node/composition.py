"""Puts one stack together and keeps it up until a signal: the composition root.

Start: lock, leftovers of a killed run, ports, cluster; Postgres, NATS and the Brain at once; the database; the services at once.
Stop: the same, backwards. A signal during the start stops what was started so far.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import sys
import time
from contextlib import suppress

from rich.console import Console

from single_node import nats_server, ports, postgres
from single_node.announcement import Announcement, announce, as_json, show
from single_node.credentials import Credentials, load_or_create
from single_node.data_directory import DataDirectory, held
from single_node.errors import DataUnusable, SingleNodeError
from single_node.leftovers import end_leftovers, save_running
from single_node.options import Options
from single_node.postgres_account import current_account
from single_node.private_files import write_private
from single_node.readiness import BrainActive, NotReadyYet, ask
from single_node.sign_in import PageLink, page_link
from single_node.stack import (
    SERVICES,
    Programs,
    ServiceDefinition,
    Stack,
    minimal_environment,
    outside,
    part_names,
    plan_stack,
)
from single_node.supervisor import Supervisor


def say(message: str) -> None:
    """One line on stderr. A terminal that has gone away does not bring the stack down."""
    with suppress(OSError):
        print(message, file=sys.stderr, flush=True)


async def run(options: Options, definitions: tuple[ServiceDefinition, ...] = SERVICES) -> None:
    """Runs the stack of `definitions` until SIGTERM, SIGINT or SIGHUP.

    Raises SingleNodeError when it cannot start; nothing is left running then.
    """
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    with held(options.data_dir) as directory:
        await _Run(options, directory, definitions, stop).run()


class _Run:
    """One run, from a held data directory to its last process."""

    def __init__(
        self,
        options: Options,
        directory: DataDirectory,
        definitions: tuple[ServiceDefinition, ...],
        stop: asyncio.Event,
    ) -> None:
        self._options = options
        self._directory = directory
        self._definitions = definitions
        self._stop = stop
        self._began = time.monotonic()
        self._announced: Stack | None = None
        self._page: PageLink | None = None
        self._token = self._service_token = ""

    async def run(self) -> None:
        """Starts, announces, waits for the signal, stops."""
        self._tell("Starting Postgres, NATS, the AI Brain and the services …")
        await asyncio.to_thread(end_leftovers, self._directory.processes, self._directory.root, say)
        self._directory.stack.unlink(missing_ok=True)
        async with asyncio.TaskGroup() as tasks:
            supervisor = Supervisor(
                tasks,
                logs=self._directory.logs,
                say=say,
                on_change=lambda: self._record(supervisor),
                chance=random.Random(),
            )
            starting = tasks.create_task(self._start(supervisor), name="start")
            stopping = tasks.create_task(self._stop.wait(), name="stop")
            try:
                await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
                failure = starting.result() if starting.done() else None
                if failure is None and not self._stop.is_set():
                    self._announce(supervisor)
                    await self._stop.wait()
            finally:
                starting.cancel()
                stopping.cancel()
                await asyncio.wait({starting, stopping})
                self._announced = None
                self._directory.stack.unlink(missing_ok=True)
                self._tell("Stopping …")
                await supervisor.stop()
                self._directory.processes.unlink(missing_ok=True)
                self._tell(f"Stopped. Everything is kept in {self._directory.root}.")
        if failure is not None:
            raise failure

    def _tell(self, message: str) -> None:
        """For people: what takes a while is said."""
        if not self._options.as_json:
            say(message)

    async def _start(self, supervisor: Supervisor) -> SingleNodeError | None:
        """What keeps the stack from starting; None when all of it is ready."""
        directory, environ = self._directory, dict(os.environ)
        try:
            credentials = load_or_create(directory.secrets)
            self._token, self._service_token = (
                credentials.user_token(time.time()),
                credentials.service_token(time.time()),
            )
            programs = Programs(
                python=sys.executable,
                postgres_folder=postgres.binaries(),
                postgres_account=current_account(),
                nats_server=nats_server.binary(),
            )
            assigned = ports.assign_ports(
                part_names(self._definitions, self._options.replicas, environ),
                asked=self._options.ports,
                remembered=ports.load_ports(directory.ports),
                preferred={each.name: each.preferred_port for each in self._definitions if each.preferred_port},
                candidates=ports.candidate_ports(random.Random()),
                why_unusable=ports.why_unusable,
            )
            ports.save_ports(directory.ports, assigned)
            stack = plan_stack(
                directory,
                programs=programs,
                definitions=self._definitions,
                replicas=self._options.replicas,
                ports=assigned,
                credentials=credentials,
                environ=environ,
                via=self._options.via,
            )
            await self._prepare_foundation(programs, credentials, assigned.get("nats"), environ)
            await supervisor.start(stack.foundation)
            await postgres.provision(assigned["postgres"], credentials)
            await supervisor.start(stack.services)
            if outside(environ, "AI_BRAIN_ENDPOINT"):
                await _mention_absent_brain(stack.brain_url)
            if "gateway" in stack.endpoints and not self._options.as_json:
                self._page = await page_link(stack.endpoints["gateway"][0], self._token)
        except SingleNodeError as failure:
            return failure
        except OSError as error:
            return DataUnusable(f"{error}; is {directory.root} writable, and its disk not full?")
        self._announced = stack
        return None

    async def _prepare_foundation(
        self, programs: Programs, credentials: Credentials, nats_port: int | None, environ: dict[str, str]
    ) -> None:
        directory = self._directory
        shutil.rmtree(directory.work, ignore_errors=True)
        if nats_port is not None:
            write_private(
                directory.nats_configuration,
                nats_server.configuration(port=nats_port, store=directory.nats, password=credentials.nats_password),
            )
        await postgres.ensure_cluster(
            directory.postgres,
            folder=programs.postgres_folder,
            account=programs.postgres_account,
            password=credentials.postgres_password,
            environment=minimal_environment(directory, environ),
        )

    def _record(self, supervisor: Supervisor) -> None:
        """Keeps on disk what runs now, for a later clean-up and, once announced, for clients."""
        try:
            save_running(self._directory.processes, supervisor.running)
            if (announcement := self._announcement(supervisor)) is not None:
                write_private(self._directory.stack, as_json(announcement) + "\n")
        except OSError as error:
            # A full disk is bad enough: what runs goes on running.
            say(f"cannot keep the record of what runs: {error}")

    def _announcement(self, supervisor: Supervisor) -> Announcement | None:
        if self._announced is None:
            return None
        return announce(
            self._announced, token=self._token, service_token=self._service_token, running=supervisor.running
        )

    def _announce(self, supervisor: Supervisor) -> None:
        self._record(supervisor)
        announcement = self._announcement(supervisor)
        assert announcement is not None
        if self._options.as_json:
            print(as_json(announcement), flush=True)
        else:
            show(
                announcement,
                Console(),
                page=self._page,
                stack_file=self._directory.stack,
                logs=self._directory.logs,
                seconds=time.monotonic() - self._began,
            )


async def _mention_absent_brain(url: str) -> None:
    try:
        await ask(BrainActive(url))
    except NotReadyYet as answer:
        say(f"the AI Brain at {url} does not answer as it should ({answer}); materials wait until it does")
