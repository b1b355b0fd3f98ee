// SPDX-License-Identifier: Apache-2.0
package io.counterset.k8s;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.sun.net.httpserver.HttpHandler;
import io.counterset.k8s.PeersReport.Peer;
import io.counterset.k8s.PeersReport.State;
import java.io.IOException;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.time.InstantSource;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.CyclicBarrier;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.Stream;
import org.awaitility.Awaitility;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/** Real replicas on loopback addresses in a static list, and what the report says of each. */
class StaticPeersTest {

    @TempDir
    Path folder;

    private final List<AutoCloseable> open = new ArrayList<>();
    private LoopbackPeer a;
    private LoopbackPeer b;
    private LoopbackPeer c;

    @BeforeEach
    void threeReplicas() throws IOException {
        a = peer("app-0", "127.0.0.1");
        b = peer("app-1", "127.0.0.2");
        c = peer("app-2", "127.0.0.3");
        a.add(3);
        b.add(1);
        c.add(5);
    }

    @AfterEach
    void closeAll() throws Exception {
        for (int i = open.size() - 1; i >= 0; i--) {
            open.get(i).close();
        }
    }

    private LoopbackPeer peer(String instance, String host) throws IOException {
        LoopbackPeer peer = new LoopbackPeer(instance, host, folder.resolve(instance + "@" + host));
        open.add(peer);
        return peer;
    }

    private Peers peers(LoopbackPeer of, TestSettings settings) {
        Peers peers = settings.in(of.directory).open(of.replica());
        open.add(peers);
        return peers;
    }

    private TestSettings list() {
        return TestSettings.list(a.address(), b.address(), c.address());
    }

    private static PeersReport ask(Peers peers) {
        return ask(peers, "visits");
    }

    private static PeersReport ask(Peers peers, String counter) {
        try {
            return DocumentedReasons.documented(
                    peers.report(counter).toCompletableFuture().get(60, TimeUnit.SECONDS));
        } catch (Exception e) {
            throw new AssertionError(e);
        }
    }

    private static Peer row(PeersReport report, String label) {
        return report.peers().stream()
                .filter(peer -> peer.label().equals(label))
                .findFirst()
                .orElseThrow(() -> new AssertionError(label + " is not in " + report));
    }

    @Test
    void allReplicasCanShareOneList() {
        for (LoopbackPeer asker : List.of(a, b, c)) {
            PeersReport report = ask(peers(asker, list()));

            assertThat(report.peers()).extracting(Peer::instance).containsExactly("app-0", "app-1", "app-2");
            assertThat(report.peers()).extracting(Peer::count).containsExactly(3L, 1L, 5L);
            assertThat(report.peers()).extracting(Peer::state).containsOnly(State.LIVE);
            assertThat(report.peers()).extracting(Peer::address).containsExactly(a.address(), b.address(), c.address());
            assertThat(report.peers()).extracting(Peer::reason).containsOnlyNulls();
            assertThat(report.total()).isEqualTo(9);
            assertThat(report.complete()).isTrue();
            assertThat(report.expected()).isEqualTo(3);
            assertThat(report.answered()).isEqualTo(3);
            assertThat(report.askedBy()).isEqualTo(asker.instance());
            assertThat(report.source().kind()).hasToString("static");
        }
    }

    @Test
    void aReplicaMissingFromItsListIsAdded() {
        PeersReport report = ask(peers(a, TestSettings.list(b.address(), c.address())));

        assertThat(report.peers()).extracting(Peer::instance).containsExactly("app-0", "app-1", "app-2");
        assertThat(report.expected()).isEqualTo(3);
        assertThat(report.complete()).isTrue();
        assertThat(row(report, "app-0").address()).isNull();
    }

    @Test
    void anEmptyListMeansOnlyThisReplica() {
        PeersReport report = ask(peers(a, TestSettings.list()));

        assertThat(report.peers()).extracting(Peer::instance).containsExactly("app-0");
        assertThat(report.complete()).isTrue();
        assertThat(report.total()).isEqualTo(3);
    }

    @Test
    void aListShorterThanExpectedIsNeverComplete() {
        PeersReport report = ask(peers(a, list().expected(5)));

        assertThat(report.expected()).isEqualTo(5);
        assertThat(report.answered()).isEqualTo(3);
        assertThat(report.complete()).isFalse();
    }

