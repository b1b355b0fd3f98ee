// SPDX-License-Identifier: Apache-2.0
package io.counterset.k8s;

import static org.assertj.core.api.Assertions.assertThat;

import io.counterset.k8s.Membership.Member;
import io.counterset.k8s.PeerClient.Answer;
import io.counterset.k8s.PeerClient.Counted;
import io.counterset.k8s.PeerClient.Failed;
import java.net.InetAddress;
import java.net.UnknownHostException;
import java.nio.file.Path;
import java.time.Duration;
import java.time.InstantSource;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Host names: which are accepted, and how often they are resolved. */
class PeerClientTest {

    @TempDir
    Path folder;

    private final ScheduledExecutorService timer = Executors.newScheduledThreadPool(1);
    private final ExecutorService resolver = Executors.newFixedThreadPool(16);

    @AfterEach
    void end() {
        timer.shutdownNow();
        resolver.shutdownNow();
    }

    private PeerClient client(Duration timeout, PeerClient.Lookup lookup) {
        PeersSettings settings = TestSettings.list().timeout(timeout).settings();
        return new PeerClient(
                settings, "", LoopbackPeer.JSON, resolver, lookup, timer, InstantSource.system(), PeerAccess.OPEN);
    }

    private static Answer ask(PeerClient client, String address) {
        Member member = new Member(null, address, Membership.Phase.SERVING);
        return Objects.requireNonNull(client.ask(List.of(member), "visits")
                .toCompletableFuture()
                .join()
                .get(member));
    }

    @Test
    void asksHostsWithUnderscores() throws Exception {
        try (LoopbackPeer peer = new LoopbackPeer("app-1", "127.0.0.2", folder);
                PeerClient client = client(Duration.ofSeconds(20), host -> InetAddress.getByName("127.0.0.2"))) {
            assertThat(ask(client, "app_web_1:" + peer.address.getPort())).isInstanceOf(Counted.class);
        }
    }

    @Test
    void resolvesEachHostOnceAtATime() throws Exception {
        CountDownLatch end = new CountDownLatch(1);
        AtomicInteger lookups = new AtomicInteger();
        PeerClient.Lookup hanging = host -> {
            lookups.incrementAndGet();
            try {
                end.await();
            } catch (InterruptedException e) {
                throw new UnknownHostException(host);
            }
            throw new UnknownHostException(host);
        };
        try (PeerClient client = client(Duration.ofMillis(10), hanging)) {
            for (int round = 0; round < 40; round++) {
                assertThat(ask(client, "app-1.example:8080")).isEqualTo(new Failed("no answer within 10 ms"));
            }
            assertThat(lookups).hasValue(1);
            assertThat(client.lookups()).isEqualTo(1);
            end.countDown();
            TestSettings.await(() -> client.lookups() == 0);
        }
    }
}
