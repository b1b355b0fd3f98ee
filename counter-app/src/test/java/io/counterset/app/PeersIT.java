// SPDX-License-Identifier: Apache-2.0
package io.counterset.app;

import static java.util.Objects.requireNonNull;
import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import com.sun.net.httpserver.HttpServer;
import io.micronaut.json.tree.JsonNode;
import java.io.ByteArrayOutputStream;
import java.io.File;
import java.io.IOException;
import java.io.PrintStream;
import java.io.UncheckedIOException;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.BooleanSupplier;
import java.util.stream.Stream;
import org.awaitility.Awaitility;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * Three replicas, each a process with its own volume and address, and what one reports of the
 * others when they fail.
 */
class PeersIT {

    private static final int REPLICAS = 3;

    /** Long enough that a peer on a busy machine is not taken for a dead one. */
    private static final Map<String, String> PATIENT =
            Map.of("COUNTER_PEERS_TIMEOUT", "30s", "COUNTER_PEERS_DEADLINE", "40s");

    private static final Map<String, String> IMPATIENT =
            Map.of("COUNTER_PEERS_TIMEOUT", "1s", "COUNTER_PEERS_DEADLINE", "2s");

    @TempDir
    Path folder;

    private final int port = ServiceProcess.freePort();
    private final @Nullable ServiceProcess[] running = new ServiceProcess[REPLICAS];

    @AfterEach
    void endAll() {
        for (ServiceProcess process : running) {
            if (process != null) {
                process.close();
            }
        }
    }

    private static String host(int i) {
        return "127.0.0." + (i + 1);
    }

    private String address(int i) {
        return host(i) + ":" + port;
    }

    private Path volume(int i) {
        return folder.resolve("app-" + i).resolve("data");
    }

    private ServiceProcess start(int i, String name, Map<String, String> settings) {
        Map<String, String> environment = new HashMap<>(settings);
        environment.put("COUNTER_INSTANCE", name);
        environment.put("COUNTER_PEERS_ADDRESSES", address(0) + "," + address(1) + "," + address(2));
        environment.put("MICRONAUT_SERVER_HOST", host(i));
        environment.put("MICRONAUT_SERVER_PORT", Integer.toString(port));
        ServiceProcess process =
                ServiceProcess.start(folder.resolve(name.equals("app-" + i) ? name : "liar"), environment);
        running[i] = process;
        return process;
    }

    private ServiceProcess start(int i) {
        return start(i, "app-" + i, PATIENT);
    }

    /** Starts all replicas at once, and adds 1, 3 and 5 to them. */
    private void startAll(Map<String, String> settingsOfTheFirst) {
        CompletableFuture<?>[] starting = new CompletableFuture<?>[REPLICAS];
        for (int i = 0; i < REPLICAS; i++) {
            int number = i;
            starting[i] = CompletableFuture.runAsync(
                    () -> start(number, "app-" + number, number == 0 ? settingsOfTheFirst : PATIENT));
        }
        CompletableFuture.allOf(starting).join();
        for (int i = 0; i < REPLICAS; i++) {
            add(i, 2 * i + 1);
        }
    }

    private ServiceProcess replica(int i) {
        ServiceProcess process = running[i];
        if (process == null) {
            throw new AssertionError(i);
        }
        return process;
    }

    private void add(int i, int amount) {
        assertThat(replica(i).send("POST", "/count?by=" + amount).statusCode()).isEqualTo(200);
    }

    private JsonNode ask(int i) {
        return replica(i).json("/peers");
    }

    private String table(int i) {
        return replica(i).send("GET", "/peers", "Accept", "text/plain").body();
    }

    private static List<String> states(JsonNode report) {
        List<String> states = new ArrayList<>();
        for (JsonNode peer : report.get("peers").values()) {
            states.add(peer.get("instance").getStringValue() + " "
                    + peer.get("state").getStringValue() + " "
                    + peer.get("count").getLongValue());
        }
        return states;
    }

    private static JsonNode last(JsonNode report) {
        return report.get("peers").get(REPLICAS - 1);
    }

    private static String text(JsonNode object, String name) {
        return object.get(name).getStringValue();
    }

    private static void assertSum(JsonNode report, long total, boolean complete, int answered) {
        assertThat(report.get("total").getLongValue()).isEqualTo(total);
        assertThat(report.get("complete").getBooleanValue()).isEqualTo(complete);
        assertThat(report.get("answered").getIntValue()).isEqualTo(answered);
        assertThat(report.get("expected").getIntValue()).isEqualTo(REPLICAS);
    }

