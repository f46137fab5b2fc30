"""Connection files: where they lie, what they hold, how one is found, and what is wrong with those of no use."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parpool import __version__
from parpool.errors import ConnectionFileError, ParpoolError, ProtocolError
from parpool.net import address
from parpool.net.address import Connection, ControllerLock, connection_from, find, read, write
from parpool.wire.messages import PROTOCOL

KEYS = {
    "server_key": address.new_keys()[0],
    **dict(zip(("public_key", "secret_key"), address.new_keys(), strict=True)),
}
HERE = {"pid": os.getpid(), "hostname": socket.gethostname(), "started": 1234.5}
TCP = {
    "client": Connection("client", "c", "p", {"client": "tcp://10.0.0.1:1", "heart": "tcp://10.0.0.1:2"}, **KEYS),
    "engine": Connection(
        "engine",
        "c",
        "p",
        {"work": "tcp://[::1]:1", "control": "tcp://[::1]:2", "heart": "tcp://[::1]:3", "lane": "/run/x y/lane?"},
        **KEYS,
        **HERE,  # type: ignore[arg-type]
    ),
}
IPC = Connection("client", "c", "p", {"client": "ipc:///run/a b?#%/client", "heart": "ipc:///run/heart"}, **HERE)  # type: ignore[arg-type]

posix = pytest.mark.skipif(os.name == "nt", reason="modes of files, and flock")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PARPOOL_DIR", str(tmp_path / "parpool"))
    monkeypatch.delenv("PARPOOL_PROFILE", raising=False)
    return tmp_path / "parpool"


@pytest.fixture
def path(folder: Path) -> Path:
    return folder / "profile_p" / "clusters" / "c" / "client.json"


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


# There and back -------------------------------------------------------------------------------------

every_connection = pytest.mark.parametrize("made", [*TCP.values(), IPC], ids=["client", "engine", "ipc"])


@every_connection
def test_a_file_holds_all_of_it(made: Connection, path: Path) -> None:
    write(made, path)
    found = read(path)
    assert found == made and found.path == path
    assert json.loads(path.read_text()) == made.fields()
    assert set(made.fields()) == {each.name for each in dataclasses.fields(Connection)} - {"path"}
    if os.name != "nt":
        assert path.stat().st_mode & 0o777 == 0o600 and path.parent.stat().st_mode & 0o777 == 0o700


@every_connection
def test_what_users_may_give(made: Connection, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(made, path)
    monkeypatch.setenv("HOME", str(path.parent))
    monkeypatch.setenv("USERPROFILE", str(path.parent))
    for source in (path, str(path), "~/client.json", made.fields(), made.to_url(), made, dataclasses.replace(made)):
        assert connection_from(source) == made
        assert connection_from(source, made.role) == made
    assert connection_from(read(path)).path == path
    monkeypatch.chdir(path.parent)
    assert connection_from("client.json").path == path


KEY = st.text(st.sampled_from("0aZ.-:+=^!/*?&<>()[]{}@%$#"), min_size=40, max_size=40)


@given(st.text(min_size=1).map(lambda text: f"/{text}"), KEY, KEY, st.text(), st.floats(allow_nan=False), st.integers())
def test_a_url_holds_whatever_there_is(path: str, server: str, secret: str, host: str, when: float, pid: int) -> None:
    addresses = {"client": f"ipc://{path}", "heart": f"ipc://{path}x", "lane": path}
    made = Connection("client", "c", "p", addresses, server, server, secret, pid % 2**62, "", host, started=when)
    assert connection_from(made.to_url()) == made


def test_a_url_by_hand() -> None:
    keys = "&".join(f"{name}={address.quote(key, safe='')}" for name, key in KEYS.items())
    made = connection_from(f"tcp://far:5555?heart=5556&{keys}")
    assert made.role == "client" and made.addresses == {"client": "tcp://far:5555", "heart": "tcp://far:5556"}
    assert (made.cluster_id, made.profile, made.version, made.pid) == ("default", "default", __version__, 0)
    made = connection_from(f"tcp://far:5?role=engine&control=tcp://far:6&heart=7&{keys}", "engine")
    assert made.addresses == {"work": "tcp://far:5", "control": "tcp://far:6", "heart": "tcp://far:7"}


def test_a_dict_may_leave_out_what_is_not_needed() -> None:
    made = connection_from({"addresses": IPC.addresses})
    assert (made.role, made.profile, made.cluster_id, made.protocol) == ("client", "default", "default", PROTOCOL)


@every_connection
def test_no_repr_shows_a_key(made: Connection) -> None:
    shown = repr(made) + str(made)
    assert made.role in shown and not any(key in shown for key in KEYS.values())


def test_keys_are_new_each_time() -> None:
    pairs = [address.new_keys() for _ in range(3)]
    assert len({key for pair in pairs for key in pair}) == 6
    assert all(len(key) == 40 and isinstance(key, str) for pair in pairs for key in pair)


# What is wrong with it ------------------------------------------------------------------------------


def refused(source: Any, role: str | None = None, kind: type[ParpoolError] = ConnectionFileError) -> str:
    with pytest.raises(kind) as caught:
        connection_from(source, role)
    assert type(caught.value) is kind
    told = repr(caught.value) + repr(caught.value.__cause__)
    assert not any(key in told for key in KEYS.values())
    assert "`parpool" in told or "start" in told or "use" in told, "the next step"
    return str(caught.value)


def test_no_file(path: Path) -> None:
    assert f"no connection file {path}" in refused(path)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    assert str(tmp_path) in refused(tmp_path)


@posix
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666, 0o777])
def test_a_file_that_is_open_to_others(path: Path, mode: int) -> None:
    write(IPC, path)
    path.chmod(mode)
    assert f"`chmod 600 {path}`" in refused(path)
    path.chmod(0o400)
    assert read(path) == IPC


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b"[" * 100_000, b'{"a":' * 100_000, b"\0" * 99]
)
def test_a_file_that_is_no_connection_file(path: Path, data: bytes) -> None:
    address.write_private(path, data)
    assert f"{path} holds no JSON object" in refused(path)


@pytest.mark.parametrize("name", TCP["client"].fields())
def test_a_file_that_lacks_something(path: Path, name: str) -> None:
    fields = TCP["client"].fields()
    del fields[name]
    address.write_private(path, json.dumps(fields).encode())
    assert re.search(f"{path}.* lacks {name}:", refused(path))


@pytest.mark.parametrize("value", [None, True, ["x"], {"client": 3}, {"x": None}])
@pytest.mark.parametrize("name", TCP["client"].fields())
def test_a_field_of_a_wrong_type(path: Path, name: str, value: Any) -> None:
    fields = {**TCP["client"].fields(), name: value}
    address.write_private(path, json.dumps(fields).encode())
    kind = ProtocolError if name == "protocol" else ConnectionFileError
    assert str(path) in refused(path, kind=kind)
    refused(fields, kind=kind)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"role": "other"}, "none of client, engine and hub"),
        ({"addresses": {}}, "lacks the address of client, heart"),
        ({"addresses": {"client": "tcp://a:1"}}, "lacks the address of heart"),
        ({"addresses": {"client": "tcp://a:1", "heart": ""}}, "lacks the address of heart"),
        ({"addresses": {"client": "a:1", "heart": "tcp://a:2"}}, "client that begins with neither tcp:// nor ipc://"),
        ({"secret_key": ""}, "no secret_key, which tcp cannot do without"),
        ({"server_key": ""}, "no server_key"),
        ({"public_key": KEYS["secret_key"][:-1]}, "a public_key that is none"),
        ({"secret_key": KEYS["secret_key"][:-1] + "~"}, "a secret_key that is none"),
    ],
)
def test_fields_that_cannot_be(path: Path, changes: dict[str, Any], message: str) -> None:
    made = dataclasses.replace(TCP["client"], **changes)
    address.write_private(path, json.dumps(made.fields()).encode())
    assert message in refused(path) and message in refused(made.fields()) and message in refused(made)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("tcp://a:1", "lacks the address of heart"),
        ("tcp://a:1?heart=2", "no server_key"),
        ("tcp://a:1?heart=2&sever_key=x", "'sever_key', which is neither a field of it nor an address"),
        ("tcp://a:1?role=x", "none of client, engine and hub"),
        ("tcp://a:1?pid=many&heart=2", r"\$.pid"),
        ("http://a:1?heart=2", "neither a field of it nor an address"),
        ("http://a?heart=tcp://a:2", "neither tcp:// nor ipc://"),
    ],
)
def test_urls_that_cannot_be(url: str, message: str) -> None:
    assert re.search(message, refused(url))


def test_a_url_with_a_secret_is_not_repeated() -> None:
    assert "tcp://a:1" in refused(TCP["client"].to_url().replace("10.0.0.1:1", "a:1").replace("role=client", "role=x"))


def test_the_file_of_the_other_role(path: Path) -> None:
    write(TCP["engine"], path)
    assert "is one for engines, not for clients: use client.json" in refused(path, "client")
    refused(TCP["client"].fields(), "engine")
    refused(TCP["client"].to_url(), "engine")


def test_another_version(path: Path) -> None:
    """Named before anything else: there may be other fields."""
    address.write_private(path, json.dumps({"protocol": PROTOCOL + 1, "version": "7.8.9", "what": "else"}).encode())
    message = refused(path, kind=ProtocolError)
    assert all(each in message for each in (str(path), "parpool 7.8.9", f"parpool {__version__}", "same version"))
    made = dataclasses.replace(IPC, version="0.0.1")  # another release that speaks the same
    write(made, path)
    assert read(path) == made


@pytest.mark.parametrize("profile", ["default", "mpi"])
def test_a_controller_that_is_gone(path: Path, profile: str) -> None:
    made = dataclasses.replace(IPC, pid=dead_pid(), profile=profile)
    write(made, path)
    message = refused(path)
    assert "the controller that wrote it is gone" in message and str(path) in message
    assert f"`parpool start{' --profile mpi' if profile == 'mpi' else ''} --cluster-id c`" in message
    assert read(path, gone_too=True) == made
    assert address.gone(read(path, gone_too=True))
    far = dataclasses.replace(TCP["client"], pid=made.pid, hostname="elsewhere")  # nobody can tell from here
    write(far, path)
    assert read(path) == far


@posix
def test_the_lock_knows_better_than_the_pid(path: Path) -> None:
    write(IPC, path)
    with ControllerLock(path.parent):
        assert read(path) == IPC
        restarted = dataclasses.replace(IPC, pid=dead_pid())  # and the new one has not written its file yet
        write(restarted, path)
        assert read(path) == restarted
    write(IPC, path)  # the pid lives, but it is another process's
    assert "is gone" in refused(path)


@posix
def test_a_hub_is_gone_when_its_own_lock_is_free(tmp_path: Path) -> None:
    """The controller's, which lies beside its file, says nothing of it."""
    hub = dataclasses.replace(IPC, role="hub", addresses={"hub": "ipc:///nowhere/hub"})
    path = tmp_path / "hub.json"
    write(hub, path)
    with ControllerLock(tmp_path / "hub"):
        assert read(path, "hub") == hub
        with ControllerLock(tmp_path):
            assert read(path, "hub") == hub
        assert read(path, "hub") == hub, "the controller has ended, and the hub has not"
    message = refused(path, "hub")
    assert "the hub that wrote it is gone" in message and "`parpool hub --profile p --cluster-id c`" in message
    path.unlink()
    assert "start it with `parpool hub`" in refused(path, "hub")


