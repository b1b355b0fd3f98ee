// SPDX-License-Identifier: Apache-2.0
package io.counterset.app;

import java.io.BufferedInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.net.InetAddress;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Queue;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;

/**
 * Closed-loop connections that increment as long as the service answers. They use plain sockets, so
 * that it is known of each request whether it was sent and whether it was answered.
 */
final class Load implements AutoCloseable {

    private final int port;
    private final String path;
    private final @Nullable Supplier<String> keys;
    private final List<Thread> threads = new ArrayList<>();
    private final List<Socket> sockets = new ArrayList<>();
    private final AtomicLong attempted = new AtomicLong();
    private final AtomicLong acknowledged = new AtomicLong();
    private final Map<Integer, AtomicLong> refusals = new ConcurrentHashMap<>();
    private final Queue<String> unanswered = new ConcurrentLinkedQueue<>();
    private volatile boolean stopping;

    private Load(int port, String path, @Nullable Supplier<String> keys) {
        this.port = port;
        this.path = path;
        this.keys = keys;
    }

    /** Starts sending {@code POST path}. With {@code keys}, each increment has the next key. */
    static Load begin(int port, String path, int connections, @Nullable Supplier<String> keys) throws IOException {
        Load load = new Load(port, path, keys);
        for (int i = 0; i < connections; i++) {
            Socket socket = new Socket(InetAddress.getLoopbackAddress(), port);
            socket.setTcpNoDelay(true);
            socket.setSoTimeout(30_000);
            load.sockets.add(socket);
        }
        for (Socket socket : load.sockets) {
            Thread thread = new Thread(() -> load.run(socket), "load");
            thread.setDaemon(true);
            load.threads.add(thread);
            thread.start();
        }
        return load;
    }

    private void run(Socket socket) {
        String key = null;
        try (socket) {
            InputStream in = new BufferedInputStream(socket.getInputStream());
            boolean open = true;
            while (open && !stopping) {
                key = keys == null ? null : keys.get();
                String request = "POST " + path + " HTTP/1.1\r\nHost: localhost:" + port + "\r\nAccept: text/plain\r\n"
                        + (key == null ? "" : "Idempotency-Key: " + key + "\r\n") + "\r\n";
                attempted.incrementAndGet();
                socket.getOutputStream().write(request.getBytes(StandardCharsets.US_ASCII));
                Answer answer = Answer.read(in);
                if (answer.status == 200) {
                    acknowledged.incrementAndGet();
                } else {
                    refusals.computeIfAbsent(answer.status, status -> new AtomicLong())
                            .incrementAndGet();
                    if (key != null) {
                        unanswered.add(key);
                    }
                }
                key = null;
                open = !answer.closes;
            }
        } catch (IOException e) {
            // The service is gone, or has closed this connection. This increment may or may not
            // have been counted.
            if (key != null) {
                unanswered.add(key);
            }
        }
    }

    private record Answer(int status, boolean closes) {

        static Answer read(InputStream in) throws IOException {
            String line = line(in);
            int status = Integer.parseInt(line.substring(9, 12)); // HTTP/1.1 200 OK
            long length = 0;
            boolean closes = false;
            for (line = line(in); !line.isEmpty(); line = line(in)) {
                String header = line.toLowerCase(java.util.Locale.ROOT);
                if (header.startsWith("content-length:")) {
                    length = Long.parseLong(header.substring(15).strip());
                } else if (header.equals("connection: close")) {
                    closes = true;
                }
            }
            in.skipNBytes(length);
            return new Answer(status, closes);
        }

        private static String line(InputStream in) throws IOException {
            ByteArrayOutputStream line = new ByteArrayOutputStream();
            for (int b = in.read(); b != '\n'; b = in.read()) {
                if (b < 0) {
                    throw new IOException("closed");
                } else if (b != '\r') {
                    line.write(b);
                }
            }
            return line.toString(StandardCharsets.US_ASCII);
        }
    }

    /** Returns how many increments were sent. */
    long attempted() {
        return attempted.get();
    }

    /** Returns how many were acknowledged. */
    long acknowledged() {
        return acknowledged.get();
    }

    /** Returns how many were refused, by status. */
    Map<Integer, Long> refusals() {
        Map<Integer, Long> counts = new TreeMap<>();
        refusals.forEach((status, count) -> counts.put(status, count.get()));
        return counts;
    }

    /** Returns the keys of requests that were refused or not answered. */
    List<String> unanswered() {
        return List.copyOf(unanswered);
    }

    /**
     * Waits until every connection has ended, after the service is gone or {@link #stop} was
     * called.
     */
    void join() throws InterruptedException {
        for (Thread thread : threads) {
            thread.join(60_000);
            if (thread.isAlive()) {
                throw new AssertionError("a connection still waits for its answer");
            }
        }
    }

    /** Ends the load once every connection has finished its request. */
    void stop() throws InterruptedException {
        stopping = true;
        join();
    }

    @Override
    public void close() {
        stopping = true;
        for (Socket socket : sockets) {
            try {
                socket.close();
            } catch (IOException e) {
                // The connection is no longer needed in any case.
            }
        }
    }

    @Override
    public String toString() {
        return "attempted " + attempted + ", acknowledged " + acknowledged + ", refused " + refusals();
    }
}
