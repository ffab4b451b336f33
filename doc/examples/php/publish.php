<?php
// Publish a memo: php publish.php HOST:PORT TOPIC TEXT

[, $server, $topic, $text] = $argv;
[$host, $port] = explode(':', $server);
$client = new GearmanClient();
$client->addServer($host, (int) $port);
$client->setTimeout(10_000); // milliseconds

$result = $client->doNormal('fanout', json_encode([
    'topic' => $topic,
    'payload' => $text,
    'timeout' => 5,
    'always_report' => true, // or doNormal() hides the report of a failure
    'progress' => false, // or it starts the client's timeout anew each second
]));
if ($client->returnCode() !== GEARMAN_SUCCESS) {
    throw new RuntimeException($client->error());
}
$report = json_decode($result, true);
if (isset($report['error'])) {
    throw new RuntimeException($report['message']);
}
foreach ($report['failed'] as $client_id => $reason) {
    echo "$client_id did not get it: $reason\n";
}
echo "{$report['delivered']} of {$report['subscribers']} have read it\n";
