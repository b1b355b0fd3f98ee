// SPDX-License-Identifier: Apache-2.0
package io.counterset.app;

import static org.assertj.core.api.Assertions.assertThat;

import io.micronaut.context.ApplicationContext;
import io.micronaut.json.JsonMapper;
import io.micronaut.json.tree.JsonNode;
import io.micronaut.runtime.server.EmbeddedServer;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.ServerSocket;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Path;
import java.time.Duration;
import java.util.HashMap;
import java.util.Map;
import java.util.Objects;
import org.awaitility.Awaitility;
import org.jspecify.annotations.Nullable;

/** The service in this process, on a free port of the loopback interface. */
final class Service implements AutoCloseable {

    private static final HttpClient CLIENT =
            HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
    private static final JsonMapper JSON = JsonMapper.createDefault();

    private final ApplicationContext context;
    private final EmbeddedServer server;
    private volatile @Nullable Description description;

    /** Wraps a running service. */
    Service(ApplicationContext context, EmbeddedServer server) {
        this.context = context;
        this.server = server;
    }

    /**
     * Starts the service with its data in {@code folder} and with settings as name, value, name,
     * value …
     */
    static Service start(Path folder, String... settings) {
        Map<String, Object> properties = new HashMap<>(settings(folder));
        for (int i = 0; i < settings.length; i += 2) {
            properties.put(settings[i], settings[i + 1]);
        }
        int port = Integer.parseInt(String.valueOf(properties.get("micronaut.server.port")));
        if (port != 0) { // the framework closes the port of the previous service in the background
            Awaitility.await().pollDelay(Duration.ZERO).until(() -> isFree(port));
        }
        ApplicationContext context = ApplicationContext.builder()
                .deduceEnvironment(false)
                .banner(false)
                .properties(properties)
                .build();
        boolean started = false;
        try {
            Service service = new Service(
                    context, context.start().getBean(EmbeddedServer.class).start());
            started = true;
            return service;
        } finally {
            if (!started) {
                context.close();
            }
        }
    }

    /** Returns the settings that all tests share. */
    static Map<String, String> settings(Path folder) {
        return Map.of(
                "micronaut.server.host", "127.0.0.1",
                "micronaut.server.port", "0",
                "counter.directory", folder.toString(),
                "counter.instance", "app-0");
    }

    private static boolean isFree(int port) {
        try (ServerSocket socket = new ServerSocket(port)) {
            return socket.isBound();
        } catch (IOException e) {
            return false;
        }
    }

    <T> T bean(Class<T> type) {
        return context.getBean(type);
    }

    int port() {
        return server.getPort();
    }

    /** Returns the OpenAPI document as it is served. */
    Description description() {
        Description known = description;
        if (known == null) {
            known = new Description(
                    String.valueOf(bean(OpenApiController.class).description().body()));
            description = known;
        }
        return known;
    }

    /**
     * Sends a request without a body, and requires that the OpenAPI document describes the
     * response; headers are name, value, name, value …
     */
    HttpResponse<String> send(String method, String path, String... headers) {
        return send(method, path, HttpRequest.BodyPublishers.noBody(), headers);
    }

    HttpResponse<String> send(String method, String path, HttpRequest.BodyPublisher body, String... headers) {
        HttpRequest.Builder request = HttpRequest.newBuilder(URI.create("http://127.0.0.1:" + port() + path))
                .method(method, body)
                .timeout(Duration.ofSeconds(60));
        if (headers.length > 0) {
            request.headers(headers);
        }
        try {
            HttpResponse<String> response = CLIENT.send(request.build(), HttpResponse.BodyHandlers.ofString());
            assertThat(description().violations(method, response))
                    .as("%s %s: %d %s", method, path, response.statusCode(), response.body())
                    .isEmpty();
            return response;
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new IllegalStateException(e);
        }
    }

    static JsonNode json(HttpResponse<String> response) {
        try {
            return Objects.requireNonNull(JSON.readValue(response.body(), JsonNode.class), response.body());
        } catch (IOException e) {
            throw new UncheckedIOException(response.body(), e);
        }
    }

    /**
     * Requires that the response is a problem of that type and status with that outcome of the
     * increment.
     */
    static void assertProblem(HttpResponse<String> response, int status, String type, String increment) {
        assertThat(response.statusCode()).as(response.body()).isEqualTo(status);
        assertThat(response.headers().firstValue("Content-Type")).contains("application/problem+json");
        assertThat(response.headers().firstValue("Cache-Control")).contains("no-store");
        JsonNode problem = json(response);
        assertThat(problem.get("type").getStringValue()).isEqualTo("urn:counterset:problem:" + type);
        assertThat(problem.get("status").getIntValue()).isEqualTo(status);
        assertThat(problem.get("title").getStringValue()).isNotEmpty();
        assertThat(problem.get("increment").getStringValue()).isEqualTo(increment);
    }

    @Override
    public void close() {
        context.close();
    }
}
