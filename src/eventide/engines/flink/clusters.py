"""Where a job runs: a cluster at an address, or a small one of our own in the Java process."""

from __future__ import annotations

import os
import sys
from typing import Any

from eventide.engines.flink import jvm
from eventide.engines.flink.options import FlinkOptions
from eventide.engines.flink.rest import Rest
from eventide.errors import RunError, UnavailableError, UsageError

__all__ = ["cluster_for", "python_path"]

_SLOTS = 64
_LOOPBACK = "127.0.0.1"
_SETTINGS = {
    "rest.address": _LOOPBACK,
    "rest.bind-address": _LOOPBACK,
    "rest.bind-port": "0",
    "jobmanager.rpc.address": _LOOPBACK,
    "jobmanager.bind-host": _LOOPBACK,
    "taskmanager.host": _LOOPBACK,
    "taskmanager.bind-host": _LOOPBACK,
    "taskmanager.memory.managed.size": "64m",
    "taskmanager.memory.network.min": "64m",
    "taskmanager.memory.network.max": "64m",
    "web.submit.enable": "false",
}

_own: tuple[int | None, Any] | None = None


def cluster_for(options: FlinkOptions, slots: int) -> Rest:
    """Return the cluster that these options name, with room for a job.

    Raises
    ------
    UnavailableError
        It does not answer, or has no room.
    UsageError
        It runs another version of Flink.
    """
    if options.address is None:
        return _of_our_own(options, slots)
    rest = Rest(*options.address)
    from pyflink.version import __version__

    version = rest.version()
    if version.split(".")[:2] != __version__.split(".")[:2]:
        msg = f"the cluster at {options.url} runs Flink {version}, and PyFlink here is {__version__}"
        raise UsageError(msg, hint=f"pip install 'apache-flink=={version}.*' or use a cluster of {__version__}")
    managers, total, free = rest.slots()
    if free < slots:
        has = f"{free} of {total} slots free on {managers} task managers"
        msg = f"the cluster at {options.url} has {has}, and {slots} are needed"
        raise UnavailableError(msg, hint="start task managers, wait for a job to end, or give fewer lanes")
    return rest


def _of_our_own(options: FlinkOptions, slots: int) -> Rest:
    """Return a cluster that stays until this program ends: to start one takes seconds."""
    global _own
    java = jvm.gateway().jvm
    if _own is None or _own[0] != jvm.process_id():
        _own = None
        flink = java.org.apache.flink
        conf = flink.configuration.Configuration()
        for name, value in {**_SETTINGS, **options.settings}.items():
            conf.setString(name, str(value))
        builder = flink.runtime.minicluster.MiniClusterConfiguration.Builder()
        made = builder.setConfiguration(conf).setNumTaskManagers(1).setNumSlotsPerTaskManager(_SLOTS).build()
        cluster = flink.runtime.minicluster.MiniCluster(made)
        try:
            cluster.start()
        except Exception as error:
            msg = f"Flink's own small cluster does not start: {str(error).strip()[:300]}"
            raise RunError(msg, hint="`eventide doctor flink` looks for the cause") from error
        _own = (jvm.process_id(), cluster)
    address = _own[1].getRestAddress().get()
    return Rest(address.getHost(), address.getPort())


def python_path() -> str:
    """Return where the workers find Python modules: where this program does."""
    return os.pathsep.join(p or os.getcwd() for p in sys.path)  # noqa: PTH109
