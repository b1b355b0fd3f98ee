// SPDX-License-Identifier: Apache-2.0
package io.counterset.k8s;

import static org.assertj.core.api.Assertions.assertThat;

import io.counterset.k8s.Membership.Expected;
import io.counterset.k8s.Membership.Member;
import io.counterset.k8s.Membership.Phase;
import io.counterset.k8s.Membership.Revision;
import io.counterset.k8s.PeersReport.Freshness;
import io.counterset.k8s.PeersReport.Kind;
import io.counterset.k8s.PeersReport.Peer;
import io.counterset.k8s.PeersReport.State;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.time.InstantSource;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * What a report tells of a replica that was scaled away, by the way it stopped. The stores are
 * real; the test sets the list.
 */
@SuppressWarnings("NonAtomicVolatileUpdate") // only the test itself changes its source
class FarewellTest {

    @TempDir
    Path folder;

    private LoopbackPeer asker;
    private LoopbackPeer leaving;
    private Peers peers;
    private Peers leavingPeers;

    private volatile List<Member> members = List.of();
    private volatile int expected = 2;
    private volatile long generation = 1;
    private volatile boolean deletesClaims;
    private final List<Runnable> listeners = new java.util.concurrent.CopyOnWriteArrayList<>();
    private volatile Freshness freshness = Freshness.LIVE;

    @BeforeEach
    void twoReplicas() throws IOException {
        asker = new LoopbackPeer("app-0", "127.0.0.1", folder.resolve("0"));
        leaving = new LoopbackPeer("app-1", "127.0.0.2", folder.resolve("1"));
        leaving.add(100);
        list(Phase.SERVING);
        peers = open(asker);
        leavingPeers = open(leaving);
        asker.hearWith(peers);
        leaving.hearWith(leavingPeers);
        assertThat(ask().complete()).isTrue();
    }

    @AfterEach
    void closeAll() {
        peers.close();
        leavingPeers.close();
        asker.close();
        leaving.close();
    }

    private Peers open(LoopbackPeer replica) {
        return open(replica, TestSettings.list());
    }

    private Peers open(LoopbackPeer replica, TestSettings settings) {
        return settings.in(replica.directory)
                .open(replica.replica(), new Listed(), InstantSource.system(), Duration.ZERO);
    }

    private final class Listed implements PeerSource {

        @Override
        public void onChange(Runnable whatToDo) {
            listeners.add(whatToDo);
        }

        @Override
        public void start() {}

        @Override
        public CompletionStage<Membership> membership() {
            boolean live = freshness == Freshness.LIVE;
            return CompletableFuture.completedStage(new Membership(
                    new PeersReport.Source(Kind.KUBERNETES, freshness, live ? null : "gone", live ? null : 1L, null),
                    Expected.statefulSet("app", 0, expected, new Revision("set", generation), deletesClaims),
                    members));
        }

        @Override
        public void close() {}
    }

    private void list(Phase phase) {
        list(phase, List.of(leaving));
    }

    private void list(Phase phase, List<LoopbackPeer> others) {
        List<Member> listed = new ArrayList<>();
        listed.add(new Member("app-0", asker.address(), Phase.SERVING));
        others.forEach(other -> listed.add(new Member(other.instance(), other.address(), phase)));
        members = listed;
    }

    private void scale(int replicas) {
        expected = replicas;
        generation++;
    }

    private void scaleDown() {
        scale(1);
        list(Phase.TERMINATING);
    }

    private void sealAndBidFarewell() {
        leaving.replica().seal();
        leavingPeers.bidFarewell().toCompletableFuture().join();
    }

    private void end() {
        leaving.stop();
        members = members.subList(0, 1);
    }

    private PeersReport ask() {
        return DocumentedReasons.documented(peers.report().toCompletableFuture().join());
    }

    private static Peer other(PeersReport report) {
        return report.peers().get(1);
    }

    @Test
    void theCountAfterAFarewellIsFinal() {
        leaving.add(1_000);
        scaleDown();
        sealAndBidFarewell();
        end();

        PeersReport report = ask();
        assertThat(other(report).state()).isEqualTo(State.RETIRED);
        assertThat(other(report).count()).isEqualTo(1_100);
        assertThat(other(report).isFinal()).isTrue();
        assertThat(other(report).reason()).isEqualTo("scaled down: 1 replica is wanted; final count");
        assertThat(report.total()).isEqualTo(1_100);
        assertThat(report.complete()).isTrue();

        peers.close();
        peers = open(asker);
        assertThat(ask().complete()).as("after a restart").isTrue();
        generation++;
        assertThat(ask().complete()).as("after an upgrade of the StatefulSet").isTrue();
        generation += 2;
        assertThat(ask().complete())
                .as("it may have been scaled up and down unnoticed")
                .isFalse();
    }

