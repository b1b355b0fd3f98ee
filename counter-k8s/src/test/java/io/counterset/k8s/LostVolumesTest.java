// SPDX-License-Identifier: Apache-2.0
package io.counterset.k8s;

import static org.assertj.core.api.Assertions.assertThat;

import io.counterset.k8s.PeersReport.Peer;
import io.counterset.k8s.PeersReport.State;
import java.io.IOException;
import java.nio.file.FileVisitResult;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.SimpleFileVisitor;
import java.nio.file.attribute.BasicFileAttributes;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.UUID;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What peers report after the volumes of real stores are emptied, rolled back or removed. */
class LostVolumesTest {

    @TempDir
    Path folder;

    private LoopbackPeer asker;
    private LoopbackPeer peer;
    private final List<Peers> open = new ArrayList<>();

    @BeforeEach
    void twoReplicas() throws IOException {
        asker = new LoopbackPeer("app-0", "127.0.0.1", folder.resolve("0"));
        peer = new LoopbackPeer("app-1", "127.0.0.2", folder.resolve("1"));
        peer.add(100);
    }

    @AfterEach
    void closeAll() {
        open.forEach(Peers::close);
        asker.close();
        peer.close();
    }

    private Peers peers() {
        return peers(TestSettings.list(peer.address()));
    }

    private Peers peers(TestSettings settings) {
        Peers peers = settings.in(asker.directory).open(asker.replica());
        open.add(peers);
        return peers;
    }

    private static Peer other(PeersReport report) {
        return report.peers().stream()
                .filter(row -> !"app-0".equals(row.instance()))
                .findFirst()
                .orElseThrow();
    }

    private static PeersReport ask(Peers peers) {
        return DocumentedReasons.documented(peers.report().toCompletableFuture().join());
    }

    static void copy(Path from, Path to) throws IOException {
        delete(to);
        Files.createDirectories(to);
        try (var files = Files.list(from)) {
            for (Path file : files.toList()) {
                Files.copy(file, to.resolve(file.getFileName()));
            }
        }
    }

    static void delete(Path directory) throws IOException {
        if (!Files.exists(directory)) {
            return;
        }
        Files.walkFileTree(directory, new SimpleFileVisitor<>() {
            @Override
            public FileVisitResult visitFile(Path file, BasicFileAttributes attributes) throws IOException {
                Files.delete(file);
                return FileVisitResult.CONTINUE;
            }

            @Override
            public FileVisitResult postVisitDirectory(Path visited, IOException failure) throws IOException {
                Files.delete(visited);
                return FileVisitResult.CONTINUE;
            }
        });
    }

    @Test
    void reportsAnEmptiedVolumeAsReplacedWithItsLoss() throws IOException {
        Peers peers = peers();
        ask(peers);
        UUID former = peer.store().identity().id();
        peer.stop();
        delete(peer.directory);
        peer.start();
        peer.add(2);

        PeersReport report = ask(peers);
        assertThat(other(report).state()).isEqualTo(State.REPLACED);
        assertThat(other(report).count()).isEqualTo(2);
        assertThat(other(report).former())
                .isNotNull()
                .extracting(PeersReport.Former::store, PeersReport.Former::count)
                .containsExactly(former, 100L);
        assertThat(other(report).reason())
                .startsWith("its volume was replaced; the former one, last seen ")
                .contains("had counted at least 100; found ");
        assertThat(report.total()).isEqualTo(2);
        assertThat(report.lost()).isEqualTo(100);
        assertThat(report.complete()).as("both answered").isTrue();
        assertThat(other(ask(peers)).state())
                .as("shown until an operator has had time to see it")
                .isEqualTo(State.REPLACED);

        peers.close();
        assertThat(other(ask(peers())).state()).as("after a restart").isEqualTo(State.REPLACED);
        peers(TestSettings.list(peer.address())).close();
        assertThat(other(ask(peers(TestSettings.list(peer.address()).lossShown(Duration.ZERO))))
                        .state())
                .as("once it is no longer shown")
                .isEqualTo(State.LIVE);
    }

    @Test
    void theLossOfARolledBackVolumeStaysWhenTheVolumeIsReplaced() throws IOException {
        Peers peers = peers();
        peer.stop();
        copy(peer.directory, folder.resolve("backup"));
        peer.start();
        peer.add(11);
        ask(peers);
        peer.stop();
        copy(folder.resolve("backup"), peer.directory);
        peer.start();
        assertThat(ask(peers).lost()).isEqualTo(11);
        peer.stop();
        delete(peer.directory);
        peer.start();

        assertThat(ask(peers).lost()).isEqualTo(111);
        assertThat(peers.losses("app-1").losses())
                .extracting(Restoration.Loss::lost)
                .containsExactly(111L);
    }

