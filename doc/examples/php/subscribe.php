<?php
// Read memos as they come: php subscribe.php HOST:PORT TOPIC CLIENT_ID [START]

function read_memo(string $memo): void
{
    if ($memo === '') {
        throw new InvalidArgumentException('an empty memo');
    }
    echo $memo, "\n";
}

[, $server, $topic, $client_id] = $argv;
[$host, $port] = explode(':', $server);
$client = new GearmanClient();
$client->addServer($host, (int) $port);
$answer = json_decode($client->doNormal('register_fanout_subscriber', json_encode([
    'topic' => $topic,
    'client_id' => $client_id,
    'start' => $argv[4] ?? null, // 'first' or 'last': see the page on journals
    'always_report' => true,
])), true);
if (!isset($answer['queue'])) {
    throw new RuntimeException($answer['message'] ?? $client->error());
}

$worker = new GearmanWorker();
$worker->addServer($host, (int) $port);
$worker->addFunction($answer['queue'], function (GearmanJob $job): void {
    try {
        read_memo($job->workload());
    } catch (Throwable $error) {
        // One that leaves this function fails the copy too, and ends the program.
        fwrite(STDERR, $error->getMessage() . "\n");
        $job->sendFail();
    }
});
while ($worker->work()) {
}
throw new RuntimeException($worker->error());
