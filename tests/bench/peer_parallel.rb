# Ruby's parallel, which forks its workers anew for each call.
# Usage: peer_parallel.rb CONTENDER WORKLOAD [name=value]... ; prints a line of JSON.
require 'json'
begin
  require 'parallel'
rescue LoadError
  # The driver reports the contender as absent.
  warn 'the gem parallel is not installed'
  exit 69
end

_contender, workload, *rest = ARGV
SIZES = { 'workers' => 2.0, 'budget' => 0.3 }.merge(rest.to_h { |each| each.split('=') })
                                             .transform_values(&:to_f)

def now
  Process.clock_gettime(Process::CLOCK_MONOTONIC)
end

def seconds
  start = now
  yield
  now - start
end

def percentile(values, share)
  values.sort[(share * (values.size - 1) + 0.5).to_i]
end

# A first run to warm up, then until the budget is used.
def median_seconds(&block)
  spent = seconds(&block)
  return spent if spent >= SIZES['budget']

  samples = []
  samples << seconds(&block) while samples.sum < SIZES['budget']
  percentile(samples, 0.5)
end

def map(items, &block)
  Parallel.map(items, in_processes: SIZES['workers'].to_i, &block)
end

def round_trips
  one = -> { map([1]) { |x| x + 1 } }
  busy = Array.new(SIZES['calls'].to_i) { 1e6 * seconds(&one) }
  idle = Array.new(SIZES['idle_calls'].to_i) do
    sleep 0.001
    1e6 * seconds(&one)
  end
  { p50_us: percentile(busy, 0.5), p99_us: percentile(busy, 0.99),
    idle_p50_us: percentile(idle, 0.5), idle_p99_us: percentile(idle, 0.99) }
end

def payloads
  buffers = Array.new(SIZES['buffers'].to_i) { 'x' * SIZES['bytes'].to_i }
  total = SIZES['bytes'] * buffers.size / 2**30
  { in_out_gib_per_s: total / median_seconds { map(buffers) { |x| x } },
    in_gib_per_s: total / median_seconds { map(buffers, &:size) } }
end

# One of 1000 items kills its worker; how long until the caller knows.
def deaths
  waits = Array.new(SIZES['deaths'].to_i) do
    reader, writer = IO.pipe
    begin
      map(0...1000) do |i|
        if i == 500
          writer.puts(now)
          writer.flush
          Process.kill(:KILL, Process.pid)
        end
        start = now
        nil while now < start + 50e-6
      end
      abort 'the death was not reported'
    rescue Parallel::DeadWorker
      1e3 * (now - reader.gets.to_f)
    end
  end
  { outcome_ms: percentile(waits, 0.5) }
end

result =
  case workload
  when 'W1'
    tasks = SIZES['tasks'].to_i
    { map_per_s: tasks / median_seconds { map(0...tasks) { |x| x + 1 } } }
  when 'W2'
    items = Array.new(SIZES['items'].to_i) { |i| i }
    # It has no chunks of its own: four slices a worker, by hand.
    slice = (items.size / (4 * SIZES['workers'])).ceil
    { items_per_s: items.size / median_seconds do
      map(items.each_slice(slice).to_a) { |part| part.map { |x| x + 1 } }.flatten(1)
    end }
  when 'W3' then round_trips
  when 'W4' then payloads
  when 'W6'
    workers = SIZES['workers'].to_i
    { with_a_task_ms: 1e3 * median_seconds { map(0...workers) { |x| x } } }
  when 'W7' then deaths
  else abort "not offered: #{workload}"
  end
puts JSON.generate(result)
