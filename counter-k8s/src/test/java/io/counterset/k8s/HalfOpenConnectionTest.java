// SPDX-License-Identifier: Apache-2.0
package io.counterset.k8s;

import static org.assertj.core.api.Assertions.assertThat;

import io.counterset.CounterStore;
import io.counterset.k8s.PeersReport.Freshness;
import io.kubernetes.client.util.ClientBuilder;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.InstantSource;
import java.util.List;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import okhttp3.Protocol;
import okhttp3.mockwebserver.Dispatcher;
import okhttp3.mockwebserver.MockResponse;
import okhttp3.mockwebserver.MockWebServer;
import okhttp3.mockwebserver.RecordedRequest;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * A connection whose other end is cut off silently: neither data nor an end of the stream arrives.
 */
class HalfOpenConnectionTest {

    private static final String EMPTY =
            "{\"kind\":\"%s\",\"apiVersion\":\"%s\",\"metadata\":{\"resourceVersion\":\"1\"},\"items\":[]}";

    @TempDir
    Path folder;

    @Test
    void isDetectedByAPingAndReplacedByANewConnection() throws Exception {
        MockWebServer server = new MockWebServer();
        try (Cable cable = new Cable(server);
                CounterStore store = CounterStore.open(folder)) {
            server.setProtocols(List.of(Protocol.H2_PRIOR_KNOWLEDGE));
            server.setDispatcher(new Dispatcher() {
                @Override
                public MockResponse dispatch(RecordedRequest request) {
                    String path = String.valueOf(request.getPath());
                    if (path.contains("watch=true")) {
                        // One line now and the rest in an hour: a watch without events.
                        return new MockResponse().setBody("{}".repeat(2_000)).throttleBody(1, 1, TimeUnit.HOURS);
                    }
                    boolean slices = path.contains("endpointslices");
                    return new MockResponse()
                            .setBody(
                                    slices
                                            ? EMPTY.formatted("EndpointSliceList", "discovery.k8s.io/v1")
                                            : EMPTY.formatted("StatefulSetList", "apps/v1"));
                }
            });
            KubernetesSource.Access access = new KubernetesSource.Access(
                    () -> new ClientBuilder()
                            .setBasePath("http://127.0.0.1:" + cable.port())
                            .setProtocols(List.of(Protocol.H2_PRIOR_KNOWLEDGE)),
                    "demo",
                    Files.writeString(folder.resolve("token"), "a token"));
            Replica replica = new Replica("app-python-0", store, "visits", 8080);
            try (KubernetesSource source = new KubernetesSource(
                    KubernetesSourceTest.settings(null), replica, access, InstantSource.system())) {
                source.start();
                TestSettings.await(() -> server.getRequestCount() == 4);
                TestSettings.await(() -> state(source) == Freshness.LIVE);
                // Two pings are answered, and nothing else is sent: an answered ping changes
                // nothing.
                long answered = cable.answered.get() + 2 * Cable.PING;
                TestSettings.await(() -> cable.answered.get() >= answered);
                assertThat(state(source)).isEqualTo(Freshness.LIVE);
                assertThat(server.getRequestCount()).isEqualTo(4);

                cable.cut();
                TestSettings.awaitWithinFiveSeconds(() -> state(source) == Freshness.STALE);
                assertThat(source.membership()
                                .toCompletableFuture()
                                .join()
                                .source()
                                .reason())
                        .isEqualTo("the API server is unreachable: it does not answer, so the connection was closed");
                TestSettings.awaitWithinFiveSeconds(() -> state(source) == Freshness.LIVE);
                assertThat(server.getRequestCount()).isGreaterThanOrEqualTo(8);
            }
        }
        try {
            server.close();
        } catch (IOException e) {
            assertThat(e)
                    .as("its thread writes to a closed connection for a while")
                    .hasMessageContaining("Gave up waiting");
        }
    }

    private static Freshness state(KubernetesSource source) {
        return source.membership().toCompletableFuture().join().source().state();
    }

    /**
     * Forwards bytes until it is cut. From then on nothing passes on the existing connections,
     * which stay open.
     */
    private static final class Cable implements AutoCloseable {

        private final ServerSocket listening = new ServerSocket(0, 50, InetAddress.getLoopbackAddress());
        private final ConcurrentLinkedQueue<Socket> sockets = new ConcurrentLinkedQueue<>();
        private final MockWebServer server;
        private volatile long cutAt = Long.MIN_VALUE;
        private final AtomicInteger accepted = new AtomicInteger();

        /** The size of an HTTP/2 ping or its answer, in bytes. */
        static final int PING = 17;

        /** The number of bytes that the server has sent. */
        final AtomicLong answered = new AtomicLong();

        Cable(MockWebServer server) throws IOException {
            this.server = server;
            Thread thread = new Thread(this::accept, "cable");
            thread.setDaemon(true);
            thread.start();
        }

        int port() {
            return listening.getLocalPort();
        }

        void cut() {
            cutAt = accepted.get();
        }

        private void accept() {
            try {
                while (true) {
                    Socket near = listening.accept();
                    int number = accepted.incrementAndGet();
                    Socket far = new Socket(InetAddress.getLoopbackAddress(), server.getPort());
                    sockets.add(near);
                    sockets.add(far);
                    forward(near, far, number);
                    forward(far, near, number);
                }
            } catch (IOException e) {
                return; // closed
            }
        }

        private void forward(Socket from, Socket to, int number) {
            Thread thread = new Thread(
                    () -> {
                        byte[] buffer = new byte[8_192];
                        try {
                            InputStream in = from.getInputStream();
                            OutputStream out = to.getOutputStream();
                            for (int n = in.read(buffer); n >= 0; n = in.read(buffer)) {
                                if (number > cutAt) {
                                    out.write(buffer, 0, n);
                                    answered.addAndGet(from.getPort() == server.getPort() ? n : 0);
                                }
                            }
                        } catch (IOException e) {
                            return; // closed
                        }
                    },
                    "cable-" + number);
            thread.setDaemon(true);
            thread.start();
        }

        @Override
        public void close() throws IOException {
            listening.close();
            for (Socket socket : sockets) {
                socket.close();
            }
        }
    }
}
