"""Credits the same generated paths with aurum and with other packages, CPU time beside CPU time.

ChannelAttribution: CPU time of the call of markov_model alone, its input already in memory; aurum: CPU time of the whole
process, reading the file included. The other packages are asked for their first-order Markov model on fewer paths,
because they take their time. Exit 0 when the bars are met, 1 when one is missed.
"""
import argparse, importlib.metadata, json, os, subprocess, sys, tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
AURUM = os.path.join(ROOT, ".build", "release", "aurum")
CPU_BAR = 10.0
# Largest sum of differences by the total, of conversions and of value, for each convergence of the simulation.
SAMPLING = {0.05: (0.05, 0.06), 0.005: (0.01, 0.02)}
NAMES = ("path", "total_conversions", "total_conversion_value", "total_null")


def child_cpu(command):
    """Standard output and CPU seconds of a command."""
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen(command, stdout=out)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            sys.exit(f"{command[0]} ended with {process.returncode}")
        out.seek(0)
        return out.read().decode(), usage.ru_utime + usage.ru_stime


def aurum(file, models):
    text, cpu = child_cpu([AURUM, "attribute", file, "--models", models, "--format", "json"])
    return json.loads(text)["models"], cpu


# Runs in a process of its own: prints CPU seconds of the work alone and what it found.
WORKER = r'''
import contextlib, io, json, sys, time
import pandas
task = json.loads(sys.argv[1])
noise = io.StringIO()
with contextlib.redirect_stdout(noise):
    frame = pandas.read_csv(task["file"])
    paths, conversions, value, nulls = task["names"]
    if task["peer"] == "ChannelAttribution":
        import ChannelAttribution as peer
        start = time.process_time()
        if task["kind"] == "heuristic":
            found = peer.heuristic_models(frame, paths, conversions, var_value=value, flg_pro=False)
        else:
            found = peer.markov_model(
                frame, paths, conversions, var_value=value, var_null=nulls, order=task["order"],
                conv_par=task["convergence"], seed=1, verbose=False, flg_pro=False)
        cpu = time.process_time() - start
        if isinstance(found, dict):
            found = found["result"]
        rows = found.to_dict("records")
    elif task["peer"] == "mta":
        from mta import MTA
        start = time.process_time()
        model = MTA(data=frame, allow_loops=False)
        model.markov(sim=False)
        cpu = time.process_time() - start
        rows = [dict(channel_name=k, share=float(v)) for k, v in model.attribution["markov"].items()]
    elif task["peer"] == "do-attribution":
        import do_attribution
        both = pandas.concat([
            pandas.DataFrame({"p": frame[paths], "c": 1, "w": frame[conversions]}),
            pandas.DataFrame({"p": frame[paths], "c": 0, "w": frame[nulls]})])
        both = both[both.w > 0]
        start = time.process_time()
        fit = do_attribution.MarkovAttribution().fit(both.p.values, both.c.values, weights=both.w.values)
        cpu = time.process_time() - start
        rows = [dict(channel_name=k, share=float(v)) for k, v in fit["attribution"].items()]
    else:
        from mam import MAM
        both = pandas.concat([
            pandas.DataFrame({"p": frame[paths], "c": True, "w": frame[conversions]}),
            pandas.DataFrame({"p": frame[paths], "c": False, "w": frame[nulls]})])
        both = both[both.w > 0].reset_index(drop=True)
        start = time.process_time()
        model = MAM(df=both, format_type="grouped_journey", channels_colname="p",
                    journey_with_conv_colname="c", occurrences_colname="w")
        model.run_markov()
        cpu = time.process_time() - start
        rows = []
print(json.dumps({"cpu": cpu, "rows": rows}))
'''


