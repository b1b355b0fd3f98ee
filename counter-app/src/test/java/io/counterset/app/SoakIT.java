// SPDX-License-Identifier: Apache-2.0
package io.counterset.app;

import static org.assertj.core.api.Assertions.assertThat;

import io.micronaut.json.tree.JsonNode;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.EnumMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import java.util.Random;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.awaitility.Awaitility;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.CleanupMode;
import org.junit.jupiter.api.io.TempDir;

/**
 * Three replicas under a load of increments with keys, while one after another is killed, stopped,
 * frozen or left without disk space. A client retries an increment with its key until it is
 * acknowledged, so in the end every replica has counted exactly what it acknowledged. The first
 * replica is never restarted; its memory, descriptors and threads must not grow.
 */
class SoakIT {

    private static final Duration TIME = Duration.ofSeconds(Long.getLong("counterset.soak.seconds", 5));
    private static final long SEED = Long.getLong("counterset.soak.seed", System.nanoTime());
    private static final boolean LONG = TIME.toSeconds() >= 300;

    private static final int REPLICAS = 3;
    private static final int CLIENTS = 4;
    private static final Duration PATIENCE = Duration.ofMinutes(2);
    private static final Pattern HEAP =
            Pattern.compile("(?m)^jvm_memory_used_bytes\\{[^}]*area=\"heap\"[^}]*} ([0-9.E]+)$");

    /** What happens to a replica. */
    private enum Fault {
        KILL,
        STOP,
        FREEZE,
        FULL_DISK
    }

    @TempDir(cleanup = CleanupMode.ON_SUCCESS)
    private Path folder;

    private final Random random = new Random(SEED);
    private final List<Integer> ports =
            Stream.generate(ServiceProcess::freePort).distinct().limit(REPLICAS).toList();
    private final List<ServiceProcess> replicas = new ArrayList<>();
    private final List<Client> clients = new ArrayList<>();
    private final List<Path> mounted = new ArrayList<>();
    private final Map<Fault, Integer> faults = new EnumMap<>(Fault.class);
    private volatile boolean ending;

    @Test
    @Timeout(value = 7, unit = TimeUnit.DAYS) // the duration is a setting, and every wait is bounded
    void countsMatchAcknowledgementsAndResourcesDoNotGrow() throws Exception {
        System.out.printf("soak: %d s, repeat with -Dcounterset.soak.seed=%d%n", TIME.toSeconds(), SEED);
        try {
            for (int i = 0; i < REPLICAS; i++) {
                Path disk = Files.createDirectory(folder.resolve("disk-" + i));
                if (SmallDisk.mount(disk)) {
                    mounted.add(disk);
                }
                replicas.add(start(i));
            }
            for (int i = 0; i < REPLICAS * CLIENTS; i++) {
                clients.add(new Client(i % REPLICAS, i));
            }
            Thread watcher = new Thread(this::watch, "watcher");
            clients.forEach(Thread::start);
            watcher.start();

            Usage early = null;
            long began = System.nanoTime();
            while (faults.size() < Fault.values().length - (mounted.isEmpty() ? 1 : 0)
                    || System.nanoTime() - began < TIME.toNanos()) {
                List<Fault> round = new ArrayList<>(List.of(Fault.values()));
                Collections.shuffle(round, random);
                for (Fault fault : round) {
                    inject(fault);
                    if (early == null && System.nanoTime() - began >= TIME.toNanos() / 3) {
                        early = usage();
                    }
                }
            }
            Usage late = usage();
            ending = true;
            for (Thread thread : clients) {
                thread.join(PATIENCE.toMillis());
                assertThat(thread.isAlive()).as("a client is still waiting").isFalse();
            }
            watcher.join(PATIENCE.toMillis());
            judge();
            judge(Objects.requireNonNull(early), late);
        } finally {
            ending = true;
            replicas.forEach(ServiceProcess::close);
            for (Path disk : mounted) {
                SmallDisk.unmount(disk);
            }
        }
    }

