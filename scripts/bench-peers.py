"""Ingests the same standard events into chdb and into Aurum, asks both the dashboard's questions, and compares.

Everything runs on this machine in this run: each engine reads the files in a process of its own, which is what is
compared; then Aurum as a server on a private port is filled over HTTP by a sender on the same cores, and asked.
Exit 0 when the bars are met, 1 when one is missed, 2 when other work disturbed the run.
"""
import argparse, ctypes, glob, json, os, shutil, signal, statistics, subprocess, sys, tempfile, time, urllib.error
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
AURUM = os.path.join(ROOT, ".build", "release", "aurum")
APPS = 200
CONNECTIONS = 96
INGEST_BAR, QUERY_BAR, OTHERS_MAX = 4.0, 1.5, 0.2

STRUCTURE = (
    "type LowCardinality(String), event LowCardinality(String), messageId UUID, userId String, anonymousId String, "
    "timestamp DateTime64(3, 'UTC'), "
    "context Tuple(channel LowCardinality(String), utm_source LowCardinality(String), "
    "utm_medium LowCardinality(String), utm_campaign LowCardinality(String)), "
    "properties Tuple(url String, referrer LowCardinality(String), revenue Nullable(Decimal(18, 2)), "
    "currency LowCardinality(String))"
)
READ = {"date_time_input_format": "best_effort", "input_format_json_defaults_for_missing_elements_in_named_tuple": 1}
FSYNC = "fsync_after_insert = 1, fsync_part_directory = 1"
PERSON = "if(userId != '', userId, anonymousId)"
# Name, question to chdb, question to Aurum, and how either answer becomes the same value.
QUERIES = [
    (
        "events per hour",
        "SELECT toStartOfHour(timestamp) AS h, count() FROM events GROUP BY h ORDER BY h",
        {"measures": ["count"], "bucket": "hour"},
        lambda rows: sorted(int(row[1]) for row in rows),
        lambda rows: sorted(row["count"] for row in rows),
    ),
    (
        "persons per day",
        f"SELECT toDate(timestamp) AS d, uniqExact({PERSON}) FROM events GROUP BY d ORDER BY d",
        {"measures": ["unique(person)"], "bucket": "day"},
        lambda rows: sorted(int(row[1]) for row in rows),
        lambda rows: sorted(row["unique(person)"] for row in rows),
    ),
    (
        "top sources",
        "SELECT context.utm_source AS s, count() AS c FROM events GROUP BY s ORDER BY c DESC LIMIT 10",
        {"measures": ["count"], "group_by": ["campaign.source"], "order": ["count desc"], "limit": 10},
        lambda rows: sorted(int(row[1]) for row in rows),
        lambda rows: sorted(row["count"] for row in rows),
    ),
    (
        "value by campaign",
        "SELECT context.utm_campaign AS c, properties.currency AS u, sum(properties.revenue) FROM events "
        "WHERE isNotNull(properties.revenue) GROUP BY c, u",
        {
            "measures": ["sum(value)"], "group_by": ["campaign.name"],
            "where": {"column": "value", "op": "exists"}, "limit": 1000,
        },
        lambda rows: sorted(round(float(row[2]) * 100) for row in rows),
        lambda rows: sorted(round(float(v) * 100) for row in rows for v in row["sum(value)"].values()),
    ),
    (
        "top pages",
        "SELECT properties.url AS u, count() AS c FROM events GROUP BY u ORDER BY c DESC LIMIT 20",
        {"measures": ["count"], "group_by": ["url"], "order": ["count desc"], "limit": 20},
        lambda rows: sorted(int(row[1]) for row in rows),
        lambda rows: sorted(row["count"] for row in rows),
    ),
]


# ---- chdb, in a process of its own


def chdb_worker(task):
    from chdb import session

    chdb = session.Session(task["path"])
    if task["do"] == "ingest":
        result = chdb_ingest(chdb, task)
    else:
        result = chdb_queries(chdb, task)
    print(json.dumps(result), flush=True)


