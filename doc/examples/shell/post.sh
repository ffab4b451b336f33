# Publish a memo once, however often it is tried: sh post.sh HOST:PORT TOPIC TEXT ID

set -eu
server=$1 topic=$2 text=$3 id=$4

request=$(jq -n --arg topic "$topic" --arg text "$text" --arg id "$id" \
    '{topic: $topic, payload: $text, id: $id, background: true, always_report: true}')
try=1
# The tool ends with 0 where no answer came in time.
until report=$(gearman -t 10000 -h "${server%:*}" -p "${server#*:}" -f fanout "$request") &&
    [ -n "$report" ]; do
    [ $((try += 1)) -le 3 ] || exit 1
done
echo "$report" | jq -r '
    if .error then error(.message) else . end |
    if .sequence then . else error("the topic has no journal") end |
    "message \(.sequence), queued for \(.queued)" +
    if .duplicate then ", published before" else "" end'
