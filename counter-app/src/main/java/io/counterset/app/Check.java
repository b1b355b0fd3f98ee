// SPDX-License-Identifier: Apache-2.0
package io.counterset.app;

import static java.util.Objects.requireNonNull;

import io.counterset.k8s.Replica;
import io.micronaut.json.JsonMapper;
import io.micronaut.json.tree.JsonNode;
import java.io.IOException;
import java.io.InputStream;
import java.io.PrintStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.KeyStore;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.time.Duration;
import java.util.List;
import java.util.UUID;
import java.util.stream.Stream;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;
import org.jspecify.annotations.Nullable;

/**
 * Checks a running service from outside, as a client would: counts once, retries with the same key,
 * reads the count back, and checks that {@code /peers} shows every replica. A load balancer may
 * send each request to a different replica, but a key and a count belong to one replica. Requests
 * that must reach the same replica are therefore repeated until it answers.
 */
final class Check {

    static final String USAGE = "check URL [--counter NAME] [--expected REPLICAS] [--timeout SECONDS]"
            + " [--token-file FILE] [--authority FILE]";

    private static final Duration REQUEST_TIMEOUT = Duration.ofSeconds(10);

    private final JsonMapper json = JsonMapper.createDefault();
    private final PrintStream out;
    private @Nullable HttpClient client;
    private String url = "";
    private String counter = "check";
    private @Nullable Integer expected;
    private Duration timeout = Duration.ofSeconds(30);
    private @Nullable String token;
    private @Nullable Path authority;
    private long deadline;

    private Check(PrintStream out) {
        this.out = out;
    }

    /** A check failed. */
    private static final class FailedException extends Exception {
        private static final long serialVersionUID = 1L;

        FailedException(String message) {
            super(message);
        }
    }

    /**
     * Runs the check and returns the exit status: 0 if it passed, 1 if it failed, 2 if the
     * arguments are invalid.
     */
    static int run(String[] arguments, PrintStream out, PrintStream err) {
        Check check = new Check(out);
        if (List.of(arguments).contains("--help") || List.of(arguments).contains("-h")) {
            out.println("usage: " + USAGE);
            return 0;
        }
        try {
            check.read(arguments);
        } catch (IllegalArgumentException e) {
            err.println("counterset: " + e.getMessage() + "; usage: " + USAGE);
            return 2;
        }
        try {
            check.run();
            return 0;
        } catch (FailedException e) {
            err.println("failed: " + e.getMessage());
            return 1;
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            err.println("failed: interrupted");
            return 1;
        }
    }

    private void read(String[] arguments) {
        for (int i = 1; i < arguments.length; i++) {
            String argument = arguments[i];
            if (!argument.startsWith("--")) {
                if (!url.isEmpty()) {
                    throw new IllegalArgumentException("expected one URL");
                }
                url = argument;
                continue;
            }
            if (++i == arguments.length) {
                throw new IllegalArgumentException(argument + " needs a value");
            }
            switch (argument) {
                case "--counter" -> counter = arguments[i];
                case "--expected" -> expected = number(argument, arguments[i]);
                case "--token-file" -> token = token(argument, arguments[i]);
                case "--authority" -> authority = Path.of(arguments[i]);
                case "--timeout" -> timeout = Duration.ofSeconds(number(argument, arguments[i]));
                default -> throw new IllegalArgumentException("unknown option " + argument);
            }
        }
        client = client("--authority", authority);
        url = url(url);
    }

    /** Returns the URL of a service without a trailing slash, so that a path can be appended. */
    static String url(String argument) {
        String url = argument.endsWith("/") ? argument.substring(0, argument.length() - 1) : argument;
        if (!url.matches("https?://.+")) {
            throw new IllegalArgumentException("the URL must begin with http:// or https://, not '" + url + "'");
        }
        return url;
    }

    /**
     * Returns the first token in a file that has one token per line.
     *
     * @param option the option or variable that names the file
     */
    static String token(String option, String file) {
        try (Stream<String> lines = Files.lines(Path.of(file))) {
            return lines.map(String::strip)
                    .filter(line -> !line.isEmpty())
                    .findFirst()
                    .orElseThrow(() -> new IllegalArgumentException(option + ": " + file + " has no token"));
        } catch (IOException e) {
            throw new IllegalArgumentException(option + ": the file cannot be read: " + e, e);
        }
    }

    /**
     * Returns a client that trusts only the certificates in the given file, or the JVM's if there
     * is none.
     *
     * @param option the option or variable that names the file
     */
    static HttpClient client(String option, @Nullable Path authority) {
        HttpClient.Builder builder =
                HttpClient.newBuilder().connectTimeout(REQUEST_TIMEOUT).version(HttpClient.Version.HTTP_1_1);
        return authority == null
                ? builder.build()
                : builder.sslContext(trusting(option, authority)).build();
    }

    /** Returns a context that trusts only the certificates in a PEM file. */
    private static SSLContext trusting(String option, Path file) {
        try (InputStream in = Files.newInputStream(file)) {
            KeyStore trusted = KeyStore.getInstance(KeyStore.getDefaultType());
            trusted.load(null, null);
            for (Certificate certificate :
                    CertificateFactory.getInstance("X.509").generateCertificates(in)) {
                trusted.setCertificateEntry("authority-" + trusted.size(), certificate);
            }
            TrustManagerFactory factory = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
            factory.init(trusted);
            SSLContext context = SSLContext.getInstance("TLS");
            context.init(null, factory.getTrustManagers(), null);
            return context;
        } catch (IOException | GeneralSecurityException e) {
            throw new IllegalArgumentException(option + ": expected a file of PEM certificates: " + e, e);
        }
    }

