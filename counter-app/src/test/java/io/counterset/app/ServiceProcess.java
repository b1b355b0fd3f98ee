// SPDX-License-Identifier: Apache-2.0
package io.counterset.app;

import static org.assertj.core.api.Assertions.assertThat;

import io.micronaut.json.JsonMapper;
import io.micronaut.json.tree.JsonNode;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.BindException;
import java.net.ServerSocket;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.awaitility.Awaitility;
import org.jspecify.annotations.Nullable;

/**
 * The real jar, run as a separate process on a free port of the loopback interface. Closing this
 * kills the process.
 */
final class ServiceProcess implements AutoCloseable {

    static final Path JAR = Path.of("target", "counter-app.jar").toAbsolutePath();

    /** Long enough for a start on a busy machine. */
    private static final Duration START = Duration.ofSeconds(90);

    private static final Pattern SERVING = Pattern.compile("serving port (\\d+)");
    private static final JsonMapper JSON = JsonMapper.createDefault();
    private static final HttpClient CLIENT = HttpClient.newHttpClient();

    /** The ports that tests already use. */
    private static final Set<Integer> PORTS = ConcurrentHashMap.newKeySet();

    /** The CDS archive of the classes that the service loads, which halves the start-up time. */
    private static @Nullable Path classes;

    private final Process process;
    private final Path output;
    private final Path errors;
    private final String host;
    private int port;

    private ServiceProcess(Process process, String host, Path output, Path errors) {
        this.process = process;
        this.host = host;
        this.output = output;
        this.errors = errors;
    }

    /** Starts the service in {@code folder} and waits until it serves. */
    static ServiceProcess start(Path folder, Map<String, String> environment) {
        ServiceProcess service = launch(folder, environment);
        boolean serves = false;
        try {
            service.awaitServing();
            serves = true;
            return service;
        } finally {
            if (!serves) {
                service.close();
            }
        }
    }

    private void awaitServing() {
        Awaitility.await()
                .atMost(START)
                .pollDelay(Duration.ZERO)
                .pollInterval(Duration.ofMillis(20))
                .until(() -> isServing() || !process.isAlive());
        assertThat(process.isAlive()).as("%s%s", output(), errors()).isTrue();
    }

    /** Starts the service in {@code folder} and does not wait until it serves. */
    static ServiceProcess launch(Path folder, Map<String, String> environment, String... arguments) {
        return launch("-XX:SharedArchiveFile=" + classes(), folder, environment, arguments);
    }

    private static synchronized Path classes() {
        if (classes == null) {
            try {
                Path made = Files.createTempDirectory("counterset-classes");
                try (ServiceProcess training =
                        launch("-XX:ArchiveClassesAtExit=" + made.resolve("classes.jsa"), made, Map.of())) {
                    training.awaitServing();
                    training.send("GET", "/");
                    training.send("POST", "/count", "Idempotency-Key", "training");
                    training.send("GET", "/peers");
                    training.process().destroy();
                    training.awaitExit(Duration.ofMinutes(3)); // writing the archive is slow on a busy machine
                }
                made.toFile().deleteOnExit();
                made.resolve("classes.jsa").toFile().deleteOnExit();
                classes = made.resolve("classes.jsa");
            } catch (IOException e) {
                throw new UncheckedIOException(e);
            }
        }
        return classes;
    }

