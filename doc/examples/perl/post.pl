# Publish a memo once, however often it is tried: perl post.pl HOST:PORT TOPIC TEXT ID

use strict;
use warnings;
use Gearman::Client;
use JSON::PP;

use constant TRIES => 3;

my ($server, $topic, $text, $id) = @ARGV;
my $json    = JSON::PP->new;
my $client  = Gearman::Client->new(job_servers => [$server]);
my $request = $json->encode({
    topic         => $topic,
    payload       => $text,
    id            => $id,
    background    => JSON::PP::true,
    always_report => JSON::PP::true,    # or do_task returns undef for a failure
});

my $result;
for my $try (1 .. TRIES) {
    $result = $client->do_task(fanout => $request, { timeout => 10 }) and last;
    warn "try $try: no answer\n";
}
die "no answer\n" unless $result;
my $report = $json->decode($$result);
die "$report->{message}\n" if $report->{error};
die "the topic has no journal\n" unless $report->{sequence};

my $before = $report->{duplicate} ? ", published before" : "";
print "message $report->{sequence}, queued for $report->{queued}$before\n";
