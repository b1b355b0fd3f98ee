// SPDX-License-Identifier: Apache-2.0
package io.counterset.k8s;

import static java.nio.charset.StandardCharsets.US_ASCII;
import static org.assertj.core.api.Assertions.assertThat;

import com.sun.management.UnixOperatingSystemMXBean;
import io.counterset.CounterStore;
import io.counterset.k8s.PeersReport.Peer;
import io.counterset.k8s.PeersReport.State;
import java.io.IOException;
import java.io.InputStream;
import java.lang.management.ManagementFactory;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.stream.Stream;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * Peers whose answers are malformed or oversized HTTP: each costs one row of the report, and no
 * resource is leaked.
 */
class LyingPeersTest {

    /** Many times the slack of what is measured: a leak in one round of four shows. */
    private static final int ROUNDS = Integer.getInteger("counterset.lies", 150);

    /** The growth of the live heap, in bytes, that is not a leak. A leak repeats every round. */
    private static final long MOST_GROWTH = 512 << 10;

    private static final String GOOD = "{\"instance\":\"app-1\",\"counter\":\"visits\",\"count\":1,"
            + "\"store\":\"0f8fad5b-d9cb-469f-a165-70867728950e\",\"incarnation\":1}";
    private static final String OK = "HTTP/1.1 200 OK\r\n";

    @TempDir
    Path folder;

    static Stream<Arguments> liars() {
        String whole = OK + "Content-Length: " + GOOD.length() + "\r\n";
        return Stream.of(
                Arguments.of("another protocol", "SSH-2.0-x\r\n", "not HTTP"),
                Arguments.of("another protocol's version", "ICY/1.0 200 OK\r\n\r\n", "not HTTP"),
                Arguments.of("no status line", GOOD + "\r\n\r\n", "not HTTP"),
                Arguments.of("no number as length", OK + "Content-Length: abc\r\n\r\n" + GOOD, "not HTTP"),
                Arguments.of("two lengths", whole + "Content-Length: 7\r\n\r\n" + GOOD, "not HTTP"),
                Arguments.of("headers without end", OK + "X: y\r\n".repeat(80_000) + "\r\n", "answered with "),
                Arguments.of("one endless header", OK + "X: " + "y".repeat(400_000), "answered with "),
                Arguments.of("nine interim responses", "HTTP/1.1 100 Continue\r\n\r\n".repeat(9), "answered HTTP 100"),
                Arguments.of(
                        "another protocol from now on", "HTTP/1.1 101 X\r\nUpgrade: x\r\n\r\n", "answered HTTP 101"),
                Arguments.of("no chunk's size", OK + "Transfer-Encoding: chunked\r\n\r\nzz\r\n", "not HTTP"),
                Arguments.of(
                        "chunks of one byte without end",
                        OK + "Transfer-Encoding: chunked\r\n\r\n" + "1\r\n \r\n".repeat(20_000),
                        "answered with more than"),
                Arguments.of(
                        "a large body",
                        OK + "Content-Length: 9000\r\n\r\n" + " ".repeat(9_000),
                        "more than 8192 bytes"),
                Arguments.of(
                        "a huge body announced",
                        OK + "Content-Length: 9223372036854775807\r\n\r\n",
                        "no answer within"),
                Arguments.of("half a body", whole + "\r\n" + GOOD.substring(9), "no answer within"),
                Arguments.of("a redirect", "HTTP/1.1 302 Found\r\nLocation: http://x/\r\n\r\n", "answered HTTP 302"),
                Arguments.of(
                        "more than one object",
                        OK + "Content-Length: " + (2 * GOOD.length()) + "\r\n\r\n" + GOOD + GOOD,
                        "more than one JSON value"),
                Arguments.of(
                        "an object and a word",
                        OK + "Content-Length: " + (GOOD.length() + 4) + "\r\n\r\n" + GOOD + "true",
                        "more than one JSON value"),
                Arguments.of("noise", "\u0000\u0001\u0016\u0003".repeat(2_500), "answered"));
    }

