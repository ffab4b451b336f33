# Read memos as they come: perl subscribe.pl HOST:PORT TOPIC CLIENT_ID [START]

use strict;
use warnings;
use Gearman::Client;
use Gearman::Worker;
use JSON::PP;

$| = 1;
my ($server, $topic, $client_id, $start) = @ARGV;
my $json = JSON::PP->new;

sub read_memo {
    my ($memo) = @_;
    die "an empty memo\n" if $memo eq "";
    print "$memo\n";
}

my $client  = Gearman::Client->new(job_servers => [$server]);
my $request = $json->encode({
    topic         => $topic,
    client_id     => $client_id,
    start         => $start,    # "first" or "last": see the page on journals
    always_report => JSON::PP::true,
});
my $result = $client->do_task(register_fanout_subscriber => $request) or die "no answer\n";
my $answer = $json->decode($$result);
die "$answer->{message}\n" if $answer->{error};

my $worker = Gearman::Worker->new(job_servers => [$server]);
$worker->register_function($answer->{queue} => sub {
    my ($job) = @_;
    # True completes the copy, undef fails it. 0 and "" do neither, and die ends the program.
    my $done = eval { read_memo($job->arg); 1 };
    warn $@ unless $done;
    return $done;
});
$worker->work while 1;
