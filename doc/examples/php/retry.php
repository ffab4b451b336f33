<?php
// Read memos, trying each three times: php retry.php HOST:PORT TOPIC CLIENT_ID DEAD_TOPIC

const TRIES = 3;
const BACKOFF = 0.5; // seconds before the second try, at most; twice as long before the third

function is_text(string $bytes): bool
{
    return preg_match('//u', $bytes) === 1;
}

function read_memo(string $memo): void
{
    if ($memo === '' || !is_text($memo)) {
        throw new InvalidArgumentException('not a memo');
    }
    echo $memo, "\n";
}

function ask(GearmanClient $client, string $function, array $request): array
{
    $request['always_report'] = true; // or doNormal() hides the report of a failure
    $data = json_encode($request, JSON_INVALID_UTF8_SUBSTITUTE);
    // It waits while no daemon is there.
    $answer = json_decode($client->doNormal($function, $data), true);
    if (!isset($answer) || isset($answer['error'])) {
        throw new RuntimeException($answer['message'] ?? $client->error());
    }
    return $answer;
}

function dead_letter(GearmanJob $job, string $topic, string $client_id, Throwable $error): array
{
    $memo = $job->workload();
    return [
        'topic' => $topic,
        'client_id' => $client_id,
        'attempts' => TRIES,
        'error' => get_class($error) . ': ' . $error->getMessage(),
        'time' => round(microtime(true), 3),
    ] + (is_text($memo)
        ? ['payload' => $memo]
        : ['payload' => base64_encode($memo), 'encoding' => 'base64']);
}

[, $server, $topic, $client_id, $dead_topic] = $argv;
[$host, $port] = explode(':', $server);
$client = new GearmanClient();
$client->addServer($host, (int) $port);
$queue = ask($client, 'register_fanout_subscriber', [
    'topic' => $topic,
    'client_id' => $client_id,
])['queue'];

$handle = function (GearmanJob $job) use ($client, $topic, $client_id, $dead_topic, $queue): void {
    for ($try = 1; $try <= TRIES; $try++) {
        try {
            read_memo($job->workload());
            return;
        } catch (Throwable $error) {
            fwrite(STDERR, "try $try: {$error->getMessage()}\n");
        }
        if ($try < TRIES) {
            // The job is still held. A half of the pause is left to chance.
            usleep((int) (BACKOFF * 2 ** ($try - 1) * (1 + lcg_value()) / 2 * 1e6));
        }
    }
    try {
        $report = ask($client, 'fanout', [
            'topic' => $dead_topic,
            'payload' => dead_letter($job, $topic, $client_id, $error),
            'background' => true,
            // Should this program die before it fails the job, the next one's letter joins this.
            'unique' => 'dead-' . sha1("$queue {$job->handle()} {$job->workload()}"),
        ]);
        fwrite(STDERR, "dead letters queued: {$report['queued']}\n");
    } catch (Throwable $refusal) {
        fwrite(STDERR, "no dead letter: {$refusal->getMessage()}\n");
    }
    $job->sendFail();
};

$worker = new GearmanWorker();
$worker->addServer($host, (int) $port);
$worker->addFunction($queue, $handle);
while ($worker->work()) {
}
throw new RuntimeException($worker->error());
