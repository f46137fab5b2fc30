"""Processes on other machines, by ssh.

One ssh to each machine stays open while its processes are wanted, and carries all there is: orders, files, answers and
tunnels. So each machine is logged into once, whatever is asked of it, and nothing secret is on a command line. At the
other end answers a `keeper`, a part of parpool, which has to be installed there in any case.

How to get in is ssh's own affair: what stands in ``~/.ssh/config`` holds (users, ports, jump hosts, keys, a master
connection), and ``options`` are handed to it. It must not ask for a password, as there is nobody to answer.

When a line is cut, the processes live on; the next `poll` calls the machine again and takes them over.
"""

from __future__ import annotations

import signal as signals
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..errors import EngineStartError, ParpoolError
from .launcher import PATIENCE, Names, Site, State, chosen
from .line import Lost, Slow
from .machines import Hosts, Machine, machines, spread
from .outpost import ANSWER, Outpost
from .process import FORCE

#: Nobody is there to answer; and a line that was cut is noticed within a minute.
QUIET = ("-T", "-o", "BatchMode=yes", "-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=3")


class SshLauncher:
    """Starts processes on machines that ssh reaches."""

    def __init__(
        self,
        site: Site,
        hosts: Hosts,
        *,
        python: str = "python3",
        options: Sequence[str] = (),
        tunnels: Sequence[str] = (),
        master: bool = False,
        timeout: float = 30.0,
        program: str = "ssh",
    ) -> None:
        """On these machines: ``"ann@one:4, two"``, a list of such, or a dict of numbers or of fields of `Machine`.

        Without a number, there is room for as many as the machine has cores. ``python`` is the interpreter there,
        ``options`` are those of ssh. ``tunnels`` are addresses ``host:port`` that the machines cannot reach and this
        one can: each gets a port on their loopback, which stands in its place in the files that they read. They go
        through connections of their own; with ``master``, through a master connection that is open already, as where
        logging in needs a person.
        """
        self.site = site
        self.timeout = timeout
        command = (program, *QUIET, "-o", f"ConnectTimeout={max(1, int(timeout / 2))}", *options)
        self._posts = [
            Outpost(machine, site, command, tunnels, master, timeout)
            for machine in machines(hosts, Machine("", python=python))
        ]
        self._names = Names(site.label)

    @property
    def slots(self) -> int:
        """The room on all machines; asks those whose number was not given."""
        self._reach([post for post in self._posts if post.slots is None])
        return sum(post.slots or 0 for post in self._posts)

    def start(self, argv: Sequence[str], n: int) -> list[str]:
        """Start them where there is room: one by one where the least part of it is taken."""
        self._names.new(n)  # checks the number; each keeper gives the names
        self.poll()
        self._reach(self._posts)
        shares = spread(n, [(post.slots or 0, post.living) for post in self._posts])
        first, asked = self._names.next - n, []
        for post, share in zip(self._posts, shares, strict=True):
            if share:
                asked.append((post, post.ask("start", argv=post.fill(argv), n=share, first=first)))
                first += share
        names: list[str] = []
        failed: EngineStartError | None = None
        for post, number in asked:
            try:
                with post.named("cannot start processes on", EngineStartError):
                    names += post.began(post.answer(number, self.timeout))
            except EngineStartError as error:
                failed = failed or error
        if failed is not None:
            self.stop(names, 0)
            self._leave()
            raise failed
        return names

    def poll(self) -> dict[str, State]:
        """What the machines say."""
        living = [post for post in self._posts if post.living]
        asked = [(post, post.ask("poll")) for post in living if post.connected]
        lost = [post for post in living if not post.connected]
        for post, number in asked:
            try:
                post.heard(post.answer(number, ANSWER))
            except Slow:
                post.odd(f"{post.machine.address} has not answered for {ANSWER:g} s")
            except Lost:
                post.cut()
                lost.append(post)
        for post in lost:
            post.take_over()
        return {name: state for post in self._posts for name, state in post.states.items()}

    def signal(self, signum: int, names: Iterable[str] | None = None) -> None:
        """Send a signal, by its name: the numbers differ between systems."""
        signame = signals.Signals(signum).name
        asked = [(post, post.ask("signal", signame=signame, names=living)) for post, living in self._living(names)]
        for post, number in asked:
            with post.named(f"cannot send {signame} to processes on"):
                post.answer(number, ANSWER)

    def stop(self, names: Iterable[str] | None = None, patience: float = PATIENCE) -> dict[str, State]:
        """End them, on all machines at once; a machine that has none any more is left."""
        wanted = self._chosen(names)
        self.poll()
        asked = [
            (post, post.ask("stop", names=held, patience=patience))
            for post in self._posts
            if (held := post.held(wanted))
        ]
        for post, number in asked:
            with post.named("processes may be left on"):
                try:
                    post.stopped(post.answer(number, patience + 2 * FORCE))
                except Lost:
                    if post.living:
                        raise
                    post.cut()  # all had ended there, and nobody is to be asked
        states = {name: post.states.pop(name) for post in self._posts for name in wanted if name in post.states}
        self._leave()
        return states

    def record(self) -> dict[str, Any]:
        """Of each machine, what its keeper said of the processes."""
        return {"machines": {post.machine.address: post.record() for post in self._posts if post.living}}

    def adopt(self, record: Mapping[str, Any]) -> None:
        """Take over from a launcher for the same machines."""
        posts = {post.machine.address: post for post in self._posts}
        if unknown := set(record["machines"]) - set(posts):
            raise ValueError(f"there are processes on {', '.join(sorted(unknown))}, which is none of these hosts")
        for address, theirs in record["machines"].items():
            posts[address].remember(theirs)
            self._names.used(theirs)

    def _chosen(self, names: Iterable[str] | None) -> list[str]:
        return chosen(names, [name for post in self._posts for name in post.states])

    def _living(self, names: Iterable[str] | None) -> list[tuple[Outpost, list[str]]]:
        """The machines where some of these live, or of all, and what those are called there."""
        wanted = self._chosen(names)
        self.poll()
        return [(post, living) for post in self._posts if (living := post.theirs(wanted))]

    def _reach(self, posts: Sequence[Outpost]) -> None:
        """Be connected with all of them, or raise."""
        fresh = [post for post in posts if not post.connected]
        try:
            for post in fresh:
                with post.named("cannot reach", EngineStartError):
                    post.call()
            for post in fresh:
                with post.named("cannot reach", EngineStartError):
                    post.greet()
        except (ParpoolError, OSError):
            for post in fresh:
                post.cut()
            raise

    def _leave(self) -> None:
        """Leave the machines that have no processes."""
        for post in self._posts:
            if not post.states:
                post.close()
