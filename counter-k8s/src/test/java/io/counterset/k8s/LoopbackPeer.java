// SPDX-License-Identifier: Apache-2.0
package io.counterset.k8s;

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpHandler;
import com.sun.net.httpserver.HttpServer;
import io.counterset.CounterStore;
import io.micronaut.serde.ObjectMapper;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.URLDecoder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.atomic.AtomicInteger;
import org.jspecify.annotations.Nullable;

/**
 * A replica with a real counter store that serves its peers' requests, such as
 * {@code GET /count/{name}}, on a loopback address.
 */
final class LoopbackPeer implements AutoCloseable {

    static final ObjectMapper JSON = ObjectMapper.getDefault();

    final Path directory;
    final InetSocketAddress address;
    final AtomicInteger asked = new AtomicInteger();
    final AtomicInteger inside = new AtomicInteger();
    private final ExecutorService threads = Executors.newCachedThreadPool();
    private volatile Replica replica;
    private volatile @Nullable HttpHandler other;
    private volatile @Nullable Peers hearing;
    private volatile @Nullable HttpServer server;

    /** Serves a store on a free port of the address. */
    LoopbackPeer(String instance, String host, Path directory) throws IOException {
        this(instance, new InetSocketAddress(InetAddress.getByName(host), 0), directory);
    }

    LoopbackPeer(String instance, InetSocketAddress wanted, Path directory) throws IOException {
        this.directory = directory;
        HttpServer bound = bind(wanted);
        this.address = bound.getAddress();
        this.replica = new Replica(instance, CounterStore.open(directory), "visits", address.getPort());
        bound.start();
        this.server = bound;
    }

    private HttpServer bind(InetSocketAddress wanted) throws IOException {
        HttpServer bound = HttpServer.create(wanted, 1_024);
        bound.setExecutor(threads);
        bound.createContext("/count/", this::answer);
        bound.createContext("/peers/farewell/", this::hearFarewell);
        bound.createContext("/peers/losses/", this::tellLosses);
        return bound;
    }

    /** Returns host and port, as in a list of peers. */
    String address() {
        return address.getAddress().getHostAddress() + ":" + address.getPort();
    }

    String instance() {
        return replica.instance();
    }

    Replica replica() {
        return replica;
    }

    CounterStore store() {
        return replica.store();
    }

    long add(long amount) {
        return store().counter("visits").add(amount);
    }

    /** Answers with the handler from now on; null restores the true counts. */
    void answerWith(@Nullable HttpHandler handler) {
        other = handler;
    }

    void answerWith(int status, String body) {
        answerWith(exchange -> send(exchange, status, body));
    }

    /** Handles farewells from now on, as the service does; null ignores them. */
    void hearWith(@Nullable Peers peers) {
        hearing = peers;
    }

    private void hearFarewell(HttpExchange exchange) throws IOException {
        try (exchange) {
            Peers peers = hearing;
            String path = exchange.getRequestURI().getRawPath();
            if (peers != null) {
                peers.hearFarewell(path.substring("/peers/farewell/".length()))
                        .toCompletableFuture()
                        .join();
            }
            send(exchange, 200, JSON.writeValueAsString(replica.count(replica.mainCounter())));
        }
    }

    private void tellLosses(HttpExchange exchange) throws IOException {
        try (exchange) {
            Peers peers = hearing;
            String path = exchange.getRequestURI().getRawPath();
            if (peers == null) {
                send(exchange, 404, "");
            } else {
                send(exchange, 200, JSON.writeValueAsString(peers.losses(path.substring("/peers/losses/".length()))));
            }
        }
    }

    /** Reports that group from now on. */
    void join(String group) {
        replica = new Replica(replica.instance(), replica.store(), replica.mainCounter(), replica.port(), "", group);
    }

    /** Answers with another instance name from now on. */
    void rename(String instance) {
        replica = new Replica(instance, replica.store(), replica.mainCounter(), replica.port(), "", replica.group());
    }

    /**
     * Stops like a killed process: connections are refused, and the store stays as it is on disk.
     */
    void stop() {
        HttpServer running = server;
        if (running != null) {
            running.stop(0);
            server = null;
            replica.store().close();
        }
    }

    /** Starts again at the same address with the present content of its directory. */
    void start() {
        if (server != null) {
            return;
        }
        replica = new Replica(
                replica.instance(),
                CounterStore.open(directory),
                replica.mainCounter(),
                replica.port(),
                "",
                replica.group());
        try {
            HttpServer bound = bind(address);
            bound.start();
            server = bound;
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    @Override
    public void close() {
        stop();
        threads.shutdownNow();
    }

    private void answer(HttpExchange exchange) throws IOException {
        asked.incrementAndGet();
        inside.incrementAndGet();
        try (exchange) {
            HttpHandler handler = other;
            if (handler != null) {
                handler.handle(exchange);
                return;
            }
            String path = exchange.getRequestURI().getRawPath();
            String counter =
                    URLDecoder.decode(path.substring("/count/".length()).replace("+", "%2B"), StandardCharsets.UTF_8);
            send(exchange, 200, JSON.writeValueAsString(replica.count(counter)));
        } finally {
            inside.decrementAndGet();
        }
    }

    static void send(HttpExchange exchange, int status, String body) throws IOException {
        byte[] bytes = body.getBytes(StandardCharsets.UTF_8);
        exchange.getResponseHeaders().set("Content-Type", "application/json");
        exchange.sendResponseHeaders(status, bytes.length);
        exchange.getResponseBody().write(bytes);
    }
}
