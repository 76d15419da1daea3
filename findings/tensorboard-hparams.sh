#!/usr/bin/env bash
# TensorBoard 2.21.0, HParams: the columns come from the `_hparams_/experiment` message of ONE run, whichever is found
# first; hyperparameters that only other runs declare are hidden, although their session messages hold the values.
# PyTorch's add_hparams and Lightning's log_hyperparams write such a message for every run with that run's own keys. Without
# any experiment message the columns are the union of the keys of all runs.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check tensorboard==2.21.0 "setuptools<81"
cd "$folder" && venv/bin/python - <<'PY'
from tensorboard import version
from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer
from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.plugins import base_plugin
from tensorboard.plugins.hparams import api_pb2, backend_context, metadata, plugin_data_pb2
from tensorboard.summary.writer.event_file_writer import EventFileWriter
from tensorboard import context as tb_context

RUNS = {"first": {"lr": 0.001}, "second": {"lr": 0.001, "weight_decay": 0.01}}


def message(tag, **content):
    data = plugin_data_pb2.HParamsPluginData(version=metadata.PLUGIN_DATA_VERSION, **content)
    value = summary_pb2.Summary.Value(
        tag=tag, metadata=metadata.create_summary_metadata(data), tensor=metadata.NULL_TENSOR
    )
    return summary_pb2.Summary(value=[value])


def columns(root, with_experiment):
    for name, settings in RUNS.items():
        start = plugin_data_pb2.SessionStartInfo(start_time_secs=1.0)
        for key, value in settings.items():
            start.hparams[key].number_value = value
        end = plugin_data_pb2.SessionEndInfo(status=api_pb2.STATUS_SUCCESS, end_time_secs=2.0)
        messages = [
            message(metadata.SESSION_START_INFO_TAG, session_start_info=start),
            message(metadata.SESSION_END_INFO_TAG, session_end_info=end),
        ]
        if with_experiment:
            infos = [api_pb2.HParamInfo(name=key, type=api_pb2.DATA_TYPE_FLOAT64) for key in settings]
            messages.insert(0, message(metadata.EXPERIMENT_TAG, experiment=api_pb2.Experiment(hparam_infos=infos)))
        writer = EventFileWriter(f"{root}/{name}")
        for each in messages:
            writer.add_event(event_pb2.Event(summary=each, step=0, wall_time=1.0))
        writer.close()
    multiplexer = plugin_event_multiplexer.EventMultiplexer().AddRunsFromDirectory(root)
    multiplexer.Reload()
    provider = data_provider.MultiplexerDataProvider(multiplexer, root)
    context = backend_context.Context(base_plugin.TBContext(data_provider=provider, logdir=root))
    request = tb_context.RequestContext()
    experiment = context.experiment_from_metadata(
        request, "", True, context.hparams_metadata(request, ""),
        context.hparams_from_data_provider(request, "", 100),
    )
    return sorted(info.name for info in experiment.hparam_infos)


declared, undeclared = columns("declared", True), columns("undeclared", False)
print("TensorBoard", version.VERSION)
print("with an experiment message in each run:", declared)
print("without:", undeclared)
assert undeclared == ["lr", "weight_decay"], undeclared
assert declared == ["lr"], declared
PY