    @Test
    void theCountAtTheFarewellIsFinalThoughItWasNeverAskedForBefore() throws IOException {
        peers.close();
        Files.delete(asker.directory.resolve(PeerMemory.NAME));
        peers = open(asker);
        asker.hearWith(peers);
        scaleDown();
        sealAndBidFarewell();
        end();

        assertThat(other(ask()).count()).isEqualTo(100);
        assertThat(ask().complete()).isTrue();
    }

    @Test
    void theCountsOfSeveralReplicasThatAreScaledAwayTogetherAreFinal() throws IOException {
        LoopbackPeer third = new LoopbackPeer("app-2", "127.0.0.3", folder.resolve("2"));
        try (third;
                Peers thirdPeers = open(third)) {
            third.hearWith(thirdPeers);
            third.add(7);
            scale(3);
            members = List.of(members.get(0), members.get(1), new Member("app-2", third.address(), Phase.SERVING));
            assertThat(ask().total()).isEqualTo(107);
            scale(1);
            members = List.of(
                    members.get(0),
                    new Member("app-1", leaving.address(), Phase.TERMINATING),
                    new Member("app-2", third.address(), Phase.TERMINATING));
            third.add(1);
            third.replica().seal();
            CompletableFuture<?> farewell = thirdPeers.bidFarewell().toCompletableFuture();
            sealAndBidFarewell();
            farewell.join();
        }
        end();

        assertThat(ask().total()).isEqualTo(108);
        assertThat(ask().peers()).extracting(Peer::isFinal).containsExactly(false, true, true);
        assertThat(ask().complete()).isTrue();
    }

    @Test
    void anAnswerToAFarewellThatIsCutAtAnyByteMakesNothingFinal() throws IOException {
        leaving.add(1_000);
        scaleDown();
        leaving.replica().seal();
        byte[] whole = LoopbackPeer.JSON.writeValueAsBytes(leaving.replica().count("visits"));
        for (int length = 0; length < whole.length; length++) {
            int sent = length;
            leaving.answerWith(exchange -> {
                exchange.sendResponseHeaders(200, whole.length);
                exchange.getResponseBody().write(whole, 0, sent);
                exchange.getResponseBody().flush();
            });
            peers.hearFarewell("app-1").toCompletableFuture().join();
        }
        assertThat(other(ask()).isFinal()).isFalse();
        leaving.answerWith(null);
        sealAndBidFarewell();
        end();

        assertThat(other(ask()).count()).isEqualTo(1_100);
        assertThat(ask().complete()).isTrue();
    }

    @Test
    void aReplicaThatIsFrozenDuringItsFarewellIsNotFinal() {
        peers.close();
        peers = open(asker, TestSettings.list().timeout(Duration.ofMillis(100)).deadline(Duration.ofMillis(200)));
        asker.hearWith(peers);
        scaleDown();
        CountDownLatch thawed = new CountDownLatch(1);
        leaving.answerWith(exchange -> awaitQuietly(thawed));
        sealAndBidFarewell();
        end();
        thawed.countDown();

        assertThat(other(ask()).count()).isEqualTo(100);
        assertThat(ask().complete()).isFalse();
    }

    @Test
    void aPeerThatIsDownDuringTheFarewellKnowsTheCountOnlyIfItIsBackInTime() {
        for (boolean inTime : new boolean[] {true, false}) {
            leaving.start();
            list(Phase.SERVING);
            scale(2);
            leaving.add(10);
            assertThat(ask().complete()).isTrue();
            leaving.add(10);
            peers.close();
            asker.stop();
            scaleDown();
            sealAndBidFarewell();
            if (!inTime) {
                end();
            }
            asker.start();
            peers = open(asker);
            asker.hearWith(peers);
            assertThat(ask().complete()).isEqualTo(inTime);
            end();
            assertThat(ask().complete()).isEqualTo(inTime);
            leavingPeers.close();
            leaving.start();
            leavingPeers = open(leaving);
            leaving.hearWith(leavingPeers);
        }
    }

    @Test
    void aReplicaThatComesBackWithMoreIsLive() {
        scaleDown();
        sealAndBidFarewell();
        end();
        assertThat(ask().complete()).isTrue();
        scale(2);
        leaving.start();
        leaving.add(900);
        list(Phase.SERVING);

        assertThat(other(ask()).state()).isEqualTo(State.LIVE);
        assertThat(ask().total()).isEqualTo(1_000);
        assertThat(ask().lost()).isZero();
        assertThat(ask().complete()).isTrue();
    }

