"""Which of ipyparallel's own tests do not pass against the shim, and why. See test_ipyparallel.py."""

PRIVATE = "it looks at ipyparallel's insides: what it has behind a Client, or a message"
CHANNEL = "what a task publishes besides what it prints, displays and returns: there is no such channel"
TRACKER = "it wants pyzmq's MessageTracker: arguments are pickled or copied when the call is made, so there is none"
LAUNCHERS = "launchers, the configuration by traitlets, logs and the files of clusters are ipyparallel's own"
HISTORY = "it counts the tasks of imap in the view's history, of which they are no part here"
CLOUDPICKLE = "with cloudpickle, a function gets the engine's names all the same, and not the client's"

#: Files that are not run, and why.
NOT_RUN = {
    "test_apps.py": "ipcontroller, ipengine and ipcluster: the command line here is `parpool`",
    "test_async.py": "a base class of ipyparallel's own",
    "test_canning.py": "how ipyparallel prepares functions to travel",
    "test_db.py": "the classes of ipyparallel's databases",
    "test_label.py": "its clusters are of ipyparallel's launcher classes; test_compat_ipyparallel_calls.py asks the same",
    "test_launcher.py": "ipyparallel's launcher classes",
    "test_mongodb.py": "there is no MongoDB here",
    "test_mpi.py": "ipyparallel's launcher classes",
    "test_serialize.py": "the bytes of ipyparallel's messages",
    "test_shellcmd.py": "how ipyparallel sends commands through ssh",
    "test_slurm.py": "ipyparallel's launcher classes",
    "test_ssh.py": "ipyparallel's launcher classes",
    "test_util.py": "helpers of ipyparallel's own",
}

_VIEW = {
    "test_apply_tracked": TRACKER,
    "test_push_tracked": TRACKER,
    "test_data_pub_single": CHANNEL,
    "test_data_pub": CHANNEL,
    "test_use_cloudpickle": CLOUDPICKLE,
}

#: By file, the tests that fail.
KNOWN: dict[str, dict[str, str]] = {
    "test_asyncresult.py": {
        "test_await_data": CHANNEL,
        "test_not_single_result": PRIVATE,
        "test_owner_pop": "what was read is known for a while, until there are many",
        "test_wait_for_send": PRIVATE,
    },
    "test_client.py": {
        "test_curve": PRIVATE,
        "test_outstanding": PRIVATE,
        "test_resubmit_header": PRIVATE,
        "test_resubmit_inflight": "what has not ended cannot be submitted again",
        "test_purge_local_results": "results cannot be put into the client by hand",
        "test_purge_everything": PRIVATE,
        "test_warning_on_hostname_match": PRIVATE,
        "test_local_ip_true_doesnt_trigger_warning": PRIVATE,
    },
    "test_cluster.py": {
        "test_ipython_log": LAUNCHERS,
        "test_start_stop_controller": LAUNCHERS,
        "test_start_stop_engines": LAUNCHERS,
        "test_get_output": LAUNCHERS,
        "test_load_profile": LAUNCHERS,
        "test_cluster_abbreviations[MPI-None]": LAUNCHERS,
        "test_cluster_abbreviations[SGE-None]": LAUNCHERS,
        "test_cluster_abbreviations[ipyparallel.cluster.launcher.LocalEngineSetLauncher-None]": LAUNCHERS,
        "test_cluster_repr": "it shows itself as parpool's cluster does",
        "test_cluster_manager": LAUNCHERS,
        "test_to_from_dict": LAUNCHERS,
        "test_cluster_manager_notice_stop": LAUNCHERS,
        "test_wait_for_engines_crash": "engines do not look at PYTHONSTARTUP, by which the test has them crash",
    },
    "test_dependency.py": {},
    "test_executor.py": {"test_executor_context": HISTORY},
    "test_joblib.py": {"test_default_backend": PRIVATE, "test_register_backend": PRIVATE},
    "test_lbview.py": {
        "test_imap_max_outstanding": HISTORY,
        "test_imap_infinite": HISTORY,
        "test_imap_unordered": HISTORY,
        "test_retries": "what the last attempt raises is the outcome, and no TaskTimeout: attempts are on one engine",
    },
    "test_magics.py": {
        "test_autopx_nonblocking": "what is queued behind code that fails runs all the same",
    },
    "test_remotefunction.py": {},
    "test_view.py": _VIEW | {"test_scatter_tracked": TRACKER},
    "test_view_broadcast.py": _VIEW,
}
