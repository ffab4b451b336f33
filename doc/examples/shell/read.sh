# Read what a topic's journal has: sh read.sh HOST:PORT TOPIC FILE [WAIT]
# FILE keeps how far it has come. It ends when nothing has come for WAIT seconds, at most 300.

set -eu
server=$1 topic=$2 file=$3 wait=${4:-0}

[ -e "$file" ] || echo '{"after": 0}' >"$file"
more=true
while [ "$more" = true ]; do
    request=$(jq -c --arg topic "$topic" --argjson wait "$wait" \
        '. + {topic: $topic, wait: $wait, always_report: true}' "$file")
    gearman -h "${server%:*}" -p "${server#*:}" -f fanout_read "$request" >"$file.answer"
    # A payload in base64 stays as it is.
    jq -r 'if .error then error(.message) else . end |
        .messages[] | "\(.sequence) \(.payload)"' "$file.answer"
    jq -r 'with_entries(select(.key == ("trimmed", "gap", "reset"))) | keys[]' "$file.answer" >&2
    # Should it die before this, it reads these memos again.
    jq -s '.[0] as $place | .[1] | {journal, after: (.messages[-1].sequence //
        if .trimmed or .reset then .first - 1 else $place.after end)}' \
        "$file" "$file.answer" >"$file.new"
    mv "$file.new" "$file"
    more=$(jq '.messages != []' "$file.answer")
done