    /** How replicas that are scaled away end. Only after a whole farewell are their counts final. */
    enum Ending {
        FAREWELL,
        FAREWELL_CUT,
        FROZEN_DURING_FAREWELL,
        PEER_DOWN_DURING_FAREWELL,
        KILLED
    }

    static Stream<Arguments> orders() {
        return Stream.of(Ending.values())
                .flatMap(ending -> Stream.of(1, 2)
                        .flatMap(number -> Stream.of(true, false)
                                .flatMap(before -> Stream.of(true, false)
                                        .map(during -> Arguments.of(ending, number, before, during)))));
    }

    @ParameterizedTest(name = "{0}, {1} at a time, answered before: {2}, asked while terminating: {3}")
    @MethodSource("orders")
    void inEveryOrderACompleteReportHasTheTrueTotal(Ending ending, int number, boolean before, boolean during)
            throws IOException {
        LoopbackPeer third = new LoopbackPeer("app-2", "127.0.0.3", folder.resolve("2"));
        try (third;
                Peers thirdPeers = open(third)) {
            List<LoopbackPeer> all = number == 1 ? List.of(leaving) : List.of(leaving, third);
            scale(1 + number);
            list(Phase.SERVING, all);
            if (!before) {
                peers.close();
                Files.delete(asker.directory.resolve(PeerMemory.NAME));
                peers = open(asker);
                all.forEach(replica -> replica.answerWith(503, ""));
                assertThat(ask().complete()).isFalse();
                all.forEach(replica -> replica.answerWith(null));
            }
            all.forEach(replica -> replica.add(1_000));
            scale(1);
            list(Phase.TERMINATING, all);
            if (during) {
                assertThat(ask().complete()).isTrue(); // all of them answered, though they may count on
            }
            all.forEach(replica -> replica.add(50));
            if (ending != Ending.KILLED) {
                all.forEach(replica -> replica.replica().seal());
                farewell(ending, all, number == 1 ? List.of(leavingPeers) : List.of(leavingPeers, thirdPeers));
            }
            all.forEach(LoopbackPeer::stop);
            members = members.subList(0, 1);
            long truth = 100 + number * 1_050L;
            PeersReport report = ask();
            assertThat(report.complete()).as("%s", report).isEqualTo(ending == Ending.FAREWELL);
            assertThat(report.total()).isEqualTo(ending == Ending.FAREWELL ? truth : seen(number, before, during));

            scale(1 + number);
            all.forEach(LoopbackPeer::start);
            all.forEach(replica -> replica.add(900));
            list(Phase.SERVING, all);
            PeersReport back = ask();
            assertThat(back.complete()).as("%s", back).isTrue();
            assertThat(back.total()).isEqualTo(truth + number * 900L);
            assertThat(back.lost()).isZero();
        }
    }

    /** What was seen of the replicas before they ended, without a farewell. */
    private static long seen(int number, boolean before, boolean during) {
        return during ? 100 + number * 1_000L : before ? 100 : 0;
    }

    /** All of them bid farewell at the same time, and none is heard unless nothing disturbs them. */
    private void farewell(Ending ending, List<LoopbackPeer> all, List<Peers> theirs) {
        CountDownLatch thawed = new CountDownLatch(1);
        switch (ending) {
            case FAREWELL_CUT ->
                all.forEach(replica -> replica.answerWith(exchange -> {
                    byte[] whole = LoopbackPeer.JSON.writeValueAsBytes(
                            replica.replica().count("visits"));
                    exchange.sendResponseHeaders(200, whole.length);
                    exchange.getResponseBody().write(whole, 0, whole.length - 1);
                    exchange.getResponseBody().flush();
                }));
            case FROZEN_DURING_FAREWELL -> {
                peers.close();
                peers = open(
                        asker,
                        TestSettings.list().timeout(Duration.ofMillis(20)).deadline(Duration.ofMillis(40)));
                asker.hearWith(peers);
                leaving.hearWith(null); // else it waits for the other frozen one for as long as it may
                all.forEach(replica -> replica.answerWith(exchange -> awaitQuietly(thawed)));
            }
            case PEER_DOWN_DURING_FAREWELL -> {
                peers.close();
                asker.stop();
            }
            default -> asker.hearWith(peers);
        }
        CompletableFuture.allOf(theirs.stream()
                        .map(leaver -> leaver.bidFarewell().toCompletableFuture())
                        .toArray(CompletableFuture<?>[]::new))
                .join();
        thawed.countDown();
        all.forEach(replica -> replica.answerWith(null));
        if (ending != Ending.FAREWELL) {
            peers.close();
            asker.start();
            all.forEach(LoopbackPeer::stop);
            peers = open(asker);
        }
    }

