<?php
// Read what a topic's journal has: php read.php HOST:PORT TOPIC FILE [WAIT]
// FILE keeps how far it has come. It ends when nothing has come for WAIT seconds, at most 300.

function read_memo(int $sequence, string $memo): void
{
    echo "$sequence $memo\n";
}

[, $server, $topic, $file] = $argv;
[$host, $port] = explode(':', $server);
$client = new GearmanClient();
$client->addServer($host, (int) $port);
$place = is_file($file)
    ? json_decode(file_get_contents($file), true, 512, JSON_THROW_ON_ERROR)
    : ['after' => 0];

do {
    $answer = json_decode($client->doNormal('fanout_read', json_encode($place + [
        'topic' => $topic,
        'wait' => (float) ($argv[4] ?? 0),
        'always_report' => true, // or doNormal() hides why it was refused
    ])), true);
    if (!isset($answer['messages'])) {
        throw new RuntimeException($answer['message'] ?? $client->error());
    }
    foreach (['trimmed', 'gap', 'reset'] as $sign) {
        if (isset($answer[$sign])) {
            fwrite(STDERR, "$sign after {$place['after']}\n");
        }
    }
    if (isset($answer['trimmed']) || isset($answer['reset'])) {
        $place['after'] = $answer['first'] - 1;
    }
    foreach ($answer['messages'] as $message) {
        $payload = $message['payload'];
        read_memo($message['sequence'], isset($message['encoding']) ? base64_decode($payload) : $payload);
        $place['after'] = $message['sequence'];
    }
    $place['journal'] = $answer['journal'];
    // Should it die before this, it reads these memos again.
    file_put_contents("$file.new", json_encode($place));
    rename("$file.new", $file);
} while ($answer['messages']);