    private static int number(String option, String value) {
        if (!value.matches("[1-9][0-9]{0,5}")) {
            throw new IllegalArgumentException(
                    option + " must be a whole number from 1 to 999999, not '" + value + "'");
        }
        return Integer.parseInt(value);
    }

    private void run() throws FailedException, InterruptedException {
        deadline = System.nanoTime() + timeout.toNanos();
        String path = "/count/" + Replica.encoded(counter);
        String key = UUID.randomUUID().toString();

        JsonNode first = untilAnswered("POST", path, key, null);
        String instance = text(first, "instance");
        long count = number(first, "count");
        out.println("ok: " + instance + " counted " + counter + " to " + count);

        JsonNode retry = untilFrom(instance, "POST", path, key);
        JsonNode replayed = retry.get("replayed");
        if (number(retry, "count") != count || replayed == null || !replayed.getBooleanValue()) {
            throw new FailedException("a retry with the same key should be replayed as " + count + ", but gave "
                    + number(retry, "count") + ", not marked as replayed");
        }
        out.println("ok: a retry with the same key is recognised: still " + count);

        long read = number(untilFrom(instance, "GET", path, null), "count");
        if (read < count) {
            throw new FailedException("read back " + read + " from " + instance + ", which had counted to " + count);
        }
        out.println("ok: read back " + read);
        out.println("ok: " + untilComplete());
    }

    /** Waits for a report in which every expected replica is live. */
    private String untilComplete() throws FailedException, InterruptedException {
        while (true) {
            JsonNode report = untilAnswered("GET", "/peers", null, null);
            long answered = number(report, "answered");
            long wanted = expected == null ? number(report, "expected") : expected;
            JsonNode complete = report.get("complete");
            String found = answered + " of " + wanted + " replicas answered, total " + number(report, "total");
            if (complete != null
                    && complete.getBooleanValue()
                    && answered == wanted
                    && number(report, "expected") == wanted) {
                return found;
            }
            pauseOrFail(found + ": " + states(report));
        }
    }

    private static String states(JsonNode report) {
        StringBuilder states = new StringBuilder();
        JsonNode peers = report.get("peers");
        if (peers != null) {
            for (JsonNode peer : peers.values()) {
                JsonNode name = peer.get("instance") == null ? peer.get("address") : peer.get("instance");
                JsonNode state = peer.get("state");
                states.append(states.isEmpty() ? "" : ", ")
                        .append(name == null ? "?" : name.coerceStringValue())
                        .append(' ')
                        .append(state == null ? "?" : state.coerceStringValue());
            }
        }
        return states.toString();
    }

    private JsonNode untilFrom(String instance, String method, String path, @Nullable String key)
            throws FailedException, InterruptedException {
        while (true) {
            JsonNode answer = untilAnswered(method, path, key, instance);
            if (text(answer, "instance").equals(instance)) {
                return answer;
            }
            pauseOrFail(instance + " did not answer again; the last answer came from " + text(answer, "instance"));
        }
    }

    private JsonNode untilAnswered(String method, String path, @Nullable String key, @Nullable String instance)
            throws FailedException, InterruptedException {
        while (true) {
            String failure;
            try {
                HttpRequest.Builder request = HttpRequest.newBuilder(URI.create(url + path))
                        .method(method, HttpRequest.BodyPublishers.noBody())
                        .header("Accept", "application/json")
                        .timeout(REQUEST_TIMEOUT);
                if (key != null) {
                    request.header(IdempotencyKey.HEADER, '"' + key + '"');
                }
                if (instance != null) { // any other replica answers 421 and does not count
                    request.header(Demanded.HEADER, Demanded.encode(instance));
                }
                if (token != null) {
                    request.header("Authorization", "Bearer " + token);
                }
                HttpResponse<String> response =
                        requireNonNull(client).send(request.build(), HttpResponse.BodyHandlers.ofString());
                if (response.statusCode() == 200) {
                    JsonNode answer = json.readValue(response.body(), JsonNode.class);
                    if (answer != null && answer.isObject()) {
                        return answer;
                    }
                }
                if (isFinal(response.statusCode())) {
                    throw new FailedException(method + " " + url + path + ": status " + response.statusCode() + ", "
                            + response.body().strip());
                }
                failure = "status " + response.statusCode() + ", " + response.body();
            } catch (IOException e) {
                failure = e.toString();
            } catch (IllegalArgumentException e) {
                throw new FailedException(url + " is not a URL: " + e.getMessage());
            }
            pauseOrFail(method + " " + url + path + ": " + failure);
        }
    }

    /**
     * Returns whether a retry would get the same answer: a refusal that depends neither on the time
     * nor on the replica.
     */
    private static boolean isFinal(int status) {
        return status >= 300 && status < 500 && status != 408 && status != 421 && status != 425 && status != 429;
    }

    private void pauseOrFail(String why) throws FailedException, InterruptedException {
        if (System.nanoTime() - deadline > 0) {
            throw new FailedException(why + " (after " + timeout.toSeconds() + " s)");
        }
        Thread.sleep(200);
    }

    private static String text(JsonNode answer, String name) throws FailedException {
        JsonNode value = answer.get(name);
        if (value == null || !value.isString()) {
            throw new FailedException("an answer without " + name);
        }
        return value.getStringValue();
    }

    private static long number(JsonNode answer, String name) throws FailedException {
        JsonNode value = answer.get(name);
        if (value == null || !value.isNumber()) {
            throw new FailedException("an answer without " + name);
        }
        return value.getLongValue();
    }
}