    @Test
    void reportsEveryCounter() {
        b.store().counter("jobs/größe ..+%").add(7);
        Peers peers = peers(a, list());

        PeersReport report = ask(peers, "jobs/größe ..+%");
        assertThat(report.peers()).extracting(Peer::count).containsExactly(0L, 7L, 0L);
        assertThat(report.counter()).isEqualTo("jobs/größe ..+%");
        assertThat(ask(peers, "..").total()).isZero();
        assertThat(ask(peers, "..").complete()).isTrue();
        assertThatThrownBy(() -> peers.report("")).isInstanceOf(IllegalArgumentException.class);
    }

    @Test
    void aDownPeerKeepsItsLastCount() {
        Peers peers = peers(a, list());
        ask(peers);
        c.stop();

        PeersReport report = ask(peers);
        assertThat(row(report, "app-2").state()).isEqualTo(State.UNREACHABLE);
        assertThat(row(report, "app-2").reason()).isEqualTo("connection refused");
        assertThat(row(report, "app-2").count()).isEqualTo(5);
        assertThat(row(report, "app-2").countedAt()).isBefore(report.at());
        assertThat(row(report, "app-2").latencyMillis()).isNull();
        assertThat(row(report, "app-1").count()).isEqualTo(1);
        assertThat(report.total()).isEqualTo(9);
        assertThat(report.complete()).isFalse();
        assertThat(report.expected()).isEqualTo(3);
        assertThat(report.answered()).isEqualTo(2);

        c.start();
        assertThat(ask(peers).complete()).isTrue();
    }

    @Test
    void aPeerThatNeverAnsweredIsLabelledByItsAddress() {
        c.stop();

        PeersReport report = ask(peers(a, list()));
        Peer silent = row(report, c.address());
        assertThat(silent.instance()).isNull();
        assertThat(silent.count()).isNull();
        assertThat(silent.state()).isEqualTo(State.UNREACHABLE);
        assertThat(report.total()).isEqualTo(4);
        assertThat(report.expected()).isEqualTo(3);
        assertThat(report.complete()).isFalse();
    }

    @Test
    void aCopyOfThisReplicaNeverTakesItsRow() throws IOException {
        a.stop();
        LostVolumesTest.copy(a.directory, folder.resolve("app-0@127.0.0.4"));
        a.start();
        LoopbackPeer copy = peer("app-0", "127.0.0.4");
        copy.add(40);

        PeersReport report = ask(peers(a, TestSettings.list(copy.address(), a.address())));
        assertThat(row(report, "app-0").address()).isEqualTo(a.address());
        assertThat(row(report, copy.address()).reason())
                .isEqualTo("answered as app-0 with a copy of the store of app-0");
        assertThat(report.total()).isEqualTo(3);
        assertThat(report.complete()).isFalse();

        report = ask(peers(a, TestSettings.list(copy.address())));
        assertThat(report.complete()).as("the copy counts for itself").isFalse();
        assertThat(report.expected()).isEqualTo(2);
    }

    @Test
    void aReplicaListedTwiceIsCountedOnce() {
        PeersReport report =
                ask(peers(a, TestSettings.list(b.address(), "[::ffff:127.0.0.2]:" + b.address.getPort(), a.address())));

        assertThat(report.total()).isEqualTo(4);
        assertThat(report.complete()).isFalse();
        assertThat(report.peers())
                .filteredOn(peer -> peer.state() == State.UNREACHABLE)
                .singleElement()
                .satisfies(peer -> assertThat(peer.reason())
                        .isEqualTo("answered as app-1, which is listed as " + b.address() + " too"));
    }

    @Test
    void distinguishesReplicasOfOneNameByTheirStores() throws IOException {
        LoopbackPeer twin = peer("app-0", "127.0.0.4");
        twin.add(40);

        PeersReport report = ask(peers(a, TestSettings.list(a.address(), twin.address())));
        assertThat(report.peers()).extracting(Peer::count).containsExactlyInAnyOrder(3L, 40L);
        assertThat(report.total()).isEqualTo(43);
        assertThat(report.complete()).isTrue();
    }

