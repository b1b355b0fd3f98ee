// SPDX-License-Identifier: Apache-2.0
package io.counterset.k8s;

import com.sun.management.OperatingSystemMXBean;
import io.counterset.CounterStore;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Arrays;
import java.util.Locale;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicLong;

/**
 * Prints the cost of reports about 100 and 1,000 peers on loopback with the default settings: the
 * latency of one that need not wait for its turn, and the requests that reach the peers from 1,000
 * closed-loop callers. Run its main method on the tests' class path, as docs/peers.md shows.
 */
final class PeersScale {

    private static final int CALLERS = 1_000;
    private static final Duration ASKING = Duration.ofSeconds(10);

    /** The number of warm-up requests, so that compiled code is measured. */
    private static final int WARM = 60_000;

    private PeersScale() {}

    public static void main(String[] arguments) throws Exception {
        int rounds = arguments.length > 0 ? Integer.parseInt(arguments[0]) : 200;
        System.out.println(
                "peers  frozen  rounds   p50 ms   p90 ms   p99 ms   max ms  CPU ms a round   of it the peers'   heap MB");
        measure(100, 0, rounds);
        measure(1_000, 0, rounds);
        measure(100, 1, Math.max(5, rounds / 5));
        System.out.printf("%npeers  callers   answers/s   fan-outs/s at the peers%n");
        measureThroughput(100);
        measureThroughput(1_000);
    }

    private static Peers open(ManyPeers many, CounterStore store, Path folder, Duration interval) {
        return TestSettings.list(many.addresses.toArray(String[]::new))
                .in(folder)
                .timeout(Duration.ofSeconds(1))
                .deadline(Duration.ofSeconds(2))
                .concurrency(256)
                .openWithInterval(new Replica("app-0", store, "visits", 8080), interval);
    }

    private static void measure(int number, int frozen, int rounds) throws Exception {
        Path folder = Files.createTempDirectory("peers-scale");
        try (ManyPeers many = new ManyPeers(number);
                CounterStore store = CounterStore.open(folder)) {
            long heap = heap();
            try (Peers hurried = open(many, store, folder.resolve("warm"), Duration.ZERO)) {
                for (int i = 0; i < WARM / number; i++) {
                    hurried.report().toCompletableFuture().join();
                }
            }
            try (Peers peers = open(many, store, folder, Peers.INTERVAL)) {
                for (int i = 0; i < frozen; i++) {
                    many.freeze(i * (number / frozen));
                }
                long turn = Math.max(Peers.INTERVAL.toMillis(), number) + 5; // so that no report waits for its round
                double[] millis = new double[rounds];
                long cpu = 0;
                long peersCpu = 0;
                for (int i = -5; i < rounds; i++) {
                    if (i == 0) {
                        cpu = cpuNanos();
                        peersCpu = many.cpuNanos();
                    }
                    Thread.sleep(turn);
                    long start = System.nanoTime();
                    PeersReport report = peers.report().toCompletableFuture().join();
                    if (report.answered() != number + 1 - frozen) {
                        System.out.println("not all answered: " + report.headline());
                    }
                    if (i >= 0) {
                        millis[i] = (System.nanoTime() - start) / 1e6;
                    }
                }
                cpu = cpuNanos() - cpu;
                peersCpu = many.cpuNanos() - peersCpu;
                Arrays.sort(millis);
                System.out.printf(
                        Locale.ROOT,
                        "%5d %7d %7d %8.1f %8.1f %8.1f %8.1f %15.1f %17.1f %9.1f%n",
                        number,
                        frozen,
                        rounds,
                        millis[rounds / 2],
                        millis[rounds * 9 / 10],
                        millis[rounds * 99 / 100],
                        millis[rounds - 1],
                        cpu / 1e6 / rounds,
                        peersCpu / 1e6 / rounds,
                        (heap() - heap) / 1e6);
            }
        } finally {
            LostVolumesTest.delete(folder);
        }
    }

    private static void measureThroughput(int number) throws Exception {
        Path folder = Files.createTempDirectory("peers-scale");
        try (ManyPeers many = new ManyPeers(number);
                CounterStore store = CounterStore.open(folder);
                Peers peers = open(many, store, folder, Peers.INTERVAL)) {
            peers.report().toCompletableFuture().join();
            int before = many.asked.get();
            AtomicLong answers = new AtomicLong();
            CountDownLatch done = new CountDownLatch(CALLERS);
            long start = System.nanoTime();
            for (int i = 0; i < CALLERS; i++) {
                askAgain(peers, start + ASKING.toNanos(), answers, done);
            }
            done.await();
            double seconds = (System.nanoTime() - start) / 1e9;
            System.out.printf(
                    Locale.ROOT,
                    "%5d %8d %11.0f %25.2f%n",
                    number,
                    CALLERS,
                    answers.get() / seconds,
                    (many.asked.get() - before) / seconds / number);
        } finally {
            LostVolumesTest.delete(folder);
        }
    }

    private static void askAgain(Peers peers, long end, AtomicLong answers, CountDownLatch done) {
        CompletableFuture<?> unused = peers.report()
                .toCompletableFuture()
                .thenAccept(report -> answers.incrementAndGet())
                .whenComplete((nothing, failure) -> {
                    if (failure != null || System.nanoTime() - end >= 0) {
                        done.countDown();
                    } else {
                        askAgain(peers, end, answers, done);
                    }
                });
    }

    private static long heap() {
        System.gc();
        return Runtime.getRuntime().totalMemory() - Runtime.getRuntime().freeMemory();
    }

    private static long cpuNanos() {
        return ((OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean()).getProcessCpuTime();
    }
}