def peer(name, file, **task):
    task.update(peer=name, file=file, names=NAMES)
    done = subprocess.run(
        [sys.executable, "-c", WORKER, json.dumps(task)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if done.returncode != 0:
        return None, (done.stderr.decode().strip().split("\n") or ["?"])[-1]
    return json.loads(done.stdout.decode().strip().split("\n")[-1]), None


def best_peer(name, file, rounds=3, **task):
    """The run of least CPU time: both sides get the same number of tries."""
    best = None
    for _ in range(rounds):
        found, problem = peer(name, file, **task)
        if found is None:
            return None, problem
        if best is None or found["cpu"] < best["cpu"]:
            best = found
    return best, None


def distance(rows, column, mine, member):
    """Sum of absolute differences by the total, over the channels of either side."""
    theirs = {row["channel_name"]: row[column] for row in rows}
    total = sum(theirs.values())
    return sum(abs(theirs.get(n, 0) - mine.get(n, {}).get(member, 0)) for n in theirs.keys() | mine.keys()) / total


def verdict(name, value, bar, more=False):
    met = value >= bar if more else value <= bar
    print(f"  {name}: {value:.6g} (bar {'≥' if more else '≤'} {bar:g}) {'met' if met else 'MISSED'}")
    return met


def channel_attribution(file, options):
    met = True
    print(f"ChannelAttribution {importlib.metadata.version('ChannelAttribution')}, {options.paths} paths")
    found, problem = peer("ChannelAttribution", file, kind="heuristic")
    if found is None:
        print(f"  does not run here: {problem}")
        return False
    mine, _ = aurum(file, "first,last,linear")
    for model, prefix in (("first", "first_touch"), ("last", "last_touch"), ("linear", "linear_touch")):
        for member, suffix in (("conversions", "conversions"), ("value", "value")):
            gap = distance(found["rows"], f"{prefix}_{suffix}", mine[model]["channels"], member)
            met &= verdict(f"{model} {member} differ by", gap, 1e-9)
    for order in (1, 2, 3):
        mine, cpu = min((aurum(file, f"markov{order}") for _ in range(3)), key=lambda pair: pair[1])
        found, problem = best_peer("ChannelAttribution", file, kind="markov", order=order, convergence=0.05)
        if found is None:
            print(f"  order {order}: {problem}")
            met = False
            continue
        print(f"  order {order}: aurum {cpu:.3f} s CPU with reading, ChannelAttribution {found['cpu']:.3f} s without")
        name = f"order {order}: ChannelAttribution's CPU time by aurum's"
        if order == 1 and not options.tiny:
            met &= verdict(name, found["cpu"] / cpu, CPU_BAR, more=True)
        else:
            print(f"  {name}: {found['cpu'] / cpu:.1f}")
    if not options.tiny:
        met &= sampling(os.path.join(ROOT, "Tests", "Fixtures", "attribution", "channelattribution_paths.csv"))
    return met


def sampling(file):
    """The difference of a simulation shrinks as it converges; on the package's own sample."""
    met = True
    mine, _ = aurum(file, "markov1")
    mine = mine["markov1"]["channels"]
    for convergence, bars in SAMPLING.items():
        found, problem = peer("ChannelAttribution", file, kind="markov", order=1, convergence=convergence)
        if found is None:
            print(f"  {problem}")
            return False
        for member, column, bar in zip(("conversions", "value"), ("total_conversions", "total_conversion_value"), bars):
            met &= verdict(f"convergence {convergence}: {member} differ by", distance(found["rows"], column, mine, member), bar)
    return met


def others(file, count):
    print(f"others, first-order Markov, {count} paths")
    mine, cpu = min((aurum(file, "markov1") for _ in range(3)), key=lambda pair: pair[1])
    mine = mine["markov1"]["channels"]
    total = sum(facts["conversions"] for facts in mine.values())
    print(f"  {'aurum':<32}{cpu:>9.3f} s CPU, reading included")
    for name in ("mta", "do-attribution", "marketing-attribution-models"):
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            print(f"  {name:<32} not installed")
            continue
        found, problem = best_peer(name, file)
        if found is None:
            print(f"  {name + ' ' + version:<32} does not run: {problem}")
            continue
        gap = ""
        shares = {row["channel_name"]: row["share"] for row in found["rows"]}
        if shares and sum(shares.values()):
            whole = sum(shares.values())
            apart = sum(
                abs(shares.get(n, 0) / whole - mine.get(n, {}).get("conversions", 0) / total)
                for n in shares.keys() | mine.keys())
            gap = f", shares differ by {apart:.2g}"
        print(f"  {name + ' ' + version:<32}{found['cpu']:>9.3f} s CPU without reading{gap}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--paths", type=int, default=1_000_000)
    parser.add_argument("--few", type=int, default=20_000, help="paths for the other packages")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--tiny", action="store_true", help="a small round: proves that it works, judges no speed")
    options = parser.parse_args()
    if options.tiny:
        options.paths, options.few = 5000, 500
    with tempfile.TemporaryDirectory() as folder:
        files = {}
        for count in (options.paths, options.few):
            files[count] = os.path.join(folder, f"{count}.csv")
            subprocess.run(
                [AURUM, "bench", "attribution", "--write", files[count], "--paths", str(count), "--seed",
                 str(options.seed)], check=True)
        print(subprocess.run([AURUM, "version"], stdout=subprocess.PIPE).stdout.decode().split("\n")[0])
        met = channel_attribution(files[options.paths], options)
        others(files[options.few], options.few)
    sys.exit(0 if met else 1)


if __name__ == "__main__":
    main()
