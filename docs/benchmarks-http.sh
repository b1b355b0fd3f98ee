#!/usr/bin/env bash
# Measures durable POST /count beside GET /count, the same server counting in memory, and webdis over Redis with
# "appendfsync always": at 1, 64 and 256 connections, on the loopback interface and one disk. They take turns in several rounds,
# because disk and processor may be shared. At the end it prints the medians, and the medians of the rounds' ratios.
# Needs wrk, redis-server and webdis (Debian's packages), and the jar and test classes of counter-app:
#   mvn -q -DskipTests -pl counter-app -am package && bash docs/benchmarks-http.sh
# Variables: ROUNDS (5); DURATION of one measurement (5s); WARM_UP before the first measurement of each server (15s); FOLDER on
# the disk to measure; WHAT to measure (durable get memory webdis, or tokens: durable with a token); BUSY, the number of processes that do other work meanwhile
# (0); JAVA_OPTIONS for the server (default: the relevant ones of the chart).
#
# "bash docs/benchmarks-http.sh memory" instead prints how much memory the server uses while 64 connections count to REQUESTS
# (10000000), with all options of the chart in 256 MB.
set -euo pipefail
cd "$(dirname "$0")/.."

what=${1:-rates}
case $what in
  rates) java_options=${JAVA_OPTIONS--XX:+UseSerialGC} tools="wrk redis-server webdis curl" ;;
  memory) java_options=${JAVA_OPTIONS-$(sed -n 's/^  options: //p' helm/counter/values.yaml) -XX:MaxRAM=256m} tools="wrk curl" ;;
  *) echo "usage: $0 [memory]" >&2; exit 2 ;;
esac
rounds=${ROUNDS:-5} duration=${DURATION:-5s} warm_up=${WARM_UP:-15s} connections=${CONNECTIONS:-1 64 256} subjects=${WHAT:-durable get memory webdis}
folder=$(mktemp -d "${FOLDER:-/var/tmp}/counterset-bench.XXXXXX")
pids=()
cleanup() {
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
  rm -rf "$folder"
}
trap cleanup EXIT

for tool in $tools; do
  command -v "$tool" >/dev/null || { echo "$tool is not installed" >&2; exit 1; }
done

free_port() { # a port that is free now
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}
await() { # url process: at most 60 s
  for _ in $(seq 600); do
    curl -fs -m 2 -o /dev/null "$1" && return
    kill -0 "$2" 2>/dev/null || break
    sleep 0.1
  done
  echo "nothing answers at $1" >&2
  exit 1
}

post='wrk.method = "POST"
done = function(summary, latency, requests)
  io.write(string.format("RESULT %.0f %.3f %.3f %d %d\n", summary.requests / summary.duration * 1e6,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000,
    summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.status + summary.errors.timeout, summary.requests))
end'
printf '%s\n' "$post" >"$folder/post.lua"
printf '%s\n' "${post/\"POST\"/\"GET\"}" >"$folder/get.lua"

warm() { # url script
  wrk -t2 -c64 -d"$warm_up" -s "$folder/$2" "$1" >/dev/null
}
used() { # the processor time of the server so far, in microseconds
  awk -v hertz="$(getconf CLK_TCK)" '{ print ($14 + $15) * 1000000 / hertz }' "/proc/$server/stat"
}
measure() { # name connections url script
  local before after group=- result began server=${servers[$1]-$server} port=${ports[$1]-$port}
  before=$(commits)
  began=$(used)
  result=$(wrk -t"$(($2 < 2 ? 1 : 2))" -c"$2" -d"$duration" -s "$folder/$4" "$3" | sed -n 's/^RESULT //p')
  began=$(($(used) - began))
  after=$(commits)
  if [ "$1" = durable ] || [ "$1" = tokens ]; then
    group=$(awk -v b="$before" -v a="$after" 'BEGIN { split(b, x); split(a, y); d = y[1] - x[1]; printf "%.1f", d ? (y[2] - x[2]) / d : 0 }')
  fi
  # shellcheck disable=SC2086
  awk -v what="$1" -v used="$began" -v group="$group" -v connections="$2" '{ printf "%-10s %5d %12d %10.3f %10.3f %7d %8s %8s\n", what,
    connections, $1, $2, $3, $4, group, what == "webdis" || $5 == 0 ? "-" : sprintf("%.1f", used / $5) }' <<<"$result" | tee -a "$folder/results"
}
commits() { # commits and callers so far
  curl -s "http://127.0.0.1:$port/prometheus" | awk '/^counterset_commits_total/ { c = $2 } /^counterset_commit_callers_total/ { n = $2 } END { print c + 0, n + 0 }'
}

