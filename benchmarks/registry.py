"""Every case that can be measured: its name, title in the tables, and module."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

TRAIN = "train"  # encoder, forward, backward and SGD update
INFER = "infer"  # encoder and forward
INFER_SPIKES = "infer_spikes"  # forward only, the spikes of all steps are given
MODES = (TRAIN, INFER, INFER_SPIKES)

MAIN = "main"  # the tables of the two networks as in the paper
NORMALIZED = "normalized"  # VGG9 with batch normalisation, few time steps

OURS = "ours"
PEER = "peer"  # another library, used as its documentation recommends
TUNED = "tuned peer"  # the same, with what PyTorch offers beyond that documentation
PLAIN = "plain Keras"
LIMIT = "limit"


@dataclass(frozen=True)
class Case:
    """`module.build(network, num_steps, batch, mode, **options)` returns the step to be timed."""

    name: str
    title: str
    group: str
    module: str
    options: dict[str, Any] = field(default_factory=dict)
    modes: tuple[str, ...] = (TRAIN, INFER)
    section: str = MAIN


BF16 = {"bf16": True}
BPTT = {"gradient": "bptt"}
KERNELS = {"kernels": True}
TUNE = {"tuned": True}

_CASES = (
    Case("ours", "ours, accumulated", OURS, "ours", {}, MODES),
    Case("ours_bf16", "ours, accumulated, bf16 synapses", OURS, "ours", BF16, MODES),
    Case("ours_kernels", "ours, accumulated, C++ kernels", OURS, "ours", KERNELS, (TRAIN,)),
    Case("ours_kernels_bf16", "ours, accumulated, C++ kernels, bf16 synapses", OURS, "ours", KERNELS | BF16, (TRAIN,)),
    Case("ours_bptt", "ours, bptt", OURS, "ours", BPTT, (TRAIN,)),
    Case("ours_bptt_bf16", "ours, bptt, bf16 synapses", OURS, "ours", BPTT | BF16, (TRAIN,)),
    Case("snntorch", "snnTorch", PEER, "peers.snntorch_net"),
    Case("spikingjelly", "SpikingJelly (multi-step)", PEER, "peers.spikingjelly_net"),
    Case("norse", "Norse", PEER, "peers.norse_net"),
    Case("authors_rule", "authors' rule in PyTorch", PEER, "peers.authors_rule"),
    Case("snntorch_tuned", "snnTorch, tuned", TUNED, "peers.snntorch_net", TUNE),
    Case("spikingjelly_tuned", "SpikingJelly, tuned", TUNED, "peers.spikingjelly_net", TUNE),
    Case("norse_tuned", "Norse, tuned", TUNED, "peers.norse_net", TUNE),
    Case("authors_rule_tuned", "authors' rule, tuned", TUNED, "peers.authors_rule", TUNE),
    Case("keras_rnn", "plain Keras RNN, autodiff", PLAIN, "keras_rnn"),
    Case("bare_spiking", "bare spiking loop", LIMIT, "bare", {"spiking": True}, (INFER_SPIKES,)),
    Case(
        "bare_spiking_bf16",
        "bare spiking loop, bf16 synapses",
        LIMIT,
        "bare",
        {"spiking": True} | BF16,
        (INFER_SPIKES,),
    ),
    Case("bare_synapses", "T x bare synapses, forward", LIMIT, "bare", {}, (INFER_SPIKES,)),
    Case(
        "bare_synapses_bf16",
        "T x bare synapses, forward, bf16",
        LIMIT,
        "bare",
        BF16,
        (INFER_SPIKES,),
    ),
    *(
        Case(
            f"bn_{library}{suffix}{'_bf16' * bf16}",
            f"{title}, {'bf16' if bf16 else 'fp32'}",
            group,
            "normalized",
            {"library": library, "bf16": bf16, **options},
            (TRAIN,),
            NORMALIZED,
        )
        for library, suffix, title, group, options in (
            ("ours", "", "ours, bounded", OURS, {}),
            ("ours", "_kernels", "ours, bounded, C++ kernels", OURS, KERNELS),
            ("spikingjelly", "", "SpikingJelly (multi-step)", PEER, {}),
            ("spikingjelly", "_tuned", "SpikingJelly, tuned", TUNED, TUNE),
            ("snntorch", "", "snnTorch", PEER, {}),
            ("snntorch", "_tuned", "snnTorch, tuned", TUNED, TUNE),
        )
        for bf16 in (False, True)
    ),
)

CASES = {case.name: case for case in _CASES}
SWEEP = ("ours", "ours_bptt", "snntorch", "spikingjelly", "norse", "authors_rule")
