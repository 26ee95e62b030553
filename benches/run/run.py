"""Measures the whole gateway beside a bare hyper proxy and nginx, in one interleaved run.

usage: run.py [--rounds N] [--scale X] [--only NAME,NAME] [--gateway PATH] [--against PATH]
              [--peers PATH] [--out FILE]

The measured process has core 0, upstream and load have core 1. The gateway runs with
benches/gateway.yaml, limits and metrics on and without its database; `+ledger` is the same with
SQLite, `+convert` asks an Anthropic upstream in OpenAI's format. Each figure is the median of the
rounds; ratios are to `proxy`. Rates depend on what else the machine does, ratios hardly. With
--against, another build of the gateway is measured right beside each of its rows, as `before`, and
its ratios are those of each round.
"""
import argparse
import http.client
import json
import os
import pathlib
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
PEERS = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "benches/run/target")) / "release/bench-peers"
PATH = "/v1/chat/completions"
# name, heading, unit of one, digits
FIGURES = [
    ("cpu_json", "CPU us / JSON request", 1),
    ("cpu_paced", "CPU us / chunk, paced", 2),
    ("cpu_burst", "CPU us / chunk, burst", 2),
    ("p50", "p50 us", 0),
    ("p99", "p99 us", 0),
    ("first50", "first content p50 us", 0),
    ("first99", "first content p99 us", 0),
    ("gap99", "chunk gap p99 us", 0),
    ("rss_idle", "RSS idle MiB", 1),
    ("rss_1000", "RSS 1000 streams MiB", 1),
    ("start", "start ms", 0),
    ("size", "binary MB", 1),
    ("failed", "failed", 0),
]
RATIOS = FIGURES[:4] + FIGURES[5:6] + FIGURES[8:10]
ADDED = ["p50", "first50"]  # these are shown less what `direct` needs
BEFORE = " before"  # marks the rows of --against
NGINX = """
daemon off; worker_processes 1; worker_rlimit_nofile 8192; pid @DIR@/pid; error_log @DIR@/error.log;
events { worker_connections 4096; }
http {
  access_log off; client_body_temp_path @DIR@/body; proxy_temp_path @DIR@/proxy; fastcgi_temp_path @DIR@/fastcgi;
  uwsgi_temp_path @DIR@/uwsgi; scgi_temp_path @DIR@/scgi; keepalive_requests 100000000;
  upstream provider { server @UPSTREAM@; keepalive 1024; keepalive_requests 100000000; }
  server {
    listen @LISTEN@ backlog=2048;
    location / {
      proxy_pass http://provider; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;
    }
  }
}
"""


def address():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return "127.0.0.1:%d" % probe.getsockname()[1]


def ask(to, method, path, body=None):
    connection = http.client.HTTPConnection(to, timeout=5)
    try:
        headers = {"Authorization": "Bearer sk-bench", "Content-Type": "application/json"}
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


def body(model, stream):
    messages = [
        {"role": "system", "content": "You answer briefly and say when you do not know."},
        {"role": "user", "content": "Name three rivers that cross a border, and the border each of them crosses."},
    ]
    asked = {"model": model, "messages": messages, "temperature": 0.7, "max_tokens": 256}
    if stream:
        asked["stream"] = True
    return json.dumps(asked, separators=(",", ":"))


def family(pid):
    """A process and its children: nginx works in a second one."""
    found = [pid]
    for process in found:
        try:
            for task in os.listdir(f"/proc/{process}/task"):
                children = pathlib.Path(f"/proc/{process}/task/{task}/children").read_text()
                found += [int(child) for child in children.split()]
        except OSError:
            pass
    return found


def cpu_us(pid):
    """CPU time in microseconds: of the threads where the kernel tells, else in ticks."""
    total = 0
    for process in family(pid):
        try:
            for task in os.listdir(f"/proc/{process}/task"):
                total += int(pathlib.Path(f"/proc/{process}/task/{task}/schedstat").read_text().split()[0]) / 1e3
        except OSError:
            fields = pathlib.Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
            total += (int(fields[11]) + int(fields[12])) * 1e6 / os.sysconf("SC_CLK_TCK")
    return total


def rss_mib(pid):
    total = 0
    for process in family(pid):
        for line in pathlib.Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                total += int(line.split()[1])
    return total / 1024


