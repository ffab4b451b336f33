# Read memos as they come: sh subscribe.sh HOST:PORT TOPIC CLIENT_ID [START]

set -eu
server=$1 topic=$2 client_id=$3 start=${4:-}
host=${server%:*} port=${server#*:}

# START is "first" or "last": see the page on journals.
request=$(jq -n --arg topic "$topic" --arg client_id "$client_id" --arg start "$start" \
    '{topic: $topic, client_id: $client_id, start: (if $start == "" then null else $start end)}')
answer=$(gearman -h "$host" -p "$port" -f register_fanout_subscriber "$request")
# While messages are put into the queue, the tool prints progress beside the answer.
queue=$(echo "$answer" | grep -o '^{.*}' | jq -r .queue)

# The command gets each memo on standard input. What it prints is the result, for the publisher,
# so it writes the memo to 3, which is the output of this script. If it exits with another status
# than 0, the copy has failed.
exec 3>&1
exec gearman -w -h "$host" -p "$port" -f "$queue" -- \
    sh -c 'memo=$(cat); test -n "$memo" && echo "$memo" >&3'