    private static void await(BooleanSupplier condition) {
        Awaitility.await()
                .atMost(Duration.ofSeconds(60))
                .pollDelay(Duration.ZERO)
                .pollInterval(Duration.ofMillis(20))
                .until(condition::getAsBoolean);
    }

    private static void copy(Path from, Path to) throws IOException {
        empty(to);
        Files.createDirectories(to);
        try (Stream<Path> files = Files.list(from)) {
            for (Path file : files.toList()) {
                Files.copy(file, to.resolve(file.getFileName()));
            }
        }
    }

    private static void empty(Path directory) throws IOException {
        if (Files.exists(directory)) {
            try (Stream<Path> files = Files.list(directory)) {
                for (Path file : files.toList()) {
                    Files.delete(file);
                }
            }
        }
    }

    @Test
    void theLastCountOfAKilledReplicaSurvivesAKillOfTheAskingOne() {
        startAll(PATIENT);
        for (int i = 0; i < REPLICAS; i++) {
            JsonNode report = ask(i);
            assertSum(report, 9, true, 3);
            assertThat(states(report)).containsExactly("app-0 live 1", "app-1 live 3", "app-2 live 5");
            assertThat(text(report, "askedBy")).isEqualTo("app-" + i);
        }
        await(() -> ask(0).get("lastMinute").getLongValue() == 9);
        assertThat(last(ask(0)).get("lastMinute").getLongValue()).isEqualTo(5);
        assertThat(table(1))
                .startsWith("visits: total 9, 3 of 3 replicas answered; 9 in the last minute\n")
                .containsPattern("\napp-2 +live +5 +5 ");

        replica(2).kill();
        JsonNode report = ask(0);
        assertSum(report, 9, false, 2);
        assertThat(states(report)).containsExactly("app-0 live 1", "app-1 live 3", "app-2 unreachable 5");
        assertThat(text(last(report), "reason")).isEqualTo("connection refused");
        assertThat(text(last(report), "address")).isEqualTo(address(2));
        Instant countedAt = Instant.parse(text(last(report), "countedAt"));
        assertThat(countedAt).isBefore(text(report, "at"));
        assertThat(table(0)).startsWith("visits: at least 9, 2 of 3 replicas answered; at least ");

        // The memory of peers is saved within seconds; from then on a kill loses none of it.
        await(() -> read(volume(0).resolve("counters.peers")).contains("\"count\":5"));
        replica(0).kill();
        start(0);
        report = ask(0);
        assertSum(report, 9, false, 2);
        assertThat(states(report)).containsExactly("app-0 live 1", "app-1 live 3", "app-2 unreachable 5");
        assertThat(Instant.parse(text(last(report), "countedAt"))).isBeforeOrEqualTo(countedAt);

        start(2);
        add(2, 1);
        report = ask(0);
        assertSum(report, 10, true, 3);
        assertThat(states(report)).containsExactly("app-0 live 1", "app-1 live 3", "app-2 live 6");
        assertThat(last(report).get("incarnation").getLongValue()).isEqualTo(2);
    }

