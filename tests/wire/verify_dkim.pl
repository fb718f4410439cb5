#!/usr/bin/perl
# Verifies the messages named on the command line with Mail::DKIM, asking the name server at
# 127.0.0.1, port $ENV{DNS_PORT}. One line per message: the result of each signature, and of all.
use strict;
use warnings;
use Mail::DKIM::Verifier;
use Mail::DKIM::DNS;
use Net::DNS;

Mail::DKIM::DNS::resolver(Net::DNS::Resolver->new(
    nameservers => ['127.0.0.1'], port => $ENV{DNS_PORT}, recurse => 0, udp_timeout => 10));
for my $path (@ARGV) {
    my $verifier = Mail::DKIM::Verifier->new();
    open my $file, '<:raw', $path or die "$path: $!";
    while (my $line = <$file>) {
        $verifier->PRINT($line);
    }
    $verifier->CLOSE();
    my @each = map { $_->algorithm() . '=' . $_->result() } $verifier->signatures();
    print join(' ', @each, 'all=' . $verifier->result_detail()), "\n";
}