def chdb_ingest(chdb, task):
    settings = f" SETTINGS {FSYNC}" if task["durable"] else ""
    chdb.query("CREATE DATABASE IF NOT EXISTS d ENGINE = Atomic")
    chdb.query("USE d")
    chdb.query(f"CREATE TABLE events ({STRUCTURE}) ENGINE = MergeTree ORDER BY (event, timestamp){settings}")
    read = ", ".join(f"{name} = {value!r}" for name, value in READ.items())
    files = sorted(glob.glob(os.path.join(task["data"], "*.ndjson")))
    times = os.times()
    before = times.user + times.system
    if task["bodies"]:
        files = files[: task["bodies"]]
        texts = [open(file, encoding="utf-8").read() for file in files]
        began = time.perf_counter()
        for text in texts:
            chdb.query(f"INSERT INTO events SETTINGS {read} FORMAT JSONEachRow {text}")
    else:
        pattern = os.path.join(task["data"], "*.ndjson")
        began = time.perf_counter()
        chdb.query(
            f"INSERT INTO events SELECT * FROM file('{pattern}', JSONEachRow, $${STRUCTURE}$$) SETTINGS {read}"
        )
    seconds = time.perf_counter() - began
    times = os.times()
    cpu = times.user + times.system - before
    count = int(chdb.query("SELECT count() FROM events", "CSV").data().strip())
    size = int(chdb.query("SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND table = 'events'", "CSV").data())
    version = chdb.query("SELECT version()", "CSV").data().strip().strip('"')
    return {
        "events": count, "seconds": seconds, "disk": size, "cpu": cpu, "version": version,
    }


def chdb_queries(chdb, task):
    chdb.query("USE d")
    answers = {}
    for name, sql, *_ in QUERIES:
        times = []
        for _ in range(task["repeats"] + 3):
            began = time.perf_counter()
            answer = chdb.query(sql, "JSONCompact")
            text = answer.data()
            times.append((time.perf_counter() - began) * 1000)
        answers[name] = {"ms": times[3:], "rows": json.loads(text)["data"]}
    return answers


def run_chdb(task):
    worker = start([sys.executable, os.path.abspath(__file__), "--worker", json.dumps(task)], stdout=subprocess.PIPE)
    out, _ = worker.communicate(timeout=900)
    if worker.returncode != 0:
        raise SystemExit(f"chdb failed with status {worker.returncode}")
    return json.loads(out.decode().strip().splitlines()[-1])


# ---- processes

children = []


def die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def start(command, **more):
    child = subprocess.Popen(command, preexec_fn=die_with_parent, **more)
    children.append(child)
    return child


def stop(child):
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(timeout=30)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
    if child in children:
        children.remove(child)


def others(seconds=2.0):
    """Cores that somebody else keeps busy while we wait."""
    def busy():
        fields = [int(field) for field in open("/proc/stat").readline().split()[1:9]]
        return (fields[0] + fields[1] + fields[2] + fields[5] + fields[6]) / 100

    before = busy()
    time.sleep(seconds)
    return max(0.0, (busy() - before) / seconds)


# ---- Aurum