    private static void awaitQuietly(CountDownLatch latch) {
        try {
            latch.await();
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    @Test
    void theLastKnownCountOfAKilledReplicaIsNotFinal() {
        leaving.add(1_000);
        scaleDown();
        end();

        PeersReport report = ask();
        assertThat(other(report).count()).isEqualTo(100);
        assertThat(other(report).isFinal()).isFalse();
        assertThat(report.complete()).isFalse();
        assertThat(report.headline()).startsWith("visits: at least 100, ");
    }

    @Test
    void aFarewellIsNotTrusted() {
        peers.hearFarewell("app-1").toCompletableFuture().join();
        peers.hearFarewell("app-7").toCompletableFuture().join();
        peers.hearFarewell("app-0").toCompletableFuture().join();
        leaving.add(5);

        assertThat(other(ask()).state()).isEqualTo(State.LIVE);
        assertThat(other(ask()).isFinal()).isFalse();
        assertThat(ask().total()).isEqualTo(105);
        scaleDown();
        end();
        assertThat(ask().complete()).isFalse();
    }

    @Test
    void aStrangerCannotMakeALastKnownCountFinal() {
        scaleDown();
        peers.hearFarewell("app-1").toCompletableFuture().join();
        leaving.add(5);
        end();

        assertThat(ask().complete()).isFalse();
    }

    @Test
    void aSealedCountIsNotFinalUnlessThePodIsTerminating() {
        sealAndBidFarewell();
        leaving.stop();
        leaving.start();
        leaving.add(50);
        scaleDown();
        end();

        assertThat(ask().complete()).isFalse();
    }

    @Test
    void aCountIsNotFinalOnceTheReplicaIsBack() {
        scaleDown();
        sealAndBidFarewell();
        end();
        assertThat(ask().complete()).isTrue();
        scale(2);
        leaving.start();
        list(Phase.SERVING);
        leaving.add(7);
        assertThat(other(ask()).isFinal()).isFalse();
        leaving.add(7);
        scaleDown();
        end();

        PeersReport report = ask();
        assertThat(report.total()).isEqualTo(107);
        assertThat(report.complete()).isFalse();
    }

    @Test
    void replicasThatStopTogetherExchangeTheirFinalCounts() {
        asker.add(3);
        expected = 0;
        generation++;
        members = List.of(
                new Member("app-0", asker.address(), Phase.TERMINATING),
                new Member("app-1", leaving.address(), Phase.TERMINATING));
        leaving.add(1_000);
        asker.replica().seal();
        leaving.replica().seal();
        CompletableFuture<?> one = peers.bidFarewell().toCompletableFuture();
        CompletableFuture<?> two = leavingPeers.bidFarewell().toCompletableFuture();
        one.join();
        two.join();
        peers.close();
        asker.stop();
        end();
        members = List.of(new Member("app-0", asker.address(), Phase.SERVING));
        scale(1);
        asker.start();
        peers = open(asker);

        PeersReport report = ask();
        assertThat(report.total()).isEqualTo(1_103);
        assertThat(report.complete()).isTrue();
    }

    @Test
    void forgetsAScaledDownReplicaWhoseClaimIsDeleted() throws IOException {
        deletesClaims = true;
        scaleDown();
        sealAndBidFarewell();
        end();
        PeersReport report = ask();
        assertThat(report.peers()).hasSize(1);
        assertThat(report.total()).isZero();
        assertThat(report.complete()).isTrue();

        LostVolumesTest.delete(leaving.directory);
        scale(2);
        leaving.start();
        list(Phase.SERVING);
        assertThat(other(ask()).state()).as("nothing was lost").isEqualTo(State.LIVE);
        assertThat(ask().lost()).isZero();
    }

    @Test
    void aClaimDeletedBetweenTwoReportsIsNoLoss() throws IOException {
        deletesClaims = true;
        leaving.stop();
        LostVolumesTest.delete(leaving.directory);
        leaving.start();
        generation += 2;

        assertThat(other(ask()).state()).isEqualTo(State.LIVE);
    }

    @Test
    void ignoresAReplicaOfAnotherGroup() throws IOException {
        asker.join("production/app");
        leaving.join("production/app");
        peers.close();
        peers = open(asker);
        assertThat(ask().complete()).isTrue();
        LoopbackPeer stranger = new LoopbackPeer("app-1", "127.0.0.3", folder.resolve("stranger"));
        try (stranger) {
            stranger.join("staging/app");
            stranger.add(5_000_000);
            members = List.of(members.get(0), new Member("app-1", stranger.address(), Phase.SERVING));

            PeersReport report = ask();
            assertThat(other(report).state()).isEqualTo(State.UNREACHABLE);
            assertThat(other(report).reason()).isEqualTo("answered as app-1 of staging/app");
            assertThat(report.total()).isEqualTo(100);
        }
        list(Phase.SERVING);
        assertThat(other(ask()).state()).isEqualTo(State.LIVE);
        assertThat(ask().lost()).isZero();
        assertThat(ask().complete()).isTrue();
    }

    @Test
    void aNewStoreIsNotRememberedWhileTheListIsStale() throws IOException {
        try (LoopbackPeer stranger = new LoopbackPeer("app-1", "127.0.0.3", folder.resolve("stranger"))) {
            stranger.add(5_000_000);
            freshness = Freshness.STALE;
            members = List.of(members.get(0), new Member("app-1", stranger.address(), Phase.SERVING));
            assertThat(other(ask()).state()).isEqualTo(State.UNREACHABLE);
        }
        freshness = Freshness.LIVE;
        list(Phase.SERVING);

        assertThat(other(ask()).state()).isEqualTo(State.LIVE);
        assertThat(ask().lost()).isZero();
    }

    @Test
    void aVolumeThatMovedToAnotherNameIsCountedOnce() throws IOException {
        LoopbackPeer third = new LoopbackPeer("app-2", "127.0.0.3", folder.resolve("2"));
        try (third) {
            scale(3);
            members = List.of(members.get(0), members.get(1), new Member("app-2", third.address(), Phase.SERVING));
            third.add(5);
            assertThat(ask().total()).isEqualTo(105);
            third.stop();
            leaving.stop();
            LostVolumesTest.copy(third.directory, leaving.directory);
            leaving.start();
            scale(2);
            list(Phase.SERVING);

            PeersReport report = ask();
            assertThat(report.total()).isEqualTo(5);
            assertThat(report.peers().get(2).count()).isNull();
            assertThat(report.complete())
                    .as("the content of app-2's volume is unknown")
                    .isFalse();
        }
    }

    @Test
    void aCopyOfThisReplicasStoreIsNotCounted() throws IOException {
        asker.add(10);
        assertThat(ask().total()).isEqualTo(110);
        leaving.stop();
        asker.stop();
        LostVolumesTest.copy(asker.directory, leaving.directory);
        asker.start();
        leaving.start();
        peers.close();
        peers = open(asker);

        PeersReport report = ask();
        assertThat(other(report).state()).isEqualTo(State.UNREACHABLE);
        assertThat(other(report).reason()).isEqualTo("answered as app-1 with a copy of the store of app-0");
        assertThat(report.complete()).isFalse();
    }

    @Test
    void asksMembersWhenTheyAreListedAndWhenTheyTerminate() {
        members = List.of(new Member("app-0", asker.address(), Phase.SERVING));
        change();
        long asked = peers.statistics().asked();
        list(Phase.SERVING);
        change();
        change();
        TestSettings.await(() -> peers.statistics().asked() > asked);
        leaving.add(50);
        long before = peers.statistics().asked();
        list(Phase.TERMINATING);
        change();
        TestSettings.await(() -> peers.statistics().asked() > before);
        end();
        scale(1);

        TestSettings.await(() -> Long.valueOf(150).equals(other(ask()).count()));
        assertThat(ask().complete())
                .as("it was killed, so it may have counted more")
                .isFalse();
    }

    private void change() {
        listeners.forEach(Runnable::run);
    }

    @Test
    void aStoppingReplicaFailsEveryRequestWithStoppingException() {
        peers.close();
        Stream.of(peers.report(), peers.restore(null, false, false), peers.forget("app-1"), peers.hearFarewell("app-1"))
                .forEach(stage -> assertThat(stage.toCompletableFuture())
                        .failsWithin(Duration.ZERO)
                        .withThrowableOfType(ExecutionException.class)
                        .withCauseInstanceOf(Peers.StoppingException.class));
    }

    @Test
    void aSealedReplicaIsGivenNothingBackSinceItCountsNoMore() {
        leaving.replica().seal();
        assertThat(leavingPeers.restore(null, false, true).toCompletableFuture())
                .failsWithin(Duration.ZERO)
                .withThrowableOfType(ExecutionException.class)
                .withCauseInstanceOf(Peers.StoppingException.class);
    }
}