    private static String read(Path file) {
        try {
            return Files.exists(file) ? Files.readString(file) : "";
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    @Test
    void aRefusingApiServerIsLoggedInOneLine() throws IOException {
        AtomicInteger requests = new AtomicInteger();
        HttpServer server = HttpServer.create(new InetSocketAddress(host(0), 0), 50);
        server.createContext("/", exchange -> {
            requests.incrementAndGet();
            exchange.sendResponseHeaders(503, -1);
            exchange.close();
        });
        server.start();
        try {
            Path token = Files.writeString(folder.resolve("token"), "a token");
            Map<String, String> pod = new HashMap<>(PATIENT);
            pod.put("COUNTER_PEERS_SOURCE", "kubernetes");
            pod.put("COUNTER_PEERS_SERVICE", "app-headless");
            pod.put("KUBERNETES_SERVICE_HOST", host(0));
            pod.put(
                    "KUBERNETES_CLIENT_BASE_PATH",
                    "http://" + host(0) + ":" + server.getAddress().getPort());
            pod.put("KUBERNETES_CLIENT_TOKEN_PATH", token.toString());
            ServiceProcess process = start(0, "app-0", pod);
            await(() -> requests.get() >= 8);
            process.terminate();

            assertThat(process.output().lines().filter(line -> line.contains("answered 503")))
                    .hasSize(1);
            assertThat(process.output()).doesNotContain("Reflector", "Exception", "ERROR");
            assertThat(process.errors()).isEmpty();
        } finally {
            server.stop(0);
        }
    }

    @Test
    void onlyTheFrozenReplicaIsUnreachableAndASlowOneIsLive() throws Exception {
        startAll(IMPATIENT);
        await(() -> ask(0).get("complete").getBooleanValue());
        replica(2).freeze();
        CompletableFuture<JsonNode> patient = CompletableFuture.supplyAsync(() -> ask(1));
        await(() -> states(ask(0)).equals(List.of("app-0 live 1", "app-1 live 3", "app-2 unreachable 5")));

        long began = System.nanoTime();
        JsonNode report = ask(0);
        assertThat(TimeUnit.NANOSECONDS.toSeconds(System.nanoTime() - began))
                .as("the deadline is 2 s; the rest allows for a busy machine")
                .isLessThan(15);
        assertThat(text(last(report), "reason")).isEqualTo("no answer within 1 s");
        assertThat(report.get("complete").getBooleanValue()).isFalse();
        assertThat(table(0)).startsWith("visits: at least 9, ");

        // The other replica has a longer timeout, so the frozen one is only slow for it.
        assertThat(patient).isNotDone();
        replica(2).thaw();
        report = patient.get(60, TimeUnit.SECONDS);
        assertSum(report, 9, true, 3);
        assertThat(last(report).get("latencyMillis").getDoubleValue()).isGreaterThan(1_000);
        await(() -> ask(0).get("complete").getBooleanValue());
    }

    @Test
    void reportsRolledBackReplacedAndImpersonatedReplicas() throws IOException {
        startAll(PATIENT);
        await(() -> ask(0).get("complete")
                .getBooleanValue()); // the report may share a round that began before the last start
        assertSum(ask(0), 9, true, 3);
        replica(2).terminate();
        copy(volume(2), folder.resolve("backup"));
        start(2);
        add(2, 6);
        assertThat(states(ask(0))).contains("app-2 live 11");

        replica(2).kill();
        copy(folder.resolve("backup"), volume(2));
        start(2);
        JsonNode report = ask(0);
        assertSum(report, 9, true, 3);
        assertThat(states(report)).containsExactly("app-0 live 1", "app-1 live 3", "app-2 rolled-back 5");
        assertThat(text(last(report), "reason"))
                .startsWith("its volume was rolled back: visits was 11 and came back as 5; found ");
        assertThat(table(0))
                .startsWith("visits: total 9 (and at least 6 lost), 3 of 3 replicas answered; 1 rolled back; ");
        assertThat(replica(0).output()).contains("app-2 is rolled back: its store");
        assertThat(table(0)).containsPattern("\napp-2 +rolled-back +5 .* visits was 11 and came back as 5");
        String store = text(last(report), "store");

        replica(2).kill();
        empty(volume(2));
        start(2);
        add(2, 2);
        report = ask(0);
        assertSum(report, 6, true, 3);
        assertThat(states(report)).containsExactly("app-0 live 1", "app-1 live 3", "app-2 replaced 2");
        assertThat(text(last(report).get("former"), "store")).isEqualTo(store);
        assertThat(last(report).get("former").get("count").getLongValue()).isEqualTo(5);
        assertThat(text(last(report), "reason")).contains("had counted at least 5; found ");

        // At its address a process answers with another replica's name, from a copy of that
        // replica's volume.
        replica(2).kill();
        copy(volume(1), folder.resolve("liar").resolve("data"));
        start(2, "app-1", PATIENT);
        report = ask(0);
        assertSum(report, 6, false, 2);
        assertThat(states(report)).containsExactly("app-0 live 1", "app-1 live 3", "app-2 unreachable 2");
        assertThat(text(last(report), "reason"))
                .isEqualTo("answered as app-1, which is listed as " + address(1) + " too");

        replica(2).kill();
        start(2);
        report = ask(0);
        assertSum(report, 6, true, 3);
        assertThat(states(report)).containsExactly("app-0 live 1", "app-1 live 3", "app-2 replaced 2");
        assertThat(report.get("lost").getLongValue()).as("5, and 6 before").isEqualTo(11);
        restoreAndForget(store);
    }

    /**
     * The script that docs/peers.md offers for a cluster, with SIGTERM for all replicas at once as
     * its command.
     */
    @Test
    void allReplicasAreReplacedAtOnceUnderLoadAndNothingIsLostOrCountedTwice() throws Exception {
        assumeTrue(Stream.of("bash", "curl", "awk").allMatch(PeersIT::isInstalled), "needs bash, curl and awk");
        startAll(PATIENT);
        await(() -> ask(0).get("complete").getBooleanValue());
        Path wanted = folder.resolve("wanted");
        Path done = folder.resolve("done");
        ProcessBuilder builder = new ProcessBuilder(
                        "bash",
                        Path.of("..", "docs", "replace-under-load.sh").toString(),
                        "http://" + address(0) + ",http://" + address(1) + ",http://" + address(2),
                        "bash",
                        "-c",
                        "touch " + wanted + "; until [[ -e " + done + " ]]; do sleep 0.05; done")
                .redirectErrorStream(true);
        builder.environment().put("BEFORE", "1");
        builder.environment().put("AFTER", "1");
        Process script = builder.start();
        CompletableFuture<String> said = CompletableFuture.supplyAsync(() -> {
            try {
                return new String(script.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
            } catch (IOException e) {
                throw new UncheckedIOException(e);
            }
        });
        try {
            await(() -> Files.exists(wanted) || !script.isAlive());
            assertThat(script.isAlive()).isTrue();
            Stream.of(running)
                    .forEach(process -> requireNonNull(process).process().destroy());
            for (int i = 0; i < REPLICAS; i++) {
                replica(i).awaitExit(Duration.ofSeconds(30));
                start(i);
            }
            Files.createFile(done);
            assertThat(script.waitFor(4, TimeUnit.MINUTES)).isTrue();
            assertThat(script.exitValue()).as(said.join()).isZero();
            assertThat(said.join()).containsPattern("acknowledged ([0-9]+), counted \\1\n");
            assertSum(ask(0), 9, true, 3);
        } finally {
            script.destroyForcibly();
        }
    }

    private static boolean isInstalled(String program) {
        return Stream.of(System.getenv("PATH").split(File.pathSeparator))
                .anyMatch(place -> Files.isExecutable(Path.of(place, program)));
    }

    private record Result(int status, String output, String errors) {}

    /** Runs a command of the jar. */
    private static Result run(String... arguments) {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        ByteArrayOutputStream errors = new ByteArrayOutputStream();
        int status = Restore.run(
                arguments,
                Map.of(),
                new PrintStream(out, true, StandardCharsets.UTF_8),
                new PrintStream(errors, true, StandardCharsets.UTF_8));
        return new Result(status, out.toString(StandardCharsets.UTF_8), errors.toString(StandardCharsets.UTF_8));
    }

    private void restoreAndForget(String store) {
        String loser = "http://" + address(2) + "/"; // with a slash or without
        assertThat(run("restore", "--from", "app-0", "--dry-run", "--to", loser))
                .isEqualTo(
                        new Result(0, "would-restore: visits 11 of store " + store + "; app-2 would count 13\n", ""));
        assertThat(run("restore", "--from", "app-0", "--to", loser))
                .isEqualTo(new Result(0, "restored: visits 11 of store " + store + "; app-2 counts 13\n", ""));
        assertThat(run("restore", "--from", address(0), "--to", loser).output())
                .startsWith("already-restored: visits 11 ");
        JsonNode report = ask(0);
        assertSum(report, 17, true, 3);
        assertThat(states(report)).containsExactly("app-0 live 1", "app-1 live 3", "app-2 restored 13");

        Result nobody = run("restore", "--from", "..", "--to", loser);
        assertThat(nobody.status()).isEqualTo(1);
        assertThat(nobody.errors()).contains("'..' is not a listed peer").endsWith("; nothing was changed\n");
        String asker = "http://" + address(0);
        assertThat(run("forget", "..", "--to", asker)).isEqualTo(new Result(0, "nothing remembered: ..\n", ""));
        assertThat(run("forget", "app-2", "--to", asker)).isEqualTo(new Result(0, "forgotten: app-2\n", ""));
        assertThat(run("forget", "app-2", "--to", "http://127.0.0.1:1").status())
                .isEqualTo(1);
        assertThat(run("forget").errors()).startsWith("counterset: the instance is missing; usage: forget ");
        assertThat(run("restore", "app-0"))
                .extracting(Result::status, Result::errors)
                .containsExactly(2, "counterset: 'app-0' is unexpected; usage: " + Restore.USAGE + "\n");
    }
}
