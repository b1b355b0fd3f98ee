// SPDX-License-Identifier: Apache-2.0
package io.counterset.k8s;

import static org.assertj.core.api.Assertions.assertThat;

import io.counterset.CounterStore;
import io.counterset.k8s.PeersReport.Peer;
import io.counterset.k8s.PeersReport.State;
import java.io.IOException;
import java.nio.file.Path;
import java.time.Duration;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * A report about a thousand peers is correct and reuses connections. {@link PeersScale} prints how
 * fast it is.
 */
class ManyPeersTest {

    @TempDir
    Path folder;

    @Test
    void reportsAThousandPeersOfWhichTwoDoNotAnswer() throws IOException {
        try (ManyPeers many = new ManyPeers(1_000);
                CounterStore store = CounterStore.open(folder);
                Peers peers = TestSettings.list(many.addresses.toArray(String[]::new))
                        .in(folder)
                        .timeout(Duration.ofSeconds(20))
                        .deadline(Duration.ofSeconds(30))
                        .open(new Replica("app-0", store, "visits", 8080))) {
            for (int round = 0; round < 3; round++) {
                PeersReport report = peers.report().toCompletableFuture().join();
                assertThat(report.complete()).isTrue();
                assertThat(report.expected()).isEqualTo(1_001);
                assertThat(report.total()).isEqualTo(999 * 1_000 / 2);
                assertThat(report.peers()).extracting(Peer::label).startsWith("app-0", "app-1", "app-2");
                assertThat(report.peers().get(1_000).instance()).isEqualTo("app-1000");
            }
            assertThat(many.asked).hasValue(3_000);
            assertThat(many.connections).as("connections are reused").hasValue(1_000);
            assertThat(peers.statistics().remembered()).isEqualTo(1_000);
        }
        try (ManyPeers many = new ManyPeers(100);
                CounterStore store = CounterStore.open(folder);
                Peers peers = TestSettings.list(many.addresses.toArray(String[]::new))
                        .in(folder.resolve("none"))
                        .concurrency(10)
                        .timeout(Duration.ofSeconds(1))
                        .deadline(Duration.ofSeconds(10))
                        .open(new Replica("app-0", store, "visits", 8080))) {
            many.freeze(17);
            many.freeze(63);
            PeersReport report = peers.report().toCompletableFuture().join();
            assertThat(report.answered()).isEqualTo(99);
            assertThat(report.complete()).isFalse();
            assertThat(report.peers())
                    .filteredOn(peer -> peer.state() == State.UNREACHABLE)
                    .extracting(Peer::label)
                    .containsExactly(many.addresses.get(17), many.addresses.get(63));
        }
    }
}
