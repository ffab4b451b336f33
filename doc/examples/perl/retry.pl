# Read memos, trying each three times: perl retry.pl HOST:PORT TOPIC CLIENT_ID DEAD_TOPIC

use strict;
use warnings;
use Digest::SHA qw(sha1_hex);
use Gearman::Client;
use Gearman::Worker;
use JSON::PP;
use MIME::Base64;
use Time::HiRes qw(sleep time);

use constant TRIES   => 3;
use constant BACKOFF => 0.5;    # seconds before the second try, at most; then twice as long

$| = 1;
my ($server, $topic, $client_id, $dead_topic) = @ARGV;
my $json   = JSON::PP->new;
my $client = Gearman::Client->new(job_servers => [$server]);

sub is_text {
    my ($bytes) = @_;
    return utf8::decode($bytes);
}

sub read_memo {
    my ($memo) = @_;
    die "not a memo\n" if $memo eq "" or !is_text($memo);
    print "$memo\n";
}

sub ask {
    my ($function, %request) = @_;
    my $data = $json->encode({ %request, always_report => JSON::PP::true });
    # It waits while no daemon is there.
    my $result = $client->do_task($function => $data) or die "no answer\n";
    my $answer = $json->decode($$result);
    die "$answer->{message}\n" if $answer->{error};
    return $answer;
}

sub dead_letter {
    my ($memo, $error) = @_;
    return {
        topic     => $topic,
        client_id => $client_id,
        attempts  => TRIES,
        error     => "die: $error",
        time      => time,
        is_text($memo)
        ? (payload => $memo)
        : (payload => encode_base64($memo, ""), encoding => "base64"),
    };
}

my $queue = ask(
    register_fanout_subscriber => (topic => $topic, client_id => $client_id),
)->{queue};

my $handle = sub {
    my ($job) = @_;
    my $error;
    for my $try (1 .. TRIES) {
        return 1 if eval { read_memo($job->arg); 1 };
        chomp($error = $@);
        warn "try $try: $error\n";
        # The job is still held. A half of the pause is left to chance.
        sleep BACKOFF * 2**($try - 1) * (1 + rand) / 2 if $try < TRIES;
    }
    my $report = eval {
        ask(fanout => (
            topic      => $dead_topic,
            payload    => dead_letter($job->arg, $error),
            background => JSON::PP::true,
            # Should this program die before it fails the job, the next one's letter joins this.
            unique => "dead-" . sha1_hex("$queue $job->{handle} " . $job->arg),
        ));
    };
    warn $report ? "dead letters queued: $report->{queued}\n" : "no dead letter: $@";
    return undef;
};

my $worker = Gearman::Worker->new(job_servers => [$server]);
$worker->register_function($queue => $handle);
$worker->work while 1;