class Run:
    def __init__(self, options):
        self.peers, self.gateway, self.against = options.peers, options.gateway, options.against
        self.scale = options.scale
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="uni-api-bench-"))
        self.under = []  # a program, with its arguments, that runs the gateway
        self.upstream = address()
        for model in ["gpt-4o-mini", "claude-sonnet-4-5"]:
            for stream in [False, True]:
                (self.folder / f"{model}-{stream}.json").write_text(body(model, stream))
        self.provider = self.start([self.peers, "upstream", self.upstream], core=1)
        self.wait(self.upstream, "GET", "/plan/50/0")

    def start(self, command, core, env=None, **more):
        log = open(self.folder / "log", "ab")
        command = ["taskset", "-c", str(core)] + [str(word) for word in command]
        more = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log} | more
        return subprocess.Popen(command, cwd=self.folder, env={"PATH": os.environ["PATH"]} | (env or {}), **more)

    def stop(self, process):
        process.terminate()
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def wait(self, to, method, path, asked=None, process=None):
        began, last = time.monotonic(), "nothing"
        while time.monotonic() - began < 20 and not (process and process.poll() is not None):
            try:
                last = ask(to, method, path, asked)
                if last == 200:
                    return (time.monotonic() - began) * 1e3
            except OSError as error:
                last = error
            time.sleep(0.001)
        raise RuntimeError(f"no answer ({last}): see {self.folder}/log")

    def launch(self, name, listen):
        """Starts a peer; the process, or none for `direct`."""
        folder = self.folder / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        if name == "direct":
            return None, 0
        if name == "proxy":
            return self.start([self.peers, "proxy", listen, self.upstream], core=0), 0
        if name == "nginx":
            binary = shutil.which("nginx") or "/usr/sbin/nginx"
            config = NGINX
            for key, value in [("@DIR@", folder), ("@LISTEN@", listen), ("@UPSTREAM@", self.upstream)]:
                config = config.replace(key, str(value))
            (folder / "nginx.conf").write_text(config)
            return self.start([binary, "-p", folder, "-c", folder / "nginx.conf"], core=0), os.path.getsize(binary)
        config = (ROOT / "benches" / "gateway.yaml").read_text().replace("@UPSTREAM@", f"http://{self.upstream}")
        (folder / "api.yaml").write_text(config)
        host, port = listen.split(":")
        env = {"HOST": host, "PORT": port, "METRICS_ADDR": address()}
        if "+ledger" in name:
            env["DB_PATH"] = str(folder / "stats.db")
        else:
            env["DISABLE_DATABASE"] = "true"
        gateway = self.against if BEFORE in name else self.gateway
        command = self.under + [gateway, "--config", folder / "api.yaml"]
        return self.start(command, core=0, env=env), os.path.getsize(gateway)

    def load(self, to, model, stream, process, **how):
        words = [f"{key}={value}" for key, value in how.items()]
        words += [f"to={to}", f"body={self.folder / f'{model}-{stream}.json'}"]
        before = cpu_us(process.pid) if process else 0
        load = self.start([self.peers, "load"] + words, core=1, stdout=subprocess.PIPE)
        seen = json.loads(load.communicate(timeout=120)[0])
        seen["cpu"] = (cpu_us(process.pid) if process else 0) - before
        return seen

    def plan(self, chunks, pause):
        ask(self.upstream, "GET", f"/plan/{chunks}/{pause}")

    def hold(self, to, model, process):
        self.plan(0, 0)
        words = ["hold=1000", f"to={to}", f"body={self.folder / f'{model}-True.json'}"]
        load = self.start([self.peers, "load"] + words, core=1, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            held = json.loads(load.stdout.readline())["held"]
            if held < 1000:
                raise RuntimeError(f"only {held} of 1000 streams are open")
            time.sleep(1)
            return rss_mib(process.pid)
        finally:
            load.stdin.close()
            load.wait(20)

    def measure(self, name):
        to = self.upstream if name == "direct" else address()
        model = "claude-sonnet-4-5" if "+convert" in name else "gpt-4o-mini"
        seconds = 4 * self.scale
        self.plan(20, 5)
        began = time.monotonic()
        process, size = self.launch(name, to)
        row = {"name": name, "failed": 0, "size": size / 1e6}
        try:
            # Streams where the upstream's whole answers are of another format.
            converts = "+convert" in name
            first = self.folder / f"{model}-{converts}.json"
            self.wait(to, "POST", PATH, first.read_text(), process)
            row["start"] = (time.monotonic() - began) * 1e3 if process else 0
            time.sleep(0.5)
            row["rss_idle"] = rss_mib(process.pid) if process else 0
            if not converts:
                self.load(to, model, False, process, conns=64, secs=self.scale)
                seen = self.load(to, model, False, process, conns=64, secs=seconds)
                row["failed"] += seen["failed"]
                row["cpu_json"] = seen["cpu"] / max(seen["requests"], 1)
                seen = self.load(to, model, False, process, rate=50, secs=seconds)
                row |= {"p50": seen["p50"], "p99": seen["p99"]}
                row["failed"] += seen["failed"]
            seen = self.load(to, model, True, process, rate=50, secs=seconds)
            row |= {"first50": seen["first50"], "first99": seen["first99"]}
            row["failed"] += seen["failed"]
            self.plan(50, 0)
            seen = self.load(to, model, True, process, conns=64, secs=seconds)
            row["cpu_burst"] = seen["cpu"] / max(seen["chunks"], 1)
            row["failed"] += seen["failed"]
            self.plan(50, 10)
            seen = self.load(to, model, True, process, conns=100, secs=seconds)
            row |= {"cpu_paced": seen["cpu"] / max(seen["chunks"], 1), "gap99": seen["gap99"]}
            row["failed"] += seen["failed"]
            if process:
                row["rss_1000"] = self.hold(to, model, process)
        finally:
            if process:
                self.stop(process)
        return row

    def end(self):
        self.stop(self.provider)


def table(rows, rounds):
    names = list(dict.fromkeys(row["name"] for row in rows))
    width = max(18, 2 + max(map(len, names)))

    def median(name, figure):
        seen = [row[figure] for row in rows if row["name"] == name and figure in row]
        return statistics.median(seen) if seen else None

    def line(cells):
        print(f"{cells[0]:<26}" + "".join(f"{cell:>{width}}" for cell in cells[1:]))

    print(f"\nMedians of {rounds} rounds, benches/gateway.yaml, {os.uname().machine}, {os.cpu_count()} cores")
    line([""] + names)
    for figure, heading, digits in FIGURES:
        cells = [median(name, figure) for name in names]
        line([heading] + ["-" if cell is None else f"{cell:.{digits}f}" for cell in cells])
    ratios = {}
    for base in [name for name in ["proxy", "nginx"] if name in names]:
        print(f"\nRatios to {base}")
        for figure, heading, _ in RATIOS:
            less = (median("direct", figure) or 0) if figure in ADDED else 0
            one = median(base, figure)
            cells = [heading if not less else "added " + heading]
            for name in names:
                value = median(name, figure)
                known = value is not None and one is not None and one - less > 0 and name != "direct"
                cells.append(f"{(value - less) / (one - less):.2f}" if known else "-")
                if known:
                    ratios.setdefault(base, {}).setdefault(name, {})[figure] = round((value - less) / (one - less), 3)
            line(cells)
    paired = [name for name in names if name + BEFORE in names]
    if paired:
        print("\nRatios to the row before: median of the rounds' ratios, least and most")
        line([""] + paired)
    for figure, heading, _ in RATIOS if paired else []:
        cells = [heading]
        for name in paired:
            found = pairs(rows, name, figure)
            cells.append(f"{statistics.median(found):.3f} {min(found):.3f}-{max(found):.3f}" if found else "-")
            ratios.setdefault("before", {}).setdefault(name, {})[figure] = [round(ratio, 3) for ratio in found]
        line(cells)
    return {"rounds": rounds, "rows": rows, "ratios": ratios}


def pairs(rows, name, figure):
    """What a row is to the one before it, of each round."""
    both = [name, name + BEFORE]
    now, before = ([row[figure] for row in rows if row["name"] == one and figure in row] for one in both)
    return [mine / its for mine, its in zip(now, before) if its]


def order(options, round_):
    """The rows of a round. Which of a pair goes first changes from round to round."""
    for name in options.only.split(","):
        both = [name + BEFORE, name] if options.against and name.startswith("uni-api") else [name]
        yield from both if round_ % 2 == 0 else reversed(both)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="stretches or shortens every phase")
    parser.add_argument("--only", default="direct,proxy,nginx,uni-api,uni-api+ledger,uni-api+convert")
    parser.add_argument("--gateway", type=pathlib.Path, default=TARGET / "release" / "uni-api")
    parser.add_argument("--against", type=pathlib.Path, help="a gateway to measure beside the other")
    parser.add_argument("--peers", type=pathlib.Path, default=PEERS)
    parser.add_argument("--out", type=pathlib.Path, default=TARGET / "bench.json")
    options = parser.parse_args()
    if os.cpu_count() < 2:
        sys.exit("two cores are needed: one for the measured process, one for upstream and load")
    options.gateway, options.peers = options.gateway.resolve(), options.peers.resolve()
    options.against = options.against and options.against.resolve()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 16384), most))
    # So that the finally blocks run and no process is left behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    run, rows = Run(options), []
    try:
        for round_ in range(options.rounds):
            for name in order(options, round_):
                if name == "nginx" and not (shutil.which("nginx") or os.path.exists("/usr/sbin/nginx")):
                    print("nginx is not installed and left out (make deps)", file=sys.stderr)
                    continue
                print(f"round {round_ + 1} of {options.rounds}: {name}", file=sys.stderr, flush=True)
                rows.append(run.measure(name))
    finally:
        run.end()
    result = table(rows, options.rounds)
    options.out.write_text(json.dumps(result, indent=1))
    print(f"\nAll rows: {options.out}")
    shutil.rmtree(run.folder, ignore_errors=True)


if __name__ == "__main__":
    main()