    static Stream<Arguments> wrongAnswers() {
        String good = "{\"instance\":\"app-1\",\"counter\":\"visits\",\"count\":1,"
                + "\"store\":\"0f8fad5b-d9cb-469f-a165-70867728950e\",\"incarnation\":1";
        return Stream.of(
                Arguments.of(503, good + "}", "answered HTTP 503"),
                Arguments.of(404, "{}", "answered HTTP 404"),
                Arguments.of(204, "", "answered HTTP 204"),
                Arguments.of(200, "", "answered something other than its count"),
                Arguments.of(200, "3", "answered something other than its count"),
                Arguments.of(200, "<html>", "answered something other than its count"),
                Arguments.of(200, "[" + good + "}]", "answered something other than its count"),
                Arguments.of(200, good, "answered something other than its count"),
                Arguments.of(200, "[".repeat(8_000), "answered something other than its count"),
                Arguments.of(200, good.replace("1,\"store\"", "\"1\",\"store\"") + "}", "(no count)"),
                Arguments.of(200, good.replace("1,\"store\"", "1.5,\"store\"") + "}", "(no count)"),
                Arguments.of(200, good.replace("1,\"store\"", "-1,\"store\"") + "}", "(no count)"),
                Arguments.of(200, good.replace("1,\"store\"", "9223372036854775808,\"store\"") + "}", "(no count)"),
                Arguments.of(200, good.replace("\"count\":1,", "") + "}", "(no count)"),
                Arguments.of(200, good.replace("visits", "hits") + "}", "(another counter)"),
                Arguments.of(200, good.replace("app-1", "") + "}", "(no instance)"),
                Arguments.of(200, good.replace("app-1", "app\\u001b[2J") + "}", "(no instance)"),
                Arguments.of(200, good.replace("0f8fad5b", "nonsense") + "}", "not the JSON of a count"),
                Arguments.of(200, good.replace("\"incarnation\":1", "\"i\":1") + "}", "(no store)"),
                Arguments.of(200, good + ",\"more\":\"" + "x".repeat(9_000) + "\"}", "more than 8192 bytes"));
    }

    @ParameterizedTest
    @MethodSource("wrongAnswers")
    void aWrongAnswerFailsOnlyItsPeer(int status, String body, String reason) {
        b.answerWith(
                status == 204
                        ? exchange -> exchange.sendResponseHeaders(204, -1)
                        : exchange -> LoopbackPeer.send(exchange, status, body));

        PeersReport report = ask(peers(a, list()));
        Peer wrong = row(report, b.address());
        assertThat(wrong.state()).isEqualTo(State.UNREACHABLE);
        assertThat(wrong.reason()).contains(reason);
        assertThat(wrong.count()).isNull();
        assertThat(row(report, "app-2").state()).isEqualTo(State.LIVE);
        assertThat(report.total()).isEqualTo(8);
        assertThat(report.complete()).isFalse();
    }

    @Test
    void ignoresUnknownMembersOfAnAnswer() {
        b.answerWith(
                200,
                "{\"more\":[1,{}],\"instance\":\"app-1\",\"counter\":\"visits\",\"count\":9223372036854775807,"
                        + "\"store\":\"0f8fad5b-d9cb-469f-a165-70867728950e\",\"incarnation\":1}");

        PeersReport report = ask(peers(a, list()));
        assertThat(row(report, "app-1").count()).isEqualTo(Long.MAX_VALUE);
        assertThat(report.total()).as("the sum overflows").isEqualTo(Long.MAX_VALUE);
        assertThat(report.complete()).isFalse();
    }

    @Test
    void redirectsAreNotFollowed() {
        b.answerWith(exchange -> {
            exchange.getResponseHeaders().set("Location", "http://" + c.address() + "/count/visits");
            exchange.sendResponseHeaders(302, -1);
        });

        assertThat(row(ask(peers(a, list())), b.address()).reason()).isEqualTo("answered HTTP 302");
        assertThat(c.asked).hasValue(1);
    }

    @Test
    void frozenAndDrippingPeersAreBoundedByTheTimeout() throws Exception {
        try (ServerSocket frozen = new ServerSocket(0, 50, InetAddress.getByName("127.0.0.5"))) {
            CountDownLatch end = new CountDownLatch(1);
            HttpHandler drip = exchange -> {
                exchange.sendResponseHeaders(200, 1_000);
                try (OutputStream body = exchange.getResponseBody()) {
                    while (!end.await(20, TimeUnit.MILLISECONDS)) {
                        body.write('{');
                        body.flush();
                    }
                } catch (InterruptedException e) {
                    Thread.currentThread().interrupt();
                }
            };
            b.answerWith(drip);
            String frozenAddress = "127.0.0.5:" + frozen.getLocalPort();
            Peers peers = peers(
                    a,
                    TestSettings.list(b.address(), frozenAddress, c.address()).timeout(Duration.ofSeconds(1)));

            // The reason names their own timeout and not the deadline, which proves how long it
            // took.
            PeersReport report = ask(peers);
            assertThat(row(report, frozenAddress).reason()).isEqualTo("no answer within 1 s");
            assertThat(row(report, b.address()).reason()).isEqualTo("no answer within 1 s");
            assertThat(row(report, "app-2").count()).isEqualTo(5);
            // The request was cancelled: the dripping peer notices the closed connection and stops.
            TestSettings.await(() -> b.inside.get() == 0);
            end.countDown();
        }
    }

