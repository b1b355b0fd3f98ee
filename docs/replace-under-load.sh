#!/usr/bin/env bash
# Sends increments to a service while a command replaces its replicas, then checks that every
# acknowledged increment was counted once, and that the report is complete and correct.
# docs/peers.md explains it.
set -euo pipefail

usage='usage: replace-under-load.sh URL[,URL...] COMMAND [ARGUMENT...]
  COUNTER=replacement  the counter to add to; use one that nothing else adds to
  WORKERS=4            how many clients add at the same time
  BEFORE=2 AFTER=2     for how many seconds they add before and after the command runs
  PATIENCE=120         for how many seconds an increment is retried, and the report awaited
  TOKEN=               a bearer token, if the service requires one'
[[ $# -ge 2 && $1 == http* ]] || { echo "$usage" >&2; exit 2; }

IFS=, read -r -a urls <<<"$1"
shift
counter=${COUNTER:-replacement}
patience=${PATIENCE:-120}
folder=$(mktemp -d)
trap 'touch "$folder/stop"; wait; rm -rf "$folder"' EXIT

ask() { # METHOD PATH [CURL-OPTION...]: prints the body, then the status on a line of its own
    curl -sS --max-time 10 -X "$1" -H 'Accept: text/plain' -H "Authorization: Bearer ${TOKEN:-none}" \
        -w '\n%{http_code}\n' "${@:3}" "${urls[RANDOM % ${#urls[@]}]}$2" 2>/dev/null || true
}

report() { # prints the table of /peers about the counter once it is complete
    local answer deadline=$((SECONDS + patience))
    while ((SECONDS < deadline)); do
        answer=$(ask GET "/peers/$counter")
        if [[ $answer == "$counter: total "* ]]; then
            sed '$d' <<<"$answer"
            return
        fi
        sleep 0.2
    done
    echo "failed: no complete report within $patience s; the last answer: $answer" >&2
    return 1
}

total() { sed -n '1s/.*: total \([0-9]*\).*/\1/p' <<<"$1"; }

add() { # INSTANCE KEY: repeats one increment until that replica acknowledges it
    local deadline=$((SECONDS + patience)) status
    while ((SECONDS < deadline)); do
        status=$(ask POST "/count/$counter" -H "Idempotency-Key: $2" -H "Counterset-Instance: $1" | tail -n 1)
        [[ $status == 200 ]] && return
        sleep 0.05
    done
    echo "failed: $1 did not acknowledge $2 within $patience s; the last status was $status" >&2
    return 1
}

work() { # NUMBER: adds to one replica after another
    local n=0
    while [[ ! -e $folder/stop ]]; do
        add "${instances[(n + $1) % ${#instances[@]}]}" "$run-$1-$n" || { touch "$folder/failed"; break; }
        n=$((n + 1))
        echo "$n" >"$folder/worker-$1"
    done
}

run=$RANDOM$RANDOM-$$
ask POST "/count/$counter" >/dev/null # so that the counter exists
before=$(report)
mapfile -t instances < <(sed -n '/^INSTANCE/,$p' <<<"$before" | sed '1d' | awk '$2 == "live" { print $1 }')
for instance in "${instances[@]}"; do
    add "$instance" "$run-$instance"
done
before=$(report)
echo "before: $(head -n 1 <<<"$before")"

for ((i = 0; i < ${WORKERS:-4}; i++)); do
    work "$i" &
done
sleep "${BEFORE:-2}"
"$@"
sleep "${AFTER:-2}"
touch "$folder/stop"
wait

acknowledged=$(cat "$folder"/worker-* | awk '{ sum += $1 } END { print sum + 0 }')
after=$(report)
counted=$(($(total "$after") - $(total "$before")))
echo "after:  $(head -n 1 <<<"$after")"
echo "acknowledged $acknowledged, counted $counted"
[[ ! -e $folder/failed ]] && ((acknowledged > 0 && acknowledged == counted)) || { echo failed >&2; exit 1; }