    private static ServiceProcess launch(
            String archive, Path folder, Map<String, String> environment, String... arguments) {
        try {
            Files.createDirectories(folder);
            Path output = Files.createTempFile(folder, "output", ".txt");
            Path errors = Files.createTempFile(folder, "errors", ".txt");
            List<String> command = new ArrayList<>(List.of(
                    Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                    "-Xmx128m",
                    "-XX:+UseSerialGC",
                    "-XX:TieredStopAtLevel=1", // these processes are too short-lived for the optimising compiler
                    archive,
                    "-Xlog:disable",
                    "-jar",
                    JAR.toString()));
            command.addAll(List.of(arguments));
            ProcessBuilder builder = new ProcessBuilder(command)
                    .directory(folder.toFile())
                    .redirectOutput(output.toFile())
                    .redirectError(errors.toFile());
            builder.environment().put("MICRONAUT_SERVER_HOST", "127.0.0.1");
            builder.environment().put("MICRONAUT_SERVER_PORT", "0");
            builder.environment().putAll(environment);
            String host = builder.environment().get("MICRONAUT_SERVER_HOST");
            return new ServiceProcess(builder.start(), host, output, errors);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /**
     * Returns a port that was free a moment ago, below the range that the system uses for outgoing
     * connections. No other caller gets the same port.
     */
    static int freePort() {
        while (true) {
            int port = ThreadLocalRandom.current().nextInt(20_000, 32_000);
            if (PORTS.add(port) && isFree(port)) {
                return port;
            }
        }
    }

    static boolean isFree(int port) {
        try (ServerSocket socket = new ServerSocket(port)) {
            return socket.isBound();
        } catch (BindException e) {
            return false;
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private boolean isServing() {
        Matcher matcher = SERVING.matcher(output());
        if (!matcher.find()) {
            return false;
        }
        port = Integer.parseInt(matcher.group(1));
        return true;
    }

    int port() {
        return port;
    }

    Process process() {
        return process;
    }

    String output() {
        return read(output);
    }

    String errors() {
        return read(errors);
    }

    private static String read(Path file) {
        try {
            return Files.readString(file);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /** Sends a request without a body; headers are name, value, name, value … */
    HttpResponse<String> send(String method, String path, String... headers) {
        HttpRequest.Builder request = HttpRequest.newBuilder(URI.create("http://" + host + ":" + port + path))
                .method(method, HttpRequest.BodyPublishers.noBody())
                .timeout(Duration.ofSeconds(30));
        if (headers.length > 0) {
            request.headers(headers);
        }
        try {
            return CLIENT.send(request.build(), HttpResponse.BodyHandlers.ofString());
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new IllegalStateException(e);
        }
    }

    /** Returns the JSON at {@code path}. */
    JsonNode json(String path) {
        HttpResponse<String> response = send("GET", path, "Accept", "application/json");
        assertThat(response.statusCode()).as(response.body()).isEqualTo(200);
        try {
            return Objects.requireNonNull(JSON.readValue(response.body(), JsonNode.class));
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /** Returns the main counter's count. */
    long count() {
        HttpResponse<String> response = send("GET", "/count", "Accept", "text/plain");
        assertThat(response.statusCode()).as(response.body()).isEqualTo(200);
        return Long.parseLong(response.body().strip());
    }

    /** Sends SIGKILL. */
    void kill() {
        process.destroyForcibly();
        awaitExit(Duration.ofSeconds(30));
    }

    /** Sends SIGSTOP: the system still accepts connections, but nothing is answered. */
    void freeze() {
        signal("STOP");
    }

    /** Sends SIGCONT. */
    void thaw() {
        signal("CONT");
    }

    private void signal(String name) {
        try {
            Process kill = new ProcessBuilder("kill", "-" + name, Long.toString(process.pid()))
                    .inheritIO()
                    .start();
            assertThat(kill.waitFor()).isZero();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new IllegalStateException(e);
        }
    }

    /** Sends SIGTERM, and returns how long the process took to end. */
    Duration terminate() {
        long began = System.nanoTime();
        process.destroy();
        awaitExit(Duration.ofSeconds(30));
        return Duration.ofNanos(System.nanoTime() - began);
    }

    /** Waits for the process to end, and returns its exit status. */
    int awaitExit(Duration limit) {
        try {
            assertThat(process.waitFor(limit.toMillis(), TimeUnit.MILLISECONDS))
                    .as("ended: %s%s", output(), errors())
                    .isTrue();
            return process.exitValue();
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new IllegalStateException(e);
        }
    }

    @Override
    public void close() {
        process.destroyForcibly();
        awaitExit(Duration.ofSeconds(30));
    }
}
