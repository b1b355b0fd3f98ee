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

/** Tells the replica beside it, or another one, to get lost counts back from a peer or to forget one; prints what it did. */
final class Restore {

    static final String USAGE = "restore --from PEER [--dry-run] [--force] [--to URL]";

    static final String FORGET_USAGE = "forget INSTANCE [--to URL]";

    private static final Duration TIMEOUT = Duration.ofMinutes(2);

    private Restore() {}

    /**
     * Runs the command and returns the exit status: 0 if every loss is restored or was before, 1 if one was refused or the
     * peer could not be asked, 2 if the arguments cannot be understood.
     */
    static int run(String[] arguments, Map<String, String> environment, PrintStream out, PrintStream err) {
        boolean forget = arguments[0].equals("forget");
        String usage = forget ? FORGET_USAGE : USAGE;
        if (List.of(arguments).contains("--help") || List.of(arguments).contains("-h")) {
            out.println("usage: " + usage);
            return 0;
        }
        URI uri;
        try {
            uri = forget ? forgetUri(arguments, environment) : uri(arguments, environment);
        } catch (IllegalArgumentException e) {
            err.println("counterset: " + e.getMessage() + "; usage: " + usage);
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
                                    .header("Accept", forget ? "text/plain" : "application/json")
                                    .timeout(TIMEOUT)
                                    .build(),
                            HttpResponse.BodyHandlers.ofString());
            if (response.statusCode() != 200) {
                err.println("failed: status " + response.statusCode() + ", "
                        + response.body().strip() + "; nothing was changed");
                return 1;
            }
            if (forget) {
                out.print(response.body());
                return 0;
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
        String url = here(environment);
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
        }
        return at(url, "/peers/restore?from=" + URLEncoder.encode(from, StandardCharsets.UTF_8) + query);
    }

    private static URI forgetUri(String[] arguments, Map<String, String> environment) {
        String url = here(environment);
        String instance = null;
        for (int i = 1; i < arguments.length; i++) {
            if (arguments[i].equals("--to")) {
                url = value(arguments, ++i);
            } else if (arguments[i].startsWith("--") || instance != null) {
                throw new IllegalArgumentException("one instance and --to are expected, not " + arguments[i]);
            } else {
                instance = arguments[i];
            }
        }
        if (instance == null) {
            throw new IllegalArgumentException("the instance is missing");
        }
        String encoded = URLEncoder.encode(instance, StandardCharsets.UTF_8).replace("+", "%20");
        return at(url, "/peers/forget/" + encoded);
    }

    private static String here(Map<String, String> environment) {
        return "http://localhost:" + environment.getOrDefault("MICRONAUT_SERVER_PORT", "8080");
    }

    private static URI at(String url, String path) {
        if (!url.matches("https?://.+")) {
            throw new IllegalArgumentException("the URL must begin with http:// or https://, not '" + url + "'");
        }
        return URI.create(url.replaceFirst("/$", "") + path);
    }

    private static String value(String[] arguments, int i) {
        if (i == arguments.length) {
            throw new IllegalArgumentException(arguments[i - 1] + " needs a value");
        }
        return arguments[i];
    }
}