    @ParameterizedTest(name = "{0}")
    @MethodSource("liars")
    void aBadAnswerFailsItsPeerAndLeaksNothing(String kind, String bytes, String reason) throws Exception {
        boolean late = reason.startsWith("no answer");
        try (Liar liar = new Liar(bytes);
                LoopbackPeer sound = new LoopbackPeer("app-2", "127.0.0.2", folder.resolve("sound"));
                CounterStore store = CounterStore.open(folder.resolve("own"));
                Peers peers = TestSettings.list(liar.address(), sound.address())
                        .in(folder)
                        .timeout(late ? Duration.ofMillis(20) : Duration.ofSeconds(20))
                        .open(new Replica("app-0", store, "visits", 8080))) {
            sound.add(5);
            int rounds = late ? ROUNDS / 4 : ROUNDS;
            long descriptors = 0;
            long threads = 0;
            long heap = 0;
            for (int round = 0; round < rounds; round++) {
                PeersReport report = DocumentedReasons.documented(
                        peers.report().toCompletableFuture().join());
                Peer row = report.peers().stream()
                        .filter(peer -> liar.address().equals(peer.address()))
                        .findFirst()
                        .orElseThrow();
                assertThat(row.state()).isEqualTo(State.UNREACHABLE);
                assertThat(row.reason()).contains(reason);
                assertThat(row.count()).isNull();
                if (!late) {
                    assertThat(report.answered())
                            .as("this replica and the sound peer")
                            .isEqualTo(2);
                }
                if (round == rounds / 4) {
                    TestSettings.await(() -> liar.open.size() <= (reason.contains("JSON") ? 1 : 0));
                    descriptors = descriptors();
                    threads = Thread.activeCount();
                    heap = liveHeap();
                }
            }
            TestSettings.await(() -> liar.open.size() <= (reason.contains("JSON") ? 1 : 0));
            assertThat(descriptors()).as("open descriptors").isLessThan(descriptors + 10);
            assertThat((long) Thread.activeCount()).as("threads").isLessThan(threads + 10);
            assertThat(liveHeap()).as("bytes of live heap").isLessThan(heap + MOST_GROWTH);
        }
    }

    @Test
    void replacesAConnectionThatThePeerClosedWhileIdle() throws Exception {
        try (Liar once = new Liar(OK + "Content-Length: " + GOOD.length() + "\r\n\r\n" + GOOD, true);
                CounterStore store = CounterStore.open(folder.resolve("own"));
                Peers peers = TestSettings.list(once.address())
                        .in(folder)
                        .open(new Replica("app-0", store, "visits", 8080))) {
            for (int round = 0; round < 100; round++) {
                PeersReport report = peers.report().toCompletableFuture().join();
                assertThat(report.complete()).as(report.toString()).isTrue();
            }
        }
    }

    private static long liveHeap() {
        System.gc();
        return ManagementFactory.getMemoryMXBean().getHeapMemoryUsage().getUsed();
    }

    private static long descriptors() {
        Assumptions.assumeTrue(ManagementFactory.getOperatingSystemMXBean() instanceof UnixOperatingSystemMXBean);
        return ((UnixOperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean()).getOpenFileDescriptorCount();
    }

    /**
     * Answers every request with the same bytes, and closes the connection only if configured to.
     */
    private static final class Liar implements AutoCloseable {

        final Set<Socket> open = ConcurrentHashMap.newKeySet();
        private final ServerSocket listening = new ServerSocket(0, 50, InetAddress.getByName("127.0.0.3"));
        private final byte[] bytes;
        private final boolean closes;

        Liar(String text) throws IOException {
            this(text, false);
        }

        Liar(String text, boolean closes) throws IOException {
            this.bytes = text.getBytes(US_ASCII);
            this.closes = closes;
            Thread thread = new Thread(this::accept, "liar");
            thread.setDaemon(true);
            thread.start();
        }

        String address() {
            return "127.0.0.3:" + listening.getLocalPort();
        }

        private void accept() {
            try {
                while (true) {
                    Socket socket = listening.accept();
                    open.add(socket);
                    Thread thread = new Thread(() -> lie(socket), "liar-connection");
                    thread.setDaemon(true);
                    thread.start();
                }
            } catch (IOException e) {
                return; // closed
            }
        }

        private void lie(Socket socket) {
            byte[] buffer = new byte[4_096];
            try (socket) {
                InputStream in = socket.getInputStream();
                while (in.read(buffer) > 0) {
                    socket.getOutputStream().write(bytes);
                    if (closes) {
                        return;
                    }
                }
            } catch (IOException e) {
                return; // the other side closed it
            } finally {
                open.remove(socket);
            }
        }

        @Override
        public void close() throws IOException {
            listening.close();
            for (Socket socket : open) {
                socket.close();
            }
        }
    }
}
