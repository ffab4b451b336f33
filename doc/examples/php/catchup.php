<?php
// Print what a topic's journal has after a message: php catchup.php HOST:PORT TOPIC SEQUENCE

[, $server, $topic, $after] = $argv;
[$host, $port] = explode(':', $server);
$client = new GearmanClient();
$client->addServer($host, (int) $port);
$place = ['after' => (int) $after];
do {
    $answer = json_decode($client->doNormal('fanout_read', json_encode([
        'topic' => $topic,
        'always_report' => true,
    ] + $place)), true);
    if (!isset($answer['messages'])) {
        throw new RuntimeException($answer['message'] ?? $client->error());
    }
    foreach ($answer['messages'] as $message) {
        $payload = $message['payload'];
        if (isset($message['encoding'])) {
            $payload = base64_decode($payload);
        }
        echo $message['sequence'], ' ', $payload, "\n";
        // Keep both: the number means nothing in another journal.
        $place = ['after' => $message['sequence'], 'journal' => $answer['journal']];
    }
} while ($answer['messages'] && $place['after'] < $answer['last']);
