# Publish a memo: sh publish.sh HOST:PORT TOPIC TEXT

set -eu
server=$1 topic=$2 text=$3

# Without progress the tool would print it between the report's lines.
request=$(jq -n --arg topic "$topic" --arg text "$text" \
    '{topic: $topic, payload: $text, timeout: 5, always_report: true, progress: false}')
gearman -h "${server%:*}" -p "${server#*:}" -f fanout "$request" | jq -r '
    if .error then error(.message) else . end |
    (.failed | to_entries[] | "\(.key) did not get it: \(.value)"),
    "\(.delivered) of \(.subscribers) have read it"'
