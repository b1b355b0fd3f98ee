package io.counterset.app;

import java.io.IOException;
import java.net.ServerSocket;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;

/**
 * A short working life for the virtual machine to learn from: starts the service on a free port with a directory of its
 * own, asks it whatever clients and probes ask, and ends the process. The image is built with what {@code
 * -XX:AOTCacheOutput} records meanwhile. Exits with 1 if the service gives a wrong answer: such an image is not to be.
 */
final class Training {

    /** Enough for the profile to know the paths of every request, and over in seconds. */
    private static final int ROUNDS = 300;

    private static final List<String[]> REQUESTS = List.of(
            new String[] {"GET", "/", "text/html"},
            new String[] {"GET", "/", "*/*"},
            new String[] {"GET", "/count", "application/json"},
            new String[] {"GET", "/count", "text/plain"},
            new String[] {"POST", "/count", "application/json"},
            new String[] {"POST", "/count/other?by=2", "text/plain"},
            new String[] {"GET", "/counts", "application/json"},
            new String[] {"GET", "/peers", "application/json"},
            new String[] {"GET", "/peers", "text/plain"},
            new String[] {"GET", "/health/liveness", "*/*"},
            new String[] {"GET", "/health/readiness", "*/*"},
            new String[] {"GET", "/prometheus", "text/plain"});

    private Training() {}

    /** Runs the service and its clients, then ends the process. */
    public static void main(String[] arguments) throws IOException, InterruptedException {
        Path directory = Files.createTempDirectory("counterset-training");
        int port;
        try (ServerSocket free = new ServerSocket(0)) {
            port = free.getLocalPort();
        }
        System.setProperty("counter.directory", directory.toString());
        System.setProperty("micronaut.server.port", Integer.toString(port));
        Application.main(new String[0]);

        HttpClient client = HttpClient.newHttpClient();
        for (int round = 0; round < ROUNDS; round++) {
            for (String[] request : REQUESTS) {
                if (request[1].equals("/peers") && round >= 8) {
                    continue; // peers are asked at most four times a second
                }
                HttpResponse<String> response = client.send(
                        HttpRequest.newBuilder(URI.create("http://localhost:" + port + request[1]))
                                .method(request[0], BodyPublishers.noBody())
                                .header("Accept", request[2])
                                .header("Idempotency-Key", "training-" + round + request[1].length())
                                .build(),
                        BodyHandlers.ofString());
                if (response.statusCode() != 200) {
                    System.err.println(
                            String.join(" ", request) + ": " + response.statusCode() + " " + response.body());
                    System.exit(1);
                }
            }
        }
        System.exit(0);
    }
}