    private ServiceProcess start(int replica) {
        String addresses =
                String.join(",", ports.stream().map(port -> "127.0.0.1:" + port).toList());
        return ServiceProcess.start(
                folder,
                Map.of(
                        "COUNTER_INSTANCE",
                        "app-" + replica,
                        "COUNTER_DIRECTORY",
                        "disk-" + replica + "/data",
                        "COUNTER_IDEMPOTENCY_MAX_KEYS",
                        "50000",
                        "COUNTER_PEERS_ADDRESSES",
                        addresses,
                        "MICRONAUT_SERVER_PORT",
                        Integer.toString(ports.get(replica))));
    }

    // ---- faults ----

    private void inject(Fault fault) throws Exception {
        boolean ends = fault == Fault.KILL || fault == Fault.STOP;
        int replica = ends ? 1 + random.nextInt(REPLICAS - 1) : random.nextInt(REPLICAS);
        ServiceProcess process = replicas.get(replica);
        awaitProgress();
        switch (fault) {
            case KILL -> {
                process.kill();
                replicas.set(replica, start(replica));
            }
            case STOP -> {
                assertThat(process.terminate()).isLessThan(Duration.ofSeconds(10));
                replicas.set(replica, start(replica));
            }
            case FREEZE -> {
                process.freeze();
                TimeUnit.MILLISECONDS.sleep(500 + random.nextInt(2_000)); // how long it is frozen
                process.thaw();
            }
            case FULL_DISK -> {
                if (mounted.isEmpty()) {
                    return; // this user may not mount a file system
                }
                Path filler = folder.resolve("disk-" + replica).resolve("filler");
                SmallDisk.fill(filler);
                TimeUnit.MILLISECONDS.sleep(500 + random.nextInt(2_000)); // how long there is no space
                Files.delete(filler);
            }
        }
        faults.merge(fault, 1, Integer::sum);
        awaitProgress();
    }

    /** Waits until every replica has acknowledged another increment. */
    private void awaitProgress() {
        long[] before = new long[REPLICAS];
        clients.forEach(client -> before[client.replica] += client.acknowledged.get());
        Awaitility.await().atMost(PATIENCE).pollInterval(Duration.ofMillis(20)).until(() -> {
            long[] now = new long[REPLICAS];
            clients.forEach(client -> now[client.replica] += client.acknowledged.get());
            for (int i = 0; i < REPLICAS; i++) {
                if (now[i] < before[i] + 20) {
                    return false;
                }
            }
            return true;
        });
    }

    // ---- the load ----

    /**
     * Sends one increment after another, each with its own key, and retries it until it is
     * acknowledged.
     */
    private final class Client extends Thread {

        final int replica;
        final AtomicLong acknowledged = new AtomicLong();
        final AtomicLong sum = new AtomicLong();
        final AtomicLong repeated = new AtomicLong();
        private final int number;
        private final HttpClient http = HttpClient.newBuilder()
                .version(HttpClient.Version.HTTP_1_1)
                .connectTimeout(Duration.ofSeconds(2))
                .build();

        Client(int replica, int number) {
            super("client-" + number);
            setDaemon(true);
            this.replica = replica;
            this.number = number;
        }

        @Override
        public void run() {
            try {
                for (long i = 0; !ending; i++) {
                    long amount = 1 + i % 7;
                    while (!add(amount, "client-" + number + "-" + i)) {
                        repeated.incrementAndGet();
                        TimeUnit.MILLISECONDS.sleep(50);
                    }
                    acknowledged.incrementAndGet();
                    sum.addAndGet(amount);
                }
            } catch (InterruptedException e) {
                throw new IllegalStateException(e);
            }
        }

        private boolean add(long amount, String key) throws InterruptedException {
            HttpRequest request = HttpRequest.newBuilder(
                            URI.create("http://127.0.0.1:" + ports.get(replica) + "/count?by=" + amount))
                    .POST(HttpRequest.BodyPublishers.noBody())
                    .header("Idempotency-Key", key)
                    .timeout(Duration.ofSeconds(2))
                    .build();
            try {
                return http.send(request, HttpResponse.BodyHandlers.discarding())
                                .statusCode()
                        == 200;
            } catch (IOException e) {
                // The replica is frozen or gone, or closed the connection; the retry tells whether
                // it counted.
                return false;
            }
        }
    }

