# Print what a topic's journal has after a message: perl catchup.pl HOST:PORT TOPIC SEQUENCE

use strict;
use warnings;
use Gearman::Client;
use JSON::PP;
use MIME::Base64;

my ($server, $topic, $after) = @ARGV;
# Arguments, payloads and answers are bytes of UTF-8 all along.
my $json   = JSON::PP->new;
my $client = Gearman::Client->new(job_servers => [$server]);
my %place  = (after => $after + 0);
my $answer;
do {
    my $request = $json->encode({ topic => $topic, always_report => JSON::PP::true, %place });
    my $result = $client->do_task(fanout_read => $request, { timeout => 10 })
        or die "no answer\n";
    $answer = $json->decode($$result);
    die "$answer->{message}\n" if $answer->{error};
    for my $message (@{ $answer->{messages} }) {
        my $payload = $message->{payload};
        $payload = decode_base64($payload) if $message->{encoding};
        print "$message->{sequence} $payload\n";
        # Keep both: the number means nothing in another journal.
        %place = (after => $message->{sequence}, journal => $answer->{journal});
    }
} while (@{ $answer->{messages} } && $place{after} < $answer->{last});
