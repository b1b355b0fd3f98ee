// SPDX-License-Identifier: Apache-2.0
package io.counterset.k8s;

import com.google.gson.JsonArray;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import com.sun.net.httpserver.HttpsConfigurator;
import com.sun.net.httpserver.HttpsServer;
import io.kubernetes.client.util.ClientBuilder;
import io.kubernetes.client.util.credentials.TokenFileAuthentication;
import java.io.IOException;
import java.io.OutputStream;
import java.io.UncheckedIOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.URLDecoder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.function.UnaryOperator;
import javax.net.ssl.SSLContext;
import org.jspecify.annotations.Nullable;

/**
 * The part of a Kubernetes API server that the two watches use, fed with the recorded answers of a
 * real one: lists, chunked watches that continue from a resource version, bookmarks, errors in a
 * real server's words, and connections that end in any way. It grants exactly the permissions of
 * the documented Role.
 */
final class FakeApiServer implements AutoCloseable {

    /** The two kinds of objects, and the requests for them that the Role permits. */
    enum Kind {
        SLICES(
                "/apis/discovery.k8s.io/v1/namespaces/demo/endpointslices",
                "EndpointSliceList",
                "discovery.k8s.io/v1",
                "labelSelector",
                "kubernetes.io/service-name=app-python-headless"),
        SETS(
                "/apis/apps/v1/namespaces/demo/statefulsets",
                "StatefulSetList",
                "apps/v1",
                "fieldSelector",
                "metadata.name=app-python");

        final String path;
        final String list;
        final String version;
        final String selector;
        final String selected;

        Kind(String path, String list, String version, String selector, String selected) {
            this.path = path;
            this.list = list;
            this.version = version;
            this.selector = selector;
            this.selected = selected;
        }
    }

    /** One line of a watch. */
    record Event(long version, Kind kind, String type, JsonObject object, String line) {

        static Event of(Kind kind, String line) {
            JsonObject event = JsonParser.parseString(line).getAsJsonObject();
            JsonObject object = event.getAsJsonObject("object");
            long version =
                    object.getAsJsonObject("metadata").get("resourceVersion").getAsLong();
            return new Event(version, kind, event.get("type").getAsString(), object, line);
        }

        boolean isBookmark() {
            return type.equals("BOOKMARK");
        }

        String name() {
            return object.getAsJsonObject("metadata").get("name").getAsString();
        }
    }

    private record Request(Kind kind, Instant at) {}

    /** How a watch's connection ends after some bytes of its next event. */
    enum Cut {
        /** In order: the body is complete. */
        CLEAN,
        /** The connection breaks. */
        ABORT
    }

    final Path token;
    final TokenFileAuthentication authentication;
    private volatile String accepted = "good";
    private final ExecutorService threads = Executors.newCachedThreadPool();
    private final InetSocketAddress address;
    private final @Nullable SSLContext tls;
    private @Nullable HttpServer server;

    private final List<Event> log = new ArrayList<>();
    private final Map<Kind, Map<String, JsonObject>> objects = new HashMap<>();
    private final Map<Kind, Integer> errors = new HashMap<>();
    private final Map<Kind, Integer> lists = new HashMap<>();
    private final Map<Kind, Integer> watches = new HashMap<>();
    private final Map<Kind, Long> sent = new HashMap<>();
    private final List<Request> requests = new ArrayList<>();
    private final List<String> complaints = new ArrayList<>();
    private long version;
    private long compacted;
    private int openWatches;
    private int epoch;
    private @Nullable Cut cut;
    private @Nullable Kind cutKind;
    private int cutAfter;
    private @Nullable String retryAfter;
    private boolean expireByEvent;
    private boolean held;

    FakeApiServer(Path folder) throws IOException {
        this(folder, null);
    }

