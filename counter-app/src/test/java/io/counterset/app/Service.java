package io.counterset.app;

import static org.assertj.core.api.Assertions.assertThat;

import io.micronaut.context.ApplicationContext;
import io.micronaut.json.JsonMapper;
import io.micronaut.json.tree.JsonNode;
import io.micronaut.runtime.server.EmbeddedServer;
import java.io.File;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Comparator;
import java.util.HashMap;
import java.util.Map;
import java.util.Objects;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.extension.AfterAllCallback;
import org.junit.jupiter.api.extension.BeforeAllCallback;
import org.junit.jupiter.api.extension.ExtensionContext;

/**
 * The service in this process, on a free port of the loopback interface: for one test, or as an extension of JUnit for all tests of
 * a class.
 */
final class Service implements AutoCloseable, BeforeAllCallback, AfterAllCallback {

    private static final HttpClient CLIENT =
            HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
    private static final JsonMapper JSON = JsonMapper.createDefault();

    private final Map<String, Object> settings = new HashMap<>(Map.of(
            "micronaut.server.host", "127.0.0.1",
            "micronaut.server.port", "0",
            "counter.instance", "app-0"));
    private @Nullable Path folder;
    private @Nullable ApplicationContext context;
    private @Nullable EmbeddedServer server;

    private Service(String... settings) {
        for (int i = 0; i < settings.length; i += 2) {
            this.settings.put(settings[i], settings[i + 1]);
        }
    }

    /** Starts it with its data in {@code folder}, and with settings as name, value, name, value … */
    static Service start(Path folder, String... settings) {
        return start(folder, Map.of(), settings);
    }

    /** As above, with beans that take the place of those of the same type. */
    static <T> Service start(Path folder, Map<Class<T>, T> beans, String... settings) {
        Service service = new Service(settings);
        service.start(folder, beans);
        return service;
    }

    /** For {@code @RegisterExtension}: runs from before the first test of a class until after the last, in a folder of its own. */
    static Service forClass(String... settings) {
        return new Service(settings);
    }

    private <T> void start(Path data, Map<Class<T>, T> beans) {
        folder = data;
        settings.put("counter.directory", data.toString());
        ApplicationContext made = ApplicationContext.builder()
                .deduceEnvironment(false)
                .banner(false)
                .properties(settings)
                .build();
        beans.forEach(made::registerSingleton);
        context = made.start();
        server = made.getBean(EmbeddedServer.class).start();
    }

    @Override
    public void beforeAll(ExtensionContext test) throws IOException {
        start(Files.createTempDirectory("counterset-service"), Map.of());
    }

    @Override
    public void afterAll(ExtensionContext test) throws IOException {
        close();
        try (Stream<Path> files = Files.walk(folder())) {
            files.sorted(Comparator.reverseOrder()).map(Path::toFile).forEach(File::delete);
        }
    }

    <T> T bean(Class<T> type) {
        return Objects.requireNonNull(context).getBean(type);
    }

    int port() {
        return Objects.requireNonNull(server).getPort();
    }

    Path folder() {
        return Objects.requireNonNull(folder);
    }

    /** Sends a request without a body; headers are name, value, name, value … */
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
            return CLIENT.send(request.build(), HttpResponse.BodyHandlers.ofString());
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

    /** Requires that the response is a problem of that type and status, and says what became of the increment. */
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
        if (context != null) {
            context.close();
        }
    }
}
