package io.counterset.app;

import io.counterset.k8s.Restoration;
import io.micronaut.json.JsonMapper;
import java.io.IOException;
import java.io.PrintStream;
import java.net.URI;
import java.net.URLEncoder;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.List;
import java.util.Map;

/** Tells the replica beside it, or another one, to get its lost counts back from a peer, and prints what it did. */
final class Restore {

    static final String USAGE = "restore --from PEER [--dry-run] [--force] [--to URL]";

    private static final Duration TIMEOUT = Duration.ofMinutes(2);

    private Restore() {}

    /**
     * Runs the command and returns the exit status: 0 if every loss is restored or was before, 1 if one was refused or the
     * peer could not be asked, 2 if the arguments cannot be understood.
     */
    static int run(String[] arguments, Map<String, String> environment, PrintStream out, PrintStream err) {
        if (List.of(arguments).contains("--help") || List.of(arguments).contains("-h")) {
            out.println("usage: " + USAGE);
            return 0;
        }
        URI uri;
        try {
            uri = uri(arguments, environment);
        } catch (IllegalArgumentException e) {
            err.println("counterset: " + e.getMessage() + "; usage: " + USAGE);
            return 2;
        }
        try {
            HttpResponse<String> response = HttpClient.newBuilder()
                    .connectTimeout(Duration.ofSeconds(10))
                    .version(HttpClient.Version.HTTP_1_1)
                    .build()
                    .send(
                            HttpRequest.newBuilder(uri)
                                    .POST(HttpRequest.BodyPublishers.noBody())
                                    .header("Accept", "application/json")
                                    .timeout(TIMEOUT)
                                    .build(),
                            HttpResponse.BodyHandlers.ofString());
            if (response.statusCode() != 200) {
                err.println("failed: status " + response.statusCode() + ", "
                        + response.body().strip() + "; nothing was changed");
                return 1;
            }
            Restoration.Result result = JsonMapper.createDefault().readValue(response.body(), Restoration.Result.class);
            out.print(result.toText());
            boolean refused = result.steps().stream().anyMatch(step -> step.outcome() == Restoration.Outcome.REFUSED);
            return refused || !result.failures().isEmpty() ? 1 : 0;
        } catch (IOException e) {
            err.println("failed: " + uri + ": " + e + "; run it again to learn what was restored");
            return 1;
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            err.println("failed: interrupted; run it again to learn what was restored");
            return 1;
        }
    }

    private static URI uri(String[] arguments, Map<String, String> environment) {
        String url = "http://localhost:" + environment.getOrDefault("MICRONAUT_SERVER_PORT", "8080");
        String from = null;
        StringBuilder query = new StringBuilder();
        for (int i = 1; i < arguments.length; i++) {
            switch (arguments[i]) {
                case "--dry-run" -> query.append("&dry-run=true");
                case "--force" -> query.append("&force=true");
                case "--from" -> from = value(arguments, ++i);
                case "--to" -> url = value(arguments, ++i);
                default -> throw new IllegalArgumentException("unknown option " + arguments[i]);
            }
        }
        if (from == null) {
            throw new IllegalArgumentException("--from is missing: the peer that remembers the counts");
        } else if (!url.matches("https?://.+")) {
            throw new IllegalArgumentException("the URL must begin with http:// or https://, not '" + url + "'");
        }
        return URI.create(url.replaceFirst("/$", "") + "/peers/restore?from="
                + URLEncoder.encode(from, StandardCharsets.UTF_8) + query);
    }

    private static String value(String[] arguments, int i) {
        if (i == arguments.length) {
            throw new IllegalArgumentException(arguments[i - 1] + " needs a value");
        }
        return arguments[i];
    }
}
