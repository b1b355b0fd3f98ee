#!/usr/bin/env bash
# Measures durable POST /count beside the same server counting in memory, and beside webdis over Redis with
# "appendfsync always": at 1, 64 and 256 connections, one after the other, on the loopback interface and one disk.
# Needs wrk, redis-server and webdis (Debian's packages), and the jar and test classes of counter-app:
#   mvn -q -DskipTests -pl counter-app -am package && bash docs/benchmarks-http.sh
# DURATION (10s) is one measurement's, WARM_UP (10s) comes before each server's first, FOLDER is on the disk to measure,
# JAVA_OPTIONS go to the server's Java, REST (0) is a time to sleep between measurements.
set -euo pipefail
cd "$(dirname "$0")/.."

duration=${DURATION:-10s} warm_up=${WARM_UP:-10s} connections=${CONNECTIONS:-1 64 256}
folder=$(mktemp -d "${FOLDER:-/var/tmp}/counterset-bench.XXXXXX")
pids=()
cleanup() {
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
  rm -rf "$folder"
}
trap cleanup EXIT

for tool in wrk redis-server webdis curl; do
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
  io.write(string.format("RESULT %.0f %.3f %.3f %d\n", summary.requests / summary.duration * 1e6,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000,
    summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.status + summary.errors.timeout))
end'
printf '%s\n' "$post" >"$folder/post.lua"
printf '%s\n' "${post/\"POST\"/\"GET\"}" >"$folder/get.lua"

measure() { # name url script
  wrk -t2 -c64 -d"$warm_up" -s "$folder/$3" "$2" >/dev/null
  for c in $connections; do
    sleep "${REST:-0}"
    local before after group='-'
    before=$(commits)
    result=$(wrk -t"$((c < 2 ? 1 : 2))" -c"$c" -d"$duration" -s "$folder/$3" "$2" | sed -n 's/^RESULT //p')
    after=$(commits)
    if [ "$1" = durable ]; then
      group=$(awk -v b="$before" -v a="$after" 'BEGIN { split(b, x); split(a, y); d = y[1] - x[1]; printf "%.1f", d ? (y[2] - x[2]) / d : 0 }')
    fi
    # shellcheck disable=SC2086
    printf '%-22s %5d %12d %10.3f %10.3f %7d %8s\n' "$1" "$c" $result "$group"
  done
}
commits() { # commits and callers so far
  curl -s "http://127.0.0.1:$port/prometheus" | awk '/^counterset_commits_total/ { c = $2 } /^counterset_commit_callers_total/ { n = $2 } END { print c + 0, n + 0 }'
}

port=$(free_port)
# shellcheck disable=SC2086
MICRONAUT_SERVER_HOST=127.0.0.1 MICRONAUT_SERVER_PORT=$port COUNTER_DIRECTORY="$folder/data" COUNTERSET_BENCH_MEMORY=true COUNTER_LOG_LEVEL=warn \
  java ${JAVA_OPTIONS:-} -cp counter-app/target/counter-app.jar:counter-app/target/test-classes io.counterset.app.Application &
pids+=($!)
await "http://127.0.0.1:$port/count" $!

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

echo "$(uname -sr), $(nproc) cores, $(stat -f -c %T "$folder"), $(java -version 2>&1 | sed -n 2p)"
printf '%-22s %5s %12s %10s %10s %7s %8s\n' what conns requests/s 'p50 ms' 'p99 ms' errors group
measure durable "http://127.0.0.1:$port/count" post.lua
measure memory "http://127.0.0.1:$port/memory" post.lua
measure 'webdis, redis always' "http://127.0.0.1:$webdis_port/INCR/visits" get.lua
