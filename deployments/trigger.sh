#!/bin/sh
# Start a run over Prefect's API with curl and jq, and wait for its end.
#   trigger.sh REQUEST.json [FLOW/DEPLOYMENT [TICKET]]
# REQUEST.json holds the flow's parameters. The same request with the same ticket is one run.
# Exit: 0 completed, 1 ended otherwise, 2 not accepted, 3 no answer, or the password is refused.
set -eu
request=$1
deployment=${2:-scale-out/scale-out-workers}
api=${PREFECT_API_URL:-http://127.0.0.1:4200/api}
# A proxy cannot reach a server of this machine.
direct=${no_proxy:-${NO_PROXY:-}}
[ "$direct" = '*' ] || direct=${direct:+$direct,}127.0.0.1,localhost,::1
export no_proxy="$direct" NO_PROXY="$direct"

answer=$(mktemp)
trap 'rm -f "$answer"' EXIT

# The password goes to curl through a file descriptor: arguments can be read by every process.
call() {
  # A busy server is asked again; with the idempotency key that is safe for a POST too. Into a file:
  # only there curl takes back what the attempts before the last one were told.
  code=0
  : > "$answer"
  curl --silent --show-error --fail-with-body --retry 8 --config /dev/fd/3 \
    --output "$answer" --header 'Content-Type: application/json' "$@" 3<<CONFIG || code=$?
${PREFECT_API_AUTH_STRING:+user = "$PREFECT_API_AUTH_STRING"}
CONFIG
  cat "$answer"
  return $code
}

# What cannot be asked is not to be mistaken for a request that was not accepted.
refused() {
  echo "$1" >&2
  # curl's own number for a status of 400 and more; others mean that nobody answered.
  [ "$2" = 22 ] || exit 3
  case $1 in *Unauthorized*) exit 3 ;; esac
  exit 2
}

# The same key as trigger.py makes, however the file is laid out.
whole=$(jq --join-output --ascii-output --sort-keys --compact-output \
  --arg deployment "$deployment" --arg ticket "${3:-}" \
  '[$deployment, $ticket, walk(if type == "number" and . == floor then floor else . end)]' \
  "$request") || exit 2
key=$(printf '%s' "$whole" | sha256sum | cut -c 1-64)
found=$(call "$api/deployments/name/$deployment") || refused "$found" $?
id=$(printf '%s' "$found" | jq --raw-output .id)
# Prefect itself lets unknown keys pass, and the run then crashes without a word on them.
unknown=$(printf '%s' "$found" | jq --raw-output --slurpfile asked "$request" \
  '($asked[0] | keys) - (.parameter_openapi_schema.properties | keys) | join(", ")') || exit 2
case ", $unknown," in
  *", patience,"*) unknown="$unknown (patience is called time_limits now)" ;;
esac
[ -z "$unknown" ] || { echo "trigger: $deployment takes no parameter $unknown" >&2; exit 2; }
body=$(jq --compact-output --arg key "$key" '{parameters: ., idempotency_key: $key}' "$request")
made=$(call "$api/deployments/$id/create_flow_run" --data "$body") || refused "$made" $?
run=$(printf '%s' "$made" | jq --raw-output .id)
echo "run ${api%/api}/runs/flow-run/$run"

while :; do
  seen=$(call "$api/flow_runs/$run") || refused "$seen" $?
  state=$(printf '%s' "$seen" | jq --raw-output '.state.type + " " + (.state.message // "")')
  case $state in
    COMPLETED*) echo "$state"; exit 0 ;;
    FAILED* | CANCELLED* | CRASHED*) echo "$state"; exit 1 ;;
  esac
  sleep 2
done
