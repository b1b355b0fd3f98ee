// SPDX-License-Identifier: Apache-2.0
package io.counterset.bench;

import static java.nio.charset.StandardCharsets.UTF_8;

import java.io.BufferedInputStream;
import java.io.BufferedReader;
import java.io.EOFException;
import java.io.File;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.file.Path;
import java.util.Queue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;

/**
 * A Redis server started for the measurement, on the loopback interface and a free port. It flushes
 * its append-only file before each answer. Every thread has its own connection and sends its next
 * command after the answer to the last.
 */
final class RedisServer implements Contender {

    private static final String PROGRAM = "redis-server";
    private static final byte[] INCREMENT = command("INCR", "visits");
    private static final byte[] GET = command("GET", "visits");

    private final Process process;
    private final int port;
    private final Queue<Connection> connections = new ConcurrentLinkedQueue<>();
    private final ThreadLocal<Connection> connection = ThreadLocal.withInitial(this::connect);

    RedisServer(Path directory) throws Exception {
        try (ServerSocket free = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
            port = free.getLocalPort();
        }
        process = new ProcessBuilder(
                        PROGRAM,
                        "--bind",
                        InetAddress.getLoopbackAddress().getHostAddress(),
                        "--port",
                        Integer.toString(port),
                        "--dir",
                        directory.toString(),
                        "--save",
                        "",
                        "--appendonly",
                        "yes",
                        "--appendfsync",
                        "always")
                .redirectErrorStream(true)
                .start();
        CompletableFuture<Void> ready = new CompletableFuture<>();
        Thread log = new Thread(() -> readLog(process.inputReader(UTF_8), ready), PROGRAM + " log");
        log.setDaemon(true);
        log.start();
        try {
            ready.get(30, TimeUnit.SECONDS);
        } catch (Exception e) {
            close();
            throw e;
        }
    }

    static boolean isInstalled() {
        String path = System.getenv("PATH");
        return path != null
                && Stream.of(path.split(File.pathSeparator)).anyMatch(p -> new File(p, PROGRAM).canExecute());
    }

    /** Returns the name and version as the server prints them. */
    static String version() throws IOException, InterruptedException {
        Process printing = new ProcessBuilder(PROGRAM, "--version").start();
        try (BufferedReader answer = printing.inputReader(UTF_8)) {
            String line = answer.readLine();
            printing.waitFor();
            return line == null ? PROGRAM : line.replaceAll(" sha=.*", "");
        }
    }

    /** Reads the log to its end, so that the server never blocks on a full pipe. */
    private static void readLog(BufferedReader log, CompletableFuture<Void> ready) {
        try (log) {
            for (String line = log.readLine(); line != null; line = log.readLine()) {
                if (line.contains("Ready to accept connections")) {
                    ready.complete(null);
                }
            }
        } catch (IOException e) {
            ready.completeExceptionally(e);
        }
        ready.completeExceptionally(new IllegalStateException(PROGRAM + " ended before it was ready"));
    }

    private Connection connect() {
        try {
            Connection opened = new Connection(port);
            connections.add(opened);
            return opened;
        } catch (IOException e) {
            throw new IllegalStateException("no connection to " + PROGRAM + " on port " + port, e);
        }
    }

    @Override
    public void increment() throws IOException {
        connection.get().ask(INCREMENT);
    }

    @Override
    public long count() throws IOException {
        return connection.get().ask(GET);
    }

    @Override
    public void close() throws IOException {
        for (Connection c : connections) {
            c.close();
        }
        process.destroy();
        try {
            process.onExit().get(20, TimeUnit.SECONDS);
        } catch (Exception e) {
            process.destroyForcibly();
            throw new IOException(PROGRAM + " did not exit within 20 seconds of SIGTERM", e);
        }
    }

    private static byte[] command(String... words) {
        StringBuilder encoded = new StringBuilder("*" + words.length + "\r\n");
        for (String word : words) {
            encoded.append('$')
                    .append(word.length())
                    .append("\r\n")
                    .append(word)
                    .append("\r\n");
        }
        return encoded.toString().getBytes(UTF_8);
    }

    /**
     * The part of the protocol that two commands need: answers that are a number, plain or as a
     * short string.
     */
    private static final class Connection implements AutoCloseable {
        private final Socket socket;
        private final OutputStream out;
        private final InputStream in;

        Connection(int port) throws IOException {
            socket = new Socket(InetAddress.getLoopbackAddress(), port);
            socket.setTcpNoDelay(true);
            socket.setSoTimeout(30_000);
            out = socket.getOutputStream();
            in = new BufferedInputStream(socket.getInputStream());
        }

        long ask(byte[] command) throws IOException {
            out.write(command);
            String line = readLine();
            return switch (line.charAt(0)) {
                case ':' -> Long.parseLong(line.substring(1));
                case '$' -> line.equals("$-1") ? 0 : Long.parseLong(readLine());
                default -> throw new IOException("redis answered " + line);
            };
        }

        private String readLine() throws IOException {
            StringBuilder line = new StringBuilder();
            for (int c = in.read(); c != '\n'; c = in.read()) {
                if (c < 0) {
                    throw new EOFException("redis closed the connection");
                }
                if (c != '\r') {
                    line.append((char) c);
                }
            }
            return line.toString();
        }

        @Override
        public void close() throws IOException {
            socket.close();
        }
    }
}
