"""What asynchronous rehearsal would cost a step on 8 to 1,024 workers: a model of measured and assumed parts, no run.

Measured here: the plan, storing and gathering rows of 3x224x224 bytes, and what gloo and the code do for a message.
Counts and rows travel as in the code: by collectives below `MANY` workers, by messages from there on. Busiest senders
come from real plans. The rest is assumed, see `scaling_networks.py`; processors that training does not need are taken
to be there.

Run: python benchmarks/scaling_model.py. Writes benchmarks/results/scaling_model.{json,md,png}.
"""

import argparse
from dataclasses import asdict
from typing import Any

from clocked import use_one_thread
from common import RESULTS, environment, markdown_table, write
from scaling_calls import Connections, measure_calls, measure_connections
from scaling_costs import (
    BATCH,
    CANDIDATES,
    MESSENGERS,
    N_CHANGED,
    N_CLASSES,
    RowCosts,
    measure_copying,
    measure_messages,
    measure_plan,
    measure_reading,
    measure_rows,
    ticket_bytes,
)
from scaling_networks import GLOO, NIC, NODE, NVLINK, PCIE, Network, background_of, networks_of, traffic_of
from scaling_picture import draw
from scaling_pipeline import FORWARD, JITTER, LEAST, MOST, ONE_IN, TAIL, Background, exposed, simulate

from redwood.buffers.distributed.peers import MANY

WORKERS, REPLAYS, STEPS = (8, 16, 32, 64, 128, 256, 512, 1024), (7, 28), (80e-3, 20e-3)
# Of a step: by how much it may get longer. The bar of `overlap.py` for two processes; calls into the buffer count, too.
HIDDEN = 0.02

Rows = list[dict[str, Any]]


def predict(rows: RowCosts, calls: float, networks: list[Network], rounds: int) -> tuple[Rows, Rows, Rows]:
    """What depends on the workers alone, and the steps over each network: of `uniform`, and of `class_balanced`.

    The rows of `class_balanced` travel as those of `uniform`, all groups being equally large.
    """
    facts, steps, balanced = [], [], []
    for workers in WORKERS:
        fact: dict[str, Any] = {"workers": workers}
        loads = {}
        for replay in REPLAYS:
            plan, draws = measure_plan("uniform", workers, replay, rounds)
            load = loads[replay] = traffic_of(draws, workers, replay)
            fact[f"plan, r={replay} (ms)"] = 1e3 * plan
            fact[f"busiest sender / r, r={replay}"] = float(load.sent.max(1).mean()) / replay
            for network in networks:
                parts = background_of(network, workers, replay, rows, plan, load, calls)
                steps += [_step(network, workers, replay, parts, step) for step in STEPS]
        plan, _ = measure_plan("class_balanced", workers, REPLAYS[0], 5)
        copying, reading = (measure(workers, N_CHANGED, 5) for measure in (measure_copying, measure_reading))
        load = loads[REPLAYS[0]]
        for network in networks:
            parts = background_of(network, workers, REPLAYS[0], rows, plan, load, calls, N_CHANGED, copying, reading)
            balanced += [_step(network, workers, REPLAYS[0], parts, step) for step in STEPS]
        fact |= {
            f"plan, class_balanced, {N_CLASSES} classes (ms)": 1e3 * plan,
            "copying its counts (ms)": 1e3 * copying,
            "reading its counts (ms)": 1e3 * reading,
            "its counts, received (MB)": (workers - 1) * ticket_bytes(N_CHANGED) / 1e6,
            "rows received, r=7 (MB)": REPLAYS[0] * rows.stride / 1e6,
        }
        facts.append(fact)
    return facts, steps, balanced


def _step(network: Network, workers: int, replay: int, parts: Background, step: float) -> dict[str, Any]:
    found: dict[str, Any] = {"network": network.name, "workers": workers, "r": replay, "training (ms)": 1e3 * step}
    found |= {"counts (ms)": 1e3 * parts.counts, "exchange (ms)": 1e3 * float(parts.exchange.mean())}
    found["background (ms)"] = 1e3 * (parts.before + parts.after)
    for name, overlap in (("async", True), ("sync", False)):
        found[f"{name}, formula (ms)"] = 1e3 * exposed(parts, step, overlap=overlap)
        found[f"{name}, simulated (ms)"] = 1e3 * simulate(parts, step, overlap=overlap)
    return found


def steps_table(title: str, network: Network, steps: Rows) -> str:
    """By workers: the parts of a step with the smaller r, and what is waited for."""
    table = []
    for workers in WORKERS:
        chosen = [step for step in steps if step["network"] == network.name and step["workers"] == workers]
        row = {"workers": workers} | {f"{name} (ms)": chosen[0][f"{name} (ms)"] for name in ("counts", "exchange")}
        for step in chosen:
            for name in ("async", "sync"):
                row[f"{name}, {step['training (ms)']:.0f} ms, r={step['r']}"] = step[f"{name}, simulated (ms)"]
        table.append(row)
    return f"## {title}\n\n{markdown_table(table)}"


def verdicts_of(networks: list[Network], steps: Rows, sampler: str) -> list[str]:
    """Up to how many workers rehearsal stays hidden."""
    told = []
    for network in networks:
        for training in STEPS:
            shown = [
                step
                for step in steps
                if (step["network"], step["r"], step["training (ms)"]) == (network.name, REPLAYS[0], 1e3 * training)
            ]
            limit = 1e3 * HIDDEN * training
            most = max((step["workers"] for step in shown if step["async, simulated (ms)"] <= limit), default=0)
            hidden = f"on up to {most} workers" if most else f"not even on {WORKERS[0]} workers"
            last = shown[-1]["async, simulated (ms)"]
            told.append(
                f"{sampler}, {network.name}: hidden behind steps of {1e3 * training:.0f} ms {hidden}; "
                f"on {WORKERS[-1]} each step takes {last:.2f} ms longer."
            )
    return told


