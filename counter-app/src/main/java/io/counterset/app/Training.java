// SPDX-License-Identifier: Apache-2.0
package io.counterset.app;

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Executors;

/**
 * Trains the AOT class cache of the image: starts the service on a free port with a directory of
 * its own, as a pod with a peer and an API server to watch, sends it the requests of clients and
 * probes, and ends the process. The image contains the cache that {@code -XX:AOTCacheOutput}
 * records meanwhile. Exits with 1 if the service gives a wrong answer, so that no such image is
 * built.
 *
 * <p>This class is in the service's own jar because the JVM uses a cache only if the class path
 * begins with the recorded one. A jar for this class alone would have to be in every image, too.
 */
final class Training {

    /**
     * Enough rounds to load and link classes that are needed only after a while, in a few seconds.
     */
    private static final int ROUNDS = 50;

    /**
     * Rounds with requests for a peers' report. They are fewer, because there are at most four
     * reports a second about the main counter.
     */
    private static final int ROUNDS_WITH_REPORTS = 5;

    private static final List<String[]> REPORTS = List.of(
            new String[] {"GET", "/", "text/html"},
            new String[] {"GET", "/peers", "application/json"},
            new String[] {"GET", "/peers", "text/plain"});

    private static final List<String[]> REQUESTS = List.of(
            new String[] {"GET", "/", "*/*"},
            new String[] {"GET", "/count", "application/json"},
            new String[] {"GET", "/count", "text/plain"},
            new String[] {"POST", "/count", "application/json"},
            new String[] {"POST", "/count/other?by=2", "text/plain"},
            new String[] {"GET", "/counts", "application/json"},
            new String[] {"GET", "/health/liveness", "*/*"},
            new String[] {"GET", "/health/readiness", "*/*"},
            new String[] {"GET", "/prometheus", "text/plain"});

    private static final String STATEFUL_SETS = """
            {"apiVersion": "apps/v1", "kind": "StatefulSetList", "metadata": {"resourceVersion": "1"}, "items": [
              {"metadata": {"name": "training", "namespace": "default", "resourceVersion": "1"}, "spec": {"replicas": 2}}]}
            """;

    private Training() {}

    /**
     * Runs the service and its clients, then ends the process, which would otherwise keep serving.
     */
    public static void main(String[] arguments) {
        try {
            train();
            System.exit(0);
        } catch (Throwable failure) { // any failure ends the process
            failure.printStackTrace(System.err);
            System.exit(1);
        }
    }

    private static void train() throws IOException, InterruptedException {
        Path directory = Files.createTempDirectory("counterset-training");
        Path token = Files.writeString(directory.resolve("token"), "training");
        int port;
        try (ServerSocket free = new ServerSocket(0)) {
            port = free.getLocalPort();
        }
        Map.of(
                        "counter.directory",
                        directory.resolve("data").toString(),
                        "counter.instance",
                        "training-0",
                        "counter.peers.source",
                        "kubernetes",
                        "counter.peers.service",
                        "training",
                        "kubernetes.client.base-path",
                        "http://127.0.0.1:" + apiServer(port),
                        "kubernetes.client.namespace",
                        "default",
                        "kubernetes.client.token-path",
                        token.toString(),
                        "micronaut.server.port",
                        Integer.toString(port))
                .forEach(System::setProperty);
        Application.main(new String[0]);

        HttpClient client = HttpClient.newHttpClient();
        String report = "";
        for (int round = 0; round < ROUNDS; round++) {
            if (round < ROUNDS_WITH_REPORTS) {
                report = ask(client, port, round, REPORTS);
            }
            ask(client, port, round, REQUESTS);
        }
        if (!report.contains("training-1")) {
            throw new IllegalStateException("the peer of the training was not found: " + report);
        }
    }

    /** Sends all requests in turn, and returns the last answer. */
    private static String ask(HttpClient client, int port, int round, List<String[]> requests)
            throws IOException, InterruptedException {
        String answer = "";
        for (String[] request : requests) {
            HttpResponse<String> response = client.send(
                    HttpRequest.newBuilder(URI.create("http://localhost:" + port + request[1]))
                            .method(request[0], BodyPublishers.noBody())
                            .header("Accept", request[2])
                            .header("Idempotency-Key", "training-" + round + request[1].length())
                            .build(),
                    BodyHandlers.ofString());
            answer = response.body();
            if (response.statusCode() != 200) {
                throw new IllegalStateException(
                        String.join(" ", request) + ": " + response.statusCode() + " " + answer);
            }
        }
        return answer;
    }

    /**
     * Starts an API server that serves the lists a pod watches and never reports a change; returns
     * its port.
     */
    private static int apiServer(int peersPort) throws IOException {
        HttpServer server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
        server.setExecutor(Executors.newCachedThreadPool());
        server.createContext("/", exchange -> {
            exchange.getResponseHeaders().set("Content-Type", "application/json");
            if (String.valueOf(exchange.getRequestURI().getQuery()).contains("watch=true")) {
                exchange.sendResponseHeaders(200, 0);
                exchange.getResponseBody().flush(); // stays open until the process ends
            } else {
                String path = exchange.getRequestURI().getPath();
                send(exchange, path.endsWith("/endpointslices") ? slices(peersPort) : STATEFUL_SETS);
            }
        });
        server.start();
        return server.getAddress().getPort();
    }

    /**
     * Returns the service's endpoints: this replica, and a peer that is actually this replica
     * again.
     */
    private static String slices(int port) {
        return """
                {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSliceList", "metadata": {"resourceVersion": "1"}, "items": [
                  {"metadata": {"name": "training", "namespace": "default", "resourceVersion": "1"}, "addressType": "IPv4",
                   "ports": [{"name": "http", "port": %d}], "endpoints": [
                     {"addresses": ["127.0.0.1"], "conditions": {"ready": true, "serving": true, "terminating": false},
                      "targetRef": {"kind": "Pod", "name": "training-0"}},
                     {"addresses": ["127.0.0.1"], "conditions": {"ready": true, "serving": true, "terminating": false},
                      "targetRef": {"kind": "Pod", "name": "training-1"}}]}]}
                """.formatted(port);
    }

    private static void send(HttpExchange exchange, String text) throws IOException {
        try (exchange) {
            byte[] body = text.getBytes(StandardCharsets.UTF_8);
            exchange.sendResponseHeaders(200, body.length);
            exchange.getResponseBody().write(body);
        }
    }
}
