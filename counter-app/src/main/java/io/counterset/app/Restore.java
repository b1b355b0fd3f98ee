// SPDX-License-Identifier: Apache-2.0
package io.counterset.app;

import io.counterset.k8s.Replica;
import io.counterset.k8s.Restoration;
import io.counterset.k8s.Settings;
import io.micronaut.json.JsonMapper;
import java.io.IOException;
import java.io.PrintStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * The commands {@code restore} and {@code forget}: asks the local replica, or another one, to
 * restore lost counts from a peer or to forget a peer, and prints the result. The address of the
 * local replica, a write token and the authority of its certificate come from the replica's own
 * environment, which {@code kubectl exec} shares.
 */
final class Restore {

    static final String USAGE =
            "restore --from PEER [--dry-run] [--force] [--to URL] [--token-file FILE] [--authority FILE]";

    static final String FORGET_USAGE = "forget INSTANCE [--to URL] [--token-file FILE] [--authority FILE]";

    private static final Duration TIMEOUT = Duration.ofMinutes(2);

    private final Map<String, String> environment;
    private final StringBuilder query = new StringBuilder();
    private @Nullable String url;
    private @Nullable String subject;
    private @Nullable String token;
    private @Nullable Path authority;
    private String authorityOption = "--authority";

    private Restore(Map<String, String> environment) {
        this.environment = environment;
    }

    /**
     * Runs the command and returns the exit status: 0 if everything was done, 1 if a loss was
     * refused or a replica could not be asked, 2 if the arguments are invalid.
     */
    static int run(String[] arguments, Map<String, String> environment, PrintStream out, PrintStream err) {
        boolean forget = arguments[0].equals("forget");
        String usage = forget ? FORGET_USAGE : USAGE;
        if (List.of(arguments).contains("--help") || List.of(arguments).contains("-h")) {
            out.println("usage: " + usage);
            return 0;
        }
        Restore command = new Restore(environment);
        HttpClient client;
        HttpRequest request;
        try {
            request = command.request(arguments, forget);
            client = Check.client(command.authorityOption, command.authority);
        } catch (IllegalArgumentException e) {
            err.println("counterset: " + e.getMessage() + "; usage: " + usage);
            return 2;
        }
        try {
            HttpResponse<String> response = client.send(request, HttpResponse.BodyHandlers.ofString());
            if (response.statusCode() != 200) {
                err.println("failed: status " + response.statusCode() + ", "
                        + response.body().strip() + "; nothing was changed");
                return 1;
            } else if (forget) {
                out.print(response.body());
                return 0;
            }
            Restoration.Result result = JsonMapper.createDefault().readValue(response.body(), Restoration.Result.class);
            out.print(result.toText());
            boolean refused = result.steps().stream().anyMatch(step -> step.outcome() == Restoration.Outcome.REFUSED);
            return refused || !result.failures().isEmpty() ? 1 : 0;
        } catch (IOException e) {
            err.println("failed: " + request.uri() + ": " + e + "; run it again to learn what was done");
            return 1;
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            err.println("failed: interrupted; run it again to learn what was done");
            return 1;
        }
    }

    private HttpRequest request(String[] arguments, boolean forget) {
        for (int i = 1; i < arguments.length; i++) {
            String argument = arguments[i];
            if (argument.equals("--to")) {
                url = value(arguments, ++i);
            } else if (argument.equals("--token-file")) {
                token = Check.token(argument, value(arguments, ++i));
            } else if (argument.equals("--authority")) {
                authority = Path.of(value(arguments, ++i));
            } else if (!forget && argument.equals("--from")) {
                subject = value(arguments, ++i);
            } else if (!forget && argument.equals("--dry-run")) {
                query.append("&dry-run=true");
            } else if (!forget && argument.equals("--force")) {
                query.append("&force=true");
            } else if (forget && !argument.startsWith("--") && subject == null) {
                subject = argument;
            } else {
                throw new IllegalArgumentException("'" + argument + "' is unexpected");
            }
        }
        if (subject == null) {
            throw new IllegalArgumentException(
                    forget ? "the instance is missing" : "--from is missing: the peer that remembers the counts");
        }
        String base = url == null ? local() : Check.url(url);
        String encoded = Replica.encoded(subject);
        String path = forget ? "/peers/forget/" + encoded : "/peers/restore?from=" + encoded + query;
        HttpRequest.Builder request = HttpRequest.newBuilder(URI.create(base + path))
                .POST(HttpRequest.BodyPublishers.noBody())
                .header("Accept", forget ? "text/plain" : "application/json")
                .timeout(TIMEOUT);
        return (token == null ? request : request.header("Authorization", "Bearer " + token)).build();
    }

    /**
     * Returns the URL of the local replica, and takes the token and the authority from the
     * environment unless options name them.
     */
    private String local() {
        String tokens = setting(Tokens.WRITE);
        if (token == null && !tokens.isEmpty()) {
            token = Check.token(Settings.variable(Tokens.WRITE), tokens);
        }
        boolean secure = !setting(ServerTls.CERTIFICATE).isEmpty();
        String trusted = setting("counter.tls.authority");
        if (secure && authority == null && !trusted.isEmpty()) {
            authorityOption = Settings.variable("counter.tls.authority");
            authority = Path.of(trusted);
        }
        String host = setting("micronaut.server.host");
        if (host.isEmpty() || host.equals("0.0.0.0") || host.equals("::")) {
            host = "localhost";
        } else if (host.contains(":")) {
            host = '[' + host + ']';
        }
        String port = setting("micronaut.server.port");
        return (secure ? "https://" : "http://")
                + host
                + ':'
                + (port.isEmpty() ? "8080" : port)
                + CounterBeans.contextPath(setting("micronaut.server.context-path"));
    }

    private String setting(String name) {
        return environment.getOrDefault(Settings.variable(name), "").strip();
    }

    private static String value(String[] arguments, int i) {
        if (i == arguments.length) {
            throw new IllegalArgumentException(arguments[i - 1] + " needs a value");
        }
        return arguments[i];
    }
}
