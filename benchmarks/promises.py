"""What the library promises, beside what a run measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from benchmarks.markdown import times
from benchmarks.registry import INFER_SPIKES, NORMALIZED, PEER, TRAIN, TUNED
from benchmarks.results import Results


@dataclass(frozen=True)
class Promise:
    """A measured ratio and its limit; `tuned` is the same ratio against the fastest tuned peer.

    `synapses` is the speed-up that T x bare synapses, forward only, would have: no training step can reach it;
    `by_round` the ratio of each round, if there were several.
    """

    text: str
    measured: float | None
    limit: float
    at_least: bool
    tuned: float | None = None
    synapses: float | None = None
    aim: bool = False
    by_round: tuple[float, ...] = ()

    @property
    def verdict(self) -> str:
        """Held or not; an aim is met or not. In each round, too."""
        if self.measured is None:
            return "not measured"
        good, bad = ("met", "not met") if self.aim else ("held", "**not held**")
        if not self._holds(self.measured):
            return bad
        missed = sum(not self._holds(value) for value in self.by_round)
        return f"{bad} in {missed} of {len(self.by_round)} rounds" if missed else good

    def _holds(self, value: float) -> bool:
        return value >= self.limit if self.at_least else value <= self.limit

    @property
    def measured_text(self) -> str:
        """The ratio, and in brackets those of the rounds."""
        if not self.by_round:
            return times(self.measured)
        return f"{times(self.measured)} ({times(min(self.by_round))} to {times(max(self.by_round))})"

    @property
    def limit_text(self) -> str:
        bound = "at least" if self.at_least else "at most"
        return f"{'aim: ' if self.aim else ''}{bound} {self.limit:g} x"


def normalized_promises(results: Results) -> Iterator[Promise]:
    """Few time steps with batch normalisation: against the fastest peer in the same precision."""
    for network, steps, batch in map(tuple, results.settings.get("normalized", ())):
        for suffix, precision in (("", "fp32"), ("_bf16", "bf16")):
            where = (network, steps, batch, TRAIN)

            def fastest(kind: str, suffix: str = suffix, where: tuple = where) -> float | None:
                names = [f"bn_{library}{kind}{suffix}" for library in ("spikingjelly", "snntorch")]
                times = [results.time(NORMALIZED, name, *where) for name in names]
                return min((value for value in times if value is not None), default=None)

            peer, tuned = fastest(""), fastest("_tuned")
            for kernels, title in (("", ""), ("_kernels", " with the C++ kernels")):
                ours = results.time(NORMALIZED, f"bn_ours{kernels}{suffix}", *where)
                text = (
                    f"{network} with batch normalisation, T = {steps}, batch {batch}, {precision}: training step{title}"
                )
                text += ", speed-up over the fastest peer"
                yield Promise(text, divided(peer, ours), 2.0, True, divided(tuned, ours), aim=True)


def divided(a: float | None, b: float | None) -> float | None:
    """`a / b`, None if one is missing."""
    return None if a is None or b is None else a / b


def promises(results: Results) -> list[Promise]:
    """All promises, for the sizes of the run, with the ratios of each of its rounds."""
    rounds = results.settings["rounds"]
    of_rounds = [list(_pooled(results.of_round(number))) for number in range(rounds)] if rounds > 1 else []
    found = []
    for i, promise in enumerate(_pooled(results)):
        ratios = [of_round[i].measured for of_round in of_rounds]
        complete = tuple(ratio for ratio in ratios if ratio is not None)
        found.append(replace(promise, by_round=complete if len(complete) == len(ratios) else ()))
    return found


def _pooled(results: Results) -> Iterator[Promise]:
    """The promises by the runs of all rounds together."""
    main = [tuple(entry) for entry in results.settings["main"]]
    for network, steps, batch in main:
        yield from step_promises(results, network, steps, batch)
    yield from normalized_promises(results)
    first, *_, last = results.settings["sweep_steps"]
    for network, batch in results.settings["sweep"]:
        key = (batch, TRAIN)
        growth = divided(
            results.peak("sweep", "ours", network, last, *key),
            results.peak("sweep", "ours", network, first, *key),
        )
        text = f"{network}, batch {batch}: peak memory at T = {last} against T = {first}"
        yield Promise(text, growth, 1.1, at_least=False)


def step_promises(results: Results, network: str, steps: int, batch: int) -> Iterator[Promise]:
    """Promises about speed at one size."""
    size = f"{network}, T = {steps}, batch {batch}"
    where = (network, steps, batch)

    def time(name: str, mode: str = TRAIN) -> float | None:
        return results.time("main", name, *where, mode)

    peer = results.fastest(PEER, "main", *where, TRAIN)[1]
    tuned = results.fastest(TUNED, "main", *where, TRAIN)[1]

    def speed_up(text: str, name: str, limit: float, aim: bool = False) -> Promise:
        ours, bare = time(name), time("bare_synapses" + "_bf16" * name.endswith("_bf16"), INFER_SPIKES)
        return Promise(
            f"{size}: {text}", divided(peer, ours), limit, True, divided(tuned, ours), divided(peer, bare), aim
        )

    if network == "lenet":
        yield speed_up("training step, speed-up over the fastest peer", "ours", 4.0)
        yield speed_up("the same with the C++ kernels", "ours_kernels", 8.0, aim=True)
    elif steps == max(s for n, s, _ in results.settings["main"] if n == network):
        yield speed_up("training step, speed-up over the fastest peer", "ours", 3.0)
        yield speed_up("the same with the C++ kernels", "ours_kernels", 5.0, aim=True)
        yield speed_up("the same with bf16 synapses, the peer in float32", "ours_bf16", 4.5)
        yield speed_up(
            "the same with bf16 synapses and the C++ kernels, the peer in float32", "ours_kernels_bf16", 10.0, aim=True
        )
    bptt = time("ours_bptt")
    text = f"{size}: bptt step against the fastest peer"
    yield Promise(text, divided(bptt, peer), 1.3, False, divided(bptt, tuned))
    for suffix, title in (("", "fp32"), ("_bf16", "bf16")):
        bare = time("bare_synapses" + suffix, INFER_SPIKES)
        text = f"{size}: training step against T x bare synapses, {title}"
        yield Promise(text, divided(time("ours" + suffix), bare), 1.3, False, aim=True)
        text = f"{size}: the same with the C++ kernels, {title}"
        yield Promise(text, divided(time("ours_kernels" + suffix), bare), 1.3, False, aim=True)
        loop = time("bare_spiking" + suffix, INFER_SPIKES)
        text = f"{size}: inference on spikes against the bare spiking loop, {title}"
        yield Promise(text, divided(time("ours" + suffix, INFER_SPIKES), loop), 1.1, False)
