# Read what a topic's journal has: perl read.pl HOST:PORT TOPIC FILE [WAIT]
# FILE keeps how far it has come. It ends when nothing has come for WAIT seconds, at most 300.

use strict;
use warnings;
use Gearman::Client;
use JSON::PP;
use MIME::Base64;

$| = 1;
my ($server, $topic, $file, $wait) = @ARGV;
my $json   = JSON::PP->new;
my $client = Gearman::Client->new(job_servers => [$server]);

sub read_memo {
    my ($sequence, $memo) = @_;
    print "$sequence $memo\n";
}

sub read_place {
    open my $in, "<", $file or return { after => 0 };
    return $json->decode(<$in>);
}

sub write_place {
    my ($place) = @_;
    open my $out, ">", "$file.new" or die "$file.new: $!\n";
    print $out $json->encode($place);
    close $out or die "$file.new: $!\n";
    rename "$file.new", $file or die "$file: $!\n";
}

my $place = read_place();
my $answer;
do {
    my $request = $json->encode({
        %$place,
        topic         => $topic,
        wait          => 0 + ($wait // 0),
        always_report => JSON::PP::true,    # or do_task returns undef for a refusal
    });
    my $result = $client->do_task(fanout_read => $request) or die "no answer\n";
    $answer = $json->decode($$result);
    die "$answer->{message}\n" if $answer->{error};

    for my $sign (grep { $answer->{$_} } qw(trimmed gap reset)) {
        warn "$sign after $place->{after}\n";
    }
    $place->{after} = $answer->{first} - 1 if $answer->{trimmed} or $answer->{reset};
    for my $message (@{ $answer->{messages} }) {
        my $payload = $message->{payload};
        $payload = decode_base64($payload) if $message->{encoding};
        read_memo($message->{sequence}, $payload);
        $place->{after} = $message->{sequence};
    }
    $place->{journal} = $answer->{journal};
    # Should it die before this, it reads these memos again.
    write_place($place);
} while @{ $answer->{messages} };
