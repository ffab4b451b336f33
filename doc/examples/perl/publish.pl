# Publish a memo: perl publish.pl HOST:PORT TOPIC TEXT

use strict;
use warnings;
use Gearman::Client;
use JSON::PP;

my ($server, $topic, $text) = @ARGV;
# Arguments, payloads and reports are bytes of UTF-8 all along.
my $json = JSON::PP->new;

my $client  = Gearman::Client->new(job_servers => [$server]);
my $request = $json->encode({
    topic         => $topic,
    payload       => $text,
    timeout       => 5,
    always_report => JSON::PP::true,    # or do_task returns undef for a failure
});
my $result = $client->do_task(fanout => $request, { timeout => 10 })
    or die "no answer\n";
my $report = $json->decode($$result);
die "$report->{message}\n" if $report->{error};

for my $client_id (sort keys %{ $report->{failed} }) {
    print "$client_id did not get it: $report->{failed}{$client_id}\n";
}
print "$report->{delivered} of $report->{subscribers} have read it\n";
