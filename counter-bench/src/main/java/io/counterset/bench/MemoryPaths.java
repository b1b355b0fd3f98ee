// SPDX-License-Identifier: Apache-2.0
package io.counterset.bench;

import io.counterset.Counter;
import io.counterset.CounterStore;
import io.counterset.Durability;
import java.io.IOException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;
import org.openjdk.jmh.annotations.Warmup;
import org.openjdk.jmh.results.RunResult;
import org.openjdk.jmh.runner.Runner;
import org.openjdk.jmh.runner.RunnerException;
import org.openjdk.jmh.runner.options.Options;
import org.openjdk.jmh.runner.options.OptionsBuilder;
import org.openjdk.jmh.runner.options.VerboseMode;

/**
 * Operations that do not wait for the device: reading a counter, and adding to one with periodic
 * durability.
 */
@SuppressWarnings("NullAway.Init") // JMH fills the fields
@State(Scope.Benchmark)
@BenchmarkMode(Mode.Throughput)
@OutputTimeUnit(TimeUnit.SECONDS)
@Warmup(iterations = 2, time = 250, timeUnit = TimeUnit.MILLISECONDS)
@Measurement(iterations = 3, time = 250, timeUnit = TimeUnit.MILLISECONDS)
@Fork(2)
public class MemoryPaths {

    /**
     * JMH uses operations that newer JVMs warn about, and the warnings of its JVMs would appear in
     * the report.
     */
    private static final String[] JVM_ARGUMENTS =
            Runtime.version().feature() < 24 ? new String[0] : new String[] {"--sun-misc-unsafe-memory-access=allow"};

    /** The parent of the temporary directories of the stores. */
    @Param(".")
    public String directory;

    private volatile long plain;
    private final AtomicLong atomic = new AtomicLong();
    private Scratch scratch;
    private CounterStore store;
    private Counter counter;

    /** Runs all benchmarks in separate JVMs, in rounds, and compares their rates. */
    static String measure(Settings settings, Targets targets) throws RunnerException {
        Map<String, Samples> alone = new TreeMap<>();
        Map<String, Samples> two = new TreeMap<>();
        for (int round = 1; round <= settings.rounds(); round++) {
            System.err.println("round " + round + ": memory paths");
            run(settings, 1, alone);
            run(settings, 2, two);
        }
        Table table = new Table("operations per second", "1 thread", "2 threads");
        alone.forEach((name, rates) -> table.row(
                name,
                String.format(Locale.ROOT, "%,.0f", rates.median()),
                String.format(Locale.ROOT, "%,.0f", of(two, name).median())));
        String add = "Durability.periodic, ";
        targets.atLeast(add + "1 thread", "AtomicLong", 0.5, ratio(alone, "periodicAdd", "atomicIncrement"), "%.2f ×");
        targets.atLeast(add + "2 threads", "AtomicLong", 0.7, ratio(two, "periodicAdd", "atomicIncrement"), "%.2f ×");
        targets.atMost("value(), time", "volatile read", 2, ratio(alone, "volatileRead", "value"), "%.2f ×");
        targets.atMost("value(), time", "AtomicLong.get", 2, ratio(alone, "atomicGet", "value"), "%.2f ×");
        return "## Memory\n\n" + table;
    }

    private static double ratio(Map<String, Samples> rates, String name, String other) {
        return of(rates, name).ratioTo(of(rates, other));
    }

    private static Samples of(Map<String, Samples> rates, String name) {
        return rates.computeIfAbsent(name, n -> new Samples());
    }

    private static void run(Settings settings, int threads, Map<String, Samples> rates) throws RunnerException {
        Options options = new OptionsBuilder()
                .include(MemoryPaths.class.getName() + "\\..*")
                .param("directory", settings.directory().toString())
                .threads(threads)
                .forks(1)
                .jvmArgsAppend(JVM_ARGUMENTS)
                .verbosity(VerboseMode.SILENT)
                .shouldFailOnError(true)
                .build();
        for (RunResult result : new Runner(options).run()) {
            String name = result.getParams().getBenchmark().replaceAll(".*\\.", "");
            of(rates, name).add(result.getPrimaryResult().getScore());
        }
    }

    @Setup
    public void open() throws IOException {
        scratch = Scratch.in(Path.of(directory));
        store = CounterStore.builder(scratch.path())
                .durability(Durability.periodic(Duration.ofMillis(100)))
                .open();
        counter = store.counter("visits");
        counter.add(1); // before the first add there is no counter, only a name to look up
        store.flush();
    }

    @TearDown
    public void close() throws IOException {
        store.flush();
        store.close();
        scratch.close();
    }

    /** Reads a field directly, without following a reference. */
    @Benchmark
    public long volatileRead() {
        return plain;
    }

    /** Reads a volatile field through a reference, as in a hand-written counter. */
    @Benchmark
    public long atomicGet() {
        return atomic.get();
    }

    @Benchmark
    public long value() {
        return counter.value();
    }

    @Benchmark
    public long atomicIncrement() {
        return atomic.incrementAndGet();
    }

    @Benchmark
    public long periodicAdd() {
        return counter.add(1);
    }
}