    @Test
    void reportsNamesThatDoNotResolve() {
        PeersReport report = ask(peers(a, TestSettings.list("no-such-host.invalid:8080", b.address())));

        assertThat(row(report, "no-such-host.invalid:8080").reason()).isEqualTo("its name does not resolve");
        assertThat(row(report, "app-1").state()).isEqualTo(State.LIVE);
    }

    @Test
    void concurrencyIsBounded() throws Exception {
        List<String> addresses = new ArrayList<>();
        for (int i = 0; i < 12; i++) {
            addresses.add("127.0.1." + (i + 1) + ":" + b.address.getPort());
        }
        LoopbackPeer all = new LoopbackPeer("app-9", new InetSocketAddress(0), folder.resolve("all"));
        open.add(all);
        CyclicBarrier three = new CyclicBarrier(3);
        Room room = new Room();
        all.answerWith(exchange -> {
            room.pass(() -> three.await(60, TimeUnit.SECONDS));
            LoopbackPeer.send(exchange, 500, "");
        });
        addresses.replaceAll(address -> address.replaceFirst(":.*", ":" + all.address.getPort()));
        Peers peers =
                peers(a, TestSettings.list(addresses.toArray(String[]::new)).concurrency(3));

        PeersReport report = ask(peers);
        assertThat(report.peers())
                .filteredOn(peer -> "answered HTTP 500".equals(peer.reason()))
                .hasSize(12);
        assertThat(room.most).hasValue(3);
    }

    @Test
    void theDeadlineHoldsAndSilentPeersAreAskedLast() throws Exception {
        try (ServerSocket frozen = new ServerSocket(0, 50, InetAddress.getByName("127.0.0.5"));
                ServerSocket frozenToo = new ServerSocket(0, 50, InetAddress.getByName("127.0.0.6"))) {
            Peers peers = peers(
                    a,
                    TestSettings.list(
                                    "127.0.0.5:" + frozen.getLocalPort(),
                                    "127.0.0.6:" + frozenToo.getLocalPort(),
                                    b.address(),
                                    c.address())
                            .concurrency(1)
                            .timeout(Duration.ofMillis(1_000))
                            .deadline(Duration.ofMillis(1_500)));

            PeersReport first = ask(peers);
            assertThat(first.answered()).isEqualTo(1);
            assertThat(row(first, c.address()).reason()).isEqualTo("not asked within the 1500 ms for all peers");
            assertThat(first.complete()).isFalse();

            // Repeatedly: without the change of order every round would be like the first.
            TestSettings.await(() -> ask(peers).answered() == 3);
        }
    }

    @Test
    void roundsAreSharedAndAtMostFourASecond() throws Exception {
        Peers peers = list().in(a.directory).openWithInterval(a.replica(), Peers.INTERVAL);
        open.add(peers);
        Room room = new Room();
        b.answerWith(exchange -> {
            room.pass(() -> Thread.sleep(20));
            LoopbackPeer.send(
                    exchange,
                    200,
                    LoopbackPeer.JSON.writeValueAsString(b.replica().count("visits")));
        });
        long start = System.nanoTime();
        long end = start + Duration.ofMillis(2_100).toNanos();
        List<Thread> callers = new ArrayList<>();
        List<CompletableFuture<PeersReport>> wanted = new ArrayList<>();
        for (int i = 0; i < 1_000; i++) {
            CompletableFuture<PeersReport> last = new CompletableFuture<>();
            wanted.add(last);
            Thread caller = new Thread(
                    () -> {
                        try {
                            PeersReport report = ask(peers);
                            while (System.nanoTime() < end) {
                                report = ask(peers);
                            }
                            last.complete(report);
                        } catch (Throwable e) {
                            last.completeExceptionally(e);
                        }
                    },
                    "caller-" + i);
            callers.add(caller);
            caller.start();
        }
        for (CompletableFuture<PeersReport> last : wanted) {
            assertThat(last.get(60, TimeUnit.SECONDS).complete()).isTrue();
        }
        double seconds = (System.nanoTime() - start) / 1e9;
        for (Thread caller : callers) {
            caller.join();
        }
        assertThat(b.asked.get()).isBetween(2, (int) (seconds * 4) + 1);
        assertThat(room.most).hasValue(1);
        assertThat(c.asked).hasValue(b.asked.get());
        assertThat(peers.statistics().rounds()).isEqualTo(b.asked.get());
    }

