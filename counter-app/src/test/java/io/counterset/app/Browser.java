// SPDX-License-Identifier: Apache-2.0
package io.counterset.app;

import static org.assertj.core.api.Assertions.assertThat;

import io.micronaut.json.JsonMapper;
import io.micronaut.json.tree.JsonNode;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.net.http.WebSocket;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Base64;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.Stream;
import org.awaitility.Awaitility;
import org.awaitility.core.ConditionTimeoutException;

/**
 * A headless Chromium with one page, driven over its DevTools protocol. Closing it ends the
 * process.
 */
final class Browser implements AutoCloseable {

    private static final JsonMapper JSON = JsonMapper.createDefault();

    private final Process process;
    private final WebSocket socket;
    private final Map<Integer, CompletableFuture<JsonNode>> answers = new ConcurrentHashMap<>();
    private final AtomicInteger ids = new AtomicInteger();

    private Browser(Process process, String address) throws Exception {
        this.process = process;
        this.socket = HttpClient.newHttpClient()
                .newWebSocketBuilder()
                .buildAsync(URI.create(address), new Listener())
                .get(30, TimeUnit.SECONDS);
    }

    /** Returns the path of Chromium, if it is installed. */
    static Optional<Path> installed() {
        return Stream.of("/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome")
                .map(Path::of)
                .filter(Files::isExecutable)
                .findFirst();
    }

    static Browser start(Path folder) throws Exception {
        Path profile = folder.resolve("profile");
        Process process = new ProcessBuilder(
                        installed().orElseThrow().toString(),
                        "--headless=new",
                        "--no-sandbox", // root has no sandbox
                        "--disable-gpu",
                        "--disable-dev-shm-usage",
                        "--no-first-run",
                        "--remote-debugging-port=0",
                        "--user-data-dir=" + profile,
                        "about:blank")
                .redirectErrorStream(true)
                .redirectOutput(folder.resolve("chromium.txt").toFile())
                .start();
        boolean started = false;
        try {
            Path active = profile.resolve("DevToolsActivePort");
            Awaitility.await()
                    .atMost(Duration.ofSeconds(60))
                    .until(() ->
                            Files.exists(active) && Files.readAllLines(active).size() == 2);
            int port = Integer.parseInt(Files.readAllLines(active).get(0));
            HttpResponse<String> made = HttpClient.newHttpClient()
                    .send(
                            HttpRequest.newBuilder(URI.create("http://127.0.0.1:" + port + "/json/new?about:blank"))
                                    .PUT(HttpRequest.BodyPublishers.noBody())
                                    .build(),
                            HttpResponse.BodyHandlers.ofString());
            Browser browser = new Browser(
                    process, read(made.body()).get("webSocketDebuggerUrl").getStringValue());
            started = true;
            return browser;
        } finally {
            if (!started) {
                process.destroyForcibly();
            }
        }
    }

    private static JsonNode read(String text) throws IOException {
        return Objects.requireNonNull(JSON.readValue(text, JsonNode.class));
    }

    private final class Listener implements WebSocket.Listener {
        private final StringBuilder message = new StringBuilder();

        @Override
        public CompletionStage<?> onText(WebSocket from, CharSequence data, boolean last) {
            message.append(data);
            if (last) {
                String text = message.toString();
                message.setLength(0);
                try {
                    JsonNode answer = read(text);
                    JsonNode id = answer.get("id");
                    if (id != null) {
                        Objects.requireNonNull(answers.remove(id.getIntValue())).complete(answer);
                    }
                } catch (IOException e) {
                    throw new IllegalStateException(text, e);
                }
            }
            from.request(1);
            return CompletableFuture.completedFuture(null);
        }
    }

    private JsonNode command(String method, Map<String, ?> parameters) {
        int id = ids.incrementAndGet();
        CompletableFuture<JsonNode> answer = new CompletableFuture<>();
        answers.put(id, answer);
        try {
            socket.sendText(JSON.writeValueAsString(Map.of("id", id, "method", method, "params", parameters)), true)
                    .get(30, TimeUnit.SECONDS);
            return answer.get(30, TimeUnit.SECONDS);
        } catch (IOException | ExecutionException | TimeoutException e) {
            throw new IllegalStateException(method, e);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new IllegalStateException(e);
        }
    }

    /**
     * Sets the window size, the colour scheme and whether scripts run, for pages opened afterwards.
     */
    void emulate(int width, int height, boolean dark, boolean scripts) {
        command(
                "Emulation.setDeviceMetricsOverride",
                Map.of("width", width, "height", height, "deviceScaleFactor", 1, "mobile", width < 700));
        command(
                "Emulation.setEmulatedMedia",
                Map.of("features", List.of(Map.of("name", "prefers-color-scheme", "value", dark ? "dark" : "light"))));
        command("Emulation.setScriptExecutionDisabled", Map.of("value", !scripts));
    }

    /** Returns a PNG screenshot of the whole page. */
    byte[] screenshot() {
        JsonNode result = command("Page.captureScreenshot", Map.of("captureBeyondViewport", true));
        return Base64.getDecoder().decode(result.get("result").get("data").getStringValue());
    }

    /** Opens a page. Use {@link #await} to wait until it has loaded. */
    void open(String url) {
        command("Page.navigate", Map.of("url", url));
    }

    /** Returns the value of a JavaScript expression in the page as text; a promise is awaited. */
    String evaluate(String script) {
        JsonNode result = command(
                        "Runtime.evaluate",
                        Map.of(
                                "expression",
                                "Promise.resolve(" + script + ").then(String)",
                                "awaitPromise",
                                true,
                                "returnByValue",
                                true))
                .get("result")
                .get("result");
        JsonNode value = result.get("value");
        return value == null ? result.toString() : value.coerceStringValue();
    }

    /** Waits until the value of an expression is {@code expected}. */
    void await(String script, String expected) {
        try {
            Awaitility.await()
                    .atMost(Duration.ofSeconds(60))
                    .pollInterval(Duration.ofMillis(50))
                    .ignoreExceptions()
                    .until(() -> evaluate(script).equals(expected));
        } catch (ConditionTimeoutException e) {
            assertThat(evaluate(script)).as(script).isEqualTo(expected);
        }
    }

    @Override
    public void close() {
        socket.abort();
        List<ProcessHandle> children = process.descendants().toList();
        process.destroyForcibly();
        children.forEach(ProcessHandle::destroyForcibly);
        Awaitility.await().atMost(Duration.ofSeconds(30)).until(() -> !process.isAlive());
    }
}
