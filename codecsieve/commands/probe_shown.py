"""How the command `probe` shows itself on a terminal: what is done, each look at the validation split, the report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from codecsieve.commands.console import Meter, print_facts, print_failures, print_rows, say
from codecsieve.pipelines.probe.config import ProbeConfig
from codecsieve.pipelines.probe.training import judged


class Meters:
    """A progress bar for each kind of thing that is done, one after the other."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._what = ""
        self._meter: Meter | None = None

    def update(self, what: str, done: int, total: int) -> None:
        if not total:
            return
        if self._meter is None or what != self._what:
            self.__exit__()
            self._what, self._meter = what, Meter(what, self._quiet)
            self._meter.__enter__()
        self._meter.update(done, total, 0)

    def __enter__(self) -> Meters:
        return self

    def __exit__(self, *error: object) -> None:
        if self._meter is not None:
            self._meter.__exit__(None, None, None)
            self._meter = None


class Looks:
    """Each look at the validation split, as the published programs print it; of several probes, the mean over seeds."""

    def __init__(self, config: ProbeConfig, quiet: bool) -> None:
        self._config = config
        self._quiet = quiet
        self._best: dict[float, float] = {}

    def begin(self, model: str) -> None:
        """The looks that follow are another model's."""
        self._best.clear()
        if not self._quiet:
            say(f"model {model}")

    def show(self, look: dict[str, Any]) -> None:
        for rate in self._config.learning_rates:
            probes = [probe for probe in look["probes"] if probe["learning_rate"] == rate]
            top1, top5, score = (
                100 * sum(values) / len(probes)
                for values in zip(*((one["top1"], one["top5"], judged(one)) for one in probes), strict=True)
            )
            best = self._best[rate] = max(score, self._best.get(rate, 0.0))
            if self._quiet:
                continue
            several = probes[0]["mean_ap"] is not None
            if several:
                say(f"* Final mAP: {score:.1f}")
            say(f"* Final Acc@1: {top1:.1f} | Final Acc@5: {top5:.1f}")
            of_rate = f"[lr {rate:g}]" if len(self._config.learning_rates) > 1 else ""
            what = "mAP" if several else "acc1"
            say(f"[Val][Epoch {look['epoch'] - 1}]{of_rate} acc1={top1:.4f} acc5={top5:.4f} | Best {what}={best:.4f}")


def print_report(report: dict[str, Any], out: Path) -> None:
    chosen, best, test = report["selected_on_validation"], report["best_on_validation"], report["test"]
    say(
        f"best_lr: {best['learning_rate']:g} max_acc_top1: {100 * best['top1']:.4f} "
        f"max_acc_top5: {100 * best['top5']:.4f}"
    )
    say(f"Saved report to {report['published_report']}")
    clips = {name: _clips(split) for name, split in report["splits"].items()}
    facts: list[tuple[str, object]] = [
        ("model", report["model"]),
        ("cache", report["cache"]),
        ("tokens", "{} of {} channels a clip".format(*report["tokens"])),
        ("classes", report["classes"]),
        *((f"{name} clips", said) for name, said in clips.items()),
        ("validation", report["validation"]),
        ("chosen on validation", f"learning rate {chosen['learning_rate']:g}, epoch {chosen['epoch']}"),
        *_accuracies("  {} there", chosen, None),
    ]
    if test is None:
        facts.append(("test", "none: there is no test.csv"))
    else:
        facts += _accuracies("test {}", test, test.get("top1_deviation", test.get("mean_ap_deviation")))
    (_, best_score), *_ = _accuracies("{}", best, None)
    facts += [
        ("best on validation", f"{best_score}, as the published protocol reports; too high"),
        ("time", f"{report['seconds']} s"),
        ("report", out / "report.json"),
    ]
    print_facts(f"Attentive probe, {report['dataset']}", facts)


def print_comparison(comparison: dict[str, Any], out: Path) -> None:
    models = comparison["models"]
    scores = {
        what: name for what, name in (("mAP", "mean_ap"), ("top-1", "top1"), ("top-5", "top5")) if name in models[0]
    }
    rows = [
        [
            model["model"],
            *(_mean_and_spread(model[name]) for name in scores.values()),
            model["tokens"],
            model["channels"],
            "made before" if model["encoding_seconds"] is None else f"{model['encoding_seconds']:.1f}",
        ]
        for model in models
    ]
    print_rows(
        f"Attentive probes, {comparison['dataset']}, {models[0]['split']}, seeds {comparison['seeds']}",
        ["model", *(f"{what}, %" for what in scores), "tokens", "channels", "encoding, s"],
        rows,
    )
    say(f"Saved table and picture to {out / 'compare.json'}, {out / 'compare.png'}")
    print_failures([f"{name}: {reason}" for name, reason in comparison["failed"].items()], str(out / "compare.json"))


def _mean_and_spread(score: dict[str, float | None]) -> str:
    """In percent."""
    spread = "" if score["deviation"] is None else f" ± {100 * score['deviation']:.2f}"
    return f"{100 * (score['mean'] or 0):.2f}{spread}"


def _accuracies(name: str, scores: dict[str, Any], deviation: float | None) -> list[tuple[str, object]]:
    """The scores by name, what probes are judged by first, with its spread over seeds."""
    named = {"mAP": scores.get("mean_ap"), "top-1": scores["top1"], "top-5": scores["top5"]}
    there = {what: f"{value:.2%}" for what, value in named.items() if value is not None}
    first = next(iter(there))
    if deviation is not None:
        there[first] += f" ± {deviation:.2%} over seeds"
    return [(name.format(what), value) for what, value in there.items()]


def _clips(split: dict[str, int]) -> str:
    return f"{split['clips']}" + (f", {split['failed']} more failed" if split["failed"] else "")