    @Test
    void aReportContainsWhatWasCountedBeforeItWasRequested() throws Exception {
        CountDownLatch holding = new CountDownLatch(1);
        CountDownLatch release = new CountDownLatch(1);
        b.answerWith(exchange -> {
            try {
                holding.countDown();
                release.await();
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
            }
            exchange.sendResponseHeaders(503, -1);
        });
        Peers peers = peers(a, list().timeout(Duration.ofSeconds(30)).deadline(Duration.ofSeconds(60)));
        CompletableFuture<PeersReport> running = peers.report().toCompletableFuture();
        holding.await();
        Awaitility.await().until(() -> c.asked.get() == 1 && c.inside.get() == 0);

        c.add(2);
        CompletableFuture<PeersReport> first = peers.report().toCompletableFuture();
        CompletableFuture<PeersReport> second = peers.report().toCompletableFuture();
        release.countDown();
        assertThat(row(running.get(60, TimeUnit.SECONDS), "app-2").count()).isEqualTo(5);
        assertThat(row(first.get(60, TimeUnit.SECONDS), "app-2").count()).isEqualTo(7);
        assertThat(second).isCompletedWithValue(first.join());
        assertThat(peers.statistics().rounds()).isEqualTo(2);
    }

    @Test
    void closingFailsTheReportsThatWaitForTheNextRound() throws Exception {
        CountDownLatch holding = new CountDownLatch(1);
        CountDownLatch release = new CountDownLatch(1);
        b.answerWith(exchange -> {
            try {
                holding.countDown();
                release.await();
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
            }
        });
        Peers peers = peers(a, list().timeout(Duration.ofSeconds(30)).deadline(Duration.ofSeconds(60)));
        CompletableFuture<PeersReport> running = peers.report().toCompletableFuture();
        holding.await();
        CompletableFuture<PeersReport> waiting = peers.report().toCompletableFuture();

        peers.close();
        release.countDown();
        for (CompletableFuture<PeersReport> report : List.of(running, waiting)) {
            assertThatThrownBy(() -> report.get(60, TimeUnit.SECONDS))
                    .hasCauseInstanceOf(Peers.StoppingException.class);
        }
    }

    @Test
    void roundsBeginLessOftenWithManyPeers() throws Exception {
        int number = 2 * Peers.PEERS_AN_INTERVAL;
        try (ManyPeers many = new ManyPeers(number)) {
            Peers peers = TestSettings.list(many.addresses.toArray(String[]::new))
                    .in(a.directory)
                    .openWithInterval(a.replica(), Peers.INTERVAL);
            open.add(peers);
            ask(peers); // their number is unknown until then
            long start = System.nanoTime();
            ask(peers);
            ask(peers);
            ask(peers);
            assertThat(System.nanoTime() - start)
                    .as("from the second round to the fourth")
                    .isGreaterThan(4 * Peers.INTERVAL.toNanos() - 1_000_000);
            assertThat(many.asked).hasValue(4 * number);
        }
    }

    @Test
    void roundsAboutOtherCountersAreBounded() throws Exception {
        Peers peers = list().in(a.directory).openWithInterval(a.replica(), Peers.INTERVAL);
        open.add(peers);
        long start = System.nanoTime();
        List<CompletableFuture<PeersReport>> wanted = new ArrayList<>();
        for (int i = 0; i < 6; i++) {
            wanted.add(peers.report("counter-" + i).toCompletableFuture());
        }
        for (CompletableFuture<PeersReport> report : wanted) {
            assertThat(report.get(20, TimeUnit.SECONDS).complete()).isTrue();
        }
        assertThat(System.nanoTime() - start).isGreaterThan(5 * Peers.INTERVAL.toNanos() - 1_000_000);

        CountDownLatch full = new CountDownLatch(1);
        b.answerWith(exchange -> {
            pause(full);
            exchange.sendResponseHeaders(500, -1);
        });
        for (int i = 0; i < Peers.MOST_ROUNDS; i++) {
            peers.report("other-" + i);
        }
        CompletableFuture<PeersReport> oneTooMany = peers.report("one too many").toCompletableFuture();
        full.countDown();
        assertThatThrownBy(() -> oneTooMany.get(20, TimeUnit.SECONDS))
                .isInstanceOf(ExecutionException.class)
                .hasCauseInstanceOf(RejectedExecutionException.class);
    }

