// SPDX-License-Identifier: Apache-2.0
package io.counterset.k8s;

import static org.assertj.core.api.Assertions.assertThat;

import io.counterset.k8s.Membership.Expected;
import io.counterset.k8s.Membership.Member;
import io.counterset.k8s.Membership.Phase;
import io.counterset.k8s.PeersReport.Freshness;
import io.counterset.k8s.PeersReport.Kind;
import io.counterset.k8s.PeersReport.Peer;
import io.counterset.k8s.PeersReport.State;
import java.io.IOException;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Members that do not answer: how a report labels them, and for how long. */
class SilentPeersTest {

    @TempDir
    Path folder;

    private LoopbackPeer asker;
    private LoopbackPeer other;
    private Peers peers;
    private volatile Membership membership;
    private volatile Instant now = Instant.parse("2026-11-22T09:00:00Z");

    @BeforeEach
    void twoReplicas() throws IOException {
        asker = new LoopbackPeer("app-0", "127.0.0.1", folder.resolve("0"));
        other = new LoopbackPeer("app-1", "127.0.0.2", folder.resolve("1"));
        other.add(7);
        membership = dns(2, asker.address(), other.address());
        peers = TestSettings.list()
                .in(asker.directory)
                .open(
                        asker.replica(),
                        new PeerSource() {
                            @Override
                            public void start() {}

                            @Override
                            public CompletionStage<Membership> membership() {
                                return CompletableFuture.completedStage(membership);
                            }

                            @Override
                            public void close() {}
                        },
                        () -> now,
                        Duration.ZERO);
    }

    @AfterEach
    void closeAll() {
        peers.close();
        asker.close();
        other.close();
    }

    private static Membership dns(int expected, String... addresses) {
        return new Membership(
                new PeersReport.Source(Kind.DNS, Freshness.LIVE, null, null, null),
                Expected.number(expected, "app"),
                List.of(addresses).stream()
                        .map(address -> new Member(null, address, Phase.SERVING))
                        .toList());
    }

    private Membership withoutNumber(String address) {
        return new Membership(
                membership.source(),
                Expected.number(null, "app"),
                List.of(new Member(null, asker.address(), Phase.SERVING), new Member(null, address, Phase.SERVING)));
    }

    private List<Peer> ask() {
        return DocumentedReasons.documented(peers.report().toCompletableFuture().join())
                .peers();
    }

    @Test
    void aSilentReplicaAtANewAddressIsOneRow() {
        assertThat(ask()).extracting(Peer::instance).containsExactly("app-0", "app-1");
        other.stop();
        membership = dns(2, asker.address(), "127.0.0.3:1");

        for (Membership list : List.of(membership, withoutNumber("127.0.0.3:1"))) {
            membership = list;
            assertThat(ask()).hasSize(2);
        }
        assertThat(ask().get(1))
                .extracting(Peer::instance, Peer::address, Peer::state, Peer::count)
                .containsExactly("app-1", "127.0.0.3:1", State.UNREACHABLE, 7L);
    }

    @Test
    void severalSilentAddressesAreNotAttributedToReplicas() {
        ask();
        other.stop();
        membership = dns(4, asker.address(), "127.0.0.3:1", "127.0.0.4:1");

        List<Peer> rows = ask();
        assertThat(rows)
                .extracting(Peer::instance, Peer::address, Peer::state)
                .containsExactly(
                        org.assertj.core.groups.Tuple.tuple("app-0", asker.address(), State.LIVE),
                        org.assertj.core.groups.Tuple.tuple("app-1", null, State.UNREACHABLE),
                        org.assertj.core.groups.Tuple.tuple("app-2", null, State.UNREACHABLE),
                        org.assertj.core.groups.Tuple.tuple("app-3", null, State.MISSING));
        assertThat(rows.get(1).reason())
                .startsWith("it is at one of 2 addresses that do not answer, or does not exist; ");
    }

    @Test
    void theReasonOfStartingTellsForHowLong() {
        membership = new Membership(
                new PeersReport.Source(Kind.KUBERNETES, Freshness.LIVE, null, null, null),
                Expected.statefulSet("app", 0, 2, null, false),
                List.of(
                        new Member("app-0", asker.address(), Phase.SERVING),
                        new Member("app-1", other.address(), Phase.STARTING)));
        other.stop();
        assertThat(ask().get(1)).extracting(Peer::state).isEqualTo(State.STARTING);
        assertThat(ask().get(1).reason()).startsWith("it does not serve yet; ");
        now = now.plusSeconds(30);
        assertThat(ask().get(1).reason()).startsWith("it does not serve yet, for 30 s; ");
        now = now.plusSeconds(450);
        assertThat(ask().get(1).reason()).startsWith("it does not start, for 8 min; ");
        other.start();
        ask();
        other.stop();
        assertThat(ask().get(1).reason())
                .as("it has answered at this address, so it is not starting")
                .doesNotContain("start");
    }
}