serve() { # port folder setting...: starts the server and sets its process
  # shellcheck disable=SC2086
  env MICRONAUT_SERVER_HOST=127.0.0.1 MICRONAUT_SERVER_PORT="$1" COUNTER_DIRECTORY="$2" COUNTERSET_BENCH_MEMORY=true COUNTER_LOG_LEVEL=warn "${@:3}" \
    java $java_options -cp counter-app/target/counter-app.jar:counter-app/target/test-classes io.counterset.app.Application &
  server=$!
  pids+=($server)
  await "http://127.0.0.1:$1/count" $server
}
declare -A ports servers
if [[ " $subjects " = *" tokens "* ]]; then
  token=$(python3 -c 'import secrets; print(secrets.token_hex(32))')
  echo "$token" >"$folder/write"
  printf 'wrk.headers["Authorization"] = "Bearer %s"\n%s\n' "$token" "$post" >"$folder/tokens.lua"
  ports[tokens]=$(free_port)
  serve "${ports[tokens]}" "$folder/tokens-data" COUNTER_TOKENS_WRITE="$folder/write"
  servers[tokens]=$server
fi
port=$(free_port)
serve "$port" "$folder/data"

machine="$(uname -sr), $(nproc) cores, $(stat -f -c %T "$folder"), $(java -version 2>&1 | sed -n 2p)"
if [ "$what" = memory ]; then
  printf '%s\n%12s %12s\n' "$machine" counted 'resident MB'
  while :; do
    count=$(curl -fs -H 'Accept: text/plain' "http://127.0.0.1:$port/count")
    awk -v n="$count" '/^VmRSS/ { printf "%12d %12.0f\n", n, $2 / 1024 }' "/proc/$server/status"
    if ((count >= ${REQUESTS:-10000000})); then exit; fi
    wrk -t1 -c64 -d"$duration" -s "$folder/post.lua" "http://127.0.0.1:$port/count" | grep "^RESULT .* 0$" >/dev/null || { echo "some requests failed" >&2; exit 1; }
  done
fi

redis_port=$(free_port) webdis_port=$(free_port)
redis-server --port "$redis_port" --bind 127.0.0.1 --dir "$folder" --appendonly yes --appendfsync always --save '' --daemonize no >/dev/null &
pids+=($!)
cat >"$folder/webdis.json" <<JSON
{"redis_host":"127.0.0.1","redis_port":$redis_port,"http_host":"127.0.0.1","http_port":$webdis_port,"threads":2,"pool_size":20,
 "daemonize":false,"websockets":false,"database":0,"verbosity":0,"logfile":"/dev/null","http_max_request_size":1048576}
JSON
webdis "$folder/webdis.json" >/dev/null 2>&1 &
pids+=($!)
await "http://127.0.0.1:$webdis_port/PING" $!

echo "$machine"
printf '%-10s %5s %12s %10s %10s %7s %8s %8s\n' what conns requests/s 'p50 ms' 'p99 ms' errors group 'CPU µs'
declare -A urls=([durable]=$port/count [get]=$port/count [memory]=$port/memory [webdis]=$webdis_port/INCR/visits [tokens]=${ports[tokens]-}/count)
declare -A scripts=([durable]=post.lua [get]=get.lua [memory]=post.lua [webdis]=get.lua [tokens]=tokens.lua)
for subject in $subjects; do warm "http://127.0.0.1:${urls[$subject]}" "${scripts[$subject]}"; done
for _ in $(seq "${BUSY:-0}"); do
  while :; do :; done &
  pids+=($!)
done
for _ in $(seq "$rounds"); do
  for c in $connections; do
    for subject in $subjects; do measure "$subject" "$c" "http://127.0.0.1:${urls[$subject]}" "${scripts[$subject]}"; done
  done
done
python3 - "$folder/results" <<'PYTHON'
import statistics, sys
rows = {}
for line in open(sys.argv[1]):
    what, connections, *numbers = line.split()
    rows.setdefault((int(connections), what), []).append([0 if n == '-' else float(n) for n in numbers])
median = lambda values: statistics.median(list(values))
print('\nmedians: requests/s (p50, p99 ms; group; processor time of the server per request)')
for (connections, what), runs in sorted(rows.items()):
    m = [median(run[i] for run in runs) for i in range(6)]
    used = '%.0f µs' % m[5] if m[5] else '-'
    print('%-10s %5d %10.0f (%.2f, %.1f; %.0f; %s)' % (what, connections, m[0], m[1], m[2], m[4], used))
for connections in sorted({c for c, what in rows if what == 'tokens' and (c, 'durable') in rows}):
    for name, column in ('rate', 0), ('processor time', 5):
        ratios = [a[column] / b[column] for a, b in zip(rows[connections, 'tokens'], rows[connections, 'durable'])]
        print('%s, tokens / durable at %d: %.3f (%.3f to %.3f)' % (name, connections, median(ratios), min(ratios), max(ratios)))
for rival in 'memory', 'webdis':
    for connections in sorted({c for c, what in rows if what == rival and (c, 'durable') in rows}):
        ratios = [a[0] / b[0] for a, b in zip(rows[connections, 'durable'], rows[connections, rival])]
        print('durable / %s at %d: %.2f (%.2f to %.2f)' % (rival, connections, median(ratios), min(ratios), max(ratios)))
for connections in sorted({c for c, what in rows if what == 'get' and (c, 'durable') in rows}):
    ratios = [a[5] / b[5] for a, b in zip(rows[connections, 'durable'], rows[connections, 'get'])]
    print('processor time, durable / get at %d: %.2f (%.2f to %.2f)' % (connections, median(ratios), min(ratios), max(ratios)))
PYTHON