    /** Polls the replicas as a dashboard does. */
    private void watch() {
        while (!ending) {
            for (String path : List.of("/peers", "/peers/history", "/prometheus")) {
                try {
                    replicas.get(0).send("GET", path);
                } catch (UncheckedIOException e) {
                    // It is frozen; the clients wait for it.
                }
            }
        }
    }

    // ---- checks ----

    /**
     * The first replica's use of resources: its resident memory and its live heap after a
     * collection in MB, descriptors and threads.
     */
    private record Usage(long resident, long heap, long descriptors, long threads) {
        @Override
        public String toString() {
            return String.format(
                    Locale.ROOT,
                    "%d MB resident, %d MB live heap, %d descriptors, %d threads",
                    resident,
                    heap,
                    descriptors,
                    threads);
        }
    }

    private Usage usage() throws Exception {
        ServiceProcess first = replicas.get(0);
        Path proc = Path.of("/proc", Long.toString(first.process().pid()));
        String jcmd = Path.of(System.getProperty("java.home"), "bin", "jcmd").toString();
        assertThat(SmallDisk.run(jcmd, Long.toString(first.process().pid()), "GC.run"))
                .as("jcmd collects the heap")
                .isTrue();
        double heap = 0;
        Matcher used = HEAP.matcher(first.send("GET", "/prometheus").body());
        while (used.find()) {
            heap += Double.parseDouble(used.group(1));
        }
        long resident = Files.readAllLines(proc.resolve("status")).stream()
                .filter(line -> line.startsWith("VmRSS:"))
                .mapToLong(line -> Long.parseLong(line.replaceAll("[^0-9]", "")))
                .findFirst()
                .orElseThrow();
        return new Usage(
                resident / 1_024, (long) (heap / 1e6), entries(proc.resolve("fd")), entries(proc.resolve("task")));
    }

    private static long entries(Path directory) throws IOException {
        try (Stream<Path> entries = Files.list(directory)) {
            return entries.count();
        }
    }

    private void judge() throws Exception {
        long total = 0;
        for (int i = 0; i < REPLICAS; i++) {
            total += judge(i);
        }
        JsonNode report = replicas.get(0).json("/peers");
        assertThat(report.get("total").getLongValue()).isEqualTo(total);
        assertThat(report.get("complete").getBooleanValue())
                .as(report.toString())
                .isTrue();
        for (int i = 0; i < REPLICAS; i++) {
            replicas.get(i).terminate();
            replicas.set(i, start(i));
            judge(i);
        }
    }

    private void judge(Usage early, Usage late) {
        System.out.printf(
                "soak: %,d increments acknowledged, %,d repeated; faults %s%nsoak: after a third %s%nsoak: at the end %s%n",
                clients.stream().mapToLong(client -> client.acknowledged.get()).sum(),
                clients.stream().mapToLong(client -> client.repeated.get()).sum(),
                faults,
                early,
                late);
        assertThat(late.descriptors).isLessThanOrEqualTo(early.descriptors + 16);
        assertThat(late.threads).isLessThanOrEqualTo(early.threads + 8);
        assertThat(late.heap).isLessThanOrEqualTo(early.heap + 16);
        assertThat(late.resident).isLessThanOrEqualTo(early.resident + (LONG ? 16 : 64));
    }

    private long judge(int replica) {
        long acknowledged = clients.stream()
                .filter(client -> client.replica == replica)
                .mapToLong(client -> client.sum.get())
                .sum();
        ServiceProcess process = replicas.get(replica);
        assertThat(process.count()).as("app-%d", replica).isEqualTo(acknowledged);
        Awaitility.await().atMost(PATIENCE).untilAsserted(() -> {
            long grown = 0;
            for (JsonNode bucket :
                    process.json("/history?unit=day").get("buckets").values()) {
                grown += bucket.get("count").isNull() ? 0 : bucket.get("count").getLongValue();
            }
            assertThat(grown).as("the history of app-%d", replica).isEqualTo(acknowledged);
        });
        return acknowledged;
    }
}