def test_an_ipc_address_of_another_machine(path: Path, tmp_path: Path) -> None:
    far = dataclasses.replace(IPC, hostname="elsewhere")
    write(far, path)
    assert re.search(r"only its own machine \(elsewhere\) can reach.*--ip", refused(path))
    (tmp_path / "socket").touch()  # a container: another name, and the same folder
    near = dataclasses.replace(far, addresses=dict.fromkeys(("client", "heart"), f"ipc://{tmp_path}/socket"))
    write(near, path)
    assert read(path) == near


# Where they lie -------------------------------------------------------------------------------------


def test_the_folders(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert address.cluster_folder() == folder / "profile_default" / "clusters" / "default"
    assert address.cluster_folder("mpi", "big") == folder / "profile_mpi" / "clusters" / "big"
    monkeypatch.setenv("PARPOOL_PROFILE", "mine")
    assert address.cluster_folder() == folder / "profile_mine" / "clusters" / "default"
    monkeypatch.setenv("PARPOOL_DIR", "~/x")
    assert address.root() == Path("~/x").expanduser()
    monkeypatch.delenv("PARPOOL_DIR")
    assert address.root().name == "parpool" and address.root().is_absolute()
    assert not folder.exists(), "to ask makes nothing"


@pytest.mark.parametrize("name", ["..", ".", ".hidden", "a/b", "/a", "a\\b", "a\n", "a b", "x" * 101, "\0"])
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(ValueError, match="is no profile"):
        address.cluster_folder(profile=name)
    with pytest.raises(ValueError, match="is no cluster id"):
        find("client", cluster_id=name)


def test_what_is_there(folder: Path) -> None:
    assert address.clusters() == address.clusters("mpi") == address.profiles() == []
    for profile, cluster in [("default", "b"), ("default", "a"), ("mpi", "c")]:
        (address.cluster_folder(profile, cluster)).mkdir(parents=True)
    (folder / "other").mkdir()
    (folder / "profile_file").touch()
    assert [each.name for each in address.clusters()] == ["a", "b"]
    assert address.clusters("mpi") == [address.cluster_folder("mpi", "c")]
    assert address.profiles() == ["default", "mpi"]


@pytest.fixture
def cluster() -> Callable[..., Path]:
    def make(cluster_id: str, profile: str = "default") -> Path:
        path = address.cluster_folder(profile, cluster_id) / "client.json"
        write(dataclasses.replace(IPC, cluster_id=cluster_id, profile=profile), path)
        return path

    return make


def not_found(**options: Any) -> str:
    with pytest.raises(ConnectionFileError) as caught:
        find("client", **options)
    return str(caught.value)


@posix
def test_find(cluster: Callable[..., Path], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    message = not_found()
    assert str(folder / "profile_default" / "clusters") in message and "`parpool start`" in message
    assert "`parpool start --profile mpi --cluster-id big`" in not_found(profile="mpi", cluster_id="big")
    one, two = cluster("one"), cluster("two")
    assert find("client", cluster_id="one") == one
    assert "(it has: one, two)" in not_found()  # neither runs
    with ControllerLock(one.parent):
        assert find("client") == one  # the only one that runs
        assert "no cluster 'three'" in not_found(cluster_id="three")
        with ControllerLock(two.parent):
            assert "several clusters run" in not_found() and "one, two" in not_found()
            default = cluster("default")
            assert find("client") == find("client", cluster_id="default") == default
    with pytest.raises(ConnectionFileError, match=r"engine\.json"):
        find("engine")
    mine = cluster("default", "mine")
    monkeypatch.setenv("PARPOOL_PROFILE", "mine")
    assert find("client") == mine and find("client", profile="default") == default
    (mine.parent / "client.json").unlink()
    assert "`parpool start --profile mine`" in not_found()


# Several schedulers ---------------------------------------------------------------------------------

SEVERAL = dataclasses.replace(
    TCP["client"],
    addresses={**TCP["client"].addresses, "client.1": "tcp://10.0.0.1:11", "heart.1": "tcp://10.0.0.1:12"},
)


def test_addresses_of_several_schedulers(path: Path) -> None:
    assert TCP["client"].schedulers == 1 and TCP["client"].of(0) is TCP["client"]
    assert SEVERAL.schedulers == 2
    assert SEVERAL.of(0).addresses == TCP["client"].addresses
    assert SEVERAL.of(1).addresses == {"client": "tcp://10.0.0.1:11", "heart": "tcp://10.0.0.1:12"}
    assert SEVERAL.of(1).secret_key == SEVERAL.secret_key and SEVERAL.of(1).schedulers == 1
    write(SEVERAL, path)
    for source in (path, SEVERAL.to_url(), SEVERAL.fields(), SEVERAL):
        assert connection_from(source).addresses == SEVERAL.addresses
    lanes = {**TCP["engine"].addresses, "work.1": "tcp://a:1", "control.1": "tcp://a:2", "heart.1": "tcp://a:3"}
    engine = dataclasses.replace(TCP["engine"], addresses={**lanes, "lane.1": "/there"})
    assert connection_from(engine).of(1).addresses["lane"] == "/there"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"heart.1": ""}, "lacks the address of heart.1"),
        ({"client.3": "tcp://a:1", "heart.3": "tcp://a:2"}, "lacks the address of client.2, heart.2"),
        ({"client.1": "nonsense"}, "client.1 that begins with neither"),
        ({"client.x": "tcp://a:1"}, "no socket of a controller"),
        ({"client.01": "tcp://a:1"}, "no socket of a controller"),
    ],
)
def test_addresses_that_are_not_those_of_several(changes: dict[str, str], why: str) -> None:
    with pytest.raises(ConnectionFileError, match=why):
        connection_from({**SEVERAL.fields(), "addresses": {**SEVERAL.addresses, **changes}})