def connections_table(found: Connections) -> Rows:
    """What each group of gloo costs once: the buffer has one for the exchange, and one for saving."""
    return [
        {
            "workers": workers,
            "connections of a worker": workers - 1,
            "its own time (s)": (workers - 1) * found.seconds,
            "the store's time for all (s)": workers * (workers - 1) * found.store_seconds,
            "memory of a worker, without the kernel's (MB)": (workers - 1) * found.n_bytes / 1e6,
            f"open sockets of a machine of {NODE}": NODE * (workers - 1),
        }
        for workers in WORKERS
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=40, help="measurements of each part")
    options = parser.parse_args()
    use_one_thread()
    rows, messages = measure_rows(options.rounds), measure_messages(options.rounds)
    calls, connections = measure_calls(5 * options.rounds), measure_connections()
    networks = networks_of(messages)
    facts, steps, balanced = predict(rows, calls, networks, options.rounds)
    verdicts = verdicts_of(networks, steps, "uniform")
    verdicts += verdicts_of(networks, balanced, f"class_balanced with {N_CLASSES} classes")
    late = max(
        abs(step["async, simulated (ms)"] - step["async, formula (ms)"]) / step["training (ms)"]
        for step in steps + balanced
        if step["network"] in [network.name for network in networks if not network.is_joint]
    )
    draw(steps, [network.name for network in networks], STEPS, RESULTS / "scaling_model.png")
    quiet = networks[1]
    text = [
        "A model, not a run: all milliseconds of counts, exchanges and waiting below are modelled. Collectives of gloo "
        f"below {MANY} workers, messages from there on; where it says comparison, collectives throughout. b = {BATCH}, "
        f"c = {CANDIDATES}, rows of {rows.stride:,} bytes, {NODE} workers on each machine. The forward pass is "
        f"{FORWARD:.2f} of a step; each half of a worker's step scatters by {100 * JITTER:.0f} %. One in {ONE_IN:,} "
        f"halves of a worker's steps, and of its jobs in the background, is held up by {1e3 * LEAST:.0f} to "
        f"{1e3 * MOST:.0f} ms (Pareto, exponent {TAIL}; assumed). Scatter and stragglers change asynchronous steps by "
        f"at most {100 * late:.1f} % of their training time, as the code exchanges. Hidden: a step gets at most "
        f"{100 * HIDDEN:.0f} % longer. Every cell contains the {1e3 * calls:.2f} ms of the calls into the buffer, "
        "which nothing hides. Left out: joining large images on the host, competition of both threads for Python's "
        "interpreter, messages that get in each other's way, a background without a free core.",
        f"Measured (CPU time): {1e6 * calls:.0f} us of the thread that trains for all calls of a step; "
        f"{1e6 * rows.decide:.0f} us to decide on a batch, {1e6 * rows.write:.0f} us to write and "
        f"{1e6 * rows.gather:.0f} us to gather a row; per worker and peer {1e6 * messages['all_to_all']:.0f} us of a "
        f"gloo all_to_all, {1e6 * messages['all_gather']:.0f} us of an all_gather; by messages "
        f"{1e6 * messages['round']:.0f} us per round of counts and {1e6 * messages['message']:.0f} us per worker that "
        f"rows are exchanged with ({MESSENGERS} workers, threads of one process); plans, and copying and "
        "reading the counts of class_balanced.",
        f"Assumed: {NIC / 1e9:.0f} GB/s for each network card and PCIe link, {NVLINK / 1e9:.0f} GB/s for NVLink, "
        f"{GLOO / 1e9:.1f} GB/s for gloo; {1e6 * networks[0].hop:.0f} us per hop of counts on a busy machine, "
        f"{1e6 * quiet.hop:.0f} us between quiet hosts, and {1e6 * quiet.peer:.0f} us for each message of an "
        "all_to_all there; own work for messages takes as long there as measured. Nothing else runs on the processors "
        "that the background needs.",
        "\n".join(f"- {verdict}" for verdict in verdicts),
        markdown_table(facts),
        "## Opening the connections, once for each process group\n\n" + markdown_table(connections_table(connections)),
        f"Measured: {1e6 * connections.seconds:.0f} us of a worker and {1e6 * connections.store_seconds:.0f} us of the "
        f"store for each connection, {connections.n_bytes / 1e3:.1f} kB (16 and 48 workers, threads of one process). "
        "The store is one thread of one process, through which all workers find each other.",
        "In the tables below: milliseconds by which a training step of so many milliseconds gets longer, simulated; "
        f"counts and exchange are those of r = {REPLAYS[0]}.",
        *(steps_table(network.name, network, steps) for network in networks),
        *(
            steps_table(f"class_balanced, {N_CLASSES} classes: {network.name}", network, balanced)
            for network in networks
        ),
    ]
    content = {
        **environment(),
        "rows": asdict(rows),
        "calls (ms)": 1e3 * calls,
        "connections": connections_table(connections),
        "messages": messages,
        "assumed": {"NIC": NIC, "PCIe": PCIE, "NVLink": NVLINK, "gloo": GLOO, "forward": FORWARD, "jitter": JITTER}
        | {"stragglers": {"one in": ONE_IN, "exponent": TAIL, "least": LEAST, "most": MOST}},
        "networks": [asdict(network) for network in networks],
        "workers": facts,
        "steps": steps,
        "steps, class_balanced": balanced,
        "verdicts": verdicts,
    }
    write("scaling_model", content, "\n\n".join(text))


if __name__ == "__main__":
    main()
