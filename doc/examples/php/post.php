<?php
// Publish a memo once, however often it is tried: php post.php HOST:PORT TOPIC TEXT ID

const TRIES = 3;

[, $server, $topic, $text, $id] = $argv;
[$host, $port] = explode(':', $server);
$client = new GearmanClient();
$client->addServer($host, (int) $port);
$client->setTimeout(10_000); // milliseconds
$request = json_encode([
    'topic' => $topic,
    'payload' => $text,
    'id' => $id,
    'background' => true,
    'always_report' => true, // or doNormal() hides the report of a failure
]);

for ($try = 1; $try <= TRIES; $try++) {
    $result = $client->doNormal('fanout', $request);
    if ($client->returnCode() === GEARMAN_SUCCESS) {
        break;
    }
    fwrite(STDERR, "try $try: {$client->error()}\n");
}
$report = json_decode((string) $result, true);
if (!isset($report['sequence'])) {
    throw new RuntimeException($report['message'] ?? 'no answer, or no journal');
}
$before = isset($report['duplicate']) ? ', published before' : '';
echo "message {$report['sequence']}, queued for {$report['queued']}$before\n";
