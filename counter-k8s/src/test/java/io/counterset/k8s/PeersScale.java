package io.counterset.k8s;

import com.sun.management.OperatingSystemMXBean;
import io.counterset.CounterStore;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Arrays;
import java.util.Locale;

/**
 * Prints how long reports about 100 and 1,000 peers on loopback take, with the default settings and rounds 250 ms apart. Run by
 *
 * its main method on the class path of the tests, as docs/peers.md shows.
 */
final class PeersScale {

    private PeersScale() {}

    public static void main(String[] arguments) throws Exception {
        int rounds = arguments.length > 0 ? Integer.parseInt(arguments[0]) : 200;
        System.out.println(
                "peers  frozen   p50 ms   p90 ms   p99 ms   max ms  CPU ms a round   of it the peers'   heap MB");
        measure(100, 0, rounds);
        measure(1_000, 0, rounds);
        measure(100, 1, Math.max(5, rounds / 20));
        measure(1_000, 10, Math.max(5, rounds / 20));
    }

    private static void measure(int number, int frozen, int rounds) throws Exception {
        Path folder = Files.createTempDirectory("peers-scale");
        try (ManyPeers many = new ManyPeers(number);
                CounterStore store = CounterStore.open(folder);
                Peers peers = TestSettings.list(many.addresses.toArray(String[]::new))
                        .in(folder)
                        .timeout(Duration.ofSeconds(1))
                        .deadline(Duration.ofSeconds(2))
                        .concurrency(256)
                        .openWithInterval(new Replica("app-0", store, "visits", 8080), Peers.INTERVAL)) {
            for (int i = 0; i < frozen; i++) {
                many.freeze(i * (number / frozen));
            }
            double[] millis = new double[rounds];
            long cpu = 0;
            long peersCpu = 0;
            for (int i = -rounds / 4; i < rounds; i++) {
                if (i == 0) {
                    cpu = cpuNanos();
                    peersCpu = many.cpuNanos();
                }
                Thread.sleep(Peers.INTERVAL.toMillis() + 5); // so that nobody waits for a round to be allowed
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
            System.gc();
            long heap =
                    Runtime.getRuntime().totalMemory() - Runtime.getRuntime().freeMemory();
            System.out.printf(
                    Locale.ROOT,
                    "%5d %7d %8.1f %8.1f %8.1f %8.1f %15.1f %17.1f %9.1f%n",
                    number,
                    frozen,
                    millis[rounds / 2],
                    millis[rounds * 9 / 10],
                    millis[rounds * 99 / 100],
                    millis[rounds - 1],
                    cpu / 1e6 / rounds,
                    peersCpu / 1e6 / rounds,
                    heap / 1e6);
        } finally {
            LostVolumesTest.delete(folder);
        }
    }

    private static long cpuNanos() {
        return ((OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean()).getProcessCpuTime();
    }
}