    /** Speaks TLS if a context is given. */
    FakeApiServer(Path folder, @Nullable SSLContext tls) throws IOException {
        this.tls = tls;
        token = folder.resolve("token");
        Files.writeString(token, accepted);
        authentication = new TokenFileAuthentication(token.toString());
        HttpServer first = bind(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0));
        address = first.getAddress();
        server = first;
    }

    private HttpServer bind(InetSocketAddress wanted) throws IOException {
        HttpServer bound = tls == null ? HttpServer.create(wanted, 100) : secure(wanted, tls);
        bound.setExecutor(threads);
        for (Kind kind : Kind.values()) {
            bound.createContext(kind.path, exchange -> answer(kind, exchange));
        }
        bound.createContext("/", exchange -> {
            complain("an unknown path: " + exchange.getRequestURI());
            send(exchange, 404, "{}");
        });
        bound.start();
        return bound;
    }

    private static HttpServer secure(InetSocketAddress wanted, SSLContext tls) throws IOException {
        HttpsServer bound = HttpsServer.create(wanted, 100);
        bound.setHttpsConfigurator(new HttpsConfigurator(tls));
        return bound;
    }

    /**
     * Returns the recorded events of both kinds in the order of their versions, with the given
     * change applied.
     */
    static List<Event> recording(UnaryOperator<String> change) {
        List<Event> events = new ArrayList<>();
        for (Kind kind : Kind.values()) {
            String file = kind == Kind.SLICES ? "endpointslices-watch.jsonl" : "statefulsets-watch.jsonl";
            resource(file).lines().map(change).forEach(line -> events.add(Event.of(kind, line)));
        }
        events.sort(Comparator.comparingLong(Event::version).thenComparing(Event::isBookmark));
        return events;
    }

    static String resource(String name) {
        try (var stream = FakeApiServer.class.getResourceAsStream("/recording/" + name)) {
            if (stream == null) {
                throw new AssertionError(name);
            }
            return new String(stream.readAllBytes(), StandardCharsets.UTF_8);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    KubernetesSource.Access access() {
        return new KubernetesSource.Access(
                () -> new ClientBuilder()
                        .setBasePath("http://127.0.0.1:" + address.getPort())
                        .setAuthentication(authentication),
                "demo",
                token);
    }

    int port() {
        return address.getPort();
    }

    // State

    synchronized void apply(Event event) {
        log.add(event);
        version = Math.max(version, event.version());
        if (event.type().equals("DELETED")) {
            objects(event.kind()).remove(event.name());
        } else if (!event.isBookmark()) {
            objects(event.kind()).put(event.name(), event.object());
        }
        notifyAll();
    }

    private Map<String, JsonObject> objects(Kind kind) {
        return objects.computeIfAbsent(kind, any -> new TreeMap<>());
    }

    /**
     * Returns to an older state, as after restoring a backup: everything since is forgotten, and
     * all watches end.
     */
    synchronized void restore(List<Event> older) {
        log.clear();
        objects.values().forEach(Map::clear);
        version = 0;
        older.forEach(this::apply);
        epoch++;
        notifyAll();
    }

    /** Forgets all earlier events: a watch that continues from one is answered 410. */
    synchronized void compact(boolean byEvent) {
        compacted = version;
        expireByEvent = byEvent;
    }

    // Failures

    /** Answers requests for one kind with an error from now on; 0 ends this. */
    synchronized void fail(Kind kind, int status) {
        errors.put(kind, status);
    }

    synchronized void failAll(int status) {
        for (Kind kind : Kind.values()) {
            fail(kind, status);
        }
    }

    /** Accepts only another token from now on, writes it to the file, and ends all watches. */
    void rotateToken(String other) throws IOException {
        Files.writeString(token, other);
        accepted = other;
        endWatches();
    }

    synchronized void retryAfter(@Nullable String seconds) {
        retryAfter = seconds;
    }

    /** Holds back the answers to requests for a watch. */
    synchronized void holdWatches(boolean hold) {
        held = hold;
        notifyAll();
    }

    /** Ends all open watches. */
    synchronized void endWatches() {
        epoch++;
        notifyAll();
    }

    /**
     * Ends the next watch of a kind that sends an event, after the given number of bytes of that
     * event.
     */
    synchronized void cutNext(Kind kind, Cut how, int bytes) {
        cut = how;
        cutKind = kind;
        cutAfter = bytes;
    }

    /** Stops like a killed process. */
    void stop() {
        HttpServer running = server;
        server = null;
        if (running != null) {
            endWatches();
            running.stop(0);
        }
    }

    /** Starts again at the same address with the same state. */
    void start() throws IOException {
        if (server == null) {
            server = bind(address);
        }
    }

    // Requests

    synchronized int lists(Kind kind) {
        return lists.getOrDefault(kind, 0);
    }

    synchronized int watches(Kind kind) {
        return watches.getOrDefault(kind, 0);
    }

    synchronized int requests() {
        return requests.size();
    }

    /** Returns the version of the last event sent to a watch of one kind; 0 if none was sent. */
    synchronized long sent(Kind kind) {
        return sent.getOrDefault(kind, 0L);
    }

    /** Returns the times of the requests for one kind. */
    synchronized List<Instant> requests(Kind kind) {
        return requests.stream()
                .filter(request -> request.kind() == kind)
                .map(Request::at)
                .toList();
    }

    synchronized int openWatches() {
        return openWatches;
    }

    /** Returns the requests that a well-behaved client does not make. */
    synchronized List<String> complaints() {
        return List.copyOf(complaints);
    }

    private synchronized void complain(String about) {
        complaints.add(about);
    }

    private void answer(Kind kind, HttpExchange exchange) throws IOException {
        Map<String, String> query = query(exchange);
        int error;
        synchronized (this) {
            requests.add(new Request(kind, Instant.now()));
            error = errors.getOrDefault(kind, 0);
        }
        boolean watch = "true".equals(query.get("watch"));
        try (exchange) {
            if (!("Bearer " + Files.readString(token))
                            .equals(exchange.getRequestHeaders().getFirst("Authorization"))
                    || Files.readString(token).equals("expired")) {
                send(exchange, 401, resource("error-401.json"));
            } else if (error != 0) {
                if (retryAfter != null) {
                    exchange.getResponseHeaders().set("Retry-After", retryAfter);
                }
                send(
                        exchange,
                        error,
                        error == 401 || error == 403
                                ? resource("error-" + error + ".json")
                                : status(error, "as the test requests"));
            } else if (!kind.selected.equals(query.get(kind.selector))
                    || !exchange.getRequestMethod().equals("GET")) {
                complain("no right to ask for " + exchange.getRequestURI());
                send(exchange, 403, resource("error-403.json"));
            } else if (watch) {
                watch(
                        kind,
                        exchange,
                        Long.parseLong(query.getOrDefault("resourceVersion", "-1")),
                        "true".equals(query.get("allowWatchBookmarks")));
            } else {
                if (query.containsKey("resourceVersion")) {
                    complain("a list from a version: " + exchange.getRequestURI());
                }
                send(exchange, 200, list(kind));
            }
        }
    }

    private synchronized String list(Kind kind) {
        lists.merge(kind, 1, Integer::sum);
        JsonObject metadata = new JsonObject();
        metadata.addProperty("resourceVersion", Long.toString(version));
        JsonArray items = new JsonArray();
        objects(kind).values().forEach(items::add);
        JsonObject list = new JsonObject();
        list.addProperty("kind", kind.list);
        list.addProperty("apiVersion", kind.version);
        list.add("metadata", metadata);
        list.add("items", items);
        return list.toString();
    }

    private void watch(Kind kind, HttpExchange exchange, long from, boolean bookmarks) throws IOException {
        int started;
        synchronized (this) {
            watches.merge(kind, 1, Integer::sum);
            if (from < 0) {
                complain("a watch from nowhere: " + exchange.getRequestURI());
            }
            started = epoch;
            if (from > version) {
                send(
                        exchange,
                        504,
                        status(504, "Timeout: Too large resource version: " + from + ", current: " + version));
                return;
            } else if (from < compacted && !expireByEvent) {
                send(exchange, 410, status(410, "too old resource version: " + from + " (" + compacted + ")"));
                return;
            }
            openWatches++;
        }
        try {
            synchronized (this) {
                while (held) {
                    wait();
                }
            }
            exchange.getResponseHeaders().set("Content-Type", "application/json");
            exchange.sendResponseHeaders(200, 0);
            OutputStream body = exchange.getResponseBody();
            body.flush();
            if (from < compacted) {
                String expired = "{\"type\":\"ERROR\",\"object\":"
                        + status(410, "too old resource version: " + from + " (" + compacted + ")") + "}\n";
                body.write(expired.getBytes(StandardCharsets.UTF_8));
                body.close();
                return;
            }
            int position = 0;
            while (true) {
                Event event = null;
                Cut ending = null;
                int most = 0;
                synchronized (this) {
                    while (started == epoch && event == null) {
                        while (event == null && position < log.size()) {
                            Event next = log.get(position++);
                            boolean wanted = bookmarks || !next.isBookmark();
                            event = wanted && next.kind() == kind && next.version() > from ? next : null;
                        }
                        if (event == null) {
                            wait();
                        }
                    }
                    if (event == null) {
                        break;
                    } else if (cut != null && cutKind == kind) {
                        ending = cut;
                        most = cutAfter;
                        cut = null;
                    }
                }
                byte[] line = (event.line() + "\n").getBytes(StandardCharsets.UTF_8);
                body.write(line, 0, ending == null ? line.length : Math.min(most, line.length));
                body.flush();
                synchronized (this) {
                    sent.put(kind, event.version());
                }
                if (ending == Cut.ABORT) {
                    throw new IOException("cut");
                } else if (ending == Cut.CLEAN) {
                    break;
                }
            }
            body.close();
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        } finally {
            synchronized (this) {
                openWatches--;
            }
        }
    }

    private static Map<String, String> query(HttpExchange exchange) {
        Map<String, String> query = new LinkedHashMap<>();
        String raw = exchange.getRequestURI().getRawQuery();
        for (String pair : raw == null ? new String[0] : raw.split("&")) {
            String[] parts = pair.split("=", 2);
            query.put(
                    URLDecoder.decode(parts[0], StandardCharsets.UTF_8),
                    parts.length < 2 ? "" : URLDecoder.decode(parts[1], StandardCharsets.UTF_8));
        }
        return query;
    }

    private static String status(int code, String message) {
        return "{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{},\"status\":\"Failure\",\"message\":\""
                + message + "\",\"code\":" + code + "}";
    }

    private static void send(HttpExchange exchange, int status, String body) throws IOException {
        LoopbackPeer.send(exchange, status, body);
    }

    @Override
    public void close() {
        stop();
        threads.shutdownNow();
    }
}
