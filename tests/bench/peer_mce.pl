#!/usr/bin/perl
# Perl's MCE (Many-Core Engine): mce_map, whose workers stay between calls.
# Usage: peer_mce.pl CONTENDER WORKLOAD [name=value]... ; prints a line of JSON as bench.hpp says.
use strict;
use warnings;
use Time::HiRes qw(time sleep);

# Exit status 69: the driver reports the contender as absent.
BEGIN {
    eval { require MCE::Map; MCE::Map->import(); 1 }
        or do { print STDERR "MCE is not installed\n"; exit 69 };
}

my ($contender, $workload, @rest) = @ARGV;
my %sizes = (workers => 2, budget => 0.3, map { split /=/ } @rest);

sub seconds { my $begin = time; $_[0]->(); return time - $begin }

sub median { my @sorted = sort { $a <=> $b } @_; return percentile(0.5, @sorted) }

sub percentile { my ($q, @sorted) = @_; return $sorted[int($q * $#sorted + 0.5)] }

# A first run to warm up, then until the budget is used.
sub median_seconds {
    my ($f) = @_;
    my $spent = seconds($f);
    return $spent if $spent >= $sizes{budget};
    my ($total, @samples) = (0);
    while ($total < $sizes{budget}) { push @samples, seconds($f); $total += $samples[-1] }
    return median(@samples);
}

sub start { my ($chunk) = @_; MCE::Map->init(max_workers => $sizes{workers}, chunk_size => $chunk) }

sub increments { my ($size) = @_; my @out = mce_map { $_ + 1 } 0 .. $size - 1; return scalar @out }

sub round_trips {
    start(1);
    my $one = sub { my @out = mce_map { $_ + 1 } (1) };
    $one->() for 1 .. 20;
    my @busy = sort { $a <=> $b } map { 1e6 * seconds($one) } 1 .. $sizes{calls};
    my @idle = sort { $a <=> $b } map { sleep 0.001; 1e6 * seconds($one) } 1 .. $sizes{idle_calls};
    return (p50_us => percentile(0.5, @busy), p99_us => percentile(0.99, @busy),
        idle_p50_us => percentile(0.5, @idle), idle_p99_us => percentile(0.99, @idle));
}

sub payloads {
    start(1);
    my @buffers = map { 'x' x $sizes{bytes} } 1 .. $sizes{buffers};
    my $total = $sizes{bytes} * @buffers / 2**30;
    my $both = median_seconds(sub { my @out = mce_map { $_ } @buffers });
    my $one  = median_seconds(sub { my @out = mce_map { length } @buffers });
    return (in_out_gib_per_s => $total / $both, in_gib_per_s => $total / $one);
}

sub make_and_destroy {
    my $spent = median_seconds(sub { start(1); increments($sizes{workers}); MCE::Map->finish() });
    return (with_a_task_ms => 1e3 * $spent);
}

my %workloads = (
    W1 => sub {
        start(1);
        return (map_per_s => $sizes{tasks} / median_seconds(sub { increments($sizes{tasks}) }));
    },
    W2 => sub {
        start('auto');
        return (items_per_s => $sizes{items} / median_seconds(sub { increments($sizes{items}) }));
    },
    W3 => \&round_trips,
    W4 => \&payloads,
    W6 => \&make_and_destroy,
);
my @result = $workloads{$workload}->();
my @pairs;
while (my ($name, $value) = splice @result, 0, 2) {
    push @pairs, sprintf '"%s": %.6g', $name, $value;
}
print '{', join(', ', @pairs), "}\n";