    @Test
    void reportsAnOlderCopyOfAVolumeAsRolledBack() throws IOException {
        Peers peers = peers();
        ask(peers);
        peer.stop();
        copy(peer.directory, folder.resolve("backup"));
        peer.start();
        peer.add(11);
        assertThat(other(ask(peers)).state()).isEqualTo(State.LIVE);
        peer.stop();
        copy(folder.resolve("backup"), peer.directory);
        peer.start();

        PeersReport report = ask(peers);
        assertThat(other(report).state()).isEqualTo(State.ROLLED_BACK);
        assertThat(other(report).count()).isEqualTo(100);
        assertThat(other(report).reason())
                .startsWith("its volume was rolled back: visits was 111 and came back as 100; found ");
        assertThat(other(report).former()).isNull();
        assertThat(report.lost()).isEqualTo(11);

        peer.add(50);
        assertThat(ask(peers).lost()).as("counted once").isEqualTo(11);
        assertThat(other(ask(peers)).state()).as("the 11 are still lost").isEqualTo(State.ROLLED_BACK);
        peer.stop();
        assertThat(other(ask(peers)).state()).isEqualTo(State.UNREACHABLE);
        assertThat(other(ask(peers)).count()).isEqualTo(150);
    }

    @Test
    void detectsAnOlderCopyThatKeptCountingByItsIncarnation() throws IOException {
        Peers peers = peers();
        peer.stop();
        copy(peer.directory, folder.resolve("backup"));
        for (int i = 0; i < 3; i++) {
            peer.start();
            peer.add(1);
            peer.stop();
        }
        peer.start();
        ask(peers);
        peer.stop();
        copy(folder.resolve("backup"), peer.directory);
        peer.start();
        peer.add(1_000);

        PeersReport report = ask(peers);
        assertThat(other(report).state()).isEqualTo(State.ROLLED_BACK);
        assertThat(other(report).reason())
                .startsWith("its volume was rolled back: it had been opened 5 times and came back as opened 2; found ");
    }

    @Test
    void restartsOfEitherReplicaReportNoLoss() {
        Peers peers = peers();
        ask(peers);
        for (int i = 0; i < 3; i++) {
            peer.stop();
            peer.start();
            peer.add(1);
            assertThat(other(ask(peers)).state()).isEqualTo(State.LIVE);
        }
        peer.stop();
        peers.close();
        asker.stop();
        asker.start();

        PeersReport report = ask(peers());
        assertThat(other(report).instance()).isEqualTo("app-1");
        assertThat(other(report).state()).isEqualTo(State.UNREACHABLE);
        assertThat(other(report).count()).isEqualTo(103);
        assertThat(other(report).incarnation()).isEqualTo(4);
        assertThat(other(report).store()).isNotNull();
        assertThat(report.complete()).isFalse();
    }

    @Test
    void aPeerRemovedFromTheListIsRetiredWithItsLastCount() {
        Peers peers = peers();
        ask(peers);
        peers.close();

        PeersReport report = ask(peers(TestSettings.list()));
        assertThat(other(report).state()).isEqualTo(State.RETIRED);
        assertThat(other(report).count()).isEqualTo(100);
        assertThat(other(report).address()).isNull();
        assertThat(other(report).reason()).isEqualTo(peer.address() + " is no longer in the list; last known count");
        assertThat(report.total()).isEqualTo(100);
        assertThat(report.expected()).isEqualTo(1);
        assertThat(other(report).isFinal()).isFalse();
        assertThat(report.complete())
                .as("it may have counted after it was last asked")
                .isFalse();
    }

    @Test
    void theCountOfAnUnseenCounterIsAbsentAndNotZero() {
        Peers peers = peers();
        ask(peers);
        peer.stop();

        PeersReport report = peers.report("hits").toCompletableFuture().join();
        assertThat(other(report).count()).isNull();
        assertThat(other(report).instance()).isEqualTo("app-1");
        assertThat(report.complete()).isFalse();
    }

    @Test
    void aRememberedPeerCanBeForgotten() {
        Peers peers = peers();
        peer.add((1L << 62) - 1_000);
        ask(peers);
        peer.stop();
        peers.close();
        peers = peers(TestSettings.list());
        assertThat(ask(peers).total()).isGreaterThan(1L << 60);

        assertThat(peers.forget("app-1").toCompletableFuture().join()).isTrue();
        assertThat(peers.forget("app-1").toCompletableFuture().join()).isFalse();

        assertThat(ask(peers).peers()).hasSize(1);
        assertThat(ask(peers).complete()).isTrue();
        peers.close();
        assertThat(ask(peers(TestSettings.list())).total())
                .as("after a restart")
                .isZero();
    }
}