    @Test
    void aFailingSourceFailsOnlyOneRound() throws Exception {
        AtomicBoolean broken = new AtomicBoolean(true);
        StaticSource sound = new StaticSource(list().settings(), 1, null);
        PeerSource source = new PeerSource() {
            @Override
            public void start() {}

            @Override
            public CompletionStage<Membership> membership() {
                if (broken.get()) {
                    throw new IllegalStateException("broken by the test");
                }
                return sound.membership();
            }

            @Override
            public void close() {}
        };
        Peers peers = list().in(a.directory).open(a.replica(), source, InstantSource.system(), Duration.ZERO);
        open.add(peers);

        assertThatThrownBy(() -> peers.report().toCompletableFuture().get(20, TimeUnit.SECONDS))
                .hasRootCauseInstanceOf(IllegalStateException.class);
        broken.set(false);
        assertThat(ask(peers).complete()).isTrue();
    }

    @Test
    void closeFailsPendingReports() {
        CountDownLatch end = new CountDownLatch(1);
        b.answerWith(exchange -> pause(end));
        Peers peers = peers(a, list());
        CompletableFuture<PeersReport> report = peers.report().toCompletableFuture();
        TestSettings.await(() -> b.inside.get() == 1);

        peers.close();
        assertThatThrownBy(() -> report.get(5, TimeUnit.SECONDS)).hasCauseInstanceOf(RejectedExecutionException.class);
        assertThatThrownBy(() -> peers.report().toCompletableFuture().get(5, TimeUnit.SECONDS))
                .hasCauseInstanceOf(RejectedExecutionException.class);
        end.countDown();
    }

    @Test
    void aCallerCannotCompleteTheReportOfOthers() {
        Peers peers = peers(a, list());
        CompletableFuture<PeersReport> mine = peers.report().toCompletableFuture();
        CompletableFuture<PeersReport> yours = peers.report().toCompletableFuture();
        mine.cancel(true);

        assertThat(yours.join().complete()).isTrue();
    }

    @Test
    void theReportHasTheDocumentedJson() throws IOException {
        PeersReport report = ask(peers(a, TestSettings.list(b.address())));

        assertThat(LoopbackPeer.JSON.writeValueAsString(report))
                .isEqualTo(
                        "{\"counter\":\"visits\",\"total\":4,\"complete\":true,\"lost\":0,\"expected\":2,\"answered\":2,"
                                + "\"askedBy\":\"app-0\",\"at\":\"" + report.at() + "\","
                                + "\"source\":{\"kind\":\"static\",\"state\":\"live\"},\"peers\":["
                                + "{\"instance\":\"app-0\",\"state\":\"live\",\"count\":3,\"countedAt\":\""
                                + report.at()
                                + "\",\"final\":false,\"store\":\""
                                + a.store().identity().id() + "\",\"incarnation\":1},"
                                + "{\"instance\":\"app-1\",\"address\":\"" + b.address()
                                + "\",\"state\":\"live\",\"count\":1,"
                                + "\"countedAt\":\"" + row(report, "app-1").countedAt()
                                + "\",\"final\":false,\"latencyMillis\":"
                                + row(report, "app-1").latencyMillis() + ",\"store\":\""
                                + b.store().identity().id() + "\",\"incarnation\":1}]}");
        String bytes = LoopbackPeer.JSON.writeValueAsString(report);
        assertThat(LoopbackPeer.JSON.readValue(bytes.getBytes(StandardCharsets.UTF_8), PeersReport.class))
                .isEqualTo(report);
    }

    private static void pause(CountDownLatch end) {
        try {
            assertThat(end.await(60, TimeUnit.SECONDS)).isTrue();
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    /**
     * Counts concurrent requests. A request leaves before it is answered, because the caller may
     * send the next one as soon as it has the answer.
     */
    private static final class Room {

        final AtomicInteger most = new AtomicInteger();
        private final AtomicInteger inside = new AtomicInteger();

        private interface Stay {
            void stay() throws Exception;
        }

        void pass(Stay stay) throws IOException {
            most.accumulateAndGet(inside.incrementAndGet(), Math::max);
            try {
                stay.stay();
            } catch (Exception e) {
                throw new IOException(e);
            } finally {
                inside.decrementAndGet();
            }
        }
    }
}