class Server:
    """`aurum serve` on a free port with a folder of its own."""

    def __init__(self, folder):
        self.folder = folder
        self.log = open(folder + ".log", "wb")
        environment = dict(
            os.environ, AURUM_DATA_DIR=folder, AURUM_HTTP_PORT="0", AURUM_METRICS_ADDRESS="off",
            AURUM_LOG_LEVEL="error", AURUM_EVENTS_PER_KEY_SECOND="10000000",
        )
        self.process = start([AURUM, "serve"], env=environment, stdout=self.log, stderr=self.log)
        contact = os.path.join(folder, "server.json")
        deadline = time.time() + 30
        while not os.path.exists(contact):
            if self.process.poll() is not None or time.time() > deadline:
                raise SystemExit("aurum did not start: " + open(folder + ".log").read()[-1000:])
            time.sleep(0.05)
        facts = json.load(open(contact))
        self.url, self.admin = facts["url"].rstrip("/"), facts["token"]
        self.keys = [self.key(["events:write"], f"app-{number}") for number in range(APPS)]
        self.reader = self.key(["events:read", "analytics:read"], "app-0")

    def key(self, scopes, app):
        body = {"name": "peers", "org": "peers", "app": app, "scopes": scopes}
        return self.post("/v1/keys", body, self.admin)["key"]

    def post(self, path, body, key=None):
        request = urllib.request.Request(
            self.url + path, data=json.dumps(body).encode(), method="POST",
            headers={"Authorization": "Bearer " + (key or self.reader), "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def ingest(self, data):
        command = [AURUM, "load", "--replay", data, "--target", self.url, "--json", "--pid", str(self.process.pid),
                   "--connections", str(CONNECTIONS)]
        for key in self.keys:
            command += ["--key", key]
        load = start(command, stdout=subprocess.PIPE)
        out, _ = load.communicate(timeout=900)
        if load.returncode != 0:
            raise SystemExit(f"aurum load ended with {load.returncode}: {out.decode()[-1000:]}")
        return json.loads(out)

    def stop(self):
        stop(self.process)
        self.log.close()

    @property
    def disk(self):
        files = glob.glob(os.path.join(self.folder, "events", "**", "*.aurumlog"), recursive=True)
        return sum(os.path.getsize(file) for file in files)


def read_files(data, work):
    """The files into a log of the process that reads them, as chdb does."""
    run = start([AURUM, "bench", "ingest", "--data", data, "--json"], stdout=subprocess.PIPE,
                env=dict(os.environ, TMPDIR=work))
    out = run.communicate(timeout=900)[0]
    if run.returncode not in (0, 1) or not out:
        raise SystemExit(f"aurum bench ingest ended with {run.returncode}")
    rows = {row["name"]: row for row in json.loads(out)["rows"]}
    ingest, cpu = rows["files.ingest"], rows["files.cpu"]
    return {"stored": rows["files.stored"]["value"], "eventsPerSecond": ingest["value"], "cpuMicroseconds": cpu["value"],
            "note": ingest["note"], "ratio": rows["files.ratio"]["value"]}


def ask_aurum(server, repeats):
    answers = {}
    for name, _, question, *_ in QUERIES:
        times = []
        for _ in range(repeats + 3):
            began = time.perf_counter()
            try:
                answer = server.post("/v1/query", question)
            except urllib.error.HTTPError as error:
                if error.code in (404, 405):
                    return None
                raise SystemExit(f"POST /v1/query answered {error.code}: {error.read()[:500]!r}")
            times.append((time.perf_counter() - began) * 1000)
        answers[name] = {"first": times[0], "ms": times[3:], "rows": answer["rows"]}
    return answers


# ---- the comparison


def text_ratios(data):
    """zstd over the text, body by body, as a reference for the ratio."""
    import pyarrow

    ratios = {}
    files = sorted(glob.glob(os.path.join(data, "*.ndjson")))[:250]
    for level in (1, 3):
        codec = pyarrow.Codec("zstd", compression_level=level)
        raw = packed = 0
        for file in files:
            text = open(file, "rb").read()
            raw += len(text)
            packed += len(codec.compress(text, asbytes=True))
        ratios[f"zstd {level}"] = raw / packed
    return ratios


def measure(options, work):
    data = os.path.join(work, "data")
    run = start([AURUM, "bench", "events", "--write", data, "--events", str(options.events), "--json"],
                stdout=subprocess.PIPE)
    totals = json.loads(run.communicate()[0])
    report = {"events": totals["events"], "bytes": totals["bytes"], "others": [others()]}
    report["text"] = text_ratios(data)
    ways = [
        ("typed MergeTree, one insert", {"durable": False, "bodies": 0}),
        ("typed MergeTree, one insert, fsync", {"durable": True, "bodies": 0}),
        ("typed MergeTree, insert a body, fsync", {"durable": True, "bodies": options.bodies}),
    ]
    report["chdb"] = {name: [] for name, _ in ways}
    report["files"] = []
    report["aurum"] = []
    server = None
    for number in range(options.repeats):
        for place, (name, how) in enumerate(ways):
            path = os.path.join(work, f"chdb-{number}-{place}")
            report["chdb"][name].append(run_chdb({"do": "ingest", "path": path, "data": data, **how}))
            if number == options.repeats - 1 and place == 0:
                kept = path
            else:
                shutil.rmtree(path, ignore_errors=True)
        report["files"].append(read_files(data, work))
        if server:
            server.stop()
            shutil.rmtree(server.folder, ignore_errors=True)
        server = Server(os.path.join(work, f"aurum-{number}"))
        report["aurum"].append(server.ingest(data))
    report["queries"] = {
        "chdb": run_chdb({"do": "queries", "path": kept, "repeats": options.queries}),
        "aurum": ask_aurum(server, options.queries),
    }
    server.stop()
    report["aurum_disk"] = server.disk
    report["others"].append(others())
    return report


def show(report):
    """Prints the table; answers whether every bar is met."""
    met = True
    median = statistics.median
    events = report["events"]
    print(f"{events} standard events, {report['bytes']} bytes; other processes before and after: "
          + ", ".join(f"{cores:.2f} cores" for cores in report["others"]))
    print(f"chdb {next(iter(report['chdb'].values()))[0]['version']}, aurum {version()}, {os.cpu_count()} cores\n")
    print(f"{'ingest':<42}{'events/s':>12}{'CPU µs/event':>14}{'ratio':>8}  durable")
    best = 0
    for name, runs in report["chdb"].items():
        rate = median(run["events"] / run["seconds"] for run in runs)
        best = max(best, rate)
        share = runs[0]["events"] / events
        print(f"{'chdb, ' + name:<42}{rate:>12,.0f}{median(run['cpu'] / run['events'] * 1e6 for run in runs):>14.2f}"
              f"{report['bytes'] * share / runs[-1]['disk']:>8.2f}  "
              + ("every insert" if "fsync" in name else "no"))
    files = median(run["eventsPerSecond"] for run in report["files"])
    print(f"{'aurum, the files':<42}{files:>12,.0f}{median(run['cpuMicroseconds'] for run in report['files']):>14.2f}"
          f"{median(run['ratio'] for run in report['files']):>8.2f}  every body")
    rate = median(run["eventsPerSecond"] for run in report["aurum"])
    cpu = median((run.get("targetCPUSeconds") or 0) / run["events"] * 1e6 for run in report["aurum"])
    print(f"{f'aurum, POST /v1/events, {CONNECTIONS} connections':<42}{rate:>12,.0f}{cpu:>14.2f}"
          f"{report['bytes'] / max(1, report['aurum_disk']):>8.2f}  every answer")
    for name, ratio in report["text"].items():
        print(f"{name + ' over the text of a body':<42}{'':>12}{'':>14}{ratio:>8.2f}")
    stored = [run["outcomes"]["stored"] for run in report["aurum"]]
    if any(count != events for count in stored):
        print(f"aurum stored {stored} of {events}")
        met = False
    for run in report["files"]:
        if run["stored"] != events:
            print(f"aurum stored {run['stored']:.0f} of {events} events of the files: {run['note']}")
            met = False
    met &= verdict("aurum's ingest of the files by chdb's best", files / best, INGEST_BAR, True)
    print(f"aurum's ingest over HTTP, its sender on the same cores, by chdb's best: {rate / best:.2f} (no bar)")
    print(f"\n{'query':<22}{'chdb ms':>10}{'aurum ms':>10}{'ratio':>8}{'first':>10}{'ratio':>8}  n   answers")
    if report["queries"]["aurum"] is None:
        print("aurum has no POST /v1/query in this build: not judged")
        return met
    worst = 0
    for name, _, _, of_chdb, of_aurum in QUERIES:
        peer, own = report["queries"]["chdb"][name], report["queries"]["aurum"][name]
        ratio = median(own["ms"]) / median(peer["ms"])
        worst = max(worst, ratio)
        equal = of_chdb(peer["rows"]) == of_aurum(own["rows"])
        met &= equal
        first = own["first"] / median(peer["ms"])
        print(f"{name:<22}{median(peer['ms']):>10.2f}{median(own['ms']):>10.2f}{ratio:>8.2f}"
              f"{own['first']:>10.2f}{first:>8.2f}  {len(own['ms']):<4}"
              + ("equal" if equal else "DIFFERENT"))
    print("chdb answers in its own process, aurum over HTTP; aurum keeps what it found, so its first answer, which\n"
          "nothing was kept for, stands beside the median of the later ones, by chdb's median too")
    return met & verdict("aurum's slowest query by chdb's", worst, QUERY_BAR, False)


def verdict(name, value, bar, more):
    met = value >= bar if more else value <= bar
    print(f"{name}: {value:.2f} (bar {'≥' if more else '≤'} {bar}) {'met' if met else 'MISSED'}")
    return met


def version():
    return subprocess.run([AURUM, "version"], stdout=subprocess.PIPE).stdout.decode().split("\n")[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=3, help="ingests of each kind")
    parser.add_argument("--queries", type=int, default=20, help="repeats of each query")
    parser.add_argument("--bodies", type=int, default=100, help="bodies of the insert-a-body way")
    parser.add_argument("--out", default=os.path.join(ROOT, "reports", "bench-peers"))
    parser.add_argument("--tiny", action="store_true", help="a small round: proves that it works, judges nothing")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        return chdb_worker(json.loads(options.worker))
    if options.tiny:
        options.events, options.repeats, options.queries, options.bodies = 8000, 1, 2, 3
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    os.makedirs(options.out, exist_ok=True)
    work = tempfile.mkdtemp(prefix="work-", dir=options.out)
    try:
        report = measure(options, work)
        with open(os.path.join(options.out, "report.json"), "w", encoding="utf-8") as file:
            json.dump(report, file, indent=1)
        met = show(report)
    finally:
        for child in list(children):
            stop(child)
        shutil.rmtree(work, ignore_errors=True)
    if options.tiny:
        return
    if max(report["others"]) > OTHERS_MAX:
        print("void: other processes were at work; run it again on a quiet machine")
        sys.exit(2)
    sys.exit(0 if met else 1)


if __name__ == "__main__":
    main()
